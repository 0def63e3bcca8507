package link

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/waybill-data/waybill"
)

// sameLayout reports whether rows of one structure are rows of the other.
func sameLayout(a, b *waybill.TableVersion) bool {
	if a == b {
		return true
	}
	if a.Table != b.Table || len(a.Columns) != len(b.Columns) || !slices.Equal(a.Key, b.Key) {
		return false
	}
	for i := range a.Columns {
		if a.Columns[i].ID != b.Columns[i].ID || a.Columns[i].Name != b.Columns[i].Name {
			return false
		}
	}
	return true
}

// fitting makes rows of one structure fit another one, by the identities of the columns.
type fitting struct {
	to   *waybill.TableVersion
	from []int // per column of to: where it is in the row, or -1
}

func newFitting(v, to *waybill.TableVersion) (*fitting, error) {
	f := &fitting{to: to, from: make([]int, len(to.Columns))}
	for i, c := range to.Columns {
		f.from[i] = columnByID(v, c.ID)
		if f.from[i] >= 0 {
			continue
		}
		switch {
		case c.NotNull && c.Writable():
			return nil, cannotIgnore(to.Table, "column %s, which the source does not have any more, may not be NULL at the target", c.Name)
		case len(to.Key) == 0 || slices.Contains(to.Key, i):
			return nil, cannotIgnore(to.Table, "rows could no longer be found without column %s", c.Name)
		}
	}
	return f, nil
}

func cannotIgnore(table waybill.TableName, format string, args ...any) error {
	return &waybill.Error{Op: "ignore a structure change of", Table: table, Fault: waybill.Drift,
		Hint: "follow the change instead: set its policy to follow and start the link again", Err: fmt.Errorf(format, args...)}
}

func columnByID(v *waybill.TableVersion, id int) int {
	return slices.IndexFunc(v.Columns, func(c waybill.Column) bool { return c.ID == id })
}

func (f *fitting) change(c waybill.Change) (*waybill.Change, error) {
	fitted := c
	fitted.Version = f.to
	fitted.Before = f.row(c.Before, waybill.Value{})
	missing := waybill.Value{}
	if c.Op == waybill.Insert {
		missing = waybill.Null
	}
	fitted.After = f.row(c.After, missing)
	return &fitted, nil
}

func (f *fitting) row(row waybill.Row, missing waybill.Value) waybill.Row {
	if row == nil {
		return nil
	}
	fitted := make(waybill.Row, len(f.from))
	for i, at := range f.from {
		if at < 0 {
			fitted[i] = missing
		} else {
			fitted[i] = row[at]
		}
	}
	return fitted
}

// targetAfter returns the structure that the target gets by a change of which some kinds of steps are
// ignored. What was ignored earlier, the differences of target and shape.Before, stays as it is.
func targetAfter(shape *waybill.Shape, target *waybill.TableVersion, ignore func(waybill.StepKind) bool) (*waybill.TableVersion, error) {
	before, after := shape.Before, shape.After
	ignores := slices.ContainsFunc(shape.Steps(), func(s waybill.Step) bool { return ignore(s.Kind) })
	if !ignores && reflect.DeepEqual(before, target) {
		return after, nil
	}
	merged := *after
	keep(&merged.Table, before.Table, after.Table, target.Table, ignore(waybill.RenameTable))
	keep(&merged.Types, before.Types, after.Types, target.Types, ignore(waybill.ChangeUserType))
	keep(&merged.Constraints, before.Constraints, after.Constraints, target.Constraints, ignore(waybill.ChangeConstraint))
	keep(&merged.Indexes, before.Indexes, after.Indexes, target.Indexes, ignore(waybill.ChangeIndex))
	keep(&merged.Partitions, before.Partitions, after.Partitions, target.Partitions, ignore(waybill.ChangePartition))
	keep(&merged.Comment, before.Comment, after.Comment, target.Comment, ignore(waybill.ChangeComment))
	merged.Columns = nil
	for _, c := range target.Columns {
		if kept, ok := keptColumn(c, before, after, ignore); ok {
			merged.Columns = append(merged.Columns, kept)
		}
	}
	for _, c := range after.Columns {
		if columnByID(target, c.ID) < 0 && columnByID(before, c.ID) < 0 && !ignore(waybill.AddColumn) {
			merged.Columns = append(merged.Columns, c)
		}
	}
	for i, c := range merged.Columns {
		if merged.Column(c.Name) != i {
			return nil, cannotIgnore(target.Table, "the target would have two columns %s", c.Name)
		}
	}
	if err := mergeKey(&merged, after, ignore); err != nil {
		return nil, err
	}
	if _, err := newFitting(after, &merged); err != nil {
		return nil, err
	}
	return &merged, nil
}

// keep chooses between the source's new and the target's old: the target's where the source did not change it
// now, or where the change is ignored.
func keep[T any](merged *T, before, after, target T, ignored bool) {
	if ignored || reflect.DeepEqual(before, after) {
		*merged = target
	}
}

// keptColumn returns a column of the target as it is after the change; false: it is dropped.
func keptColumn(c waybill.Column, before, after *waybill.TableVersion, ignore func(waybill.StepKind) bool) (waybill.Column, bool) {
	was, is := columnByID(before, c.ID), columnByID(after, c.ID)
	switch {
	case was < 0:
		return c, true // dropped at the source earlier, which was ignored
	case is < 0:
		return c, ignore(waybill.DropColumn)
	}
	old, now := before.Columns[was], after.Columns[is]
	merged := now
	keep(&merged.Name, old.Name, now.Name, c.Name, ignore(waybill.RenameColumn))
	keep(&merged.Type, old.Type, now.Type, c.Type, ignore(waybill.ChangeType))
	keep(&merged.Collation, old.Collation, now.Collation, c.Collation, ignore(waybill.ChangeType))
	keep(&merged.NotNull, old.NotNull, now.NotNull, c.NotNull, ignore(waybill.ChangeNull))
	keep(&merged.Default, old.Default, now.Default, c.Default, ignore(waybill.ChangeDefault))
	keep(&merged.Generated, old.Generated, now.Generated, c.Generated, ignore(waybill.ChangeDefault))
	keep(&merged.Comment, old.Comment, now.Comment, c.Comment, ignore(waybill.ChangeComment))
	return merged, true
}

// mergeKey finds the columns of the source's key in the merged structure.
func mergeKey(merged, after *waybill.TableVersion, ignore func(waybill.StepKind) bool) error {
	merged.Key = nil
	for _, k := range after.Key {
		at := columnByID(merged, after.Columns[k].ID)
		if at < 0 {
			return cannotIgnore(after.Table, "column %s of the key would be missing at the target", after.Columns[k].Name)
		}
		merged.Key = append(merged.Key, at)
	}
	if ignore(waybill.ChangeKey) {
		return cannotIgnore(after.Table, "rows are found by the source's key")
	}
	return nil
}
