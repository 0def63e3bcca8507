package postgres

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

const (
	connectTimeout = 15 * time.Second
	closeTimeout   = 2 * time.Second
)

// pinned are the settings that every session has, so that one value has one text everywhere. row_security off
// turns a policy that would hide rows into an error (invariant 6).
var pinned = [...][2]string{
	{"client_encoding", "UTF8"},
	{"datestyle", "ISO, YMD"},
	{"intervalstyle", "iso_8601"},
	{"timezone", "UTC"},
	{"extra_float_digits", "3"},
	{"bytea_output", "hex"},
	{"lc_monetary", "C"},
	{"xmloption", "content"},
	{"array_nulls", "on"},
	{"quote_all_identifiers", "off"},
	{"standard_conforming_strings", "on"},
	{"search_path", "pg_catalog"},
	{"row_security", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
}

// pinnedSince are settings that older servers do not know.
var pinnedSince = [...]struct {
	version     int
	name, value string
}{
	{110000, "jit", "off"},
	{140000, "idle_session_timeout", "0"},
	{170000, "transaction_timeout", "0"},
}

// connect opens a session with the pinned settings. params are further startup parameters. A refused login is
// tried exactly once, whatever hosts, addresses and fallbacks the URL allows (invariant 8).
func connect(ctx context.Context, e waybill.Endpoint, purpose string, params map[string]string) (*pgconn.PgConn, error) {
	op := "connect to " + e.Name
	config, err := pgconn.ParseConfig(e.URL.Reveal())
	if err != nil {
		// The parser's own text may quote the password.
		return nil, &waybill.Error{Op: op, Fault: waybill.Setup, Err: errors.New("the url is not valid"),
			Hint: "write it as postgres://user:password@host:5432/database?sslmode=require, with special characters of the password percent-encoded"}
	}
	config.RuntimeParams["application_name"] = "waybill " + purpose
	config.RuntimeParams["client_encoding"] = "UTF8"
	for name, value := range params {
		config.RuntimeParams[name] = value
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > time.Minute {
		config.ConnectTimeout = connectTimeout
	}
	guardLogin(config)
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, classify(op, waybill.TableName{}, connectCause(err))
	}
	if err := exec(ctx, conn, pinStatement(serverVersion(conn))); err != nil {
		closeConn(conn)
		return nil, classify(op, waybill.TableName{}, err)
	}
	return conn, nil
}

// guardLogin keeps the driver from trying a refused login again on the next address or without encryption:
// three such tries lock an account in some places. Rejections before the password was asked for are no
// login failures and may fall back.
func guardLogin(config *pgconn.Config) {
	var refused atomic.Bool
	dialer := &net.Dialer{KeepAlive: 30 * time.Second, Timeout: config.ConnectTimeout}
	config.OnPgError = func(_ *pgconn.PgConn, e *pgconn.PgError) bool {
		if isLoginFailure(e) {
			refused.Store(true)
		}
		return e.SeverityUnlocalized != "FATAL" && e.Severity != "FATAL" && e.SeverityUnlocalized != "PANIC"
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if refused.Load() {
			return nil, errors.New("not tried again after the refused login")
		}
		return dialer.DialContext(ctx, network, address)
	}
}

func isLoginFailure(e *pgconn.PgError) bool {
	return strings.HasPrefix(e.Code, "28") && e.Routine != "ClientAuthentication"
}

// connectCause picks what a person needs from the driver's list of tries: what the server said, if it spoke.
func connectCause(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return e.Unwrap()
	}
	return err
}

// pinStatement sets everything with one round trip. set_config takes lists (datestyle) as one string.
func pinStatement(version int) string {
	var b strings.Builder
	set := func(name, value string) {
		separator := ", "
		if b.Len() == 0 {
			separator = "SELECT "
		}
		b.WriteString(separator + "pg_catalog.set_config(" + quoteLiteral(name) + ", " + quoteLiteral(value) + ", false)")
	}
	for _, s := range pinned {
		set(s[0], s[1])
	}
	for _, s := range pinnedSince {
		if version >= s.version {
			set(s.name, s.value)
		}
	}
	return b.String()
}

// closeConn closes a session and waits, for a moment, until the driver has let go of it.
func closeConn(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // there is nothing left to do with a session that does not end in order
	select {
	case <-conn.CleanupDone():
	case <-ctx.Done():
	}
}

// serverVersion returns the server's version as 150004 for 15.4; 0 when it did not tell.
func serverVersion(conn *pgconn.PgConn) int {
	text := conn.ParameterStatus("server_version")
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		text = text[:end]
	}
	parts := strings.Split(text, ".")
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0
	}
	minor := 0
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1]) // a development version has no number here
	}
	return major*10000 + minor
}

// query runs one statement and returns its rows as text, nil for NULL. Without args it uses the simple
// protocol, which replication sessions speak too.
func query(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) ([][][]byte, error) {
	if len(args) == 0 {
		results, err := conn.Exec(ctx, sql).ReadAll()
		if err != nil || len(results) == 0 {
			return nil, err
		}
		return results[len(results)-1].Rows, nil
	}
	values := make([][]byte, len(args))
	for i, arg := range args {
		values[i] = []byte(arg)
	}
	result := conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	return result.Rows, result.Err
}

// exec runs statements that return nothing of interest.
func exec(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}

// quoteName quotes one identifier.
func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteTable quotes a table's full name.
func quoteTable(t waybill.TableName) string {
	if t.Schema == "" {
		return quoteName(t.Name)
	}
	return quoteName(t.Schema) + "." + quoteName(t.Name)
}

// quoteLiteral quotes a string constant, whatever standard_conforming_strings says.
func quoteLiteral(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// isTrue reads a boolean column.
func isTrue(field []byte) bool { return bytes.Equal(field, []byte("t")) }
