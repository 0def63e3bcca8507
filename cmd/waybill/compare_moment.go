package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/ledger"
	"github.com/waybill-data/waybill/link"
)

// bothSides are the views that a link's comparison reads, and how their moments relate.
type bothSides struct {
	source, target waybill.View
	moment         string
}

// Close closes what is open.
func (b *bothSides) Close() error {
	var errs []error
	for _, v := range []waybill.View{b.source, b.target} {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}

// openBoth opens both sides of a link, at one moment if the link is running.
func (q *comparing) openBoth(ctx context.Context, l *ledger.Ledger, r route) (*bothSides, error) {
	running, err := q.app.settled(ctx, l, r.Name, q.wait)
	if err != nil {
		return nil, err
	}
	both := &bothSides{}
	if running == "" {
		err = q.openStopped(ctx, r, both)
	} else {
		err = q.openRunning(ctx, l, r, running, both)
	}
	if err != nil {
		return nil, errors.Join(err, both.Close())
	}
	return both, nil
}

func (q *comparing) openSource(ctx context.Context, r route, both *bothSides) (err error) {
	both.source, err = openView(ctx, r.sourceKind, r.source, waybill.ViewOptions{Tables: r.Tables, Positioned: true, Log: q.app.log()})
	if err == nil && both.source.Position() == "" {
		err = &waybill.Error{Op: "compare link " + r.Name, Fault: waybill.Setup, Hint: "compare at the primary server",
			Err: fmt.Errorf("source %s cannot be read at a known position", r.source.Name)}
	}
	return err
}

func (q *comparing) openTarget(ctx context.Context, r route, both *bothSides) (err error) {
	both.target, err = openView(ctx, r.targetKind, r.target, waybill.ViewOptions{Tables: r.Tables, Log: q.app.log()})
	return err
}

// openStopped reads both sides of a link that does not run as they are.
func (q *comparing) openStopped(ctx context.Context, r route, both *bothSides) error {
	if err := q.openSource(ctx, r, both); err != nil {
		return err
	}
	reached, err := targetPosition(ctx, r, q.app)
	if err != nil {
		return err
	}
	if err := q.openTarget(ctx, r, both); err != nil {
		return err
	}
	at := both.source.Position()
	if reached == "" {
		both.moment = fmt.Sprintf("the link is not running and its first copy is not complete; the source was read at %s", at)
		return nil
	}
	order, err := r.sourceKind.ComparePositions(reached, at)
	if err != nil {
		return err
	}
	both.moment = fmt.Sprintf("the link is not running: source read at %s, target as the link left it at %s", at, reached)
	if order < 0 {
		both.moment += "; what was changed between them shows as differences"
	}
	return nil
}

// targetPosition asks the target how far a link that does not run has got.
func targetPosition(ctx context.Context, r route, a *app) (p waybill.Position, err error) {
	sink, err := r.targetKind.OpenSink(ctx, r.target, waybill.SinkOptions{Stream: r.Name, Log: a.log()})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	progress, err := sink.Resume(ctx)
	return progress.Position, err
}

// openRunning reads both sides of a running link at one position: the link is paused, so that it cannot pass
// the position that the source's view gets, goes on exactly up to it, and stands there until the target's
// view is open. Whatever happens, the link is left going on, unless it was paused before.
func (q *comparing) openRunning(ctx context.Context, l *ledger.Ledger, r route, state string, both *bothSides) (err error) {
	paused := state == "paused" || state == "held"
	var lease json.RawMessage
	if !paused {
		lease = q.lease()
		defer func() { err = errors.Join(err, q.letGo(ctx, l, r.Name)) }()
	}
	if _, err := q.request(ctx, l, waybill.Request{Link: r.Name, Verb: "pause", Args: lease}); err != nil {
		return err
	}
	if err := q.openSource(ctx, r, both); err != nil {
		return err
	}
	at := both.source.Position()
	if _, err := q.request(ctx, l, waybill.Request{Link: r.Name, Verb: "hold", Position: at, Args: lease}); err != nil {
		return err
	}
	if err := q.openTarget(ctx, r, both); err != nil {
		return err
	}
	both.moment = fmt.Sprintf("both sides read at %s", at)
	if paused {
		both.moment += fmt.Sprintf("; the link was paused before and stays so, now at %s", at)
	}
	return nil
}

// lease has a link go on by itself when this process is gone. Each step is given up long before it ends.
func (q *comparing) lease() json.RawMessage {
	text, _ := json.Marshal(link.Lease{Seconds: 2*q.wait.Seconds() + 30}) // a number can be written
	return text
}

// letGo has the link go on, also when the comparison was interrupted. That it is not paused is no error then:
// it had not got so far.
func (q *comparing) letGo(ctx context.Context, l *ledger.Ledger, link string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.wait)
	defer cancel()
	answer, err := q.request(ctx, l, waybill.Request{Link: link, Verb: "resume"})
	if err != nil && answer.Error == "" {
		return fmt.Errorf("link %s may still be paused (`waybill link resume %s`): %w", link, link, err)
	}
	return nil
}

// request asks something of a running link and waits for its answer. A refusal is an error.
func (q *comparing) request(ctx context.Context, l *ledger.Ledger, r waybill.Request) (ledger.StoredRequest, error) {
	r.By = who()
	id, err := l.AddRequest(ctx, r)
	if err != nil {
		return ledger.StoredRequest{}, err
	}
	asking := &asking{app: q.app, wait: q.wait}
	answer, err := asking.answer(ctx, l, id)
	op := "ask link " + r.Link + " to " + r.Verb
	switch {
	case err != nil:
	case answer.Error != "":
		err = waybill.Errorf(waybill.Drift, op, "%s", answer.Error)
	case answer.Answered.IsZero():
		err = &waybill.Error{Op: op, Fault: waybill.Passing, Hint: "see `waybill link status`, or give a longer --wait",
			Err: fmt.Errorf("no answer within %s", q.wait)}
	}
	return answer, err
}

// settled waits until a running link follows all its tables, and returns its state: empty if it does not run.
// What is shown of a link is up to a second old, so the first that is seen may tell of before a request.
func (a *app) settled(ctx context.Context, l *ledger.Ledger, name string, wait time.Duration) (string, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	first, err := statusOf(ctx, l, name)
	if err != nil {
		return "", err
	}
	for {
		s, err := statusOf(ctx, l, name)
		if err != nil {
			return "", err
		}
		if !alive(s, time.Now()) {
			return "", nil
		}
		missing := unsettled(s)
		if missing == "" && s.Updated.Equal(first.Updated) {
			missing = "the link shows no life"
		}
		if missing == "" {
			return s.State, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return "", &waybill.Error{Op: "compare link " + name, Fault: waybill.Passing, Hint: "see `waybill link status`, or give a longer --wait",
				Err: fmt.Errorf("%s, after %s of waiting", missing, wait)}
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// unsettled says what keeps a link from being at a position with all its tables.
func unsettled(s waybill.LinkStatus) string {
	if s.State != "streaming" && s.State != "paused" && s.State != "held" {
		return "the link is " + s.State
	}
	for _, t := range s.Tables {
		if t.State != "streaming" {
			return fmt.Sprintf("table %s is %s", t.Table, t.State)
		}
	}
	return ""
}

func statusOf(ctx context.Context, l *ledger.Ledger, name string) (waybill.LinkStatus, error) {
	statuses, err := l.Statuses(ctx)
	for _, s := range statuses {
		if s.Link == name {
			return s, err
		}
	}
	return waybill.LinkStatus{State: "stopped"}, err
}
