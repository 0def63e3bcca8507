// Package ledger is the durable memory: runs, the hash-chained log of what happened, positions, table
// versions, what is shown of links, and what people asked of them. A [Ledger] is one SQLite file or a schema
// of a PostgreSQL database; several processes may share either.
//
// Every write is one transaction. Entries of the log form a chain: each carries the hash of the one before
// it, so that [Ledger.Verify] finds one that was changed, removed or moved. Runs, versions, requests and
// positions set by hand append their own entry in the transaction that writes them.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
)

// Ledger implements waybill.Ledger. It is safe for parallel use, by several processes too.
type Ledger struct {
	store   store
	now     func() time.Time
	compare func(a, b waybill.Position) (int, error)
}

var _ waybill.Ledger = (*Ledger)(nil)

// store is the open database and what differs between the two kinds.
type store struct {
	where string // for messages; never holds a password
	kind  dialect
	write *sql.DB // durable when a transaction returns
	quick *sql.DB // may lose the last moments in a power failure: for what the target remembers better
	read  *sql.DB
}

type dialect int

const (
	sqlite dialect = iota
	postgres
)

// Open opens a ledger, creates it where there is none and brings an older one up to date. The DSN is
// sqlite:<path> or a postgres:// URL. Close it after use.
func Open(ctx context.Context, dsn string) (*Ledger, error) {
	return open(ctx, dsn, true)
}

// OpenExisting is Open for commands that only look: a ledger that is not there is refused with Fault Setup.
func OpenExisting(ctx context.Context, dsn string) (*Ledger, error) {
	return open(ctx, dsn, false)
}

func open(ctx context.Context, dsn string, create bool) (*Ledger, error) {
	var s store
	var err error
	switch path, isFile := strings.CutPrefix(dsn, "sqlite:"); {
	case isFile:
		s, err = openFile(ctx, path, create)
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		s, err = openServer(ctx, dsn)
	default:
		return nil, &waybill.Error{Op: "open ledger", Fault: waybill.Setup, Err: errors.New("neither a file nor a server"),
			Hint: "write sqlite:waybill.db or postgres://user@host/database"}
	}
	if err != nil {
		return nil, err
	}
	l := &Ledger{store: s, now: time.Now}
	steps, err := migrations()
	if err == nil {
		err = l.migrate(ctx, steps, create)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close lets go of the database.
func (l *Ledger) Close() error {
	var errs []error
	for _, db := range []*sql.DB{l.store.write, l.store.quick, l.store.read} {
		if err := db.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close ledger: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Ordered returns the same ledger, whose SavePosition lets no position replace a later one. Positions are
// opaque here, so only their connector can order them; without an order the caller's is trusted.
func (l *Ledger) Ordered(compare func(a, b waybill.Position) (int, error)) *Ledger {
	ordered := *l
	ordered.compare = compare
	return &ordered
}

// change runs f in one durable transaction that excludes every other writer.
func (l *Ledger) change(ctx context.Context, op string, f func(tx *sql.Tx) error) error {
	return l.store.transact(ctx, l.store.write, op, f)
}

func (s *store) transact(ctx context.Context, db *sql.DB, op string, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return s.classify(op, err)
	}
	if err = s.lock(ctx, tx); err == nil {
		err = f(tx)
	}
	if err != nil {
		return s.classify(op, errors.Join(err, rollback(tx)))
	}
	return s.classify(op, tx.Commit())
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// clock is fixed-width, so that times sort as text.
const clock = "2006-01-02T15:04:05.000000Z"

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(clock)
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(clock, s)
}
