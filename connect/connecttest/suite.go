// Package connecttest is the conformance suite: what every connector must do, checked through the contract
// only. A connector's test calls [Run] with a [Suite], which says how its systems are made and how people
// write to them; everything else the suite does by the contract, and reads back by it. A role that a
// connector does not play is skipped by name.
package connecttest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
)

// Suite is a connector with what the tests need to know of its systems.
type Suite struct {
	Connector *waybill.Connector
	// Source and Target make an empty system that lives as long as the test.
	Source func(t *testing.T) waybill.Endpoint
	Target func(t *testing.T) waybill.Endpoint
	// Write carries out statements as one transaction that is committed, as people do and not through Waybill.
	Write func(t *testing.T, e waybill.Endpoint, statements ...Statement)
	// Int and Text are the types of the tests' tables in the system's own words.
	Int, Text waybill.Type
	// Samples are the values of every type that the connector carries.
	Samples []Sample
	// Silence, if set, makes the present writers of a target look dead to others while they still run.
	Silence func(t *testing.T, e waybill.Endpoint)
	// LargeRows is how many rows a large transaction has; 0: 200,000.
	LargeRows int
}

// Sample is a type and literals of it, the extremes included.
type Sample struct {
	Type     waybill.Type
	Before   []string  // statements that make what the type needs, for systems that speak SQL
	Literals []Literal // Value may be left Absent where what is read is only to stay the same
	NoKey    bool      // values of the type cannot be compared
}

// Run runs all tests of the suite.
func Run(t *testing.T, s Suite) {
	if s.LargeRows == 0 {
		s.LargeRows = 200_000
	}
	source := role{"source of changes", s.Connector.OpenChanges != nil}
	view := role{"view", s.Connector.OpenView != nil}
	sink := role{"target", s.Connector.OpenSink != nil}
	for _, test := range []struct {
		name  string
		run   func(*testing.T, Suite)
		roles []role
	}{
		{"slices cover the table once", slicesCover, []role{view}},
		{"ordered slices follow the order of keys", slicesOrdered, []role{view}},
		{"a view is of one moment", viewStands, []role{view}},
		{"reading is cancelled within a second", readCancelled, []role{view}},
		{"every kind arrives by copy and by stream", kindsArrive, []role{view, source, sink}},
		{"bytes carry what reading carries", bytesCarry, []role{view, sink}},
		{"hand-off under concurrent writes", handOff, []role{view, source, sink}},
		{"positions only grow", positionsGrow, []role{source}},
		{"waiting is cancelled within a second", nextCancelled, []role{source}},
		{"hold and follow", holdAndFollow, []role{view, source}},
		{"mark ends a batch", markEnds, []role{source}},
		{"drop may be repeated", dropRepeated, []role{source}},
		{"what is confirmed is not told again", resumeTells, []role{source}},
		{"repeated batches change nothing", repeatsChangeNothing, []role{view, source, sink}},
		{"kill between apply and confirm", killBeforeConfirm, []role{view, source, sink}},
		{"an unfinished copy leaves nothing", copyAgain, []role{view, sink}},
		{"forgotten tables are copied again", forgetCopies, []role{view, sink}},
		{"unsent values are kept and NULL is written", absentAndNull, []role{view, source, sink}},
		{"keys change", keysChange, []role{view, source, sink}},
		{"tables without a key are bags", bagsArrive, []role{view, source, sink}},
		{"truncated tables", truncated, []role{view, source, sink}},
		{"a large transaction", largeTransaction, []role{view, source, sink}},
		{"structures change in place", reshapes, []role{view, source, sink}},
		{"a second writer is refused", secondSink, []role{sink}},
		{"a replaced writer is fenced", fenced, []role{sink, {"way to silence a writer", s.Silence != nil}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range test.roles {
				if !r.played {
					t.Skipf("%s plays no %s", s.Connector.Kind, r.name)
				}
			}
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // the first registered comes last
			test.run(t, s)
		})
	}
}

type role struct {
	name   string
	played bool
}
