package waybill

import "time"

// Op is what a change did.
type Op uint8

// The operations. Reshape is a change of structure.
const (
	Insert Op = iota + 1
	Update
	Delete
	Truncate
	Reshape
)

// String returns the lower-case name of the operation.
func (o Op) String() string {
	switch o {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	case Truncate:
		return "truncate"
	case Reshape:
		return "reshape"
	}
	return "unknown"
}

// Change is one thing that happened to one table. Version is the version it was made under; for a Reshape it
// is the version before it, or after it where there was none before.
//
//   - Insert has After.
//   - Update has After, where a value that did not travel is Absent, and Before: the whole old row
//     (IdentityFull), the old key with everything else Absent (when the key changed), or nil (key unchanged).
//   - Delete has Before: at least the key, the rest may be Absent.
//   - Truncate has neither; tables truncated in one statement are consecutive changes with one Group.
//   - Reshape has Shape.
type Change struct {
	Op      Op
	Version *TableVersion
	Before  Row
	After   Row
	Shape   *Shape // of a Reshape
	Cut     *Cut   // of a Truncate
}

// Cut says how a table was truncated.
type Cut struct {
	Group           int  // changes with the same group were one statement
	RestartIdentity bool // sequences of the table were reset
	Cascade         bool
}

// Position is a place in a source's own history: printable, and opaque to all but its source. The empty
// Position is "nowhere yet".
type Position string

// ChangeBatch is a run of changes in commit order. It ends at the end of a source transaction and then has a
// Position, or it is a part of one large transaction and has none: the next batches bring the rest. A
// transaction that holds a Reshape has its batches to itself. A batch without changes says that the source
// got this far (a heartbeat or an idle period); it is applied like any other.
// The batch is valid until the next call of Next.
type ChangeBatch struct {
	Changes      []Change
	Position     Position
	Transactions int       // source transactions that end in this batch
	Oldest       time.Time // when the first of them committed at the source; zero if unknown
	Committed    time.Time // when the last of them committed at the source; zero if unknown
	Heartbeat    bool      // the batch carries a heartbeat, so Committed tells the delay of an idle link
	// More says that the next batch is there already. A sink may then let this one become durable with the next,
	// and nobody saves or confirms its position before.
	More bool
}

// Shape is a change of structure. Before is nil for a new table, After for a dropped one. Rows before the
// change in the stream were made under Before, rows after it under After.
type Shape struct {
	Before    *TableVersion
	After     *TableVersion
	Statement string // what was run at the source, as far as it is known; for people, never run again
	By        string // who ran it, as far as it is known
	// Reload says that rows that were there before the change have values that neither the change nor the
	// stream carries (a rewrite, a volatile default, CREATE TABLE AS): the table must be copied again.
	Reload bool
	// Reason says why Reload is set, or why the shape was derived instead of reported.
	Reason string
	// Inferred says that the source had no report of the change and derived it from how rows look.
	Inferred bool
}

// Table returns the table as it is called before the change, or after it where it is new.
func (s *Shape) Table() TableName {
	if s.Before != nil {
		return s.Before.Table
	}
	return s.After.Table
}
