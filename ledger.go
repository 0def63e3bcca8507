package waybill

import (
	"context"
	"encoding/json"
	"time"
)

// Ledger is the durable memory as engines see it. Package ledger is the one implementation; tests of engines
// use it on a file in a temporary directory. All methods are safe for parallel use.
type Ledger interface {
	// BeginRun records that a run starts and returns its number.
	BeginRun(ctx context.Context, r Run) (int64, error)
	// EndRun records how a run ended: "done", "stopped" or "failed", with the error's text and counts.
	EndRun(ctx context.Context, run int64, state string, cause string, counts map[string]int64) error
	// Record appends an entry to the hash chain. Detail is stored as JSON.
	Record(ctx context.Context, e Entry) error
	// SavePosition records how far a stream is durable in its target. It never moves backwards.
	SavePosition(ctx context.Context, stream string, p Position, at time.Time) error
	// SaveVersion records a structure as of a position and returns its number within the stream's table, 1
	// for the first. A structure equal to the table's latest is not recorded again.
	SaveVersion(ctx context.Context, stream string, v *TableVersion, asOf Position) (int, error)
	// SaveStatus replaces what is shown of a link.
	SaveStatus(ctx context.Context, s LinkStatus) error
	// Requests returns what people asked of a link and nobody has answered yet, oldest first.
	Requests(ctx context.Context, link string) ([]Request, error)
	// Answer closes a request with its outcome; err empty means done.
	Answer(ctx context.Context, request int64, outcome, err string) error
}

// Run is one execution of a link, a comparison or another job.
type Run struct {
	Number  int64            `json:"number"`
	Kind    string           `json:"kind"` // link, compare
	Name    string           `json:"name"`
	State   string           `json:"state,omitzero"` // running, done, stopped, failed
	Started time.Time        `json:"started"`
	Ended   time.Time        `json:"ended,omitzero"`
	Cause   string           `json:"cause,omitzero"` // of a failure
	Counts  map[string]int64 `json:"counts,omitzero"`
	Version string           `json:"version,omitzero"` // of the program
	Host    string           `json:"host,omitzero"`
	Process int              `json:"process,omitzero"`
}

// Entry is one event of the hash chain.
type Entry struct {
	Kind    string    `json:"kind"`         // stable, lower case with dots: link.reshape
	Subject string    `json:"subject"`      // the link, comparison or endpoint it is about
	Run     int64     `json:"run,omitzero"` // 0: outside any run
	Table   TableName `json:"table,omitzero"`
	Detail  any       `json:"detail,omitzero"`
}

// LinkStatus is what is shown of a link.
type LinkStatus struct {
	Link         string        `json:"link"`
	Run          int64         `json:"run"`
	State        string        `json:"state"` // starting, copying, streaming, paused, held, waiting, stopped, failed
	Position     Position      `json:"position,omitzero"`
	Delay        float64       `json:"delay_seconds"`     // source commit to durable in the target, last batch
	DelayP50     float64       `json:"delay_p50_seconds"` // over the last minute
	DelayP99     float64       `json:"delay_p99_seconds"`
	RowsCopied   int64         `json:"rows_copied"`
	Changes      int64         `json:"changes"`
	Transactions int64         `json:"transactions"`
	Rate         float64       `json:"changes_per_second"` // over the last minute
	Reshapes     int64         `json:"reshapes"`
	Tables       []TableStatus `json:"tables,omitzero"`
	Waiting      string        `json:"waiting,omitzero"` // for what decision
	Error        string        `json:"error,omitzero"`
	Hint         string        `json:"hint,omitzero"`
	Host         string        `json:"host,omitzero"`
	Process      int           `json:"process,omitzero"`
	Updated      time.Time     `json:"updated"`
}

// TableStatus is what is shown of one table of a link.
type TableStatus struct {
	Table    TableName `json:"table"`
	State    string    `json:"state"`    // waiting, copying, building, catching up, streaming
	Rows     int64     `json:"rows"`     // copied
	Expected int64     `json:"expected"` // estimate of all rows
	Version  int       `json:"version"`
}

// Request is something a person asks of a running link through the ledger.
type Request struct {
	ID       int64           `json:"id"`
	Link     string          `json:"link"`
	Verb     string          `json:"verb"` // pause, resume, hold, resync, decide, sequences, stop
	Table    TableName       `json:"table,omitzero"`
	Position Position        `json:"position,omitzero"` // of hold: apply exactly up to it, then pause
	Args     json.RawMessage `json:"args,omitzero"`
	By       string          `json:"by"`
	At       time.Time       `json:"at"`
}
