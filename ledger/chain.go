package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill-data/waybill"
)

// StoredEntry is an entry of the chain as it is kept.
type StoredEntry struct {
	ID       int64             `json:"id"` // 1, 2, ... without gap
	At       time.Time         `json:"at"`
	Kind     string            `json:"kind"`
	Subject  string            `json:"subject"`
	Run      int64             `json:"run,omitzero"`
	Table    waybill.TableName `json:"table,omitzero"`
	Detail   json.RawMessage   `json:"detail,omitempty"`
	Previous string            `json:"-"`
	Hash     string            `json:"hash"`
}

// Head is the end of the chain: how many entries there are and the hash of the last. Kept elsewhere, it proves
// later that nothing up to it was removed.
type Head struct {
	Entries int64  `json:"entries"`
	Hash    string `json:"hash"`
}

// digest is the SHA-256 of the previous hash and the entry's fields, each preceded by its length.
func (e *StoredEntry) digest() string {
	h := sha256.New()
	for _, field := range []string{e.Previous, strconv.FormatInt(e.ID, 10), formatTime(e.At), e.Kind, e.Subject,
		strconv.FormatInt(e.Run, 10), e.Table.Schema, e.Table.Name, string(e.Detail)} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		h.Write(size[:])
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Record implements waybill.Ledger.
func (l *Ledger) Record(ctx context.Context, e waybill.Entry) error {
	return l.change(ctx, "record "+e.Kind, func(tx *sql.Tx) error { return l.appendEntry(ctx, tx, e) })
}

// appendEntry extends the chain inside a transaction that excludes other writers.
func (l *Ledger) appendEntry(ctx context.Context, tx *sql.Tx, e waybill.Entry) error {
	stored := StoredEntry{At: l.now(), Kind: e.Kind, Subject: e.Subject, Run: e.Run, Table: e.Table}
	if e.Detail != nil {
		detail, err := json.Marshal(e.Detail)
		if err != nil {
			return fmt.Errorf("detail of %s: %w", e.Kind, err)
		}
		stored.Detail = detail
	}
	head, err := readHead(ctx, tx)
	if err != nil {
		return err
	}
	stored.ID, stored.Previous = head.Entries+1, head.Hash
	stored.Hash = stored.digest()
	if _, err := tx.ExecContext(ctx, "INSERT INTO entry VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
		stored.ID, formatTime(stored.At), stored.Kind, stored.Subject, stored.Run, stored.Table.Schema, stored.Table.Name,
		string(stored.Detail), stored.Previous, stored.Hash); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE head SET entries = $1, hash = $2", stored.ID, stored.Hash)
	return err
}

func readHead(ctx context.Context, tx *sql.Tx) (Head, error) {
	var head Head
	err := tx.QueryRowContext(ctx, "SELECT entries, hash FROM head").Scan(&head.Entries, &head.Hash)
	return head, err
}

// EntryFilter chooses entries; the zero value chooses all.
type EntryFilter struct {
	Run     int64
	Kind    string
	Subject string
	After   int64 // entries with a greater ID
	Limit   int   // 0: no limit
}

// Entries returns entries in order.
func (l *Ledger) Entries(ctx context.Context, f EntryFilter) ([]StoredEntry, error) {
	const op = "read entries"
	limit := int64(f.Limit)
	if f.Limit <= 0 {
		limit = 1 << 62
	}
	rows, err := l.store.read.QueryContext(ctx, selectEntries+` AND (run = $2 OR $2 = 0) AND (kind = $3 OR $3 = '')
		AND (subject = $4 OR $4 = '') ORDER BY id LIMIT $5`, f.After, f.Run, f.Kind, f.Subject, limit)
	if err != nil {
		return nil, l.store.classify(op, err)
	}
	entries, err := scanAll(rows, scanEntry)
	return entries, l.store.classify(op, err)
}

const selectEntries = `SELECT id, at, kind, subject, run, table_schema, table_name, detail, previous, hash FROM entry WHERE id > $1`

func scanEntry(rows *sql.Rows) (StoredEntry, error) {
	var e StoredEntry
	var at, detail string
	err := rows.Scan(&e.ID, &at, &e.Kind, &e.Subject, &e.Run, &e.Table.Schema, &e.Table.Name, &detail, &e.Previous, &e.Hash)
	if err != nil {
		return e, err
	}
	if detail != "" {
		e.Detail = json.RawMessage(detail)
	}
	if e.At, err = parseTime(at); err != nil {
		return e, fmt.Errorf("entry %d: %w", e.ID, err)
	}
	return e, nil
}

func scanAll[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) (all []T, err error) {
	defer func() {
		if closed := rows.Close(); err == nil {
			err = closed
		}
	}()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
