package repair

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/waybill-data/waybill"
)

// Closed is what the ledger keeps of differences that are closed, under the kind "compare.closed".
type Closed struct {
	Of     int64  `json:"of"`   // the comparison's run
	How    string `json:"how"`  // repair, or by hand
	Rows   int64  `json:"rows"` // that differed
	Left   int64  `json:"left"` // of them, still open
	By     string `json:"by,omitzero"`
	Reason string `json:"reason,omitzero"`
}

// ClosedKind is the kind of the entries that close differences.
const ClosedKind = "compare.closed"

func (w *writer) begin(ctx context.Context) (int64, error) {
	if w.Ledger == nil {
		return 0, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	w.run, err = w.Ledger.BeginRun(ctx, waybill.Run{Kind: "repair", Name: w.Name, Started: w.started, Host: host, Process: os.Getpid()})
	if err != nil {
		return 0, err
	}
	for _, t := range w.found.Tables {
		if err := w.record(ctx, "repair.begin", t.Name, map[string]any{"of": w.Of, "by": w.By, "undo": w.Undo,
			"missing": t.Missing, "extra": t.Extra, "changed": t.Changed}); err != nil {
			return w.run, err
		}
	}
	return w.run, nil
}

func (w *writer) record(ctx context.Context, kind string, table waybill.TableName, detail any) error {
	return w.Ledger.Record(ctx, waybill.Entry{Kind: kind, Subject: w.Name, Run: w.run, Table: table, Detail: detail})
}

// end records what was done, also when the repair was interrupted.
func (w *writer) end(ctx context.Context, report *Report, cause error) error {
	if w.Ledger == nil {
		return cause
	}
	stopped := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	state, text := "done", ""
	if cause != nil {
		state, text = "failed", cause.Error()
	}
	if stopped {
		state = "stopped"
	}
	var total Counts
	for t, n := range w.counts {
		total.add(*n)
		if err := w.record(ctx, "repair.table", t.Name, n); err != nil {
			return errors.Join(cause, err)
		}
	}
	if cause == nil {
		if err := w.close(ctx, report); err != nil {
			return err
		}
	}
	counts := map[string]int64{"inserted": total.Inserted, "updated": total.Updated, "deleted": total.Deleted}
	if cause == nil {
		counts["left"] = report.Left()
	}
	return errors.Join(cause, w.Ledger.EndRun(ctx, w.run, state, text, counts))
}

// close records for each table how many of its differences are left.
func (w *writer) close(ctx context.Context, report *Report) error {
	for _, t := range report.Tables {
		left := t.Left
		if left == 0 && t.Differs() {
			left = 1 // the table itself
		}
		if err := w.record(ctx, ClosedKind, t.Table, Closed{Of: w.Of, How: "repair", Rows: t.Found, Left: left, By: w.By}); err != nil {
			return err
		}
	}
	for _, table := range w.found.Equal {
		if err := w.record(ctx, ClosedKind, table, Closed{Of: w.Of, How: "equal when compared again", By: w.By}); err != nil {
			return err
		}
	}
	return nil
}
