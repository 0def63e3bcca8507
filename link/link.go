// Package link follows a source into a target: a first copy of the tables, then every change in commit order,
// structure changes included, for as long as it runs.
//
// [Run] is the engine. A session opens both ends at what the target itself knows and goes round Next, Apply,
// SavePosition, Confirm (invariants 1, 2, 3). Around that loop stand: copy.go, the copy of tables out of one
// view; catchup.go, the copy of tables beside the running stream; reshape.go and project.go, the policy for
// structure changes; requests.go, what people ask for; status.go, what is shown. A fault that passes ends the
// session and the next one begins where the target is; any other fault ends the run (invariant 6).
package link

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/waybill-data/waybill"
)

// Side is one end of a link.
type Side struct {
	Connector *waybill.Connector
	Endpoint  waybill.Endpoint
}

// Options are what a link runs with. Name, Source, Target and Ledger are needed.
type Options struct {
	Name   string // also the stream's name at both ends
	Source Side
	Target Side
	Tables waybill.Selection // empty: all
	// Policy says what to do with each kind of structure change; a kind without one is followed. Comments,
	// indexes and other storage never stop a link: for ChangeComment and ChangeIndex only Ignore counts.
	// While a table is being copied it takes the source's structure whatever the policy.
	Policy    map[waybill.StepKind]Action
	Workers   int           // slices copied at once, and indexes built at once; 0: 4
	SliceRows int           // about how many rows a slice has; 0: 500,000, in large tables more
	Heartbeat time.Duration // how often an idle source is asked for a sign of life; 0: 1 s
	SpillDir  string        // for transactions that do not fit in memory; empty: the system's
	// Patience is how long faults that pass are met with new attempts while nothing moves; 0: for ever.
	Patience time.Duration
	Ledger   waybill.Ledger
	// Recall returns the structures that the ledger keeps of this link, oldest first. Without it no structure
	// change can be ignored, as after a restart nobody would know what the source's rows look like.
	Recall  func(ctx context.Context) ([]Structure, error)
	Version string // of the program, for the record of the run
	Log     *slog.Logger
	// Report, if set, is told how far the link is, about once a second and at every change of state. It is
	// called from one goroutine at a time and must not block.
	Report func(waybill.LinkStatus)
	// FailPoint, if set, is called at the points that tests of crashes kill at; see [FailPoints].
	FailPoint func(name string)

	retry time.Duration // the first wait after a fault that passes; 0: 100 ms
}

// Structure is a table's structure as of a position.
type Structure struct {
	Version *waybill.TableVersion
	AsOf    waybill.Position
}

// FailPoints lists the names that Options.FailPoint is called with.
var FailPoints = []string{"copy.slice", "copy.complete", "apply.before", "apply.part", "apply.after", "position.saved",
	"confirmed", "reshape.before", "reshape.after", "catchup.copied", "catchup.applied", "catchup.joined", "catchup.dropped"}

// CatchUp returns the name of the stream on which a link copies tables beside its main stream. Who removes a
// link for good drops and releases both streams.
func CatchUp(name string) string { return name + ".catchup" }

// run is one execution of a link, over as many sessions as it takes.
type run struct {
	o      Options
	log    *slog.Logger
	number int64
	stats  *stats

	paused   bool            // people asked for it; survives a session
	lease    *time.Timer     // until when without another word
	decided  []int64         // decisions to answer once what was decided is done
	forget   []string        // tables, by identity, to copy again from the next session on
	patient  bool            // the stream waits until nothing is to be caught up
	moved    time.Time       // when the link last got further
	stopping waybill.Request // the request that ends the run
}

// errStopped ends a session because somebody asked for it.
var errStopped = errors.New("the link was asked to stop")

// errAgain ends a session so that the next one starts from the target's state.
var errAgain = errors.New("the session begins anew")

// Run carries the link until ctx is done or somebody asks it to stop, which both end it at a safe point with
// a nil error, or until a fault that does not pass.
func Run(ctx context.Context, o Options) error {
	r, err := prepare(o)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	if ended(ctx) {
		return nil
	}
	r.number, err = o.Ledger.BeginRun(context.WithoutCancel(ctx), waybill.Run{Kind: "link", Name: o.Name, Started: time.Now(), Version: o.Version, Host: host, Process: os.Getpid()})
	if err != nil {
		return err
	}
	r.stats.begin(r.number, host, os.Getpid())
	err = r.record(context.WithoutCancel(ctx), "link.started", waybill.TableName{}, nil)
	if err == nil {
		err = r.sessions(ctx)
	}
	if ctx.Err() != nil {
		err = nil
	}
	return r.end(context.WithoutCancel(ctx), err)
}

func prepare(o Options) (*run, error) {
	const op = "start link"
	switch {
	case o.Name == "" || o.Ledger == nil || o.Source.Connector == nil || o.Target.Connector == nil:
		return nil, waybill.Errorf(waybill.Bug, op, "name, ledger and both ends are needed")
	case o.Source.Connector.OpenChanges == nil:
		return nil, waybill.Errorf(waybill.Setup, op, "%s cannot be the source of a link", o.Source.Connector.Kind)
	case o.Target.Connector.OpenSink == nil:
		return nil, waybill.Errorf(waybill.Setup, op, "%s cannot be the target of a link", o.Target.Connector.Kind)
	}
	if err := o.Tables.Check(); err != nil {
		return nil, &waybill.Error{Op: op, Fault: waybill.Setup, Err: err}
	}
	for _, kind := range slices.Sorted(maps.Keys(o.Policy)) {
		if action := o.Policy[kind]; !action.valid() {
			return nil, waybill.Errorf(waybill.Setup, op, "policy %q for %q: want follow, ask, ignore or stop", action, kind)
		}
	}
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.retry == 0 {
		o.retry = 100 * time.Millisecond
	}
	if o.FailPoint == nil {
		o.FailPoint = func(string) {}
	}
	return &run{o: o, log: o.Log.With("link", o.Name), stats: newStats(o.Name), moved: time.Now(), lease: unleased()}, nil
}

// ended reports whether the link was asked to stop, which is no error.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

// sessions runs one session after the other until one ends for good.
func (r *run) sessions(ctx context.Context) error {
	const longest = 30 * time.Second
	delay := r.o.retry
	for {
		before := r.moved
		err := r.session(ctx)
		switch {
		case ended(ctx) || errors.Is(err, errStopped):
			return nil
		case errors.Is(err, errAgain):
			continue
		case waybill.FaultOf(err) != waybill.Passing:
			return err
		case r.o.Patience > 0 && time.Since(r.moved) > r.o.Patience:
			return err
		}
		if r.moved != before {
			delay = r.o.retry
		}
		r.log.Warn("the session ended and is tried again", "error", err, "delay", delay)
		r.stats.trouble(err)
		if err := r.record(ctx, "link.retried", waybill.TableName{}, map[string]string{"error": err.Error()}); err != nil && ctx.Err() == nil {
			return err
		}
		if err := r.publish(ctx); err != nil && !ended(ctx) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		delay = min(2*delay, longest)
	}
}

// end records how the run ended and returns its error.
func (r *run) end(ctx context.Context, err error) error {
	state, kind, cause := "stopped", "link.stopped", ""
	if err != nil {
		state, kind, cause = "failed", "link.failed", err.Error()
		r.stats.trouble(err)
	}
	r.stats.setState(state, "")
	detail := map[string]string{"position": string(r.stats.position())}
	if err != nil {
		detail["error"], detail["hint"], detail["fault"] = cause, waybill.HintOf(err), waybill.FaultOf(err).String()
	}
	after := []error{err, r.record(ctx, kind, waybill.TableName{}, detail), r.publish(ctx)}
	if r.stopping.ID != 0 {
		after = append(after, r.o.Ledger.Answer(ctx, r.stopping.ID, "stopped", cause))
	}
	after = append(after, r.o.Ledger.EndRun(ctx, r.number, state, cause, r.stats.counts()))
	if err != nil {
		return err
	}
	return errors.Join(after...)
}

func (r *run) record(ctx context.Context, kind string, table waybill.TableName, detail any) error {
	return r.o.Ledger.Record(ctx, waybill.Entry{Kind: kind, Subject: r.o.Name, Run: r.number, Table: table, Detail: detail})
}
