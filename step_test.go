package waybill

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func column(id int, name, native string) Column {
	return Column{ID: id, Name: name, Type: Type{Kind: KindText, Native: native}}
}

func TestSteps(t *testing.T) {
	name := TableName{"public", "t"}
	before := &TableVersion{Table: name, Columns: []Column{column(1, "a", "text"), column(2, "b", "text"), column(3, "c", "text")}, Key: []int{0}}
	swapped := &TableVersion{Table: name, Columns: []Column{column(1, "a", "text"), column(2, "c", "text"), column(3, "b", "text")}, Key: []int{0}}
	readded := &TableVersion{Table: name, Columns: []Column{column(1, "a", "text"), column(3, "c", "text"), column(4, "b", "text")}, Key: []int{0}}
	changed := &TableVersion{Table: TableName{"sales", "t"}, Columns: []Column{column(1, "a", "varchar(9)"), column(2, "b", "text"), column(3, "c", "text")}, Key: []int{0, 1}, Comment: "hi"}
	changed.Columns[1].NotNull = true
	changed.Columns[2].Default = "'x'"
	for _, c := range []struct {
		name  string
		shape Shape
		want  []Step
	}{
		{"create", Shape{After: before}, []Step{{Kind: CreateTable, Name: "public.t", Column: -1}}},
		{"drop", Shape{Before: before}, []Step{{Kind: DropTable, Name: "public.t", Column: -1}}},
		{"same", Shape{Before: before, After: before}, nil},
		{"swap of names", Shape{Before: before, After: swapped}, []Step{
			{Kind: RenameColumn, Name: "b", Column: 1, Old: "b", New: "c"}, {Kind: RenameColumn, Name: "c", Column: 2, Old: "c", New: "b"}}},
		{"drop and add again", Shape{Before: before, After: readded}, []Step{
			{Kind: DropColumn, Name: "b", Column: 1, Old: "text"}, {Kind: AddColumn, Name: "b", Column: 2, New: "text"}}},
		{"many", Shape{Before: before, After: changed, Reload: true, Reason: "rewritten"}, []Step{
			{Kind: RenameTable, Name: "public.t", Column: -1, Old: "public.t", New: "sales.t"},
			{Kind: ChangeType, Name: "a", Column: 0, Old: "text", New: "varchar(9)"},
			{Kind: ChangeNull, Name: "b", Column: 1, Old: "null", New: "not null"},
			{Kind: ChangeDefault, Name: "c", Column: 2, New: "'x'"},
			{Kind: ChangeKey, Name: "sales.t", Column: -1, Old: " (a)", New: " (a, b)"},
			{Kind: ChangeComment, Name: "sales.t", Column: -1, New: "hi"},
			{Kind: ReloadTable, Name: "sales.t", Column: -1, New: "rewritten"}}},
	} {
		if diff := cmp.Diff(c.want, c.shape.Steps()); diff != "" {
			t.Errorf("%s: steps (-want +got):\n%s", c.name, diff)
		}
	}
}
