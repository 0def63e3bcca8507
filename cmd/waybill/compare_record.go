package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/compare/repair"
	"github.com/waybill-data/waybill/ledger"
)

// verdict is a comparison as the ledger keeps it, with what was closed since.
type verdict struct {
	Run    waybill.Run    `json:"run"`
	Moment string         `json:"moment,omitzero"`
	Open   int64          `json:"open"` // rows that differ, or tables where no row does
	Tables []tableVerdict `json:"tables"`
}

type tableVerdict struct {
	compare.TableResult
	Open   int64         `json:"open"`
	Closed []closedEntry `json:"closed,omitzero"` // the last one counts
}

type closedEntry struct {
	repair.Closed
	Entry int64  `json:"entry"`
	At    string `json:"at"`
}

// runNumber reads the number of a run from the command line.
func runNumber(text string) (int64, error) {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 1 {
		return 0, usage(fmt.Errorf("%q is no number of a run; list them with `waybill compare list`", text))
	}
	return number, nil
}

// readVerdict reads a comparison from the ledger.
func readVerdict(ctx context.Context, l *ledger.Ledger, number int64) (*verdict, error) {
	run, err := l.Run(ctx, number)
	if err != nil {
		return nil, err
	}
	if run.Kind != "compare" {
		return nil, usage(fmt.Errorf("run %d is no comparison but a %s", number, run.Kind))
	}
	v := &verdict{Run: run}
	entries, err := l.Entries(ctx, ledger.EntryFilter{Run: number, Kind: compare.EntryKind})
	if err != nil {
		return nil, err
	}
	place := map[waybill.TableName]int{}
	for _, e := range entries {
		t, moment, err := compare.Stored(e.Table, e.Detail)
		if err != nil {
			return nil, err
		}
		v.Moment = moment
		if i, known := place[e.Table]; known {
			v.Tables[i] = tableVerdict{TableResult: t}
			continue
		}
		place[e.Table] = len(v.Tables)
		v.Tables = append(v.Tables, tableVerdict{TableResult: t})
	}
	return v, v.readClosed(ctx, l, place)
}

// readClosed reads what was closed since, and counts what is open.
func (v *verdict) readClosed(ctx context.Context, l *ledger.Ledger, place map[waybill.TableName]int) error {
	closed, err := l.Entries(ctx, ledger.EntryFilter{Kind: repair.ClosedKind, Subject: v.Run.Name})
	if err != nil {
		return err
	}
	for _, e := range closed {
		c := closedEntry{Entry: e.ID, At: stamp(e.At)}
		if err := json.Unmarshal(e.Detail, &c.Closed); err != nil {
			return fmt.Errorf("entry %d of the ledger: %w", e.ID, err)
		}
		if i, known := place[e.Table]; known && c.Of == v.Run.Number {
			v.Tables[i].Closed = append(v.Tables[i].Closed, c)
		}
	}
	for i := range v.Tables {
		v.Tables[i].Open = v.Tables[i].open()
		v.Open += v.Tables[i].Open
	}
	return nil
}

// open is how many of the table's differences are not closed; a table that differs in no row counts as one.
func (t *tableVerdict) open() int64 {
	if n := len(t.Closed); n > 0 {
		return t.Closed[n-1].Left
	}
	if t.State == compare.Equal {
		return 0
	}
	return max(1, t.Rows())
}

// finished refuses a comparison that did not come to its end: it may not have seen every table.
func (v *verdict) finished() error {
	if v.Run.State == "done" {
		return nil
	}
	cause := errors.New("it is still running")
	if v.Run.State != "running" {
		cause = fmt.Errorf("it was %s before its end", v.Run.State)
	}
	return &waybill.Error{Op: fmt.Sprintf("use run %d", v.Run.Number), Fault: waybill.Setup, Err: cause,
		Hint: "compare again, and use the run that comes to its end"}
}

// after says which tables differ after a repair. Of a table of which only a part was compared, or by rules, that
// part being equal says nothing of the rest.
func (v *verdict) after(r *repair.Report, equal []waybill.TableName) map[waybill.TableName]bool {
	differs := map[waybill.TableName]bool{}
	for _, t := range r.Tables {
		differs[t.Table] = t.Differs()
	}
	for _, t := range equal {
		differs[t] = false
	}
	for _, t := range v.Tables {
		if !t.Whole() && !differs[t.Table] {
			delete(differs, t.Table)
		}
	}
	return differs
}

// openTables are the chosen tables with open differences.
func (v *verdict) openTables(chosen waybill.Selection) []waybill.TableName {
	var tables []waybill.TableName
	for _, t := range v.Tables {
		if t.Open > 0 && chosen.Has(t.Table) {
			tables = append(tables, t.Table)
		}
	}
	return tables
}
