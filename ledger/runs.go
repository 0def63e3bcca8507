package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waybill-data/waybill"
)

// BeginRun implements waybill.Ledger.
func (l *Ledger) BeginRun(ctx context.Context, r waybill.Run) (int64, error) {
	var number int64
	err := l.change(ctx, "begin run "+r.Name, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) + 1 FROM run").Scan(&number); err != nil {
			return err
		}
		if r.Started.IsZero() {
			r.Started = l.now()
		}
		r.Number, r.State = number, "running"
		counts, err := json.Marshal(r.Counts)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO run VALUES ($1, $2, $3, $4, $5, '', '', $6, $7, $8, $9)", number, r.Kind,
			r.Name, r.State, formatTime(r.Started), string(counts), r.Version, r.Host, r.Process); err != nil {
			return err
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "run.begin", Subject: r.Name, Run: number, Detail: struct {
			Kind    string `json:"kind"`
			Version string `json:"version,omitzero"`
			Host    string `json:"host,omitzero"`
			Process int    `json:"process,omitzero"`
		}{r.Kind, r.Version, r.Host, r.Process}})
	})
	return number, err
}

type runEnd struct {
	State  string           `json:"state"`
	Cause  string           `json:"cause,omitzero"`
	Counts map[string]int64 `json:"counts,omitzero"`
}

// EndRun implements waybill.Ledger. A run ends once.
func (l *Ledger) EndRun(ctx context.Context, run int64, state, cause string, counts map[string]int64) error {
	op := fmt.Sprintf("end run %d", run)
	return l.change(ctx, op, func(tx *sql.Tx) error {
		var name, was string
		err := tx.QueryRowContext(ctx, "SELECT name, state FROM run WHERE number = $1", run).Scan(&name, &was)
		if errors.Is(err, sql.ErrNoRows) {
			return waybill.Errorf(waybill.Bug, op, "there is no such run")
		}
		if err != nil {
			return err
		}
		if was != "running" {
			return waybill.Errorf(waybill.Bug, op, "it is %s already", was)
		}
		text, err := json.Marshal(counts)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE run SET state = $1, ended = $2, cause = $3, counts = $4 WHERE number = $5",
			state, formatTime(l.now()), cause, string(text), run); err != nil {
			return err
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "run.end", Subject: name, Run: run, Detail: runEnd{state, cause, counts}})
	})
}

// RunFilter chooses runs; the zero value chooses all.
type RunFilter struct {
	Kind  string
	Name  string
	Limit int // 0: no limit
}

const selectRuns = `SELECT number, kind, name, state, started, ended, cause, counts, version, host, process FROM run`

// Runs returns runs, the newest first.
func (l *Ledger) Runs(ctx context.Context, f RunFilter) ([]waybill.Run, error) {
	const op = "read runs"
	limit := int64(f.Limit)
	if f.Limit <= 0 {
		limit = 1 << 62
	}
	rows, err := l.store.read.QueryContext(ctx, selectRuns+` WHERE (kind = $1 OR $1 = '') AND (name = $2 OR $2 = '')
		ORDER BY number DESC LIMIT $3`, f.Kind, f.Name, limit)
	if err != nil {
		return nil, l.store.classify(op, err)
	}
	runs, err := scanAll(rows, scanRun)
	return runs, l.store.classify(op, err)
}

// Run returns one run; one that does not exist is refused with Fault Setup.
func (l *Ledger) Run(ctx context.Context, number int64) (waybill.Run, error) {
	op := fmt.Sprintf("read run %d", number)
	rows, err := l.store.read.QueryContext(ctx, selectRuns+` WHERE number = $1`, number)
	if err != nil {
		return waybill.Run{}, l.store.classify(op, err)
	}
	runs, err := scanAll(rows, scanRun)
	switch {
	case err != nil:
		return waybill.Run{}, l.store.classify(op, err)
	case len(runs) == 0:
		return waybill.Run{}, &waybill.Error{Op: op, Fault: waybill.Setup, Err: errors.New("there is no such run"),
			Hint: "list them with `waybill ledger runs`"}
	}
	return runs[0], nil
}

func scanRun(rows *sql.Rows) (waybill.Run, error) {
	var r waybill.Run
	var started, ended, counts string
	err := rows.Scan(&r.Number, &r.Kind, &r.Name, &r.State, &started, &ended, &r.Cause, &counts, &r.Version, &r.Host, &r.Process)
	if err != nil {
		return r, err
	}
	if r.Started, err = parseTime(started); err == nil {
		r.Ended, err = parseTime(ended)
	}
	if err == nil {
		err = json.Unmarshal([]byte(counts), &r.Counts)
	}
	if err != nil {
		return r, fmt.Errorf("run %d: %w", r.Number, err)
	}
	return r, nil
}
