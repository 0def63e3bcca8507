package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-data/waybill"
)

// SaveStatus implements waybill.Ledger.
func (l *Ledger) SaveStatus(ctx context.Context, s waybill.LinkStatus) error {
	return l.store.transact(ctx, l.store.quick, "save status of "+s.Link, func(tx *sql.Tx) error {
		if s.Updated.IsZero() {
			s.Updated = l.now()
		}
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO link_status VALUES ($1, $2, $3)
			ON CONFLICT (link) DO UPDATE SET updated = excluded.updated, status = excluded.status`, s.Link, formatTime(s.Updated), string(text))
		return err
	})
}

// Statuses returns what is shown of all links, by name.
func (l *Ledger) Statuses(ctx context.Context) ([]waybill.LinkStatus, error) {
	const op = "read statuses"
	rows, err := l.store.read.QueryContext(ctx, "SELECT status FROM link_status ORDER BY link")
	if err != nil {
		return nil, l.store.classify(op, err)
	}
	all, err := scanAll(rows, func(rows *sql.Rows) (s waybill.LinkStatus, err error) {
		var text string
		if err = rows.Scan(&text); err == nil {
			err = json.Unmarshal([]byte(text), &s)
		}
		return s, err
	})
	return all, l.store.classify(op, err)
}

// StoredRequest is a request with its answer, if it has one.
type StoredRequest struct {
	waybill.Request
	Answered time.Time `json:"answered,omitzero"`
	Outcome  string    `json:"outcome,omitzero"`
	Error    string    `json:"error,omitzero"`
}

// AddRequest asks something of a link and returns the request's number. ID and At of r are set here.
func (l *Ledger) AddRequest(ctx context.Context, r waybill.Request) (int64, error) {
	err := l.change(ctx, "ask "+r.Link+" to "+r.Verb, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) + 1 FROM request").Scan(&r.ID); err != nil {
			return err
		}
		r.At = l.now()
		if _, err := tx.ExecContext(ctx, "INSERT INTO request VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', '')", r.ID, r.Link, r.Verb,
			r.Table.Schema, r.Table.Name, string(r.Position), string(r.Args), r.By, formatTime(r.At)); err != nil {
			return err
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "request.add", Subject: r.Link, Table: r.Table, Detail: r})
	})
	return r.ID, err
}

// Withdrawn is the error that a request which was taken back is answered with.
const Withdrawn = "withdrawn: nobody answered in time"

// Answer implements waybill.Ledger. A request is answered once; the answer to one that was withdrawn
// meanwhile takes the withdrawal's place, as the link did carry it out.
func (l *Ledger) Answer(ctx context.Context, request int64, outcome, failure string) error {
	return l.answer(ctx, request, outcome, failure, Withdrawn)
}

// Withdraw takes back a request that nobody has answered. One that was answered stays as it is.
func (l *Ledger) Withdraw(ctx context.Context, request int64) error {
	r, err := l.Request(ctx, request)
	if err != nil || !r.Answered.IsZero() {
		return err
	}
	if err = l.answer(ctx, request, "", Withdrawn, ""); err == nil {
		return nil
	}
	if r, again := l.Request(ctx, request); again == nil && !r.Answered.IsZero() {
		return nil
	}
	return err
}

// answer closes a request that is open, or that was closed with the given failure.
func (l *Ledger) answer(ctx context.Context, request int64, outcome, failure, over string) error {
	op := fmt.Sprintf("answer request %d", request)
	return l.change(ctx, op, func(tx *sql.Tx) error {
		var link, answered, failed string
		err := tx.QueryRowContext(ctx, "SELECT link, answered, error FROM request WHERE id = $1", request).Scan(&link, &answered, &failed)
		if errors.Is(err, sql.ErrNoRows) {
			return waybill.Errorf(waybill.Bug, op, "there is no such request")
		}
		if err != nil {
			return err
		}
		if answered != "" && (over == "" || failed != over) {
			return waybill.Errorf(waybill.Bug, op, "it was answered already, at %s", answered)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE request SET answered = $1, outcome = $2, error = $3 WHERE id = $4",
			formatTime(l.now()), outcome, failure, request); err != nil {
			return err
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "request.answer", Subject: link, Detail: struct {
			Request int64  `json:"request"`
			Outcome string `json:"outcome,omitzero"`
			Error   string `json:"error,omitzero"`
		}{request, outcome, failure}})
	})
}

const selectRequests = `SELECT id, link, verb, table_schema, table_name, place, args, asked_by, asked, answered, outcome, error FROM request `

// Requests implements waybill.Ledger.
func (l *Ledger) Requests(ctx context.Context, link string) ([]waybill.Request, error) {
	stored, err := l.requests(ctx, "read requests of "+link, "WHERE link = $1 AND answered = '' ORDER BY id", link)
	open := make([]waybill.Request, len(stored))
	for i, r := range stored {
		open[i] = r.Request
	}
	return open, err
}

// Request returns one request with its answer; one that does not exist is an error.
func (l *Ledger) Request(ctx context.Context, id int64) (StoredRequest, error) {
	op := fmt.Sprintf("read request %d", id)
	stored, err := l.requests(ctx, op, "WHERE id = $1", id)
	if err == nil && len(stored) == 0 {
		err = waybill.Errorf(waybill.Setup, op, "there is no such request")
	}
	if err != nil {
		return StoredRequest{}, err
	}
	return stored[0], nil
}

func (l *Ledger) requests(ctx context.Context, op, where string, arg any) ([]StoredRequest, error) {
	rows, err := l.store.read.QueryContext(ctx, selectRequests+where, arg)
	if err != nil {
		return nil, l.store.classify(op, err)
	}
	stored, err := scanAll(rows, scanRequest)
	return stored, l.store.classify(op, err)
}

func scanRequest(rows *sql.Rows) (StoredRequest, error) {
	var r StoredRequest
	var args, asked, answered string
	err := rows.Scan(&r.ID, &r.Link, &r.Verb, &r.Table.Schema, &r.Table.Name, &r.Position, &args, &r.By, &asked, &answered, &r.Outcome, &r.Error)
	if err != nil {
		return r, err
	}
	if args != "" {
		r.Args = json.RawMessage(args)
	}
	if r.At, err = parseTime(asked); err == nil {
		r.Answered, err = parseTime(answered)
	}
	if err != nil {
		return r, fmt.Errorf("request %d: %w", r.ID, err)
	}
	return r, nil
}
