package postgres

import (
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/waybill-data/waybill"
)

// netRow is one row with everything that happened to it in a run of changes folded into one.
type netRow struct {
	origin waybill.Row // its key names the row that the target holds; nil: the target holds none
	now    waybill.Row // what the row becomes, columns that stay Absent; nil: nothing
	count  int         // in a bag: how many more (or, below zero, fewer) of the row there will be
}

// effect is the net effect of a run of changes on one table. Rows of a keyed table are followed by their
// current key: an update after an insert is an insert, a delete after an insert is nothing, a key change
// moves the row. Rows of a bag (a table without a usable key) are counted: equal rows are one with a count.
//
// Rows alias the batch they came in.
type effect struct {
	target *target
	rows   []netRow
	index  slots
}

func (e *effect) reset(t *target) {
	e.target = t
	e.rows = e.rows[:0]
	e.index.reset()
}

// add folds one insert, update or delete into the effect.
func (e *effect) add(c *waybill.Change) error {
	switch {
	case e.target.bag:
		return e.count(c)
	case c.Op == waybill.Insert:
		return e.insert(c.After)
	case c.Op == waybill.Update:
		return e.update(c.Before, c.After)
	}
	return e.remove(c.Before)
}

func (e *effect) insert(after waybill.Row) error {
	hash, err := e.hashKey(after)
	if err != nil {
		return err
	}
	if i := firstAbsent(after, e.target.columns); i >= 0 {
		return e.drift("insert without a value for column "+e.target.version.Columns[i].Name, after)
	}
	at := e.index.find(hash, func(i int32) bool { return e.holds(i, after) })
	if at < 0 {
		e.rows = append(e.rows, netRow{now: after})
		e.index.put(hash, int32(len(e.rows)-1))
		return nil
	}
	row := &e.rows[e.index.row(at)]
	if row.now != nil {
		return e.drift("insert of a row that is already there", after)
	}
	// The old row of this key was deleted: the new one takes its place as an update of every column, so that
	// rows which refer to it are left alone.
	row.now = after
	return nil
}

func (e *effect) update(before, after waybill.Row) error {
	after, err := e.fillKey(before, after)
	if err != nil {
		return err
	}
	old := after
	if before != nil {
		old = before
	}
	hash, err := e.hashKey(old)
	if err != nil {
		return err
	}
	at := e.index.find(hash, func(i int32) bool { return e.holds(i, old) })
	if at < 0 {
		e.rows = append(e.rows, netRow{origin: old, now: after})
		at = e.index.put(hash, int32(len(e.rows)-1))
	} else {
		row := &e.rows[e.index.row(at)]
		if row.now == nil {
			return e.drift("update of a row that was deleted before", old)
		}
		row.now = merge(row.now, after)
	}
	if sameKey(old, after, e.target.key) {
		return nil
	}
	return e.move(at, after)
}

// move gives the row in a slot the place of its new key.
func (e *effect) move(at int, after waybill.Row) error {
	i := e.index.row(at)
	e.index.remove(at)
	hash, err := e.hashKey(after)
	if err != nil {
		return err
	}
	place := e.index.find(hash, func(j int32) bool { return e.holds(j, after) })
	if place < 0 {
		e.index.put(hash, i)
		return nil
	}
	if e.rows[e.index.row(place)].now != nil {
		return e.drift("change of a key to that of another row", after)
	}
	e.index.set(place, i) // what was there is deleted, and stays so
	return nil
}

func (e *effect) remove(before waybill.Row) error {
	hash, err := e.hashKey(before)
	if err != nil {
		return err
	}
	at := e.index.find(hash, func(i int32) bool { return e.holds(i, before) })
	if at < 0 {
		e.rows = append(e.rows, netRow{origin: before})
		e.index.put(hash, int32(len(e.rows)-1))
		return nil
	}
	row := &e.rows[e.index.row(at)]
	if row.now == nil {
		return e.drift("delete of a row that was deleted before", before)
	}
	moved := row.origin != nil && !sameKey(row.origin, row.now, e.target.key)
	row.now = nil
	if row.origin == nil || moved {
		e.index.remove(at)
	}
	return nil
}

// count folds a change into a bag. An old row must be complete; a value missing in the new one is the old.
func (e *effect) count(c *waybill.Change) error {
	after := c.After
	if c.Op != waybill.Insert {
		if c.Before == nil || firstAbsent(c.Before, e.target.columns) >= 0 {
			return &waybill.Error{Op: c.Op.String() + " row of", Table: e.target.name, Fault: waybill.Setup,
				Err:  errOldRow,
				Hint: "give the table a primary key, or ALTER TABLE " + quoteTable(e.target.name) + " REPLICA IDENTITY FULL at the source"}
		}
		if err := e.countRow(c.Before, -1); err != nil {
			return err
		}
	}
	if c.Op == waybill.Delete {
		return nil
	}
	if c.Op == waybill.Update && firstAbsent(after, e.target.columns) >= 0 {
		after = merge(c.Before, after)
	}
	if i := firstAbsent(after, e.target.columns); i >= 0 {
		return e.drift("row without a value for column "+e.target.version.Columns[i].Name, nil)
	}
	return e.countRow(after, 1)
}

func (e *effect) countRow(row waybill.Row, by int) error {
	hash := hashRow(row, e.target.columns)
	at := e.index.find(hash, func(i int32) bool { return sameKey(e.rows[i].now, row, e.target.columns) })
	if at >= 0 {
		e.rows[e.index.row(at)].count += by
		return nil
	}
	e.rows = append(e.rows, netRow{now: row, count: by})
	e.index.put(hash, int32(len(e.rows)-1))
	return nil
}

// holds reports whether row i is, or was until its deletion, at the key of the given row.
func (e *effect) holds(i int32, row waybill.Row) bool {
	r := &e.rows[i]
	if r.now != nil {
		return sameKey(r.now, row, e.target.key)
	}
	return sameKey(r.origin, row, e.target.key)
}

func (e *effect) hashKey(row waybill.Row) (uint64, error) {
	if row == nil {
		return 0, e.drift("change without a key", nil)
	}
	for _, k := range e.target.key {
		if row[k].IsAbsent() {
			return 0, e.drift("change without a value for key column "+e.target.version.Columns[k].Name, row)
		}
	}
	return hashRow(row, e.target.key), nil
}

// fillKey returns after with the parts of its key that did not travel, because they are large and unchanged,
// taken from before.
func (e *effect) fillKey(before, after waybill.Row) (waybill.Row, error) {
	filled := false
	for _, k := range e.target.key {
		if !after[k].IsAbsent() {
			continue
		}
		if before == nil || before[k].IsAbsent() {
			return nil, e.drift("change without a value for key column "+e.target.version.Columns[k].Name, after)
		}
		if !filled {
			after, filled = slices.Clone(after), true
		}
		after[k] = before[k]
	}
	return after, nil
}

func (e *effect) drift(what string, row waybill.Row) error {
	return &waybill.Error{Op: "apply to", Table: e.target.name, Fault: waybill.Drift,
		Err:  &rowError{what: what, key: e.target.keyText(row)},
		Hint: "the stream contradicts itself: report it, and copy the table again (waybill link resync)"}
}

// merge returns the newer row with what did not travel taken from the older.
func merge(older, newer waybill.Row) waybill.Row {
	for i := range newer {
		if newer[i].IsAbsent() && !older[i].IsAbsent() {
			merged := slices.Clone(newer)
			for j := i; j < len(merged); j++ {
				if merged[j].IsAbsent() {
					merged[j] = older[j]
				}
			}
			return merged
		}
	}
	return newer
}

func firstAbsent(row waybill.Row, columns []int) int {
	for _, c := range columns {
		if row[c].IsAbsent() {
			return c
		}
	}
	return -1
}

func sameKey(a, b waybill.Row, key []int) bool {
	for _, k := range key {
		if a[k] != b[k] {
			return false
		}
	}
	return true
}

func hashRow(row waybill.Row, columns []int) uint64 {
	var h uint64
	for _, c := range columns {
		v := &row[c]
		h = mix(h ^ uint64(v.Int())*0x9e3779b97f4a7c15 ^ uint64(v.Kind()))
		if text := v.Text(); text != "" {
			h = mix(h ^ xxh3.HashString(text))
		}
	}
	return h
}

func mix(h uint64) uint64 {
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return h
}

// rowError is what is wrong with one row.
type rowError struct{ what, key string }

func (e *rowError) Error() string {
	if e.key == "" {
		return e.what
	}
	return e.what + ": " + e.key
}

// keyText prints the key of a row for messages: (id)=(5).
func (t *target) keyText(row waybill.Row) string {
	if row == nil {
		return ""
	}
	columns := t.key
	if t.bag || len(columns) == 0 {
		columns = t.columns
	}
	var names, values strings.Builder
	for i, c := range columns {
		if i > 0 {
			names.WriteString(", ")
			values.WriteString(", ")
		}
		names.WriteString(t.version.Columns[c].Name)
		text := row[c].String()
		if len(text) > 80 {
			text = strings.ToValidUTF8(text[:80], "") + "..."
		}
		values.WriteString(text)
	}
	return "(" + names.String() + ")=(" + values.String() + ")"
}
