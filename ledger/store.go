package ledger

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/waybill-data/waybill"
)

// schema is where a ledger on PostgreSQL lives: apart from the schema waybill of targets in the same database.
const schema = "waybill_ledger"

// openFile opens a SQLite file. busy_timeout makes processes wait for each other instead of failing, and
// immediate transactions take the write lock first, so that two of them never deadlock.
func openFile(ctx context.Context, path string, create bool) (store, error) {
	s := store{where: "file " + path, kind: sqlite}
	if path == "" || path == ":memory:" {
		return s, &waybill.Error{Op: "open ledger", Fault: waybill.Setup, Err: errors.New("no file is named"),
			Hint: "write sqlite:waybill.db"}
	}
	if err := claimFile(path, create); err != nil {
		return s, err
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return s, s.classify("open ledger", err)
	}
	name := "file:" + (&url.URL{Path: full}).EscapedPath() + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)"
	for _, part := range []struct {
		db      **sql.DB
		pragmas string
		conns   int
	}{
		{&s.write, "&_txlock=immediate&_pragma=synchronous(FULL)", 1},
		{&s.quick, "&_txlock=immediate&_pragma=synchronous(NORMAL)", 1},
		{&s.read, "", 4},
	} {
		if *part.db, err = sql.Open("sqlite", name+part.pragmas); err != nil {
			return s, s.classify("open ledger", err)
		}
		(*part.db).SetMaxOpenConns(part.conns)
	}
	if err := s.write.PingContext(ctx); err != nil {
		return s, errors.Join(s.classify("open ledger", err), s.write.Close(), s.quick.Close(), s.read.Close())
	}
	return s, nil
}

// claimFile creates the file for its owner's eyes only: entries quote statements and errors.
func claimFile(path string, create bool) error {
	op := "open ledger " + path
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !create {
		return &waybill.Error{Op: op, Fault: waybill.Setup, Err: errors.New("there is no such file"),
			Hint: "run a link first, or name the ledger with --ledger"}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return &waybill.Error{Op: op, Fault: waybill.Setup, Err: err, Hint: "name a file in a directory that exists and can be written"}
	}
	return nil
}

func openServer(ctx context.Context, dsn string) (store, error) {
	s := store{where: "server", kind: postgres}
	settings, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The parser's own text may quote the URL.
		return s, &waybill.Error{Op: "open ledger", Fault: waybill.Setup, Err: errors.New("the URL is not valid"),
			Hint: "write postgres://user@host:port/database; percent-encode special characters in the password"}
	}
	s.where = "database " + settings.Database + " at " + settings.Host
	settings.RuntimeParams["search_path"] = schema + ",pg_catalog"
	settings.RuntimeParams["application_name"] = "waybill ledger"
	db := stdlib.OpenDB(*settings)
	db.SetMaxOpenConns(8)
	s.write, s.quick, s.read = db, db, db
	if err := db.PingContext(ctx); err != nil {
		return s, errors.Join(s.classify("open ledger", err), db.Close())
	}
	return s, nil
}

// lock excludes other writers until the transaction ends. In SQLite an immediate transaction is that already.
func (s *store) lock(ctx context.Context, tx *sql.Tx) error {
	if s.kind == sqlite {
		return nil
	}
	var one int
	return tx.QueryRowContext(ctx, "SELECT one FROM head FOR UPDATE").Scan(&one)
}
