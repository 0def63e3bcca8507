package memory

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/waybill-data/waybill"
)

// Tx is one transaction of a person or program that writes to a store. A store has one at a time: Begin
// waits for the one before. Rows given to it belong to the store.
type Tx struct {
	store   *Store
	tables  map[waybill.TableName]*table // nil: dropped
	changes []waybill.Change
	ended   atomic.Bool
}

// Begin opens a transaction.
func (s *Store) Begin() *Tx {
	s.writer.Lock()
	return &Tx{store: s, tables: map[waybill.TableName]*table{}}
}

// Write runs one transaction and returns its position; it is rolled back when do returns an error.
func (s *Store) Write(do func(*Tx) error) (waybill.Position, error) {
	tx := s.Begin()
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return "", err
	}
	return tx.Commit()
}

// Commit makes the transaction's changes visible and returns its position.
func (tx *Tx) Commit() (waybill.Position, error) { return tx.commit(nil) }

// commit checks the touched tables and swaps them in, together with what the given function records. The
// function may still refuse; it is called with the store locked.
func (tx *Tx) commit(record func() error) (waybill.Position, error) {
	defer tx.Rollback()
	for _, t := range tx.tables {
		if t == nil {
			continue
		}
		if err := t.check(); err != nil {
			return "", err
		}
	}
	s := tx.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if tx.ended.Load() {
		return "", waybill.Errorf(waybill.Passing, "commit", "the transaction was rolled back")
	}
	if record != nil {
		if err := record(); err != nil {
			return "", err
		}
	}
	for name, t := range tx.tables {
		if t == nil {
			delete(s.tables, name)
		} else {
			s.tables[name] = t
		}
	}
	if len(tx.changes) > 0 {
		s.history = append(s.history, commit{changes: tx.changes, at: time.Now()})
		s.wake()
	}
	return s.position(len(s.history)), nil
}

// Rollback ends the transaction without a trace. After Commit it does nothing.
func (tx *Tx) Rollback() {
	if tx.ended.CompareAndSwap(false, true) {
		tx.store.writer.Unlock()
	}
}

// table returns the transaction's own copy of a table.
func (tx *Tx) table(name waybill.TableName) (*table, error) {
	t, touched := tx.tables[name]
	if !touched {
		tx.store.mu.Lock()
		t = tx.store.tables[name]
		tx.store.mu.Unlock()
		if t != nil {
			t = t.clone()
			tx.tables[name] = t
		}
	}
	if t == nil {
		return nil, &waybill.Error{Op: "write", Table: name, Fault: waybill.Drift, Err: fmt.Errorf("there is no such table")}
	}
	return t, nil
}

// Version returns the structure of a table as the transaction sees it.
func (tx *Tx) Version(name waybill.TableName) (*waybill.TableVersion, error) {
	t, err := tx.table(name)
	if err != nil {
		return nil, err
	}
	return t.version, nil
}

// Create makes a table. An empty ID gets one of the store's own.
func (tx *Tx) Create(v *waybill.TableVersion) error {
	if _, err := tx.table(v.Table); err == nil {
		return &waybill.Error{Op: "create table", Table: v.Table, Fault: waybill.Drift, Err: fmt.Errorf("it exists")}
	}
	made := *v
	if made.ID == "" {
		tx.store.mu.Lock()
		made.ID = tx.store.newID()
		tx.store.mu.Unlock()
	}
	made.Dialect = Kind
	tx.tables[made.Table] = newTable(&made)
	tx.reshape(&waybill.Shape{After: &made, Statement: "create " + made.Table.String()})
	return nil
}

// Drop removes a table.
func (tx *Tx) Drop(name waybill.TableName) error {
	t, err := tx.table(name)
	if err != nil {
		return err
	}
	tx.tables[name] = nil
	tx.reshape(&waybill.Shape{Before: t.version, Statement: "drop " + name.String()})
	return nil
}

// Alter changes a table's structure. With fill, which makes a row of the new structure out of a row that has
// it but for new values, the rows get values that no reader of the history can know: the shape asks for a
// reload.
func (tx *Tx) Alter(name waybill.TableName, after *waybill.TableVersion, fill func(waybill.Row) waybill.Row) error {
	t, err := tx.table(name)
	if err != nil {
		return err
	}
	made := *after
	made.ID, made.Dialect = t.version.ID, Kind
	if other, err := tx.table(made.Table); err == nil && made.Table != name {
		return &waybill.Error{Op: "rename table to", Table: other.version.Table, Fault: waybill.Drift, Err: fmt.Errorf("it exists")}
	}
	n, err := t.reshaped(&made)
	if err != nil {
		return err
	}
	shape := &waybill.Shape{Before: t.version, After: &made, Statement: "alter " + name.String()}
	if fill != nil {
		filled := newTable(&made)
		for _, at := range slices.Sorted(maps.Keys(n.rows)) {
			filled.insert(fill(slices.Clone(n.rows[at])))
		}
		n, shape.Reload, shape.Reason = filled, true, "rows were filled"
	}
	tx.tables[name] = nil
	tx.tables[made.Table] = n
	tx.reshape(shape)
	return nil
}

func (tx *Tx) reshape(s *waybill.Shape) {
	v := s.Before
	if v == nil {
		v = s.After
	}
	tx.changes = append(tx.changes, waybill.Change{Op: waybill.Reshape, Version: v, Shape: s})
}

// Insert adds a row.
func (tx *Tx) Insert(name waybill.TableName, row waybill.Row) error {
	t, err := tx.table(name)
	if err != nil {
		return err
	}
	if len(row) != len(t.version.Columns) {
		return fmt.Errorf("insert into %s: %d values for %d columns", name, len(row), len(t.version.Columns))
	}
	t.insert(row)
	tx.changes = append(tx.changes, waybill.Change{Op: waybill.Insert, Version: t.version, After: row})
	return nil
}

// Update changes the row that has the key of old, or is old in a keyless table, to row. Values of row that
// are Absent stay as they are and travel as Absent.
func (tx *Tx) Update(name waybill.TableName, old, row waybill.Row) error {
	t, err := tx.table(name)
	if err != nil {
		return err
	}
	at, err := t.find(old)
	if err != nil {
		return &waybill.Error{Op: "update", Table: name, Fault: waybill.Drift, Err: err}
	}
	was := t.rows[at]
	now := t.update(at, row)
	change := waybill.Change{Op: waybill.Update, Version: t.version, After: row}
	switch {
	case len(t.version.Key) == 0:
		change.Before = was
	case t.key(was) != t.key(now):
		change.Before = t.keyOnly(was)
	}
	tx.changes = append(tx.changes, change)
	return nil
}

// Delete removes the row that has the key of old, or is old in a keyless table.
func (tx *Tx) Delete(name waybill.TableName, old waybill.Row) error {
	t, err := tx.table(name)
	if err != nil {
		return err
	}
	at, err := t.find(old)
	if err != nil {
		return &waybill.Error{Op: "delete", Table: name, Fault: waybill.Drift, Err: err}
	}
	was := t.rows[at]
	t.remove(at)
	tx.changes = append(tx.changes, waybill.Change{Op: waybill.Delete, Version: t.version, Before: t.keyOnly(was)})
	return nil
}

// keyOnly returns a row with everything but the key Absent; of a keyless table the whole row.
func (t *table) keyOnly(row waybill.Row) waybill.Row {
	old := make(waybill.Row, len(row))
	for _, c := range t.version.OrderColumns() {
		old[c] = row[c]
	}
	return old
}

// Truncate empties tables in one statement.
func (tx *Tx) Truncate(names ...waybill.TableName) error {
	tx.store.mu.Lock()
	tx.store.cuts++
	cut := &waybill.Cut{Group: tx.store.cuts}
	tx.store.mu.Unlock()
	for _, name := range names {
		t, err := tx.table(name)
		if err != nil {
			return err
		}
		t.truncate()
		tx.changes = append(tx.changes, waybill.Change{Op: waybill.Truncate, Version: t.version, Cut: cut})
	}
	return nil
}

// Rows returns the rows of a table as the transaction sees them, in the order of CompareKeys.
func (tx *Tx) Rows(name waybill.TableName) ([]waybill.Row, error) {
	t, err := tx.table(name)
	if err != nil {
		return nil, err
	}
	return t.sorted(), nil
}

// Tables lists the tables as the transaction sees them.
func (tx *Tx) Tables() []waybill.TableName {
	tx.store.mu.Lock()
	all := maps.Clone(tx.store.tables)
	tx.store.mu.Unlock()
	for name, t := range tx.tables {
		if all[name] = t; t == nil {
			delete(all, name)
		}
	}
	return sortedNames(all)
}
