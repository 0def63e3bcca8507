package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

var opNames = [...]string{opDelete: "delete row of", opUpdate: "update row of", opMove: "update key of row of",
	opReplace: "update row of", opInsert: "insert row into", opDiscard: "delete row of"}

// missedRows reports whether a statement did not hit as many rows as it should.
func missedRows(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.Contains(server.Message, missedMark)
}

// diagnose finds out which row and value a failed statement met, after a rollback, and says so. It asks the
// server again, so what it finds is as of the start of the batch.
func (s *sink) diagnose(ctx context.Context, failed *sent, err error) error {
	t := failed.effect.target
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || s.session.conn.IsClosed() {
		return classify(opNames[failed.statement.op], t.name, err)
	}
	rollback(ctx, s.session.conn)
	e := &waybill.Error{Op: opNames[failed.statement.op], Table: t.name, Fault: waybill.Drift}
	switch {
	case missedRows(server):
		e.Err = s.missing(ctx, failed, server)
		e.Hint = "the target was changed by somebody else, or the table was not copied whole: compare the table, then copy it again (waybill link resync)"
	case server.Code == "23505" || server.Code == "23P01":
		e.Err = serverError{server}
		e.Hint = "the target has rows that the source does not have: compare the table, then remove them or copy it again (waybill link resync)"
	case server.Code == "23503":
		e.Err = serverError{server}
		e.Hint = "a foreign key at the target refuses it: let the link's role switch triggers off (GRANT SET ON PARAMETER session_replication_role TO " +
			"<user of the url>), or drop the foreign key at the target"
	case strings.HasPrefix(server.Code, "22") || strings.HasPrefix(server.Code, "23"):
		return s.refused(ctx, failed, server)
	default:
		return classify(e.Op, t.name, err)
	}
	return e
}

// missing names rows that the statement should have found and did not.
func (s *sink) missing(ctx context.Context, failed *sent, server *pgconn.PgError) error {
	t := failed.effect.target
	st := failed.statement
	_, hit, _ := strings.Cut(strings.TrimSuffix(server.Message, `"`), missedMark)
	general := fmt.Errorf("%s of %d rows are at the target", hit, failed.effect.expected(st, failed.rows))
	if st.op == opDiscard {
		return general
	}
	u := t.unnest(t.key, nil)
	u.add("int4[]", "i")
	probe := &statement{sql: "SELECT u.i FROM " + u.from("u") + " WHERE NOT EXISTS (SELECT FROM " + t.sql + " AS t WHERE " +
		t.matches(t.key) + ") ORDER BY u.i LIMIT 3", key: t.key, target: t}
	params, err := s.session.encode(probe, failed.effect, failed.rows)
	if err != nil {
		return general
	}
	numbers := appendArray(nil, wireTypes[wireInt4].oid, len(failed.rows))
	for _, i := range failed.rows {
		numbers = append(numbers, 0, 0, 0, 4, byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
	}
	result := s.session.conn.ExecParams(ctx, probe.sql, append(params[:len(params):len(params)], numbers), nil, allBinary, nil).Read()
	if result.Err != nil || len(result.Rows) == 0 {
		return general
	}
	keys := make([]string, len(result.Rows))
	for n, row := range result.Rows {
		var i int
		if _, err := fmt.Sscan(string(row[0]), &i); err != nil {
			return general
		}
		keys[n] = t.keyText(failed.effect.rows[i].origin)
	}
	return fmt.Errorf("%w; missing: %s", general, strings.Join(keys, " "))
}

// refused names the value that the target does not take: the column from casting each by itself, the row by
// halving. A constraint's refusal carries the row in the server's own words.
func (s *sink) refused(ctx context.Context, failed *sent, server *pgconn.PgError) error {
	t := failed.effect.target
	e := &waybill.Error{Op: opNames[failed.statement.op], Table: t.name, Fault: waybill.Data, Err: serverError{server},
		Hint: "the target refuses the value: make the column or constraint at the target equal to the source's, or correct the row at the source"}
	for _, c := range failed.statement.values {
		rows := s.refusedRows(ctx, failed, c, failed.rows)
		if len(rows) != 1 {
			continue
		}
		row := &failed.effect.rows[rows[0]]
		at := row.origin
		if at == nil {
			at = row.now
		}
		e.Err = &valueError{column: t.version.Columns[c].Name, key: t.keyText(at), cause: serverError{server}}
		break
	}
	return e
}

// refusedRows halves the rows until one is left whose value in the column the server does not take.
func (s *sink) refusedRows(ctx context.Context, failed *sent, column int, rows []int32) []int32 {
	if !s.refuses(ctx, failed, column, rows) {
		return nil
	}
	for len(rows) > 1 {
		half := len(rows) / 2
		if s.refuses(ctx, failed, column, rows[:half]) {
			rows = rows[:half]
		} else {
			rows = rows[half:]
		}
	}
	return rows
}

func (s *sink) refuses(ctx context.Context, failed *sent, column int, rows []int32) bool {
	f := &failed.effect.target.fields[column]
	param, err := failed.effect.appendColumn(nil, column, rows, newOrNull)
	if err != nil {
		return true
	}
	// Assigning to a column of the same type is what the failed statement did: it knows lengths and domains.
	sql := "CREATE TEMP TABLE waybill_probe ON COMMIT DROP AS SELECT " + f.name + " AS c FROM " + failed.effect.target.sql + " LIMIT 0"
	if exec(ctx, s.session.conn, "BEGIN; "+sql) != nil {
		rollback(ctx, s.session.conn)
		return false
	}
	insert := "INSERT INTO pg_temp.waybill_probe SELECT v" + f.cast + " FROM unnest($1::" + wireTypes[f.wire].array + ") AS u(v)"
	refusal := s.session.conn.ExecParams(ctx, insert, [][]byte{param}, nil, allBinary, nil).Read().Err
	rollback(ctx, s.session.conn)
	return refusal != nil
}

// valueError is a value that the target refused.
type valueError struct {
	column, key string
	cause       error
}

func (e *valueError) Error() string {
	return "column " + e.column + " of row " + e.key + ": " + e.cause.Error()
}

func (e *valueError) Unwrap() error { return e.cause }
