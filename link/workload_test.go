package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
)

// workload makes random transactions on whatever tables the source has.
type workload struct {
	rig    *rig
	random *rand.Rand
	serial int
}

func (w *workload) number(below int) int { return w.random.IntN(below) }

func (w *workload) fresh(prefix string) string {
	w.serial++
	return fmt.Sprint(prefix, w.serial)
}

// transaction runs one transaction of a few statements; some are rolled back.
func (w *workload) transaction() {
	tx := w.rig.src.Begin()
	defer tx.Rollback()
	for range 1 + w.number(5) {
		if err := w.statement(tx); err != nil {
			if waybill.FaultOf(err) == waybill.Data {
				return
			}
			w.rig.t.Fatal(err)
		}
	}
	if w.number(10) == 0 {
		return
	}
	if _, err := tx.Commit(); err != nil && waybill.FaultOf(err) != waybill.Data {
		w.rig.t.Fatal(err)
	}
}

func (w *workload) statement(tx *memory.Tx) error {
	names := tx.Tables()
	if len(names) == 0 {
		return w.create(tx)
	}
	name := names[w.number(len(names))]
	switch kind := w.number(24); {
	case kind < 8:
		return w.insert(tx, name, 1+w.number(4))
	case kind < 14:
		return w.update(tx, name)
	case kind < 17:
		return w.remove(tx, name)
	case kind == 17:
		return tx.Truncate(name)
	case kind == 18:
		return w.insert(tx, name, 1500)
	default:
		return w.reshape(tx, name, kind-19)
	}
}

func (w *workload) create(tx *memory.Tx) error {
	name := w.fresh("t")
	if w.number(4) == 0 {
		return tx.Create(keyless(name, "a", "b"))
	}
	return tx.Create(keyed(name, "a"))
}

func (w *workload) value(c waybill.Column) waybill.Value {
	switch {
	case c.Type.Kind == waybill.KindInt:
		return waybill.IntValue(int64(w.number(40)))
	case !c.NotNull && w.number(5) == 0:
		return waybill.Null
	}
	return waybill.TextValue(fmt.Sprint("v", w.number(6)))
}

func (w *workload) insert(tx *memory.Tx, name waybill.TableName, rows int) error {
	v, err := tx.Version(name)
	if err != nil {
		return err
	}
	for i := range rows {
		r := make(waybill.Row, len(v.Columns))
		for j, c := range v.Columns {
			r[j] = w.value(c)
		}
		if len(v.Key) > 0 {
			w.serial++
			r[v.Key[0]] = waybill.IntValue(int64(1000 + w.serial))
			if i == 0 {
				r[v.Key[0]] = waybill.IntValue(int64(w.number(40)))
			}
		}
		if err := tx.Insert(name, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *workload) pick(tx *memory.Tx, name waybill.TableName) (waybill.Row, error) {
	rows, err := tx.Rows(name)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[w.number(len(rows))], nil
}

func (w *workload) update(tx *memory.Tx, name waybill.TableName) error {
	old, err := w.pick(tx, name)
	if err != nil || old == nil {
		return err
	}
	v, err := tx.Version(name)
	if err != nil {
		return err
	}
	now := slices.Clone(old)
	for i, c := range v.Columns {
		key := slices.Contains(v.Key, i)
		switch w.number(4) {
		case 0:
			now[i] = w.value(c)
		case 1:
			if !key && len(v.Key) > 0 {
				now[i] = waybill.Value{} // an unchanged large value does not travel
			}
		}
	}
	return tx.Update(name, old, now)
}

func (w *workload) remove(tx *memory.Tx, name waybill.TableName) error {
	old, err := w.pick(tx, name)
	if err != nil || old == nil {
		return err
	}
	return tx.Delete(name, old)
}

// reshape changes a structure.
func (w *workload) reshape(tx *memory.Tx, name waybill.TableName, kind int) error {
	v, err := tx.Version(name)
	if err != nil {
		return err
	}
	after := *v
	after.Columns = slices.Clone(v.Columns)
	last := len(after.Columns) - 1
	switch kind {
	case 0:
		return w.create(tx)
	case 1:
		if w.number(2) == 0 {
			return tx.Drop(name)
		}
		after.Table = named(w.fresh("r"))
	case 2:
		return w.addColumn(tx, &after)
	case 3:
		if last < 2 {
			return nil
		}
		after.Columns = after.Columns[:last]
	case 4:
		return w.rename(tx, &after)
	}
	return tx.Alter(name, &after, nil)
}

func (w *workload) addColumn(tx *memory.Tx, after *waybill.TableVersion) error {
	w.serial++
	c := textColumn(100+w.serial, fmt.Sprint("c", w.serial))
	if w.number(2) == 0 {
		text := "missing"
		c.Missing = &text
	}
	after.Columns = append(after.Columns, c)
	var fill func(waybill.Row) waybill.Row
	if w.number(3) == 0 {
		fill = func(r waybill.Row) waybill.Row {
			w.serial++
			r[len(r)-1] = waybill.TextValue(fmt.Sprint("filled ", w.serial))
			return r
		}
	}
	return tx.Alter(after.Table, after, fill)
}

// rename renames a column, swaps two columns' names or two tables' names.
func (w *workload) rename(tx *memory.Tx, after *waybill.TableVersion) error {
	last := len(after.Columns) - 1
	names := tx.Tables()
	switch w.number(3) {
	case 0:
		after.Columns[last].Name = w.fresh("n")
	case 1:
		if last >= 2 {
			after.Columns[last].Name, after.Columns[last-1].Name = after.Columns[last-1].Name, after.Columns[last].Name
		}
	case 2:
		return w.swap(tx, after.Table, names[w.number(len(names))])
	}
	return tx.Alter(after.Table, after, nil)
}

func (w *workload) swap(tx *memory.Tx, a, b waybill.TableName) error {
	if a == b {
		return nil
	}
	between := named(w.fresh("swap"))
	return errors.Join(renameTable(tx, a, between), renameTable(tx, b, a), renameTable(tx, between, b))
}

func renameTable(tx *memory.Tx, from, to waybill.TableName) error {
	v, err := tx.Version(from)
	if err != nil {
		return err
	}
	after := *v
	after.Table = to
	return tx.Alter(from, &after, nil)
}
