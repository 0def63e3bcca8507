package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/config"
	"github.com/waybill-data/waybill/ledger"
	"github.com/waybill-data/waybill/link"
)

func (a *app) linkCommand() *cobra.Command {
	return group("link", "Look at links and tell them what to do",
		a.linkStatusCommand(), a.linkPauseCommand(), a.linkResumeCommand(), a.linkStopCommand(), a.linkResyncCommand(),
		a.linkSequencesCommand(), a.linkDecideCommand(), a.linkPositionCommand(), a.linkDropCommand())
}

func (a *app) completeLinks(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.complete(func(c *config.Config) []string { return keys(c.Links) })
}

func (a *app) completeEndpoints(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.complete(func(c *config.Config) []string { return keys(c.Endpoints) })
}

// complete offers names from the configuration, if it can be read.
func (a *app) complete(choose func(*config.Config) []string) ([]string, cobra.ShellCompDirective) {
	c, err := a.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return choose(c), cobra.ShellCompDirectiveNoFileComp
}

// asked is the result of a command that asks something of a link.
type asked struct {
	Request int64  `json:"request"`
	Link    string `json:"link"`
	Verb    string `json:"verb"`
	State   string `json:"state"` // done, failed, waiting, withdrawn
	Outcome string `json:"outcome,omitzero"`
	Error   string `json:"error,omitzero"`
}

// asking holds what all such commands share.
type asking struct {
	app  *app
	wait time.Duration
	keep bool // a request that is not answered in time stays
}

func (q *asking) flags(c *cobra.Command) {
	c.Flags().DurationVar(&q.wait, "wait", 30*time.Second, "how long to wait for the link's answer; 0: do not wait")
}

// ask hands a request to a link through the ledger and waits for the answer. A link that runs and does not
// answer in time has the request taken back; one that does not run finds it when it starts. Both exit with 5,
// unless nobody wanted to wait.
func (q *asking) ask(ctx context.Context, r waybill.Request) error {
	if _, err := q.app.route(r.Link); err != nil {
		return err
	}
	r.By = who()
	return q.app.withLedger(ctx, true, func(l *ledger.Ledger) error {
		running := q.app.refuseRunning(ctx, l, r.Link) != nil
		if !running && (r.Verb == "stop" || r.Verb == "decide") {
			return &waybill.Error{Op: r.Verb + " " + r.Link, Fault: waybill.Drift, Err: errors.New("the link is not running"),
				Hint: "see `waybill link status " + r.Link + "`"}
		}
		id, err := l.AddRequest(ctx, r)
		if err != nil {
			return err
		}
		code := exitResumable
		if q.wait <= 0 {
			code = exitOK
		}
		if !running {
			q.wait = 0
		}
		answer, err := q.answer(ctx, l, id)
		if err != nil {
			return err
		}
		result := asked{Request: id, Link: r.Link, Verb: r.Verb, State: "waiting", Outcome: answer.Outcome, Error: answer.Error}
		switch {
		case answer.Error == ledger.Withdrawn:
			result.State = "withdrawn"
		case answer.Error != "":
			result.State, code = "failed", exitRuntime
		case !answer.Answered.IsZero():
			result.State, code = "done", exitOK
		}
		if err := printOne(q.app, result, result.text); err != nil || code == exitOK {
			return err
		}
		return &exitError{code}
	})
}

// answer waits for the answer. When the time is over the request is taken back, unless it is to be kept.
func (q *asking) answer(ctx context.Context, l *ledger.Ledger, id int64) (ledger.StoredRequest, error) {
	deadline := time.NewTimer(q.wait)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := l.Request(ctx, id)
		if err != nil || !r.Answered.IsZero() || q.wait <= 0 {
			return r, err
		}
		select {
		case <-ctx.Done():
			if q.keep {
				return r, ctx.Err()
			}
			return r, errors.Join(ctx.Err(), l.Withdraw(context.WithoutCancel(ctx), id))
		case <-deadline.C:
			if q.keep {
				return r, nil
			}
			if err := l.Withdraw(ctx, id); err != nil {
				return r, err
			}
			return l.Request(ctx, id)
		case <-tick.C:
		}
	}
}

func (r asked) text(w io.Writer) {
	switch r.State {
	case "done":
		fmt.Fprintf(w, "%s %s: %s\n", r.Verb, r.Link, oneLine(r.Outcome))
	case "withdrawn":
		fmt.Fprintf(w, "%s %s: the link did not answer in time; the request was taken back, unless the link is at it already\n", r.Verb, r.Link)
	case "failed":
		fmt.Fprintf(w, "%s %s failed: %s\n", r.Verb, r.Link, r.Error)
	default:
		fmt.Fprintf(w, "%s %s: request %d waits; the link answers it once it runs\n", r.Verb, r.Link, r.Request)
	}
}

func (a *app) linkPauseCommand() *cobra.Command {
	q := &asking{app: a}
	var at string
	c := &cobra.Command{
		Use: "pause LINK", Short: "Hold a link between two transactions; its process and the source's log stay", Args: cobra.ExactArgs(1),
		Long: `pause holds a running link between two transactions. The source keeps its log meanwhile.
With --at the link first applies everything up to exactly that position.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			r := waybill.Request{Link: args[0], Verb: "pause"}
			if at != "" {
				r.Verb, r.Position, q.keep = "hold", waybill.Position(at), true
			}
			return q.ask(c.Context(), r)
		},
	}
	q.flags(c)
	c.Flags().StringVar(&at, "at", "", "position to apply first, exactly up to it")
	return c
}

func (a *app) simpleRequest(verb, short string) *cobra.Command {
	q := &asking{app: a}
	c := &cobra.Command{
		Use: verb + " LINK", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			return q.ask(c.Context(), waybill.Request{Link: args[0], Verb: verb})
		},
	}
	q.flags(c)
	return c
}

func (a *app) linkResumeCommand() *cobra.Command {
	return a.simpleRequest("resume", "Let a paused link go on")
}

func (a *app) linkStopCommand() *cobra.Command {
	return a.simpleRequest("stop", "Stop a link's process at a safe point")
}

func (a *app) linkSequencesCommand() *cobra.Command {
	return a.simpleRequest("sequences", "Bring the target's sequences to where the source's are now")
}

// dropped is the result of link drop.
type dropped struct {
	Link  string   `json:"link"`
	Steps []string `json:"steps"`
}

func (a *app) linkDropCommand() *cobra.Command {
	var yes, sourceGone, targetGone bool
	c := &cobra.Command{
		Use: "drop LINK", Short: "Remove what a link left at both ends; rows stay", Args: cobra.ExactArgs(1),
		Long: `drop removes a link's mark at the source (slot, publication), its progress at the target and its position in the
ledger. Rows and the recorded history stay. A later run starts with a new copy. It asks for the link's name, or takes --yes.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.route(args[0])
			if err != nil {
				return err
			}
			return a.withLedger(c.Context(), true, func(l *ledger.Ledger) error {
				if err := a.refuseRunning(c.Context(), l, r.Name); err != nil {
					return err
				}
				if err := a.confirm(yes, "This removes slot, publication and progress of the link.", r.Name); err != nil {
					return err
				}
				result := dropped{Link: r.Name}
				err := a.dropLink(c.Context(), l, r, sourceGone, targetGone, &result)
				if printed := printOne(a, result, func(w io.Writer) {
					for _, step := range result.Steps {
						fmt.Fprintln(w, step)
					}
				}); err == nil {
					err = printed
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&sourceGone, "source-gone", false, "the source no longer exists: leave it alone")
	c.Flags().BoolVar(&targetGone, "target-gone", false, "the target no longer exists: leave it alone")
	return c
}

// dropLink is safe to repeat: each step leaves alone what is not there.
func (a *app) dropLink(ctx context.Context, l *ledger.Ledger, r route, sourceGone, targetGone bool, result *dropped) error {
	for _, stream := range []string{link.CatchUp(r.Name), r.Name} {
		if !sourceGone && r.sourceKind.Drop != nil {
			if err := r.sourceKind.Drop(ctx, r.source, stream); err != nil {
				return fmt.Errorf("drop %s at %s: %w", stream, r.source.Name, err)
			}
			result.Steps = append(result.Steps, "dropped "+stream+" at source "+r.source.Name)
		}
		if !targetGone && r.targetKind.Release != nil {
			if err := r.targetKind.Release(ctx, r.target, stream); err != nil {
				return fmt.Errorf("release %s at %s: %w", stream, r.target.Name, err)
			}
			result.Steps = append(result.Steps, "released "+stream+" at target "+r.target.Name)
		}
		if err := l.ForgetStream(ctx, stream, who()); err != nil {
			return err
		}
	}
	result.Steps = append(result.Steps, "forgot its position in the ledger")
	return nil
}

// refuseRunning keeps a command from pulling the ground from under a live process.
func (a *app) refuseRunning(ctx context.Context, l *ledger.Ledger, name string) error {
	statuses, err := l.Statuses(ctx)
	if err != nil {
		return err
	}
	for _, s := range statuses {
		if s.Link == name && alive(s, time.Now()) {
			return &waybill.Error{Op: "change link " + name, Fault: waybill.Drift, Hint: "stop it first: waybill link stop " + name,
				Err: fmt.Errorf("it is running as process %d on %s", s.Process, s.Host)}
		}
	}
	return nil
}

// confirm asks for a name to be typed, unless yes. Without a terminal to ask on it refuses.
func (a *app) confirm(yes bool, what, name string) error {
	if yes {
		return nil
	}
	fmt.Fprintf(a.err, "%s\nType %s to go on: ", what, name)
	var typed string
	if _, err := fmt.Fscanln(a.in, &typed); err != nil && typed == "" {
		return usage(errors.New("nothing was typed; use --yes where nobody can be asked"))
	}
	if typed != name {
		return usage(fmt.Errorf("%q is not %q: nothing was done", typed, name))
	}
	return nil
}
