package postgres

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

var _ waybill.Picker = (*view)(nil)

// Pick reads rows by the index over the given columns where there is one, and by the text of whole rows, which
// reads the table once, where there is none.
func (w *view) Pick(ctx context.Context, v *waybill.TableVersion, columns []int, places []waybill.Row) iter.Seq2[waybill.Batch, error] {
	return func(yield func(waybill.Batch, error) bool) {
		err := w.pick(ctx, v, columns, places, func(b waybill.Batch) bool { return yield(b, nil) })
		if err != nil {
			yield(waybill.Batch{}, classify("read rows of", v.Table, contextCause(ctx, err)))
		}
	}
}

func (w *view) pick(ctx context.Context, v *waybill.TableVersion, columns []int, places []waybill.Row, yield func(waybill.Batch) bool) error {
	if len(places) == 0 {
		return nil
	}
	if err := w.pin(ctx, v.Table); err != nil {
		return err
	}
	conn, err := w.readers.take(ctx)
	if err != nil {
		return err
	}
	defer w.readers.give(conn)
	wanted := *v
	wanted.Key, wanted.Identity = columns, waybill.IdentityKey
	t, err := openTarget(ctx, conn, &wanted)
	if err != nil {
		return err
	}
	k, err := newPicking(t, columns, places)
	if err != nil {
		return err
	}
	return k.run(ctx, conn, yield)
}

// picking is one call of Pick at work.
type picking struct {
	target *target
	read   []int // columns that are read: all
	sql    string
	params [][]byte
}

func newPicking(t *target, columns []int, places []waybill.Row) (*picking, error) {
	k := &picking{target: t, read: allColumns(t.version)}
	// A generated column has no field to be found by; what it would tell apart, the caller does.
	var known, at []int
	for i, c := range columns {
		if t.version.Columns[c].Writable() {
			known, at = append(known, c), append(at, i)
		}
	}
	if len(known) == 0 {
		return nil, &waybill.Error{Op: "read rows of", Table: t.name, Fault: waybill.Data, Err: errNoColumns}
	}
	for i, c := range known {
		param, err := k.array(c, at[i], places)
		if err != nil {
			return nil, err
		}
		k.params = append(k.params, param)
	}
	names := make([]string, len(k.read))
	for i, c := range k.read {
		names[i] = "t." + quoteName(t.version.Columns[c].Name)
	}
	u := t.unnest(known, nil)
	k.sql = "SELECT " + strings.Join(names, ", ") + " FROM " + cut{}.source(t.version) + " AS t "
	if !t.unindexed && !t.bag && len(known) == len(columns) && !hasNull(places) {
		k.sql += "WHERE EXISTS (SELECT FROM " + u.from("u") + " WHERE " + t.matches(known) + ")"
		return k, nil
	}
	k.sql += "WHERE " + lineOf(t, known, func(i int, f *field) string { return "t." + f.name }) + " IN (SELECT " +
		lineOf(t, known, func(i int, f *field) string { return fmt.Sprintf("u.k%d%s", i, f.cast) }) + " FROM " + u.from("u") + ")"
	return k, nil
}

// lineOf is the text of some columns as one row: it knows NULL and needs no operator of the types.
func lineOf(t *target, columns []int, term func(i int, f *field) string) string {
	terms := make([]string, len(columns))
	for i, c := range columns {
		terms[i] = term(i, &t.fields[c])
	}
	return `ROW(` + strings.Join(terms, ", ") + `)::text COLLATE "C"`
}

func hasNull(places []waybill.Row) bool {
	return slices.ContainsFunc(places, func(p waybill.Row) bool { return slices.ContainsFunc(p, waybill.Value.IsNull) })
}

// array encodes one column of the places; a value that only the server's own syntax can tell makes all text.
func (k *picking) array(column, at int, places []waybill.Row) ([]byte, error) {
	t := k.target
	if slices.ContainsFunc(places, func(p waybill.Row) bool { return p[at].Kind() == waybill.KindLiteral }) {
		t.sendText(column)
	}
	w := t.fields[column].wire
	dst := appendArray(nil, wireTypes[w].oid, len(places))
	var err error
	for _, p := range places {
		if dst, err = appendElement(dst, w, &p[at]); err != nil {
			return nil, &waybill.Error{Op: "read rows of", Table: t.name, Fault: waybill.Data,
				Err: fmt.Errorf("column %s: %w", t.version.Columns[column].Name, err)}
		}
	}
	return dst, nil
}

func (k *picking) run(ctx context.Context, conn *pgconn.PgConn, yield func(waybill.Batch) bool) error {
	result := conn.ExecParams(ctx, k.sql, k.params, nil, allBinary, nil)
	b := waybill.Batch{Version: k.target.version}
	stopped := false
	for !stopped && result.NextRow() {
		row, err := k.row(result.Values())
		if err != nil {
			_, closeErr := result.Close()
			return firstError(err, closeErr)
		}
		b.Rows = append(b.Rows, row)
		if len(b.Rows) == batchRows {
			stopped = !yield(b)
			b.Rows = b.Rows[:0]
		}
	}
	if _, err := result.Close(); err != nil {
		return err
	}
	if !stopped && len(b.Rows) > 0 {
		yield(b)
	}
	return nil
}

func firstError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (k *picking) row(values [][]byte) (waybill.Row, error) {
	v := k.target.version
	row := make(waybill.Row, len(v.Columns))
	for i, c := range k.read {
		if values[i] == nil {
			row[c] = waybill.Null
			continue
		}
		value, err := decodeText(v.Columns[c].Type.Kind, string(values[i]))
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", v.Columns[c].Name, err)
		}
		row[c] = value
	}
	return row, nil
}
