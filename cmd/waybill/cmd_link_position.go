package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/ledger"
)

// places are the positions that are known of a link.
type places struct {
	Link   string               `json:"link"`
	Ledger waybill.Position     `json:"ledger,omitzero"`
	Target waybill.Position     `json:"target,omitzero"` // the one that counts
	Source *waybill.StreamState `json:"source,omitempty"`
	Notes  []string             `json:"notes,omitempty"`
	Set    waybill.Position     `json:"set,omitzero"` // what was set
}

func (a *app) linkPositionCommand() *cobra.Command {
	var set, why string
	var yes bool
	c := &cobra.Command{
		Use: "position LINK", Short: "Show a link's position at all three ends, or set it by hand", Args: cobra.ExactArgs(1),
		Long: `position shows where a link is: what the target holds, which is what counts, what the ledger noted, and what the source
was told. The target is asked only while the link is not running.

--set moves a stopped link forward. It says what would be lost and asks for the link's name, or takes --yes. Backwards it is
refused: use link resync, which copies a table again.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.route(args[0])
			if err != nil {
				return err
			}
			return a.withLedger(c.Context(), true, func(l *ledger.Ledger) error {
				p, err := a.position(c.Context(), l, r, mover{to: waybill.Position(set), why: why, yes: yes})
				if err != nil {
					return err
				}
				return printOne(a, p, p.text)
			})
		},
	}
	c.Flags().StringVar(&set, "set", "", "position to go on after")
	c.Flags().StringVar(&why, "why", "", "the reason, for the record")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// mover is what is asked of link position --set.
type mover struct {
	to  waybill.Position
	why string
	yes bool
}

func (p places) text(w io.Writer) {
	writeLines(w, [][2]any{{"link", p.Link}, {"target", p.Target}, {"ledger", p.Ledger}})
	if s := p.Source; s != nil && s.Exists {
		writeLines(w, [][2]any{{"source, confirmed", s.Position}, {"source, now", s.Current}, {"behind", size(s.Behind)}, {"log kept", size(s.Retained)}})
	}
	for _, note := range p.Notes {
		fmt.Fprintln(w, note)
	}
	if p.Set != "" {
		fmt.Fprintf(w, "set to:\t%s\n", p.Set)
	}
}

func (a *app) position(ctx context.Context, l *ledger.Ledger, r route, m mover) (p places, err error) {
	p.Link = r.Name
	saved, err := l.Positions(ctx)
	if err != nil {
		return p, err
	}
	for _, s := range saved {
		if s.Stream == r.Name {
			p.Ledger = s.Position
		}
	}
	if r.sourceKind.State != nil {
		state, err := r.sourceKind.State(ctx, r.source, r.Name)
		if err != nil && m.to != "" {
			return p, err
		}
		if err != nil {
			p.Notes = append(p.Notes, "source does not answer: "+err.Error())
		} else if p.Source = &state; state.Note != "" {
			p.Notes = append(p.Notes, state.Note)
		}
	}
	if running := a.refuseRunning(ctx, l, r.Name); running != nil {
		p.Notes = append(p.Notes, "the target is not asked: "+running.Error())
		if m.to != "" {
			return p, running
		}
		return p, nil
	}
	return p, a.atTarget(ctx, l, r, m, &p)
}

// atTarget reads, and moves if asked to, the position that the target keeps.
func (a *app) atTarget(ctx context.Context, l *ledger.Ledger, r route, m mover, p *places) (err error) {
	sink, err := r.targetKind.OpenSink(ctx, r.target, waybill.SinkOptions{Stream: r.Name, Log: a.log()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	progress, err := sink.Resume(ctx)
	if err != nil {
		return err
	}
	p.Target = progress.Position
	if m.to == "" {
		return nil
	}
	if err := guardMove(r, *p, m.to); err != nil {
		return err
	}
	warning := fmt.Sprintf("Changes that were committed after %s and up to %s will never reach the target: they are lost there\nuntil their tables are copied again with `waybill link resync`.", p.Target, m.to)
	if err := a.confirm(m.yes, warning, r.Name); err != nil {
		return err
	}
	// The target's position is the one that counts, so it goes first.
	if err := sink.Apply(ctx, waybill.ChangeBatch{Position: m.to, Committed: time.Time{}}); err != nil {
		return err
	}
	p.Set = m.to
	return l.SetPosition(ctx, r.Name, m.to, who(), m.why)
}

// guardMove refuses what would not do what it seems to.
func guardMove(r route, p places, to waybill.Position) error {
	refuse := func(hint, format string, args ...any) error {
		return &waybill.Error{Op: "set position of " + r.Name, Fault: waybill.Drift, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	if p.Target == "" {
		return refuse("run the link first", "the target has no position: its first copy is not complete")
	}
	order, err := r.sourceKind.ComparePositions(to, p.Target)
	if err != nil {
		return refuse("write a position as `waybill link position` shows it", "%s and %s cannot be compared: %w", to, p.Target, err)
	}
	switch {
	case order == 0:
		return refuse("nothing is to be done", "the target is at %s already", to)
	case order < 0:
		return refuse("copy the tables in question again: waybill link resync "+r.Name+" TABLE",
			"%s is before the target's %s: what lies between would be repeated over newer rows, and the source may no longer have it", to, p.Target)
	}
	if p.Source == nil || p.Source.Current == "" {
		return nil
	}
	if order, err = r.sourceKind.ComparePositions(to, p.Source.Current); err == nil && order > 0 {
		return refuse("name a position that the source has reached", "%s is after the end of the source's history, %s", to, p.Source.Current)
	}
	return err
}
