package compare

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// Options say what is compared. Source and Target must be given; every other field has a useful zero value.
type Options struct {
	Source, Target waybill.View // not closed by Run
	Name           string       // of the link or comparison, for the ledger
	Tables         waybill.Selection
	As             map[waybill.TableName]waybill.TableName // tables of the source that have another name at the target
	Columns        []ColumnName                            // compared, beside the keys; empty: all
	Without        []ColumnName                            // not compared
	Rules          []ColumnRule                            // for columns where identity is too much
	Where          string                                  // only rows for which this holds, in the words of both sides
	Window         Window                                  // only rows of this time
	// Quick stops after structures and counts, which is no proof of equality.
	Quick bool
	// Owned says which tables must not be at the target alone; nil: none, as a target may hold more than one
	// source's tables.
	Owned func(waybill.TableName) bool
	// Moment says in words how the moments of the two views relate, for the record.
	Moment  string
	Workers int // tables compared at once, and readers at each side; 0: 4
	Readers int // of one table at each side; 0: Workers, or one where this machine has fewer than four cores
	Keep    int // differences kept in the result per table; 0: 100
	// Direct is up to how many expected rows a table is merged at once, without digests before; 0: 50,000;
	// negative: no table is.
	Direct int64
	Ledger waybill.Ledger
	// Again, if set, opens both sides as they are now; Run closes them. Then what differs is a suspect only: it
	// is read again after Delay, until both sides stand still there, and told if it differs still.
	Again func(ctx context.Context) (source, target waybill.View, err error)
	// Delay must be longer than what is written at one side may take to come to the other; 0: 5 s.
	Delay time.Duration
	Looks int // how often a suspect is read again at most; 0: 10
	// SpillDir is where suspects go that do not fit in memory; empty: the system's.
	SpillDir string
	// Rate is how many rows a second are read at each side at most; 0: as many as come.
	Rate int64
	// Hold, if set, is called by every reader now and then, in parallel, and blocks for as long as reading would
	// be in the way of something that matters more.
	Hold func(ctx context.Context) error
	// PartRows cuts larger tables whose key begins with an integer or UUID into ranges of it of about so many
	// rows, each proved and recorded by itself, so that an interrupted run is resumed there; 0: no table is. It
	// reads by the key's index, which takes longer where rows do not lie in its order.
	PartRows int64
	// Resumed, if set, is what an interrupted run about the same has proved.
	Resumed *Resumed
	// Found, if set, is told every difference as it is found, never in parallel. An error ends the comparison.
	Found func(Difference) error
	// Report, if set, is told about progress, never in parallel.
	Report func(Progress)
	Log    *slog.Logger
}

// Progress is how far the comparison of a table is.
type Progress struct {
	Table       waybill.TableName
	Rows        int64 // compared at the source's side
	Expected    int64 // estimate; 0 when unknown
	Differences int64
	Done        bool
}

// Run compares all chosen tables and returns what it found; differences are no error. A table that cannot be
// compared is [Refused] in the result and the others go on; an error that is not about one table ends the
// run, and the result then holds the tables that were finished.
func Run(ctx context.Context, o Options) (Result, error) {
	o.defaults()
	r := &run{Options: o, started: time.Now(), seed: rand.Uint64(),
		sourceTurns: make(chan struct{}, o.Workers), targetTurns: make(chan struct{}, o.Workers),
		sourcePace: pace{rate: o.Rate, hold: o.Hold}, targetPace: pace{rate: o.Rate, hold: o.Hold}}
	result, err := r.all(ctx)
	result.Source, result.Target, result.Moment = o.Source.Position(), o.Target.Position(), o.Moment
	result.Took = time.Since(r.started)
	return result, err
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.Readers <= 0 {
		o.Readers = o.Workers
		if runtime.GOMAXPROCS(0) < 4 {
			o.Readers = 1
		}
	}
	if o.Keep <= 0 {
		o.Keep = 100
	}
	if o.Delay <= 0 {
		o.Delay = 5 * time.Second
	}
	if o.Looks <= 0 {
		o.Looks = 10
	}
	if o.Direct == 0 {
		o.Direct = 50_000
	}
}

type run struct {
	Options
	started time.Time
	seed    uint64 // of the hashes
	// Who digests a slice holds a turn of its side.
	sourceTurns, targetTurns chan struct{}

	number                 int64 // of the run in the ledger
	sourcePace, targetPace pace
	plans                  []*plan
	mu                     sync.Mutex // guards done and the calls of Found and Report
	done                   []TableResult
}

func (r *run) all(ctx context.Context) (Result, error) {
	if err := r.begin(ctx); err != nil {
		return Result{}, err
	}
	err := r.agree(ctx)
	if err == nil {
		err = r.tables(ctx)
	}
	if err == nil {
		err = r.lookAgain(ctx)
	}
	slices.SortFunc(r.done, func(a, b TableResult) int { return orderNames(a.Table, b.Table) })
	result := Result{Run: r.number, Tables: r.done}
	return result, r.end(ctx, &result, err)
}

func (r *run) tables(ctx context.Context) error {
	plans, err := r.plan(ctx)
	if err != nil {
		return err
	}
	r.plans = plans
	// The largest first, so that the end of the run is not one worker at one large table.
	slices.SortStableFunc(plans, func(a, b *plan) int { return int(min(max(b.expected-a.expected, -1), 1)) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Workers)
	for _, p := range plans {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return r.table(ctx, p)
		})
	}
	return g.Wait()
}

func (r *run) table(ctx context.Context, p *plan) error {
	started := time.Now()
	if p.result.State == "" && !r.takeOver(p) {
		if err := r.compareRows(ctx, p); err != nil {
			if !aboutTable(err) || ctx.Err() != nil {
				return fmt.Errorf("compare %s: %w", p.result.Table, err)
			}
			p.result.State, p.result.Cause = Refused, err.Error()
		}
	}
	p.result.Took = time.Since(started)
	if p.suspects != nil && p.result.State == "" {
		return nil // the verdict is still to come
	}
	return r.finish(ctx, p)
}

// finish gives the verdict on a table and records it.
func (r *run) finish(ctx context.Context, p *plan) error {
	t := p.result
	switch {
	case t.State != "":
	case t.Rows() > 0 || len(t.Structure) > 0:
		t.State = Different
	case t.InFlight > 0:
		t.State = Unsettled
	default:
		t.State = Equal
	}
	if r.Ledger != nil {
		if err := r.Ledger.Record(context.WithoutCancel(ctx), r.entry(p, &t)); err != nil {
			return err
		}
	}
	r.Log.Debug("table compared", "table", t.Table.String(), "state", string(t.State), "rows", t.SourceRows, "differences", t.Rows())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, t)
	if r.Report != nil {
		r.Report(Progress{Table: t.Table, Rows: t.SourceRows, Expected: p.expected, Differences: t.Rows(), Done: true})
	}
	return nil
}

// aboutTable tells errors that one table's rows or structure cause from those that every table would meet.
func aboutTable(err error) bool {
	fault := waybill.FaultOf(err)
	return fault == waybill.Data || fault == waybill.Drift
}

func (r *run) found(t *TableResult, d Difference) error {
	d.Table = t.Table
	switch d.Kind {
	case Missing:
		t.Missing += d.Count
	case Extra:
		t.Extra += d.Count
	case Changed:
		t.Changed += d.Count
	}
	if len(t.Differences) < r.Keep {
		kept := d
		kept.Place = nil // it may be large
		t.Differences = append(t.Differences, kept)
	}
	if r.Found == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Found(d)
}

func (r *run) report(p Progress) {
	if r.Report == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Report(p)
}

func orderNames(a, b waybill.TableName) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}
