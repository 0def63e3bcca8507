package memory

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/waybill-data/waybill"
)

// table is one table. It is immutable once committed: a transaction changes a clone.
type table struct {
	version *waybill.TableVersion
	rows    map[int]waybill.Row
	index   map[string][]int // key, or the whole row of a keyless table, to rows, oldest first
	next    int
}

func newTable(v *waybill.TableVersion) *table {
	return &table{version: v, rows: map[int]waybill.Row{}, index: map[string][]int{}}
}

func (t *table) clone() *table {
	c := &table{version: t.version, rows: maps.Clone(t.rows), index: make(map[string][]int, len(t.index)), next: t.next}
	for key, rows := range t.index {
		c.index[key] = slices.Clone(rows)
	}
	return c
}

// key returns what a row is found by.
func (t *table) key(row waybill.Row) string {
	var key []byte
	for _, c := range t.version.OrderColumns() {
		key = appendValue(key, row[c])
	}
	return string(key)
}

func (t *table) insert(row waybill.Row) {
	t.rows[t.next] = row
	key := t.key(row)
	t.index[key] = append(t.index[key], t.next)
	t.next++
}

// find returns the oldest row with the key of the given row, so that a swap of keys finds the right one.
func (t *table) find(row waybill.Row) (int, error) {
	if len(row) != len(t.version.Columns) {
		return 0, fmt.Errorf("a row has %d values, the table %d columns", len(row), len(t.version.Columns))
	}
	found := t.index[t.key(row)]
	if len(found) == 0 {
		return 0, fmt.Errorf("no row has the key of %v", []waybill.Value(row))
	}
	return found[0], nil
}

func (t *table) remove(at int) {
	key := t.key(t.rows[at])
	kept := slices.DeleteFunc(t.index[key], func(n int) bool { return n == at })
	if len(kept) == 0 {
		delete(t.index, key)
	} else {
		t.index[key] = kept
	}
	delete(t.rows, at)
}

// update replaces the row at a place. Values that are Absent keep what is there.
func (t *table) update(at int, row waybill.Row) waybill.Row {
	merged := slices.Clone(row)
	for i, v := range merged {
		if v.IsAbsent() {
			merged[i] = t.rows[at][i]
		}
	}
	t.remove(at)
	t.rows[at] = merged
	key := t.key(merged)
	t.index[key] = append(t.index[key], at)
	return merged
}

func (t *table) truncate() {
	clear(t.rows)
	clear(t.index)
}

// check refuses what a database would refuse at commit: two rows of one key, NULL where there must be none.
func (t *table) check() error {
	for i, c := range t.version.Columns {
		if !c.NotNull {
			continue
		}
		for _, row := range t.rows {
			if row[i].IsNull() {
				return &waybill.Error{Op: "commit", Table: t.version.Table, Fault: waybill.Data,
					Err: fmt.Errorf("column %s may not be NULL", c.Name)}
			}
		}
	}
	if len(t.version.Key) == 0 {
		return nil
	}
	for _, rows := range t.index {
		if len(rows) > 1 {
			return &waybill.Error{Op: "commit", Table: t.version.Table, Fault: waybill.Data,
				Err: fmt.Errorf("%d rows have the key of %v", len(rows), []waybill.Value(t.rows[rows[0]]))}
		}
	}
	return nil
}

// sorted returns the rows in the order of CompareKeys.
func (t *table) sorted() []waybill.Row {
	rows := make([]waybill.Row, 0, len(t.rows))
	for _, at := range slices.Sorted(maps.Keys(t.rows)) {
		rows = append(rows, t.rows[at])
	}
	columns := t.version.OrderColumns()
	slices.SortStableFunc(rows, func(a, b waybill.Row) int { return waybill.CompareKeys(a, b, columns) })
	return rows
}

// reshaped returns the table under another structure. Columns are told apart by ID.
func (t *table) reshaped(after *waybill.TableVersion) (*table, error) {
	n := newTable(after)
	for _, at := range slices.Sorted(maps.Keys(t.rows)) {
		row := make(waybill.Row, len(after.Columns))
		for i, c := range after.Columns {
			j := slices.IndexFunc(t.version.Columns, func(o waybill.Column) bool { return o.ID == c.ID })
			var err error
			switch {
			case j >= 0:
				row[i], err = convert(t.rows[at][j], c.Type.Kind)
			case c.Missing != nil:
				row[i], err = parseLiteral(*c.Missing, c.Type.Kind)
			default:
				row[i] = waybill.Null
			}
			if err != nil {
				return nil, &waybill.Error{Op: "reshape", Table: after.Table, Fault: waybill.Data, Err: fmt.Errorf("column %s: %w", c.Name, err)}
			}
		}
		n.insert(row)
	}
	return n, nil
}

func convert(v waybill.Value, kind waybill.Kind) (waybill.Value, error) {
	if v.Kind() == kind || v.IsNull() {
		return v, nil
	}
	return parseLiteral(v.String(), kind)
}

// parseLiteral reads the literals that the store knows: numbers, booleans and what is held as text.
func parseLiteral(s string, kind waybill.Kind) (waybill.Value, error) {
	switch kind {
	case waybill.KindBool:
		b, err := strconv.ParseBool(s)
		return waybill.BoolValue(b), err
	case waybill.KindInt:
		n, err := strconv.ParseInt(s, 10, 64)
		return waybill.IntValue(n), err
	case waybill.KindFloat64:
		f, err := strconv.ParseFloat(s, 64)
		return waybill.Float64Value(f), err
	case waybill.KindDecimal:
		return waybill.DecimalValue(s), nil
	case waybill.KindText:
		return waybill.TextValue(s), nil
	}
	return waybill.Value{}, fmt.Errorf("no literal of kind %s", kind)
}

// appendValue appends a value so that equal bytes mean the same value.
func appendValue(dst []byte, v waybill.Value) []byte {
	dst = append(dst, byte(v.Kind()))
	dst = binary.AppendUvarint(dst, v.Uint())
	dst = binary.AppendUvarint(dst, uint64(len(v.Text())))
	return append(dst, v.Text()...)
}
