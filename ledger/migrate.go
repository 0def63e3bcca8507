package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/waybill-data/waybill"
)

//go:embed migrations/*.sql
var files embed.FS

// mark is the application_id of a SQLite file that is a ledger: "WAYB".
const mark = 0x57415942

// migrations returns the scripts; the one at index i makes structure i+1. They are never edited once released.
func migrations() ([]string, error) {
	entries, err := fs.ReadDir(files, "migrations")
	if err != nil {
		return nil, err
	}
	var steps []string
	for i, entry := range entries {
		if want := fmt.Sprintf("%04d.sql", i+1); entry.Name() != want {
			return nil, fmt.Errorf("migration %s: want %s", entry.Name(), want)
		}
		text, err := fs.ReadFile(files, "migrations/"+entry.Name())
		if err != nil {
			return nil, err
		}
		steps = append(steps, string(text))
	}
	return steps, nil
}

// migrate brings the structure to len(steps), all in one transaction, and refuses a newer one.
func (l *Ledger) migrate(ctx context.Context, steps []string, create bool) error {
	const op = "bring up to date"
	tx, err := l.store.write.BeginTx(ctx, nil)
	if err != nil {
		return l.store.classify(op, err)
	}
	if err := l.migrateIn(ctx, tx, steps, create); err != nil {
		return l.store.classify(op, errors.Join(err, rollback(tx)))
	}
	return l.store.classify(op, tx.Commit())
}

func (l *Ledger) migrateIn(ctx context.Context, tx *sql.Tx, steps []string, create bool) error {
	current, err := l.store.structure(ctx, tx)
	switch {
	case err != nil:
		return err
	case current > len(steps):
		return &waybill.Error{Op: "open ledger " + l.store.where, Fault: waybill.Setup,
			Err:  fmt.Errorf("its structure is number %d, this program knows %d", current, len(steps)),
			Hint: "use the newer program that wrote it"}
	case current == 0 && !create:
		return &waybill.Error{Op: "open ledger " + l.store.where, Fault: waybill.Setup, Err: errors.New("there is none"),
			Hint: "run a link first, or name the ledger with --ledger"}
	}
	for number := current + 1; number <= len(steps); number++ {
		if number == 1 {
			if err := l.store.found(ctx, tx); err != nil {
				return err
			}
		}
		if err := runScript(ctx, tx, steps[number-1]); err != nil {
			return fmt.Errorf("migration %d: %w", number, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO migration VALUES ($1, $2)", number, formatTime(l.now())); err != nil {
			return err
		}
	}
	return nil
}

// structure returns the number of the ledger's structure, 0 where there is none yet.
func (s *store) structure(ctx context.Context, tx *sql.Tx) (int, error) {
	exists := "SELECT count(*) FROM sqlite_master WHERE name = 'migration'"
	if s.kind == postgres {
		// Two processes that make the same schema at once would collide in the catalogue.
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(6288773017)"); err != nil {
			return 0, err
		}
		exists = "SELECT count(*) FROM pg_tables WHERE schemaname = '" + schema + "' AND tablename = 'migration'"
	} else if err := s.checkOwner(ctx, tx); err != nil {
		return 0, err
	}
	var found, number int
	if err := tx.QueryRowContext(ctx, exists).Scan(&found); err != nil || found == 0 {
		return 0, err
	}
	err := tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) FROM migration").Scan(&number)
	return number, err
}

// checkOwner keeps the ledger out of another program's SQLite file.
func (s *store) checkOwner(ctx context.Context, tx *sql.Tx) error {
	var id, tables int
	if err := tx.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	if id == mark || id == 0 && tables == 0 {
		return nil
	}
	return &waybill.Error{Op: "open ledger " + s.where, Fault: waybill.Setup, Err: errors.New("the file belongs to another program"),
		Hint: "name another file"}
}

func (s *store) found(ctx context.Context, tx *sql.Tx) error {
	script := fmt.Sprintf("PRAGMA application_id = %d", mark)
	if s.kind == postgres {
		script = "CREATE SCHEMA IF NOT EXISTS " + schema
	}
	return runScript(ctx, tx, script+";\nCREATE TABLE migration (number BIGINT PRIMARY KEY, at TEXT NOT NULL);")
}

// runScript runs statements one by one; they end with a semicolon at the end of a line.
func runScript(ctx context.Context, tx *sql.Tx, script string) error {
	for statement := range strings.SplitSeq(script, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
