package ledger

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	driver "modernc.org/sqlite"

	"github.com/waybill-data/waybill"
)

const kept = "; nothing is lost, positions are also kept in the targets"

// classify turns a driver's error into one with a class and a hint. It leaves classified errors alone.
func (s *store) classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, known := errors.AsType[*waybill.Error](err); known || errors.Is(err, context.Canceled) {
		return err
	}
	fault, hint := s.diagnose(err)
	if fault == waybill.Bug && hint == "" {
		hint = "report this"
	}
	return &waybill.Error{Op: op + " in ledger " + s.where, Fault: fault, Hint: hint, Err: err}
}

func (s *store) diagnose(err error) (waybill.Fault, string) {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return diagnoseFile(e.Code() & 0xff)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return diagnoseState(e.Code)
	}
	if s.kind == postgres {
		return waybill.Passing, "check that the server is up and can be reached"
	}
	return waybill.Bug, ""
}

// diagnoseFile goes by the primary result codes of https://www.sqlite.org/rescode.html.
func diagnoseFile(code int) (waybill.Fault, string) {
	switch code {
	case 5, 6: // BUSY, LOCKED
		return waybill.Passing, "another process holds the file; try again"
	case 3, 8, 23: // PERM, READONLY, AUTH
		return waybill.Setup, "make the file and its directory writable for this user"
	case 10: // IOERR
		return waybill.Setup, "check the disk and the free space on it" + kept
	case 13: // FULL
		return waybill.Setup, "free space on the disk and start again" + kept
	case 14: // CANTOPEN
		return waybill.Setup, "name a file in a directory that exists and can be written"
	case 11: // CORRUPT
		return waybill.Setup, "the file is damaged: move it and its -wal file away, recover what can be with " +
			"`sqlite3 FILE .recover`, or start with a new ledger" + kept
	case 26: // NOTADB
		return waybill.Setup, "the file is no SQLite database, or its beginning is damaged: name another, or move it away and " +
			"start with a new ledger" + kept
	}
	return waybill.Bug, ""
}

func diagnoseState(code string) (waybill.Fault, string) {
	switch {
	case code == "53100":
		return waybill.Setup, "free space on the server's disk and start again" + kept
	case strings.HasPrefix(code, "28"):
		return waybill.Setup, "correct the user or password of the ledger's URL; it was tried once"
	case code == "3D000":
		return waybill.Setup, "create the database that the ledger's URL names"
	case code == "42501":
		return waybill.Setup, "GRANT CREATE ON DATABASE to the ledger's user, once, so that it can make the schema " + schema
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "40"), strings.HasPrefix(code, "53"),
		strings.HasPrefix(code, "57"), code == "55P03":
		return waybill.Passing, "try again"
	}
	return waybill.Bug, ""
}
