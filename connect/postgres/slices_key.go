package postgres

import (
	"context"
	"strconv"

	"github.com/waybill-data/waybill"
)

// keyCuts cuts by the values of a key of one column: at the bounds that the server keeps as statistics, or,
// for integers, evenly between the smallest and the largest. Any order that the server compares the column
// by serves: each value is at or above a bound, or below it.
func (w *view) keyCuts(ctx context.Context, v *waybill.TableVersion, s storage, one cut, n int) ([]cut, error) {
	if len(v.Key) != 1 || !cutsByValue(v.Columns[v.Key[0]].Type) {
		return []cut{one}, nil
	}
	column := v.Columns[v.Key[0]]
	bounds, err := w.keyBounds(ctx, v, s.table, column, n)
	if err != nil || len(bounds) == 0 {
		return []cut{one}, err
	}
	cuts := make([]cut, 0, len(bounds)+1)
	for i := 0; i <= len(bounds); i++ {
		c := one
		c.keys, c.keyNulls = true, i == 0
		if i > 0 {
			c.low = &bounds[i-1]
		}
		if i < len(bounds) {
			c.high = &bounds[i]
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

// cutsByValue reports whether the statistics of a type are in the order of the operators that the condition
// finds. Those of an extension's type (citext) are not: its own operators are outside the search path.
func cutsByValue(t waybill.Type) bool {
	switch t.Kind {
	case waybill.KindInt, waybill.KindDate, waybill.KindTimestamp, waybill.KindInstant, waybill.KindUUID, waybill.KindDecimal:
		return true
	case waybill.KindText:
		native := stripModifier(t.Native)
		return native == "text" || native == "character varying"
	}
	return false
}

// keyBounds returns at most n-1 distinct ascending values.
func (w *view) keyBounds(ctx context.Context, v *waybill.TableVersion, table waybill.TableName, column waybill.Column, n int) ([]string, error) {
	rows, err := w.readers.query(ctx, `SELECT u.bound FROM pg_stats s
		  CROSS JOIN LATERAL unnest(s.histogram_bounds::text::text[]) WITH ORDINALITY u(bound, place)
		WHERE s.schemaname = $1 AND s.tablename = $2 AND s.attname = $3 AND NOT s.inherited ORDER BY u.place`,
		table.Schema, table.Name, column.Name)
	if err != nil {
		return nil, classify("plan slices of", v.Table, err)
	}
	if len(rows) < 3 {
		if column.Type.Kind == waybill.KindInt {
			return w.evenBounds(ctx, v, table, column, n)
		}
		return nil, nil
	}
	inner := rows[1 : len(rows)-1]
	var bounds []string
	for i := 1; i < n; i++ {
		bound := string(inner[(len(inner)-1)*i/n][0])
		if len(bounds) == 0 || bounds[len(bounds)-1] != bound {
			bounds = append(bounds, bound)
		}
	}
	return bounds, nil
}

func (w *view) evenBounds(ctx context.Context, v *waybill.TableVersion, table waybill.TableName, column waybill.Column, n int) ([]string, error) {
	name := quoteName(column.Name)
	rows, err := w.readers.query(ctx, "SELECT min("+name+"), max("+name+") FROM ONLY "+quoteTable(table))
	if err != nil {
		return nil, classify("plan slices of", v.Table, err)
	}
	if rows[0][0] == nil {
		return nil, nil
	}
	low, okLow := parseInt(string(rows[0][0]))
	high, okHigh := parseInt(string(rows[0][1]))
	// The width of the whole range of 64 bits fits an unsigned number only.
	step := (uint64(high) - uint64(low)) / uint64(n)
	if !okLow || !okHigh || step == 0 {
		return nil, nil
	}
	bounds := make([]string, n-1)
	for i := range bounds {
		bounds[i] = strconv.FormatInt(int64(uint64(low)+step*uint64(i+1)), 10)
	}
	return bounds, nil
}
