package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-data/waybill"
)

// StoredVersion is a structure of a table as it is kept.
type StoredVersion struct {
	Stream    string                `json:"stream"`
	Table     waybill.TableName     `json:"table"`
	Number    int                   `json:"number"` // within the table, 1 for the first; a rename goes on counting
	AsOf      waybill.Position      `json:"as_of,omitzero"`
	At        time.Time             `json:"at"`
	Structure *waybill.TableVersion `json:"structure"`
}

// versionEntry is the chain's memory of a version: with its hash the structure cannot be changed unnoticed.
type versionEntry struct {
	Number int              `json:"number"`
	AsOf   waybill.Position `json:"as_of,omitzero"`
	Hash   string           `json:"hash"`
}

func structureHash(structure string) string {
	sum := sha256.Sum256([]byte(structure))
	return hex.EncodeToString(sum[:])
}

// SaveVersion implements waybill.Ledger. A table is told by its name or, where the source gives it one, by its
// ID, so that numbers go on through a rename and through a drop and new creation.
func (l *Ledger) SaveVersion(ctx context.Context, stream string, v *waybill.TableVersion, asOf waybill.Position) (int, error) {
	var number int
	err := l.change(ctx, "save version of "+v.Table.String(), func(tx *sql.Tx) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		latest, at, last, err := latestVersion(ctx, tx, stream, v)
		if err != nil {
			return err
		}
		if number = at; latest == string(text) {
			return nil
		}
		number = last + 1
		if _, err := tx.ExecContext(ctx, `INSERT INTO table_version
			SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, CAST($5 AS BIGINT), $6, $7, $8 FROM table_version`, stream, v.Table.Schema, v.Table.Name,
			v.ID, number, string(asOf), formatTime(l.now()), string(text)); err != nil {
			return err
		}
		return l.appendEntry(ctx, tx, waybill.Entry{Kind: "table.version", Subject: stream, Table: v.Table,
			Detail: versionEntry{number, asOf, structureHash(string(text))}})
	})
	return number, err
}

// latestVersion returns the table's newest structure and its number, and the highest number that it or another
// table of its name has had: after names were swapped or taken again, a name with a number means one structure.
func latestVersion(ctx context.Context, tx *sql.Tx, stream string, v *waybill.TableVersion) (structure string, number, highest int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT structure, number, (SELECT max(number) FROM table_version WHERE stream = $1
		AND (table_schema = $2 AND table_name = $3 OR table_id = $4 AND table_id <> '')) FROM table_version WHERE stream = $1
		AND (table_schema = $2 AND table_name = $3 OR table_id = $4 AND table_id <> '')
		ORDER BY CASE WHEN table_id = $4 THEN 1 ELSE 0 END DESC, id DESC LIMIT 1`,
		stream, v.Table.Schema, v.Table.Name, v.ID).Scan(&structure, &number, &highest)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return structure, number, highest, err
}

// Versions returns the structures of a stream's table, oldest first, also from when it had another name. The
// zero table returns those of all tables.
func (l *Ledger) Versions(ctx context.Context, stream string, table waybill.TableName) ([]StoredVersion, error) {
	op := "read versions of " + stream
	rows, err := l.store.read.QueryContext(ctx, `SELECT stream, table_schema, table_name, number, as_of, at, structure
		FROM table_version WHERE stream = $1 AND ($3 = '' OR table_schema = $2 AND table_name = $3 OR table_id <> '' AND table_id IN
		(SELECT table_id FROM table_version WHERE stream = $1 AND table_schema = $2 AND table_name = $3)) ORDER BY id`,
		stream, table.Schema, table.Name)
	if err != nil {
		return nil, l.store.classify(op, err)
	}
	all, err := scanAll(rows, scanVersion)
	return all, l.store.classify(op, err)
}

func scanVersion(rows *sql.Rows) (StoredVersion, error) {
	var v StoredVersion
	var at, structure string
	err := rows.Scan(&v.Stream, &v.Table.Schema, &v.Table.Name, &v.Number, &v.AsOf, &at, &structure)
	if err != nil {
		return v, err
	}
	if v.At, err = parseTime(at); err == nil {
		err = json.Unmarshal([]byte(structure), &v.Structure)
	}
	if err != nil {
		return v, fmt.Errorf("version %d of %s: %w", v.Number, v.Table, err)
	}
	return v, nil
}
