package waybill

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"
)

// View is one consistent sight of a system: everything it reads, by however many readers, is of one moment.
// It is safe for parallel use and keeps a transaction open at the system until Close.
type View interface {
	// Position is the moment of the view in the source's history; empty where the system has no such thing.
	// A change at or before it is in the view, a later one is not.
	Position() Position
	// Tables lists the tables that can be read, sorted, partitioned ones once under their root.
	Tables(ctx context.Context) ([]TableName, error)
	// Version returns the structure of a table as of the view. A column or table that cannot be carried is
	// refused here, by name, with Fault Data.
	Version(ctx context.Context, table TableName) (*TableVersion, error)
	// Slices cuts a table into slices of about rows rows that cover each row once; rows 0 means one slice.
	Slices(ctx context.Context, v *TableVersion, rows int) ([]Slice, error)
	// Read gives the rows of a slice. It stops at the first error, which is the last pair.
	Read(ctx context.Context, s Slice) iter.Seq2[Batch, error]
	Close() error
}

// ChangeSource is what happens at a source after a position, in commit order. It has one caller.
type ChangeSource interface {
	// View opens a sight of the source that joins this stream without gap or repeat: its Position P splits
	// history, what was committed at or before P is in the view, what comes later will come by Next. To keep
	// a table's changes that the view already holds out of the stream, call Follow(version, P).
	View(ctx context.Context) (View, error)
	// Next returns the next batch. It blocks until there is one; with nothing to tell for a while it returns
	// a batch without changes whose Position may be confirmed.
	Next(ctx context.Context) (ChangeBatch, error)
	// Follow delivers the table's changes that were committed after the position, from the next batch on,
	// whatever the stream calls the table where it is: it is known by its identity. A table that
	// ChangeOptions.Hold named is not delivered before this call. A source that has left such changes out
	// fails with Passing at the next Next; opened anew, with the table, it has them.
	Follow(v *TableVersion, after Position)
	// Mark keeps batches from straddling a position: the batch that reaches it ends there, so that an engine
	// can stop with the target exactly at it.
	Mark(p Position)
	// Confirm tells the source that everything up to the position is durable elsewhere (invariant 1).
	Confirm(ctx context.Context, p Position) error
	Close() error
}

// Sink takes rows and changes. Every write may be repeated after a crash and then changes nothing (invariant 3).
// It has one caller, but Load may be called in parallel with itself.
type Sink interface {
	// Resume returns what the target itself knows of the stream, which beats every other memory of it.
	Resume(ctx context.Context) (Progress, error)
	// Prepare makes sure that the tables exist with these structures. Missing ones are created bare: columns,
	// types, partitions, no key, index or constraint. With forCopy it is called once for all tables of a copy:
	// they are emptied of what an earlier, unfinished copy of the stream left, and tables that it made and
	// that are not among these are dropped. A table that exists otherwise is refused with Fault Drift.
	Prepare(ctx context.Context, versions []*TableVersion, forCopy bool) error
	// Load writes the rows of one slice and returns how many.
	Load(ctx context.Context, s Slice, rows iter.Seq2[Batch, error]) (int64, error)
	// Complete ends the copy of tables: it builds keys, indexes and constraints (foreign keys as soon as both
	// ends are complete) and records the tables as copied as of the position, each atomically.
	Complete(ctx context.Context, versions []*TableVersion, asOf Position) error
	// Forget drops what is recorded of a table, so that it is copied again.
	Forget(ctx context.Context, table TableName) error
	// Apply writes a batch and returns once it is durable; with More it need not be before the next batch is.
	// The batch's Position is kept in the same transaction as its rows; a batch without one stays open until
	// the batch that ends its transaction.
	// An error leaves the target as it was before the transaction.
	Apply(ctx context.Context, b ChangeBatch) error
	Close() error
}

// Progress is what a target knows of a stream.
type Progress struct {
	Position Position                    // everything up to it is in the target; empty before the first batch
	Copied   map[TableName]Position      // tables whose copy is complete, and the view's position it was made at
	Versions map[TableName]*TableVersion // their structures at the source as of the last applied change
}

// Sequencer is a View that can tell the state of sequences.
type Sequencer interface {
	// Sequences returns the sequences of the given tables as they are now, not as of the view.
	Sequences(ctx context.Context, versions []*TableVersion) ([]SequenceState, error)
}

// SequenceSetter is a Sink that can set sequences.
type SequenceSetter interface {
	// SetSequences moves sequences forward; a sequence that is already further is left alone. One that the
	// target does not have, because the change that makes it is still to come, is named in the log.
	SetSequences(ctx context.Context, states []SequenceState) error
}

// SequenceState is how far a sequence has got.
type SequenceState struct {
	Name   TableName `json:"name"`
	Last   int64     `json:"last"`
	Called bool      `json:"called"` // false: Last is the next value to be given
}

// Format is a wire format of rows that two connectors may have in common.
type Format string

// Exporter is a View that can send a slice as bytes.
type Exporter interface {
	// Formats lists the formats the table can be sent in, best first. Equal formats are compatible bytes.
	Formats(v *TableVersion) []Format
	Export(ctx context.Context, s Slice, f Format, w io.Writer) (rows int64, err error)
}

// Importer is a Sink that takes such bytes, like Load.
type Importer interface {
	Accepts(ctx context.Context, v *TableVersion) ([]Format, error)
	Import(ctx context.Context, s Slice, f Format, r io.Reader) (rows int64, err error)
}

// Endpoint is one system as configured.
type Endpoint struct {
	Name     string
	Kind     string
	URL      Secret
	Settings map[string]string
}

// ViewOptions are what a view is opened with.
type ViewOptions struct {
	Tables Selection // empty selects all
	// Positioned asks for a view whose Position is exact in the source's history of changes; it may need more
	// rights. Without it Position may be empty.
	Positioned bool
	Log        *slog.Logger
}

// ChangeOptions are what a stream is opened with. A stream is known by its name at the source; opened with
// Position empty it begins anew and leaves a mark at the source (a slot) that only Drop removes.
type ChangeOptions struct {
	Stream    string                      // the link's name, or the name of a table's catch-up
	Tables    Selection                   // which tables to follow
	Position  Position                    // resume after it
	After     map[TableName]Position      // per table of Versions: deliver only what was committed after this
	Hold      []TableName                 // deliver nothing of these until Follow is called
	Versions  map[TableName]*TableVersion // structures as of Position
	SpillDir  string                      // where open transactions that do not fit in memory go; empty: the system's
	Heartbeat time.Duration               // how often the source is asked for a sign of life; 0: 1 s
	Log       *slog.Logger
}

// SinkOptions are what a sink is opened with. Opening takes the stream over: an older process that still
// holds it is refused at its next write; a live one makes the opening fail.
type SinkOptions struct {
	Stream string
	// Takeover lets the opening replace a process that holds the stream but shows no life.
	Takeover bool
	Workers  int // for building indexes; 0: 4
	// Report, if set, is told what long work the sink is at ("index orders_pkey", part done 0..1 or -1).
	Report func(what string, part float64)
	Log    *slog.Logger
}

// Severity of a finding.
type Severity string

// The severities, worst first. A Blocker keeps a link from starting.
const (
	Blocker Severity = "blocker"
	Warning Severity = "warning"
	Note    Severity = "note"
	Fine    Severity = "ok"
)

// Finding is one result of a probe.
type Finding struct {
	Code     string    `json:"code"` // stable, lower-case with dots: wal.level
	Severity Severity  `json:"severity"`
	Table    TableName `json:"table,omitzero"`
	What     string    `json:"what"`         // what was found
	Fix      string    `json:"fix,omitzero"` // what to do, SQL where it can be
}

// Role is what an endpoint is used for.
type Role string

// The roles of an endpoint.
const (
	AsSource Role = "source"
	AsTarget Role = "target"
)

// StreamState is what a source says of a stream's mark, whether or not a process reads it.
type StreamState struct {
	Stream   string   `json:"stream"`
	Exists   bool     `json:"exists"`
	Active   bool     `json:"active"`
	Position Position `json:"position,omitzero"` // confirmed
	Current  Position `json:"current,omitzero"`  // end of the source's history now
	Behind   int64    `json:"behind_bytes"`      // log between them
	Retained int64    `json:"retained_bytes"`    // log the source keeps for it
	Note     string   `json:"note,omitzero"`     // what is wrong with it
}

// Setting is one option that a connector reads from an endpoint's settings.
type Setting struct {
	Name    string
	Default string
	Help    string
}

// Connector is one kind of system. A nil function is a role it cannot play.
type Connector struct {
	Kind        string
	Settings    []Setting
	OpenView    func(ctx context.Context, e Endpoint, o ViewOptions) (View, error)
	OpenChanges func(ctx context.Context, e Endpoint, o ChangeOptions) (ChangeSource, error)
	OpenSink    func(ctx context.Context, e Endpoint, o SinkOptions) (Sink, error)
	// ComparePositions orders two positions of one source: -1, 0, 1. Positions of different histories are an error.
	ComparePositions func(a, b Position) (int, error)
	// State reports on a stream at the source.
	State func(ctx context.Context, e Endpoint, stream string) (StreamState, error)
	// Drop removes what OpenChanges left at the source. Dropping what is not there is no error.
	Drop func(ctx context.Context, e Endpoint, stream string) error
	// Release removes what OpenSink recorded of the stream at the target, but none of its rows.
	Release func(ctx context.Context, e Endpoint, stream string) error
	// Probe looks for what would keep a role from working, with the fix for each finding.
	Probe func(ctx context.Context, e Endpoint, role Role, tables Selection) ([]Finding, error)
	// Statements, where it is not nil, is how repairs of a target are written as statements.
	Statements *Statements
	// Capture, where it is not nil, is how the source is made to report structure changes in its log.
	Capture *Capture
}

// Capture installs and removes what makes a source report structure changes in order with the data.
type Capture struct {
	// Script returns the statements for the given server, commented, with the rights they need.
	Script func(ctx context.Context, e Endpoint) (string, error)
	// RemoveScript returns the statements that leave nothing behind.
	RemoveScript func(ctx context.Context, e Endpoint) (string, error)
	Install      func(ctx context.Context, e Endpoint) error
	Remove       func(ctx context.Context, e Endpoint) error
	Installed    func(ctx context.Context, e Endpoint) (bool, error)
}
