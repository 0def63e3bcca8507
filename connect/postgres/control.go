package postgres

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/zeebo/xxh3"

	"github.com/waybill-data/waybill"
)

// controlSQL creates the target's own memory. It may stand beside a source's event table in one schema.
//
//go:embed control.sql
var controlSQL string

// lifeless is how long the session that holds a stream must have been silent before Takeover ends it.
// Sessions give a sign of life every lifeInterval.
const (
	lifeless     = 30 * time.Second
	lifeInterval = 5 * time.Second
)

// lockPatience is for a process that has just ended, whose session the server is still clearing away;
// endPatience is for a session that was told to end.
const (
	lockPatience = 2 * time.Second
	endPatience  = 10 * time.Second
)

// States of a table in waybill.copied.
const (
	stateCopying   = "copying"
	stateCopied    = "copied"
	stateForgotten = "forgotten" // its rows are ours and may be emptied
)

// createControl creates schema and tables where they are missing. Existing ones are left alone, so a role
// that may not create a schema can use one made for it.
func createControl(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := query(ctx, conn, "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "+
		"WHERE n.nspname = 'waybill' AND c.relname IN ('stream', 'copied', 'loaded', 'version') AND c.relkind = 'r'")
	if err != nil {
		return classify("look for schema waybill", waybill.TableName{}, err)
	}
	if string(rows[0][0]) == "4" {
		return nil
	}
	// Two processes that start at once would both create: the lock makes the second one wait and find it done.
	err = exec(ctx, conn, "BEGIN; SELECT pg_advisory_xact_lock("+lockKey("control")+"); SET LOCAL client_min_messages = warning;"+controlSQL+"; COMMIT")
	if err == nil {
		return nil
	}
	err = classify("create schema waybill at the target", waybill.TableName{}, err)
	rollback(ctx, conn)
	if sqlState(err) == "42501" {
		return &waybill.Error{Op: "create schema waybill at the target", Fault: waybill.Setup, Err: err,
			Hint: "GRANT CREATE ON DATABASE <database> TO <user of the url>, or create the schema: CREATE SCHEMA waybill AUTHORIZATION <user of the url>"}
	}
	return err
}

// rollback ends whatever transaction is open. A session that cannot do even that is closed by its owner.
func rollback(ctx context.Context, conn *pgconn.PgConn) {
	if conn.IsClosed() || conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = exec(ctx, conn, "ROLLBACK") // the error that led here is the one to tell
}

// lockKey is the number of the advisory lock of a stream.
func lockKey(stream string) string {
	return strconv.FormatInt(int64(xxh3.HashString("waybill stream "+stream)), 10)
}

// holdStream takes the stream's lock for the life of the session, or says who has it.
func holdStream(ctx context.Context, conn *pgconn.PgConn, o waybill.SinkOptions) error {
	op := "open stream " + o.Stream + " at the target"
	key := lockKey(o.Stream)
	for range 5 {
		if err := waitLock(ctx, conn, key, lockPatience); sqlState(err) != "55P03" {
			return classify(op, waybill.TableName{}, err)
		}
		rollback(ctx, conn)
		h, err := findHolder(ctx, conn, o.Stream, key)
		if err != nil {
			return classify(op, waybill.TableName{}, err)
		}
		if h.session == "" {
			continue // it let go meanwhile
		}
		if !o.Takeover || h.silent < lifeless && !h.dead() {
			return &waybill.Error{Op: op, Fault: waybill.Setup, Err: fmt.Errorf("another process has it: %s", h.who),
				Hint: "stop that process; if it is gone for good, take the stream over once its session has been silent for " + lifeless.String()}
		}
		if err := endHolder(ctx, conn, key, h.session); err != nil {
			return classify(op+": end the session of "+h.who, waybill.TableName{}, err)
		}
	}
	return &waybill.Error{Op: op, Fault: waybill.Passing, Err: errors.New("another process took it first")}
}

// holder is who has a stream's lock.
type holder struct {
	session string        // the server's pid of it; empty: nobody
	silent  time.Duration // how long the session has done nothing; one whose state may not be seen is alive
	host    string
	process int
	who     string // all of it, for people
}

// dead reports whether the holder was a process of this machine that is gone: the server has not noticed yet.
func (h *holder) dead() bool {
	host, err := os.Hostname()
	return err == nil && host == h.host && h.process > 0 && errors.Is(syscall.Kill(h.process, 0), syscall.ESRCH)
}

func findHolder(ctx context.Context, conn *pgconn.PgConn, stream, key string) (h holder, err error) {
	rows, err := query(ctx, conn, `SELECT l.pid, coalesce(extract(epoch FROM clock_timestamp() - a.state_change), 0)::int8,
  coalesce(s.holder_host, ''), coalesce(s.holder_process, 0),
  'process ' || coalesce(s.holder_process::text, '?') || ' on ' || coalesce(s.holder_host, '?') || ' since ' ||
  coalesce(date_trunc('second', s.holder_since)::text, '?') || ', its session ' || l.pid || ' from ' || coalesce(host(a.client_addr), 'a local socket')
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN waybill.stream s ON s.stream = $1
WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND (l.classid::int8 << 32 | l.objid::int8) = $2::int8 AND l.objsubid = 1`, stream, key)
	if err != nil || len(rows) == 0 {
		return holder{}, err
	}
	row := rows[0]
	h.session, h.host, h.who = string(row[0]), string(row[2]), string(row[4])
	seconds, err := strconv.Atoi(string(row[1]))
	if err == nil {
		h.process, err = strconv.Atoi(string(row[3]))
	}
	h.silent = time.Duration(seconds) * time.Second
	return h, err
}

// endHolder ends the session that has the lock and waits until the server has taken the lock from it.
func endHolder(ctx context.Context, conn *pgconn.PgConn, key, pid string) error {
	if _, err := query(ctx, conn, "SELECT pg_terminate_backend("+pid+")"); err != nil {
		return err
	}
	if err := waitLock(ctx, conn, key, endPatience); err != nil {
		return err
	}
	return exec(ctx, conn, "SELECT pg_advisory_unlock("+key+")")
}

// waitLock takes a lock for the session, or fails with lock_not_available when it is not to be had in time.
func waitLock(ctx context.Context, conn *pgconn.PgConn, key string, patience time.Duration) error {
	return exec(ctx, conn, fmt.Sprintf("BEGIN; SET LOCAL lock_timeout = %d; SELECT pg_advisory_lock(%s); COMMIT", patience.Milliseconds(), key))
}

// raiseEpoch makes this process the one whose writes count, and returns its epoch and the stream's position.
func raiseEpoch(ctx context.Context, conn *pgconn.PgConn, stream string) (epoch int64, position waybill.Position, err error) {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	rows, err := query(ctx, conn, `INSERT INTO waybill.stream AS s VALUES ($1, 1, '', NULL, clock_timestamp(), $2, $3::int8, clock_timestamp())
ON CONFLICT (stream) DO UPDATE SET epoch = s.epoch + 1, updated_at = clock_timestamp(), holder_host = excluded.holder_host,
  holder_process = excluded.holder_process, holder_since = excluded.holder_since
RETURNING epoch, position`, stream, host, strconv.Itoa(os.Getpid()))
	if err != nil {
		return 0, "", classify("open stream "+stream+" at the target", waybill.TableName{}, err)
	}
	epoch, err = strconv.ParseInt(string(rows[0][0]), 10, 64)
	return epoch, waybill.Position(rows[0][1]), err
}

// release removes what is recorded of a stream; with the last stream the tables go, and the schema where
// nothing else is in it.
func release(ctx context.Context, e waybill.Endpoint, stream string) error {
	conn, err := connect(ctx, e, "release", nil)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	op := "release stream " + stream + " at the target"
	rows, err := query(ctx, conn, "SELECT pg_catalog.to_regclass('waybill.stream') IS NOT NULL")
	if err != nil || !isTrue(rows[0][0]) {
		return classify(op, waybill.TableName{}, err)
	}
	if err := holdStream(ctx, conn, waybill.SinkOptions{Stream: stream}); err != nil {
		return err
	}
	err = exec(ctx, conn, "BEGIN; SELECT pg_advisory_xact_lock("+lockKey("control")+");"+forStream(stream,
		"DELETE FROM waybill.loaded", "DELETE FROM waybill.copied", "DELETE FROM waybill.version", "DELETE FROM waybill.stream")+
		"SET LOCAL client_min_messages = warning; "+dropControlSQL+"; COMMIT")
	rollback(ctx, conn)
	return classify(op, waybill.TableName{}, err)
}

const dropControlSQL = `DO $$ BEGIN
  IF EXISTS (SELECT FROM waybill.stream) OR EXISTS (SELECT FROM waybill.copied) THEN RETURN; END IF;
  DROP TABLE waybill.stream, waybill.copied, waybill.loaded, waybill.version;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    AND refobjid = 'waybill'::pg_catalog.regnamespace AND deptype = 'n')
    AND (SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'waybill') THEN
    DROP SCHEMA waybill;
  END IF;
END $$`

func forStream(stream string, statements ...string) string {
	text := ""
	for _, s := range statements {
		text += s + " WHERE stream = " + quoteLiteral(stream) + ";"
	}
	return text
}

// readProgress reads what the target knows of the stream.
func readProgress(ctx context.Context, conn *pgconn.PgConn, stream string) (waybill.Progress, error) {
	p := waybill.Progress{Copied: map[waybill.TableName]waybill.Position{}, Versions: map[waybill.TableName]*waybill.TableVersion{}}
	op := "read progress of stream " + stream
	rows, err := query(ctx, conn, `SELECT s.position, c.schema_name, c.table_name, c.position, v.structure, c.state
FROM waybill.stream s LEFT JOIN waybill.copied c ON c.stream = s.stream AND (c.state IN ('copied', 'forgotten') OR NOT c.created)
LEFT JOIN waybill.version v ON v.stream = c.stream AND v.schema_name = c.schema_name AND v.table_name = c.table_name
WHERE s.stream = $1`, stream)
	if err != nil {
		return p, classify(op, waybill.TableName{}, err)
	}
	for _, row := range rows {
		p.Position = waybill.Position(row[0])
		if row[1] == nil {
			continue
		}
		name := waybill.TableName{Schema: string(row[1]), Name: string(row[2])}
		if string(row[5]) == stateCopied {
			p.Copied[name] = waybill.Position(row[3])
		}
		if row[4] == nil {
			continue
		}
		v := new(waybill.TableVersion)
		if err := json.Unmarshal(row[4], v); err != nil {
			return p, &waybill.Error{Op: op, Table: name, Fault: waybill.Drift, Err: err, Hint: "waybill.version was changed by hand: copy the table again"}
		}
		p.Versions[name] = v
	}
	return p, nil
}

// recordSQL records a table's state. Its structure is recorded too, where it is given.
func recordSQL(stream string, v *waybill.TableVersion, state string, created bool, p waybill.Position) (string, error) {
	structure, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	key := quoteLiteral(stream) + "," + quoteLiteral(v.Table.Schema) + "," + quoteLiteral(v.Table.Name)
	return fmt.Sprintf(`INSERT INTO waybill.copied AS c VALUES (%s,%s,%t,%s,clock_timestamp())
ON CONFLICT (stream, schema_name, table_name) DO UPDATE SET state = excluded.state, created = c.created OR excluded.created,
  position = excluded.position, updated_at = excluded.updated_at;
INSERT INTO waybill.version VALUES (%s,%s) ON CONFLICT (stream, schema_name, table_name) DO UPDATE SET structure = excluded.structure;`,
		key, quoteLiteral(state), created, quoteLiteral(string(p)), key, quoteLiteral(string(structure))), nil
}

// forgetSQL removes all that is recorded of a table.
func forgetSQL(stream string, table waybill.TableName) string {
	where := " WHERE stream = " + quoteLiteral(stream) + " AND schema_name = " + quoteLiteral(table.Schema) + " AND table_name = " + quoteLiteral(table.Name) + ";"
	return "DELETE FROM waybill.loaded" + where + "DELETE FROM waybill.copied" + where + "DELETE FROM waybill.version" + where
}
