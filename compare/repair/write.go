package repair

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/waybill-data/waybill"
)

// The bounds of what waits for the last transaction, and of how often a batch is cut to find which of its rows
// the target refuses.
const (
	maxWaiting      = 100_000
	maxWaitingBytes = 64 << 20
	maxCulprits     = 32
)

// writer is one repair at work.
type writer struct {
	Options
	found    *Found
	undo     *undo
	started  time.Time
	number   int // of transactions
	run      int64
	counts   map[*Table]*Counts
	causes   map[*Table]error // the last refusal
	waiting  map[*Table][]waybill.Row
	waits    int
	bytes    int
	done     int64
	checking bool
}

// group is corrections of one table.
type group struct {
	table       *Table
	corrections []waybill.Correction
}

func (w *writer) count(t *Table) *Counts {
	if w.counts[t] == nil {
		w.counts[t] = &Counts{}
	}
	return w.counts[t]
}

func (w *writer) progress(t *Table, places int) {
	w.done += int64(places)
	expected := int64(0)
	for _, t := range w.found.Tables {
		expected += int64(t.places.Records())
	}
	w.Report(Progress{Checking: w.checking, Table: t.Name, Places: w.done, Expected: expected})
}

// all writes everything: removals first, so that unique values are free before they are taken, but those that
// would take other rows with them last.
func (w *writer) all(ctx context.Context) error {
	w.waiting = map[*Table][]waybill.Row{}
	tables := w.found.Tables
	for _, t := range slices.Backward(tables) {
		if !t.shape.acts {
			if err := w.table(ctx, t, isExtra); err != nil {
				return err
			}
		}
	}
	for _, t := range tables {
		if err := w.table(ctx, t, noExtra); err != nil {
			return err
		}
	}
	for _, t := range slices.Backward(tables) {
		if t.shape.acts {
			if err := w.table(ctx, t, isExtra); err != nil {
				return err
			}
		}
	}
	return w.together(ctx)
}

func (w *writer) table(ctx context.Context, t *Table, wanted func(uint32) bool) error {
	err := t.batches(w.Batch, wanted, func(places []waybill.Row) error {
		started := time.Now()
		err := halving(places, func(places []waybill.Row) error {
			return w.batch(ctx, map[*Table][]waybill.Row{t: places}, w.split)
		})
		if err != nil {
			return err
		}
		w.progress(t, len(places))
		return w.pace(ctx, len(places), time.Since(started))
	})
	if err != nil {
		return fmt.Errorf("repair %s: %w", t.Name, err)
	}
	return nil
}

// pace waits so that no more rows are written in a second than asked for.
func (w *writer) pace(ctx context.Context, rows int, took time.Duration) error {
	if w.Rate <= 0 {
		return ctx.Err()
	}
	rest := time.Duration(float64(rows)/float64(w.Rate)*float64(time.Second)) - took
	if rest <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batch reads the rows at the places again and writes what still differs, all at one moment. refused decides what
// becomes of corrections that the target does not take.
func (w *writer) batch(ctx context.Context, places map[*Table][]waybill.Row, refused func(context.Context, []group, error) error) error {
	for {
		if again, err := w.once(ctx, places, refused); err != nil || !again {
			return err
		}
	}
}

func (w *writer) once(ctx context.Context, places map[*Table][]waybill.Row, refused func(context.Context, []group, error) error) (again bool, err error) {
	if w.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.Patience, &waybill.Error{Op: "write a batch", Fault: waybill.Passing,
			Err: fmt.Errorf("not done within %s", w.Patience), Hint: "see what holds locks at the target, or take a smaller --batch"})
		defer cancel()
	}
	m, err := w.Open(ctx)
	if err == nil {
		var groups []group
		if groups, again, err = w.read(ctx, places, m); err == nil {
			err = w.apply(ctx, groups, refused)
		}
		err = errors.Join(err, m.Close())
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return again, err
}

// read returns what differs now, tables in the order of references. again says that so many equal rows differ
// that only some of them are in it.
func (w *writer) read(ctx context.Context, places map[*Table][]waybill.Row, m *Moment) (groups []group, again bool, err error) {
	for _, t := range w.found.Tables {
		if len(places[t]) == 0 {
			continue
		}
		all, err := newReading(t.shape, places[t]).run(ctx, places[t], m)
		if err != nil {
			return nil, false, err
		}
		g := group{table: t}
		copies := int64(maxCopies)
		for _, c := range all {
			switch {
			case t.shape.computed(&c):
				w.causes[t] = errors.New("only columns differ whose values the target computes")
				continue
			case t.shape.acts && t.shape.replaces(&c):
				w.causes[t] = errors.New("rows must be taken out and put back, which would take rows that refer to them along")
				continue
			case copies == 0:
				again = true
				continue
			case !t.shape.keyed && c.Was-c.Wanted > copies:
				c.Wanted, again = c.Was-copies, true
			case !t.shape.keyed && c.Wanted-c.Was > copies:
				c.Wanted, again = c.Was+copies, true
			}
			copies -= abs(c.Was - c.Wanted)
			g.corrections = append(g.corrections, c)
		}
		groups = append(groups, g)
	}
	return groups, again, nil
}

func abs(n int64) int64 { return max(n, -n) }

// apply writes corrections in one transaction.
func (w *writer) apply(ctx context.Context, groups []group, refused func(context.Context, []group, error) error) error {
	var p parts
	for _, g := range groups {
		for i := range g.corrections {
			g.table.shape.changes(&g.corrections[i], &p)
		}
	}
	if p.empty() {
		return nil
	}
	undo, err := w.undo.write(groups)
	if err != nil {
		return err
	}
	if err := w.write(ctx, &p); err != nil {
		if fault := waybill.FaultOf(err); ctx.Err() == nil && (fault == waybill.Data || fault == waybill.Drift) {
			if undo != "" {
				err = errors.Join(err, os.Remove(undo))
			}
			return refused(ctx, groups, err)
		}
		return err
	}
	for _, g := range groups {
		for i := range g.corrections {
			w.count(g.table).add(count(&g.corrections[i]))
		}
	}
	return nil
}

func (w *writer) write(ctx context.Context, p *parts) error {
	if len(p.first) > 0 {
		if err := w.Sink.Apply(ctx, waybill.ChangeBatch{Changes: p.first}); err != nil {
			return err
		}
	}
	w.number++
	return w.Sink.Apply(ctx, waybill.ChangeBatch{Changes: append(p.second, p.inserts...), Transactions: 1,
		Position: waybill.Position(fmt.Sprintf("repair %d %d", w.started.UnixNano(), w.number))})
}

// parts are the changes of one transaction, in the order they are done in.
type parts struct{ first, second, inserts []waybill.Change }

func (p *parts) empty() bool { return len(p.first)+len(p.second)+len(p.inserts) == 0 }

// changes adds what a correction is for a sink.
func (s *shape) changes(c *waybill.Correction, p *parts) {
	change := func(op waybill.Op, before, after waybill.Row) waybill.Change {
		return waybill.Change{Op: op, Version: c.Version, Before: before, After: after}
	}
	switch {
	case !s.keyed:
		for range max(0, c.Was-c.Wanted) {
			p.second = append(p.second, change(waybill.Delete, c.Before, nil))
		}
		for range max(0, c.Wanted-c.Was) {
			p.inserts = append(p.inserts, change(waybill.Insert, nil, c.After))
		}
	case c.Before == nil:
		p.inserts = append(p.inserts, change(waybill.Insert, nil, c.After))
	case c.After == nil:
		p.second = append(p.second, change(waybill.Delete, c.Before, nil))
	case s.replaces(c):
		p.first = append(p.first, change(waybill.Delete, c.Before, nil))
		p.inserts = append(p.inserts, change(waybill.Insert, nil, c.After))
	default:
		p.second = append(p.second, change(waybill.Update, c.Before, s.onlyChanged(c)))
	}
}

// onlyChanged leaves out of the new row what stays as it is.
func (s *shape) onlyChanged(c *waybill.Correction) waybill.Row {
	after := slices.Clone(c.After)
	for i := range after {
		if !slices.Contains(s.pairs, i) && after[i].Same(c.Before[i]) {
			after[i] = waybill.Value{}
		}
	}
	return after
}

// split cuts refused corrections of one table until the rows are found that the target does not take by
// themselves. Those wait for the last transaction.
func (w *writer) split(ctx context.Context, groups []group, cause error) error {
	culprits := 0
	var cut func(g group, cause error) error
	cut = func(g group, cause error) error {
		if len(g.corrections) == 1 || culprits >= maxCulprits {
			culprits++
			return w.wait(g, cause)
		}
		half := len(g.corrections) / 2
		for _, part := range [][]waybill.Correction{g.corrections[:half], g.corrections[half:]} {
			err := w.apply(ctx, []group{{g.table, part}}, func(_ context.Context, refused []group, cause error) error {
				return cut(refused[0], cause)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, g := range groups {
		if err := cut(g, cause); err != nil {
			return err
		}
	}
	return nil
}

// wait keeps the places of refused corrections.
func (w *writer) wait(g group, cause error) error {
	w.Log.Debug("rows wait for others", "table", g.table.Name.String(), "rows", len(g.corrections), "cause", cause.Error())
	w.causes[g.table] = cause
	for _, c := range g.corrections {
		row := c.Before
		if row == nil {
			row = c.After
		}
		place := make(waybill.Row, len(g.table.shape.pairs))
		for i, p := range g.table.shape.pairs {
			place[i] = row[p]
		}
		w.waiting[g.table] = append(w.waiting[g.table], place)
		w.waits++
		w.bytes += size(place)
	}
	if w.waits > maxWaiting || w.bytes > maxWaitingBytes {
		return fmt.Errorf("%d rows were refused: %w", w.waits, cause)
	}
	return nil
}

// together writes what waited in one transaction, tables that refer to each other too. What is refused even
// then is tried row by row, until nothing more goes, and left.
func (w *writer) together(ctx context.Context) error {
	for left := -1; w.waits > 0 && w.waits != left; {
		left = w.waits
		places := w.waiting
		w.waiting, w.waits, w.bytes = map[*Table][]waybill.Row{}, 0, 0
		err := w.batch(ctx, places, func(ctx context.Context, groups []group, cause error) error {
			w.Log.Debug("the last transaction is refused", "cause", cause.Error())
			for _, g := range groups {
				for i := range g.corrections {
					if err := w.apply(ctx, []group{{g.table, g.corrections[i : i+1]}}, w.one); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("repair rows that depend on each other: %w", err)
		}
	}
	return nil
}

func (w *writer) one(_ context.Context, groups []group, cause error) error {
	return w.wait(groups[0], cause)
}
