package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/waybill-data/waybill"
)

// Moment is both sides as of one moment.
type Moment struct {
	Source, Target waybill.View
	Words          string // how the two relate
	// Release lets go on what stands still for the moment's sake; nil: nothing does. The views stay.
	Release func() error
}

// release lets go, once.
func (m *Moment) release() error {
	if m.Release == nil {
		return nil
	}
	release := m.Release
	m.Release = nil
	return release()
}

// Close closes the views and lets go.
func (m *Moment) Close() error {
	err := m.release()
	for _, v := range []waybill.View{m.Source, m.Target} {
		if v != nil {
			err = errors.Join(err, v.Close())
		}
	}
	return err
}

// Options say how a repair is done. Open and Sink must be given; every other field has a useful zero value.
type Options struct {
	// Open opens both sides. It is called for every batch: nothing but the repair may write the target's rows
	// until the moment is closed.
	Open       func(ctx context.Context) (*Moment, error)
	Sink       waybill.Sink
	Statements *waybill.Statements // for undo files
	Undo       string              // directory for undo files; empty: none are written
	Name       string              // of the comparison
	Of         int64               // the comparison's run
	By         string              // who asked
	Batch      int                 // rows in one transaction; 0: 1000
	Rate       int                 // rows a second; 0: as fast as it goes
	Patience   time.Duration       // a batch that takes longer ends the repair; 0: none does
	Ledger     waybill.Ledger
	Report     func(Progress)
	Log        *slog.Logger
}

// Progress is how far a repair is.
type Progress struct {
	Checking bool // all is written and being compared again
	Table    waybill.TableName
	Places   int64 // done
	Expected int64
}

// Report is what a repair did.
type Report struct {
	Run    int64         `json:"run,omitzero"` // the repair's own number in the ledger
	Of     int64         `json:"of,omitzero"`
	Tables []TableReport `json:"tables"`
	Undo   []string      `json:"undo,omitzero"` // directories
	Moment string        `json:"moment,omitzero"`
	Took   time.Duration `json:"took_ns"`
}

// TableReport is what was done in one table.
type TableReport struct {
	Table waybill.TableName `json:"table"`
	Found int64             `json:"found"` // rows that differed before
	Counts
	Left      int64    `json:"left"`               // places that differ after
	Structure []string `json:"structure,omitzero"` // differences that no row repairs
	Cause     string   `json:"cause,omitzero"`     // why the rows that are left could not be written
	Hint      string   `json:"hint,omitzero"`      // what to do about it
}

// Clean reports whether nothing differs any more.
func (r *Report) Clean() bool { return r.NotEqual() == 0 }

// NotEqual returns how many tables still differ.
func (r *Report) NotEqual() int {
	n := 0
	for _, t := range r.Tables {
		if t.Differs() {
			n++
		}
	}
	return n
}

// Differs reports whether anything of the table still differs.
func (t *TableReport) Differs() bool { return t.Left > 0 || len(t.Structure) > 0 || t.Cause != "" }

// Left returns how many places still differ.
func (r *Report) Left() int64 {
	var n int64
	for _, t := range r.Tables {
		n += t.Left
	}
	return n
}

// Run makes the target's rows equal to the source's where they were found to differ, and compares those places
// again. Rows that the target refuses are in the report and no error.
func Run(ctx context.Context, f *Found, o Options) (Report, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Batch <= 0 {
		o.Batch = 1000
	}
	if o.Report == nil {
		o.Report = func(Progress) {}
	}
	w := &writer{Options: o, found: f, started: time.Now(), counts: map[*Table]*Counts{}, causes: map[*Table]error{}}
	var err error
	if w.undo, err = openUndo(o.Undo, o.Statements); err != nil {
		return Report{}, err
	}
	report := Report{Of: o.Of}
	if o.Undo != "" {
		report.Undo = []string{o.Undo}
	}
	if report.Run, err = w.begin(ctx); err != nil {
		return report, err
	}
	err = w.all(ctx)
	if err == nil {
		err = w.check(ctx, &report)
	}
	report.Took = time.Since(w.started)
	return report, w.end(ctx, &report, err)
}

// batches gives the places of a table whose tag is wanted, in pieces of at most so many.
func (t *Table) batches(n int, wanted func(tag uint32) bool, f func(places []waybill.Row) error) error {
	var places []waybill.Row
	held := 0
	flush := func() error {
		if len(places) == 0 {
			return nil
		}
		err := f(places)
		places, held = nil, 0
		return err
	}
	err := t.places.Each(func(tag uint32, record []byte) error {
		if !wanted(tag) {
			return nil
		}
		place, err := decode(record)
		if err != nil {
			return fmt.Errorf("places of %s: %w", t.Name, err)
		}
		places = append(places, place)
		if held += len(record); len(places) >= n || held > maxHeld/8 {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

func anyPlace(uint32) bool    { return true }
func isExtra(tag uint32) bool { return tag == tagExtra }
func noExtra(tag uint32) bool { return tag != tagExtra }

// halving calls f with all places, or with halves of them as long as the rows are too large together.
func halving(places []waybill.Row, f func(places []waybill.Row) error) error {
	err := f(places)
	if !errors.Is(err, errTooLarge) || len(places) == 1 {
		return err
	}
	half := len(places) / 2
	if err := halving(places[:half], f); err != nil {
		return err
	}
	return halving(places[half:], f)
}

// check reads every place once more, both sides as of one moment after the last write.
func (w *writer) check(ctx context.Context, report *Report) (err error) {
	m, err := w.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.release(); err != nil {
		return err
	}
	report.Moment = m.Words
	w.done, w.checking = 0, true
	for _, t := range w.found.Tables {
		r := TableReport{Table: t.Name, Found: t.Rows(), Counts: *w.count(t), Structure: t.Structure}
		err := t.batches(w.Batch, anyPlace, func(places []waybill.Row) error {
			return halving(places, func(places []waybill.Row) error {
				left, err := newReading(t.shape, places).run(ctx, places, m)
				r.Left += int64(len(left))
				w.progress(t, len(places))
				return err
			})
		})
		if err != nil {
			return fmt.Errorf("compare %s again: %w", t.Name, err)
		}
		if cause := w.causes[t]; cause != nil && r.Left > 0 {
			r.Cause, r.Hint = cause.Error(), waybill.HintOf(cause)
		}
		report.Tables = append(report.Tables, r)
	}
	for _, t := range w.found.Beyond {
		cause := t.Cause
		if cause == "" {
			cause = string(t.State)
		}
		report.Tables = append(report.Tables, TableReport{Table: t.Table, Structure: t.Structure, Cause: cause, Left: t.Rows(), Found: t.Rows()})
	}
	slices.SortFunc(report.Tables, func(a, b TableReport) int {
		if a.Table.Less(b.Table) {
			return -1
		}
		return 1
	})
	return nil
}
