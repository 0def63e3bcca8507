package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// serverError says more of what the server said than the driver does: detail and place.
type serverError struct{ cause *pgconn.PgError }

func (e serverError) Error() string {
	text := e.cause.Message
	if e.cause.Detail != "" {
		text += ": " + e.cause.Detail
	}
	if where, _, _ := strings.Cut(e.cause.Where, "\n"); strings.HasPrefix(where, "COPY ") {
		text += " [" + where + "]"
	}
	return text + " (SQLSTATE " + e.cause.Code + ")"
}

func (e serverError) Unwrap() error { return e.cause }

// sqlState returns the code of a server's error, or "".
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// verdict is what a class of errors means to the engines and to people.
type verdict struct {
	fault waybill.Fault
	hint  string
}

// verdicts maps SQLSTATEs, or their first two characters, to what they mean. The longer entry wins.
var verdicts = map[string]verdict{
	"08":    {waybill.Passing, ""},
	"0A":    {waybill.Setup, "this server cannot do that: see the message"},
	"22":    {waybill.Data, "look at the value that the message names"},
	"23":    {waybill.Data, "look at the row that the message names: the target refuses it"},
	"25006": {waybill.Setup, "the server is read-only: name the primary in the url, or look at default_transaction_read_only"},
	"28":    {waybill.Setup, "check user and password in the url, and pg_hba.conf at the server; the login was tried once"},
	"2BP01": {waybill.Drift, "other objects depend on it: see the message"},
	"3D000": {waybill.Setup, "create the database, or correct its name in the url"},
	"3F000": {waybill.Drift, "the schema is gone or was never there"},
	"40":    {waybill.Passing, ""},
	"42501": {waybill.Setup, ""},
	"42601": {waybill.Bug, ""},
	"42":    {waybill.Drift, "the structure is not what was expected: compare it with the message"},
	"44":    {waybill.Data, "look at the row that the message names: the target refuses it"},
	"53":    {waybill.Passing, "the server is short of resources"},
	"53100": {waybill.Setup, "free disk space at the server"},
	"53300": {waybill.Passing, "raise max_connections, or close sessions at the server"},
	"53400": {waybill.Setup, "a limit of the server is reached (max_replication_slots, max_wal_senders): raise it, or drop what is not used"},
	"54":    {waybill.Data, "the row is larger than the server can hold here: see the message"},
	"55000": {waybill.Setup, "the server is not set up for this: see the message"},
	"55006": {waybill.Passing, "somebody else uses it: look for a second process of this link"},
	"55P03": {waybill.Passing, ""},
	"57":    {waybill.Passing, ""},
	"57P04": {waybill.Setup, "the database was dropped"},
	"58":    {waybill.Setup, "the server met an error of its disk or files: see its log"},
	"72000": {waybill.Passing, ""},
	"P0001": {waybill.Data, "a function or trigger at the server refused the row"},
	"XX001": {waybill.Setup, "the server found damaged data: see its log, restore from a backup"},
	"XX002": {waybill.Setup, "the server found a damaged index: REINDEX it"},
}

// classify gives an error of this system its fault, its hint and the operation it met. An error that is
// classified already keeps its fault.
func classify(op string, table waybill.TableName, err error) error {
	if err == nil {
		return nil
	}
	known, isKnown := errors.AsType[*waybill.Error](err)
	if isKnown {
		return &waybill.Error{Op: op, Table: table, Fault: known.Fault, Err: err}
	}
	e := &waybill.Error{Op: op, Table: table, Err: err}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		v := verdictOf(server)
		e.Fault, e.Hint, e.Err = v.fault, v.hint, serverError{server}
		if server.Code == "42501" {
			e.Hint = rightHint(server, table)
		}
		return e
	}
	if isTransport(err) {
		e.Fault, e.Hint = waybill.Passing, transportHint(err)
	}
	return e
}

func verdictOf(e *pgconn.PgError) verdict {
	if v, ok := verdicts[e.Code]; ok {
		return v
	}
	if len(e.Code) == 5 {
		return verdicts[e.Code[:2]]
	}
	return verdict{}
}

func rightHint(e *pgconn.PgError, table waybill.TableName) string {
	switch {
	case strings.Contains(e.Message, "row-level security"):
		return "row security hides rows from this role, so a copy would lose them: ALTER ROLE <user of the url> BYPASSRLS"
	case table != (waybill.TableName{}):
		return "GRANT USAGE ON SCHEMA " + quoteName(table.Schema) + " TO <user of the url>; GRANT SELECT ON " + quoteTable(table) +
			" TO <user of the url>; at a target the role must own the table"
	}
	return "grant the right that the message names to the user of the url (GRANT ..., ALTER ROLE ... REPLICATION)"
}

func isTransport(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return true
		}
	}
	return pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

func transportHint(err error) string {
	var lookup *net.DNSError
	switch {
	case errors.As(err, &lookup):
		return "check the host name in the url"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "check that the server runs, that host and port in the url are right, and that listen_addresses and firewalls let it be reached"
	case errors.Is(err, syscall.ENOENT):
		return "check the socket directory in the url, and that the server runs"
	}
	return ""
}
