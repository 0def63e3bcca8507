package compare

import (
	"time"

	"github.com/waybill-data/waybill"
)

// State is the verdict on one table.
type State string

// The verdicts. Only Equal is a proof.
const (
	Equal           State = "equal"
	Different       State = "different"         // rows or structure differ
	MissingAtTarget State = "missing at target" // the table is not there
	MissingAtSource State = "missing at source"
	SameCount       State = "same count" // of a quick comparison: nothing was found, nothing is proved
	Unsettled       State = "unsettled"  // some rows did not stand still for as long as they were looked at
	Refused         State = "refused"    // could not be compared; TableResult.Cause says why
)

// Result is what a comparison found.
type Result struct {
	Run    int64            `json:"run,omitzero"` // its number in the ledger
	Source waybill.Position `json:"source_position,omitzero"`
	Target waybill.Position `json:"target_position,omitzero"`
	Moment string           `json:"moment,omitzero"` // how the two positions relate
	Tables []TableResult    `json:"tables"`          // by name
	Took   time.Duration    `json:"took_ns"`
}

// TableResult is what was found in one table.
type TableResult struct {
	Table        waybill.TableName `json:"table"`
	State        State             `json:"state"`
	Key          []string          `json:"key,omitzero"` // rows were paired by; empty: compared as a bag
	SourceRows   int64             `json:"source_rows"`
	TargetRows   int64             `json:"target_rows"`
	Missing      int64             `json:"missing"`            // rows of the source that the target has not
	Extra        int64             `json:"extra"`              // rows of the target that the source has not
	Changed      int64             `json:"changed"`            // rows with equal key and other values
	InFlight     int64             `json:"in_flight,omitzero"` // suspects that did not stand still
	Gone         int64             `json:"gone,omitzero"`      // suspects that were equal when they were read again
	Structure    []string          `json:"structure,omitzero"`
	Notes        []string          `json:"notes,omitzero"`          // differences of structure that do not bear on the rows
	FromRun      int64             `json:"from_run,omitzero"`       // proved by that run, as of its moment
	PartsFromRun int               `json:"parts_from_run,omitzero"` // so many parts were proved by the run that was resumed
	Part         string            `json:"part,omitzero"`           // what of the table was compared; empty: all of it
	Rules        []string          `json:"rules,omitzero"`          // of columns that were not compared by identity
	LeftOut      []string          `json:"left_out,omitzero"`       // columns of both sides that were not compared
	Cause        string            `json:"cause,omitzero"`          // of Refused
	// Differences holds the first of them; the counts are of all.
	Differences []Difference  `json:"differences,omitzero"`
	Took        time.Duration `json:"took_ns"`
}

// Rows returns how many rows differ.
func (t *TableResult) Rows() int64 { return t.Missing + t.Extra + t.Changed }

// Equal reports whether every table was compared and found equal.
func (r *Result) Equal() bool {
	for i := range r.Tables {
		if r.Tables[i].State != Equal {
			return false
		}
	}
	return true
}

// Clean reports whether nothing was found: every table is equal, or of the same count in a quick comparison.
func (r *Result) Clean() bool {
	for i := range r.Tables {
		if !r.Tables[i].Clean() {
			return false
		}
	}
	return true
}

// Clean reports whether nothing was found.
func (t *TableResult) Clean() bool { return t.State == Equal || t.State == SameCount }

// Whole reports whether the verdict is about every value of every row, by identity.
func (t *TableResult) Whole() bool {
	return t.State != SameCount && t.Part == "" && len(t.Rules) == 0 && len(t.LeftOut) == 0
}

// Differences returns how many rows differ in all tables.
func (r *Result) Differences() int64 {
	var sum int64
	for i := range r.Tables {
		sum += r.Tables[i].Rows()
	}
	return sum
}

// Counts returns the totals, as the ledger keeps them.
func (r *Result) Counts() map[string]int64 {
	counts := map[string]int64{"tables": int64(len(r.Tables))}
	for i := range r.Tables {
		t := &r.Tables[i]
		counts["source_rows"] += t.SourceRows
		counts["target_rows"] += t.TargetRows
		counts["missing"] += t.Missing
		counts["extra"] += t.Extra
		counts["changed"] += t.Changed
		if t.State != Equal {
			counts["tables_not_equal"]++
		}
	}
	return counts
}

// DifferenceKind says how a row differs.
type DifferenceKind string

// The kinds of differences.
const (
	Missing DifferenceKind = "missing" // at the target
	Extra   DifferenceKind = "extra"   // at the target
	Changed DifferenceKind = "changed"
)

// Difference is one row that differs, in printed form; it shares no memory with the rows.
type Difference struct {
	Table waybill.TableName `json:"table"`
	Kind  DifferenceKind    `json:"kind"`
	// Key names the row: its key, or all its columns where the table has none.
	Key []Field `json:"key"`
	// Place holds the values of Key exact and in full, in memory of its own.
	Place waybill.Row `json:"-"`
	// Count is how many equal rows are missing or extra, 1 where there is a key.
	Count int64 `json:"count"`
	// Columns are those that differ, of a changed row.
	Columns []Cell `json:"columns,omitzero"`
}

// Field is a column's value in printed form; a nil Value is NULL. Long values are cut short.
type Field struct {
	Column string  `json:"column"`
	Value  *string `json:"value"`
}

// Cell is a column that differs. Of long values, both sides are cut to the same window around the first byte
// that differs, which is At.
type Cell struct {
	Column string  `json:"column"`
	Source *string `json:"source"`
	Target *string `json:"target"`
	At     int     `json:"at,omitzero"`
}
