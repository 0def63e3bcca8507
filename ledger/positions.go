package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/waybill-data/waybill"
)

// StreamPosition is how far a stream is durable in its target.
type StreamPosition struct {
	Stream   string           `json:"stream"`
	Position waybill.Position `json:"position"`
	At       time.Time        `json:"at,omitzero"`
}

// SavePosition implements waybill.Ledger; see [Ledger.Ordered] for what keeps it from moving backwards.
// The last moments may be lost in a power failure: the target's own position is the one that counts.
func (l *Ledger) SavePosition(ctx context.Context, stream string, p waybill.Position, at time.Time) error {
	op := "save position of " + stream
	return l.store.transact(ctx, l.store.quick, op, func(tx *sql.Tx) error {
		if l.compare != nil {
			saved, err := readPosition(ctx, tx, stream)
			if err != nil {
				return err
			}
			if saved != "" {
				order, err := l.compare(p, saved)
				if err != nil || order < 0 {
					return err
				}
			}
		}
		return writePosition(ctx, tx, StreamPosition{stream, p, at})
	})
}

func readPosition(ctx context.Context, tx *sql.Tx, stream string) (waybill.Position, error) {
	var p waybill.Position
	err := tx.QueryRowContext(ctx, "SELECT place FROM stream_position WHERE stream = $1", stream).Scan(&p)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return p, err
}

func writePosition(ctx context.Context, tx *sql.Tx, p StreamPosition) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO stream_position VALUES ($1, $2, $3)
		ON CONFLICT (stream) DO UPDATE SET place = excluded.place, at = excluded.at`, p.Stream, string(p.Position), formatTime(p.At))
	return err
}

// SetPosition sets a stream's position by hand, in any direction, and records who did and why.
func (l *Ledger) SetPosition(ctx context.Context, stream string, p waybill.Position, by, why string) error {
	return l.change(ctx, "set position of "+stream, func(tx *sql.Tx) error {
		old, err := readPosition(ctx, tx, stream)
		if err != nil {
			return err
		}
		if err := writePosition(ctx, tx, StreamPosition{stream, p, l.now()}); err != nil {
			return err
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "position.set", Subject: stream, Detail: map[string]string{
			"old": string(old), "new": string(p), "by": by, "why": why}})
	})
}

// ForgetStream drops a stream's position and status, but neither its versions nor its history.
func (l *Ledger) ForgetStream(ctx context.Context, stream, by string) error {
	return l.change(ctx, "forget "+stream, func(tx *sql.Tx) error {
		for _, statement := range []string{"DELETE FROM stream_position WHERE stream = $1", "DELETE FROM link_status WHERE link = $1"} {
			if _, err := tx.ExecContext(ctx, statement, stream); err != nil {
				return err
			}
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "link.drop", Subject: stream, Detail: map[string]string{"by": by}})
	})
}

// Positions returns the positions of all streams, by name.
func (l *Ledger) Positions(ctx context.Context) ([]StreamPosition, error) {
	const op = "read positions"
	rows, err := l.store.read.QueryContext(ctx, "SELECT stream, place, at FROM stream_position ORDER BY stream")
	if err != nil {
		return nil, l.store.classify(op, err)
	}
	all, err := scanAll(rows, func(rows *sql.Rows) (p StreamPosition, err error) {
		var at string
		if err = rows.Scan(&p.Stream, &p.Position, &at); err == nil {
			p.At, err = parseTime(at)
		}
		return p, err
	})
	return all, l.store.classify(op, err)
}
