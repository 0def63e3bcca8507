package waybill

import (
	"reflect"
	"slices"
)

// StepKind is a kind of structure change. Policies are declared per kind.
type StepKind string

// The kinds of structure changes.
const (
	CreateTable      StepKind = "create table"
	DropTable        StepKind = "drop table"
	RenameTable      StepKind = "rename table" // also to another schema
	AddColumn        StepKind = "add column"
	DropColumn       StepKind = "drop column"
	RenameColumn     StepKind = "rename column"
	ChangeType       StepKind = "change type"
	ChangeNull       StepKind = "change null"    // NOT NULL set or dropped
	ChangeDefault    StepKind = "change default" // default, identity or generation
	ChangeKey        StepKind = "change key"     // primary key or the identity of rows
	ChangeConstraint StepKind = "change constraint"
	ChangeIndex      StepKind = "change index"
	ChangePartition  StepKind = "change partition" // created, attached, detached, dropped
	ChangeUserType   StepKind = "change user type" // enum labels, domains
	ChangeComment    StepKind = "change comment"
	ReloadTable      StepKind = "reload table" // rows must be copied again
)

// StepKinds lists all kinds, in the order of the constants.
var StepKinds = []StepKind{CreateTable, DropTable, RenameTable, AddColumn, DropColumn, RenameColumn, ChangeType, ChangeNull,
	ChangeDefault, ChangeKey, ChangeConstraint, ChangeIndex, ChangePartition, ChangeUserType, ChangeComment, ReloadTable}

// Step is one elementary structure change. Column is an index into the version that has the column: After
// for an added one, Before otherwise; -1 where the step is not about one column. Name is the thing changed.
type Step struct {
	Kind   StepKind `json:"kind"`
	Name   string   `json:"name"`
	Column int      `json:"-"`
	Old    string   `json:"old,omitzero"`
	New    string   `json:"new,omitzero"`
}

// Steps returns what turns Before into After. Columns are told apart by ID, so a rename is never taken for a
// drop and an add. Steps are ordered so that they can be carried out one after the other.
func (s *Shape) Steps() []Step {
	var steps []Step
	switch {
	case s.Before == nil:
		steps = []Step{{Kind: CreateTable, Name: s.After.Table.String(), Column: -1}}
	case s.After == nil:
		return []Step{{Kind: DropTable, Name: s.Before.Table.String(), Column: -1}}
	default:
		steps = versionSteps(s.Before, s.After)
	}
	if s.Reload {
		steps = append(steps, Step{Kind: ReloadTable, Name: s.After.Table.String(), Column: -1, New: s.Reason})
	}
	return steps
}

func versionSteps(a, b *TableVersion) []Step {
	var steps []Step
	add := func(kind StepKind, name string, column int, old, new string) {
		steps = append(steps, Step{kind, name, column, old, new})
	}
	if a.Table != b.Table {
		add(RenameTable, a.Table.String(), -1, a.Table.String(), b.Table.String())
	}
	if !reflect.DeepEqual(a.Types, b.Types) {
		add(ChangeUserType, typeNames(a.Types, b.Types), -1, "", "")
	}
	steps = append(steps, columnSteps(a, b)...)
	if keyNames(a) != keyNames(b) || a.Identity != b.Identity {
		add(ChangeKey, b.Table.String(), -1, string(a.Identity)+" "+keyNames(a), string(b.Identity)+" "+keyNames(b))
	}
	if !reflect.DeepEqual(a.Constraints, b.Constraints) {
		add(ChangeConstraint, b.Table.String(), -1, "", "")
	}
	if !reflect.DeepEqual(a.Indexes, b.Indexes) {
		add(ChangeIndex, b.Table.String(), -1, "", "")
	}
	if !reflect.DeepEqual(a.Partitions, b.Partitions) {
		add(ChangePartition, b.Table.String(), -1, "", "")
	}
	if a.Comment != b.Comment {
		add(ChangeComment, b.Table.String(), -1, a.Comment, b.Comment)
	}
	return steps
}

// columnSteps orders drops before renames before adds, so that names freed are free when they are taken.
func columnSteps(a, b *TableVersion) []Step {
	var drops, renames, changes, adds []Step
	for i, old := range a.Columns {
		j := slices.IndexFunc(b.Columns, func(c Column) bool { return c.ID == old.ID })
		if j < 0 {
			drops = append(drops, Step{DropColumn, old.Name, i, old.Type.Native, ""})
			continue
		}
		now := b.Columns[j]
		step := func(kind StepKind, old, new string) { changes = append(changes, Step{kind, now.Name, i, old, new}) }
		if old.Name != now.Name {
			renames = append(renames, Step{RenameColumn, old.Name, i, old.Name, now.Name})
		}
		if old.Type.Native != now.Type.Native || old.Collation != now.Collation {
			step(ChangeType, old.Type.Native, now.Type.Native)
		}
		if old.NotNull != now.NotNull {
			step(ChangeNull, nullWord(old), nullWord(now))
		}
		if old.Default != now.Default || old.Generated != now.Generated {
			step(ChangeDefault, old.Default, now.Default)
		}
		if old.Comment != now.Comment {
			step(ChangeComment, old.Comment, now.Comment)
		}
	}
	for j, c := range b.Columns {
		if !slices.ContainsFunc(a.Columns, func(o Column) bool { return o.ID == c.ID }) {
			adds = append(adds, Step{AddColumn, c.Name, j, "", c.Type.Native})
		}
	}
	return slices.Concat(drops, renames, adds, changes)
}

func nullWord(c Column) string {
	if c.NotNull {
		return "not null"
	}
	return "null"
}

func keyNames(v *TableVersion) string {
	text := "("
	for i, k := range v.Key {
		if i > 0 {
			text += ", "
		}
		text += v.Columns[k].Name
	}
	return text + ")"
}

func typeNames(a, b []UserType) string {
	var text string
	for _, t := range b {
		if !slices.ContainsFunc(a, func(o UserType) bool { return reflect.DeepEqual(o, t) }) {
			if text != "" {
				text += ", "
			}
			text += t.Name.String()
		}
	}
	return text
}
