package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

const (
	oldestMajor    = 10
	allowedSkew    = time.Second
	oldTransaction = 5 * time.Minute
)

// probe looks for what would keep the endpoint from its role. An endpoint that cannot be reached is an error,
// and its login is tried once.
func probe(ctx context.Context, e waybill.Endpoint, role waybill.Role, tables waybill.Selection) ([]waybill.Finding, error) {
	conn, err := connect(ctx, e, "doctor", nil)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	x := &examination{conn: conn, endpoint: e, tables: tables}
	checks := []func(context.Context) error{x.server, x.clock}
	if role == waybill.AsSource {
		checks = append(checks, x.minorVersion, x.log, x.replication, x.sourceRights, x.slots, x.oldTransactions, x.sourceTables)
	} else {
		checks = append(checks, x.targetRights, x.triggersOff, x.targetTables)
	}
	for _, check := range checks {
		if err := check(ctx); err != nil {
			return x.findings, classify("probe "+e.Name, waybill.TableName{}, err)
		}
	}
	return x.findings, nil
}

// examination is one probe under way.
type examination struct {
	conn     *pgconn.PgConn
	endpoint waybill.Endpoint
	tables   waybill.Selection
	user     string
	database string
	findings []waybill.Finding
}

func (x *examination) add(severity waybill.Severity, code, fix, format string, args ...any) {
	x.findings = append(x.findings, waybill.Finding{Code: code, Severity: severity, What: fmt.Sprintf(format, args...), Fix: fix})
}

func (x *examination) addTable(severity waybill.Severity, code string, table waybill.TableName, fix, format string, args ...any) {
	x.add(severity, code, fix, format, args...)
	x.findings[len(x.findings)-1].Table = table
}

// row returns the one row of a query as strings.
func (x *examination) row(ctx context.Context, sql string) ([]string, error) {
	rows, err := query(ctx, x.conn, sql)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("%d rows where one was expected", len(rows))
	}
	fields := make([]string, len(rows[0]))
	for i, field := range rows[0] {
		fields[i] = string(field)
	}
	return fields, nil
}

// server tells who is there, and what rules out any role.
func (x *examination) server(ctx context.Context) error {
	row, err := x.row(ctx, `SELECT current_user, current_database(), pg_is_in_recovery(), current_setting('server_encoding'),
		current_setting('default_transaction_read_only'), current_setting('server_version')`)
	if err != nil {
		return err
	}
	x.user, x.database = row[0], row[1]
	x.add(waybill.Fine, "server.reached", "", "PostgreSQL %s answers, as role %s on database %s", row[5], x.user, x.database)
	if major := serverVersion(x.conn) / 10000; major < oldestMajor {
		x.add(waybill.Blocker, "server.version", "use a server of version 10 or later", "PostgreSQL %d has no logical replication of its own", major)
	}
	if row[2] == "t" {
		x.add(waybill.Blocker, "server.standby", "name the primary in the url", "the server is a standby: it takes no writes and gives no place in its log")
	}
	switch row[3] {
	case "UTF8":
	case "SQL_ASCII":
		x.add(waybill.Warning, "server.encoding", "dump the database and restore it into one with ENCODING 'UTF8'",
			"the database has encoding SQL_ASCII, so its bytes may be no text at all: a value that is not UTF-8 stops the link")
	default:
		x.add(waybill.Note, "server.encoding", "", "the database has encoding %s: a target refuses characters that it cannot hold", row[3])
	}
	if row[4] == "on" {
		x.add(waybill.Blocker, "server.readonly", "ALTER ROLE "+quoteName(x.user)+" SET default_transaction_read_only = off", "sessions of this role are read-only")
	}
	return nil
}

// clock compares the server's clock with ours, because delays are told from both.
func (x *examination) clock(ctx context.Context) error {
	before := time.Now()
	row, err := x.row(ctx, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
	if err != nil {
		return err
	}
	trip := time.Since(before)
	micros, err := strconv.ParseInt(row[0], 10, 64)
	if err != nil {
		return err
	}
	skew := time.UnixMicro(micros).Sub(before.Add(trip / 2))
	if skew.Abs() > allowedSkew+trip {
		x.add(waybill.Warning, "clock.skew", "synchronize both clocks (NTP)", "the server's clock is %s off from this machine's: delays will be shown wrong by as much",
			skew.Round(time.Millisecond))
		return nil
	}
	x.add(waybill.Fine, "clock.skew", "", "the server's clock agrees with this machine's to %s", (skew.Abs() + trip).Round(time.Millisecond))
	return nil
}

// fixedMinors are the first minor versions that do not lose rows of a transaction that was open while its
// table was added to a publication. The releases of one quarter later also do not run out of memory by it.
var fixedMinors = map[int]int{13: 21, 14: 18, 15: 13, 16: 9, 17: 5}

func (x *examination) minorVersion(context.Context) error {
	version := serverVersion(x.conn)
	major, minor := version/10000, version%10000
	fixed, known := fixedMinors[major]
	const what = "a server of this version may lose rows of a transaction that is open while its table is added to a publication"
	switch {
	case known && minor < fixed:
		x.add(waybill.Warning, "server.minor", fmt.Sprintf("update to %d.%d or later", major, fixed+1), what)
	case known && minor == fixed:
		x.add(waybill.Note, "server.minor", fmt.Sprintf("update to %d.%d or later", major, fixed+1),
			"a server of this version may use much memory for decoding while tables are added to a publication")
	case major < 13:
		x.add(waybill.Warning, "server.minor", "upgrade to a supported major version", what+", and gets no fixes any more")
	}
	return nil
}
