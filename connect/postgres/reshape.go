package postgres

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/waybill-data/waybill"
)

// cutLength returns how many changes, from the first on, are one TRUNCATE statement.
func cutLength(changes []waybill.Change) int {
	n := 1
	for n < len(changes) && changes[n].Op == waybill.Truncate && changes[n].Cut != nil && changes[0].Cut != nil &&
		changes[n].Cut.Group == changes[0].Cut.Group {
		n++
	}
	return n
}

// settle writes what was added so far and leaves the transaction open for statements that are no changes of rows.
func (a *apply) settle(ctx context.Context) error {
	if err := a.flush(ctx, false); err != nil || a.begun {
		return err
	}
	w := a.sink.session.start(ctx)
	err := a.open(w)
	_, finishErr := w.finish()
	if err == nil {
		err = finishErr
	}
	return err
}

// truncate empties the tables of one TRUNCATE statement. Tables at the target that refer to them and were not
// emptied at the source, because they do not follow it, forbid a TRUNCATE here: then rows are deleted.
func (a *apply) truncate(ctx context.Context, changes []waybill.Change) error {
	if err := a.settle(ctx); err != nil {
		return err
	}
	table := changes[0].Version.Table
	names := make([]string, len(changes))
	literals := make([]string, len(changes))
	restart := ""
	for i := range changes {
		names[i] = quoteTable(changes[i].Version.Table)
		literals[i] = quoteLiteral(names[i]) + "::pg_catalog.regclass"
		if changes[i].Cut != nil && changes[i].Cut.RestartIdentity {
			restart = " RESTART IDENTITY"
		}
	}
	conn := a.sink.session.conn
	list := strings.Join(literals, ", ")
	outside := "SELECT count(*) FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid IN (" + list + ") AND conrelid NOT IN (" + list + ")"
	if serverVersion(conn) >= 110000 {
		outside += " AND conparentid = 0"
	}
	rows, err := query(ctx, conn, outside)
	if err != nil {
		return classify("truncate", table, err)
	}
	if string(rows[0][0]) != "0" {
		return classify("empty", table, exec(ctx, conn, "DELETE FROM "+strings.Join(names, "; DELETE FROM ")))
	}
	return classify("truncate", table, exec(ctx, conn, "TRUNCATE "+strings.Join(names, ", ")+restart))
}

// reshape carries out a change of structure between the rows before it and the rows after it, and records it
// in the same transaction (invariant 5).
func (a *apply) reshape(ctx context.Context, c *waybill.Change) error {
	if err := a.settle(ctx); err != nil {
		return err
	}
	s := a.sink
	if err := s.runAhead(ctx, c.Shape); err != nil {
		return err
	}
	statements, err := reshapeStatements(c.Shape)
	if err != nil {
		return classify("change structure of", c.Shape.Table(), err)
	}
	record, err := s.reshapeRecords(c.Shape, a.batch.Position)
	if err != nil {
		return err
	}
	s.reshaped = true
	for _, sql := range append(statements, record...) {
		if err := exec(ctx, s.session.conn, sql); err != nil {
			return classify("change structure of", c.Shape.Table(), err)
		}
	}
	if c.Shape.Before != nil {
		s.forgetTarget(c.Shape.Before.Table)
	}
	if c.Shape.After != nil {
		s.forgetTarget(c.Shape.After.Table)
	}
	return nil
}

// reshapeRecords are the statements that record a change of structure. A new table is complete from its first
// moment, unless it has rows that the stream does not carry.
func (s *sink) reshapeRecords(shape *waybill.Shape, p waybill.Position) ([]string, error) {
	stream := s.options.Stream
	if shape.After == nil {
		return []string{forgetSQL(stream, shape.Before.Table)}, nil
	}
	if shape.Before == nil {
		state := stateCopied
		if shape.Reload {
			state = stateForgotten
		}
		sql, err := recordSQL(stream, shape.After, state, true, p)
		return []string{sql}, err
	}
	structure, err := json.Marshal(shape.After)
	if err != nil {
		return nil, err
	}
	key := quoteLiteral(stream) + ", " + quoteLiteral(shape.After.Table.Schema) + ", " + quoteLiteral(shape.After.Table.Name)
	where := " WHERE stream = " + quoteLiteral(stream) + " AND schema_name = " + quoteLiteral(shape.Before.Table.Schema) +
		" AND table_name = " + quoteLiteral(shape.Before.Table.Name)
	name := "schema_name = " + quoteLiteral(shape.After.Table.Schema) + ", table_name = " + quoteLiteral(shape.After.Table.Name)
	return []string{
		"UPDATE waybill.copied SET " + name + where,
		"UPDATE waybill.loaded SET " + name + where,
		"UPDATE waybill.version SET " + name + ", structure = " + quoteLiteral(string(structure)) + where,
		// A table that this stream is about to copy anew is on its record from here on, so that a copy that is
		// cut off leaves word of what the table is now.
		"INSERT INTO waybill.copied VALUES (" + key + ", '" + stateForgotten + "', false, '', clock_timestamp()) ON CONFLICT DO NOTHING",
		"INSERT INTO waybill.version VALUES (" + key + ", " + quoteLiteral(string(structure)) + ") ON CONFLICT DO NOTHING",
	}, nil
}
