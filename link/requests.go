package link

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
)

const pollEvery = 500 * time.Millisecond

// poll looks for requests and hands each to the main loop once. A stop it carries out itself, so that it is
// heard whatever the main loop is at.
func (s *session) poll(ctx context.Context, cancel context.CancelCauseFunc) error {
	handed := map[int64]bool{}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		open, err := s.o.Ledger.Requests(ctx, s.o.Name)
		if err != nil {
			return fmt.Errorf("look for requests: %w", err)
		}
		for _, r := range open {
			if handed[r.ID] || slices.Contains(s.decided, r.ID) {
				continue
			}
			handed[r.ID] = true
			if r.Verb == "stop" {
				s.stopping = r
				cancel(errStopped)
				return errStopped
			}
			select {
			case s.requests <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// between does what is to be done between two transactions, and waits there while the link is paused.
func (s *session) between(ctx context.Context) error {
	if s.inside {
		return nil
	}
	for {
		if err := s.examine(ctx); err != nil {
			return err
		}
		s.chaseMissing(ctx)
		if err := s.tidy(ctx); err != nil {
			return err
		}
		s.patient = s.patient && s.catching
		if err := s.holdHere(ctx); err != nil {
			return err
		}
		r, j, c, err := s.hear(ctx, s.paused || s.patient)
		switch {
		case err != nil:
			return err
		case c != nil:
			s.caughtUp(c)
		case j != nil:
			err = s.takeOver(ctx, j)
		case r.ID != 0:
			err = s.request(context.WithoutCancel(ctx), r)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hear returns the next request, join or end of a catch-up; with wait it waits for one.
func (s *session) hear(ctx context.Context, wait bool) (r waybill.Request, j *joining, c *catchup, err error) {
	if len(s.postponed) > 0 {
		r, s.postponed = s.postponed[0], s.postponed[1:]
		return r, nil, nil, nil
	}
	if wait {
		select {
		case <-s.lease.C:
			r = expired
		case r = <-s.requests:
		case j = <-s.joins:
		case c = <-s.ended:
		case <-ctx.Done():
			err = ctx.Err()
		}
		return r, j, c, err
	}
	select {
	case <-s.lease.C:
		r = expired
	case r = <-s.requests:
	case j = <-s.joins:
	case c = <-s.ended:
	default:
	}
	return r, j, c, nil
}

// request carries out a request and answers it. What a person asked for and cannot be done does not end the
// link; it is the answer.
func (s *session) request(ctx context.Context, r waybill.Request) error {
	outcome, err := s.carryOut(ctx, r)
	if errors.Is(err, errLater) {
		return nil
	}
	var failure string
	if err != nil {
		if waybill.FaultOf(err) != waybill.Setup {
			return err
		}
		failure = err.Error()
	}
	if r.Verb == expire {
		return nil // nobody asked
	}
	return s.o.Ledger.Answer(ctx, r.ID, outcome, failure)
}

// errLater says that a request is answered later.
var errLater = errors.New("answered later")

// cannot is a refusal that is answered to who asked.
func cannot(format string, args ...any) error {
	return waybill.Errorf(waybill.Setup, "", format, args...)
}

func (s *session) carryOut(ctx context.Context, r waybill.Request) (string, error) {
	switch r.Verb {
	case "pause":
		if err := s.grant(r); err != nil {
			return "", err
		}
		return s.pause(ctx, "paused")
	case expire:
		s.log.Warn("who had the link wait has gone: it goes on", "link", s.o.Name)
		return s.resumeStream(ctx)
	case "resume":
		return s.resumeStream(ctx)
	case "hold":
		return s.hold(r)
	case "resync":
		return s.resync(ctx, r)
	case "sequences":
		return s.sequences(ctx)
	case "decide":
		return "", cannot("nothing waits for a decision")
	}
	return "", cannot("unknown request %q", r.Verb)
}

func (s *session) pause(ctx context.Context, state string) (string, error) {
	s.paused = true
	s.stats.setState(state, "")
	outcome := fmt.Sprintf("%s at %s", state, s.position)
	return outcome, s.record(ctx, "link.paused", waybill.TableName{}, map[string]string{"position": string(s.position)})
}

func (s *session) resumeStream(ctx context.Context) (string, error) {
	s.lease.Stop()
	if s.held.ID != 0 {
		hold := s.held
		s.held = waybill.Request{}
		return "the link no longer holds at " + string(hold.Position), s.o.Ledger.Answer(ctx, hold.ID, "", "it was resumed before it got there")
	}
	if !s.paused {
		return "", cannot("the link is not paused")
	}
	s.paused = false
	s.stats.setState("streaming", "")
	return "resumed at " + string(s.position), s.record(ctx, "link.resumed", waybill.TableName{}, map[string]string{"position": string(s.position)})
}

// hold notes where the link is to pause; it is answered when it gets there.
func (s *session) hold(r waybill.Request) (string, error) {
	if s.held.ID != 0 {
		return "", cannot("the link is to hold at %s already", s.held.Position)
	}
	if s.position != "" {
		order, err := s.o.Source.Connector.ComparePositions(r.Position, s.position)
		if err != nil {
			return "", cannot("%v", err)
		}
		if order < 0 {
			return "", cannot("the link is at %s, past %s", s.position, r.Position)
		}
	}
	if err := s.grant(r); err != nil {
		return "", err
	}
	s.src.Mark(r.Position)
	s.held = r
	s.paused = false // a paused link goes on up to the position
	s.stats.setState("streaming", "")
	return "", errLater
}

// holdHere pauses the link where it was told to hold.
func (s *session) holdHere(ctx context.Context) error {
	if s.held.ID == 0 || !s.reached(s.held.Position, s.position) {
		return nil
	}
	request := s.held.ID
	s.held = waybill.Request{}
	outcome, err := s.pause(context.WithoutCancel(ctx), "held")
	if err != nil {
		return err
	}
	return s.o.Ledger.Answer(context.WithoutCancel(ctx), request, outcome, "")
}

// resync has a table copied again beside the stream; the zero table means all.
func (s *session) resync(ctx context.Context, r waybill.Request) (string, error) {
	var ids []string
	for id, t := range s.known {
		if t.standing == following && (r.Table == t.name || r.Table == waybill.TableName{}) {
			ids = append(ids, id)
		}
		if t.standing == pending && r.Table == t.name {
			return "it is being copied already", nil
		}
	}
	if len(ids) == 0 {
		return "", cannot("the link does not follow table %s", r.Table)
	}
	slices.Sort(ids)
	return "it is copied again", s.copyAgain(ctx, cmp.Or(r.By, "asked for"), ids...)
}

// sequences brings the target's sequences to where the source's are now.
func (s *session) sequences(ctx context.Context) (string, error) {
	if err := s.carryNow(ctx, s.sink, s.versions()); err != nil {
		return "", err
	}
	return "sequences were carried", s.record(ctx, "link.sequences", waybill.TableName{}, nil)
}

// carryNow brings the sequences of tables to where they are now, where no view is open.
func (r *run) carryNow(ctx context.Context, sink waybill.Sink, versions []*waybill.TableVersion) error {
	view, err := r.o.Source.Connector.OpenView(ctx, r.o.Source.Endpoint, waybill.ViewOptions{Tables: r.o.Tables, Log: r.log})
	if err != nil {
		return fmt.Errorf("open view for sequences: %w", err)
	}
	defer view.Close()
	return r.carrySequences(ctx, view, sink, versions)
}

// ask waits until somebody decides about a structure change. The source is kept alive meanwhile.
func (s *session) ask(ctx context.Context, shape *waybill.Shape, steps []string) (Action, error) {
	what := fmt.Sprintf("%s: %s", shape.Table(), strings.Join(steps, ", "))
	if shape.Statement != "" {
		what += " (" + shape.Statement + ")"
	}
	s.stats.setState("waiting", what)
	defer s.stats.setState("streaming", "")
	if err := s.record(ctx, "link.waiting", shape.Table(), map[string]any{"steps": steps, "statement": shape.Statement}); err != nil {
		return "", err
	}
	for {
		select {
		case r := <-s.requests:
			if r.Verb != "decide" {
				s.postponed = append(s.postponed, r)
				continue
			}
			action, err := decision(r.Args)
			if err != nil {
				if err := s.o.Ledger.Answer(ctx, r.ID, "", err.Error()); err != nil {
					return "", err
				}
				continue
			}
			if action == Stop {
				return Stop, s.o.Ledger.Answer(ctx, r.ID, "the link stops", "")
			}
			// Answered once the change is durable: until then a restart must find the decision again.
			s.decided = append(s.decided, r.ID)
			return action, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// decision reads "follow" or {"action": "follow"}.
func decision(args json.RawMessage) (Action, error) {
	var word Action
	var object struct{ Action Action }
	if json.Unmarshal(args, &object) == nil {
		word = object.Action
	} else if err := json.Unmarshal(args, &word); err != nil {
		return "", fmt.Errorf("decision %s: want follow, ignore or stop", args)
	}
	if !word.valid() || word == Ask {
		return "", fmt.Errorf("decision %q: want follow, ignore or stop", word)
	}
	return word, nil
}

// answerDecided answers the decisions whose changes are durable now.
func (s *session) answerDecided(ctx context.Context) error {
	for len(s.decided) > 0 {
		if err := s.o.Ledger.Answer(ctx, s.decided[0], "done as decided", ""); err != nil {
			return err
		}
		s.decided = s.decided[1:]
	}
	return nil
}
