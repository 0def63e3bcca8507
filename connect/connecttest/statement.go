package connecttest

import (
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// Verb is what a statement does.
type Verb string

// The verbs.
const (
	Create       Verb = "create"
	Insert       Verb = "insert"
	InsertMany   Verb = "insert many" // rows (id, text) for every id from the first of Values to the second, with the third
	Update       Verb = "update"
	Delete       Verb = "delete" // one row only, also where others are equal to it
	Truncate     Verb = "truncate"
	AddColumn    Verb = "add column"
	DropColumn   Verb = "drop column"
	RenameColumn Verb = "rename column"
	RenameTable  Verb = "rename table"
	DropTable    Verb = "drop table"
	Prepare      Verb = "prepare" // Native as it is
)

// Statement is what a person does to a system. It is the same for systems that speak SQL and others.
type Statement struct {
	Verb    Verb
	Table   waybill.TableName
	Others  []waybill.TableName // more tables of a Truncate
	To      string              // new name of a rename
	Columns []Column            // of Create and AddColumn; their names for DropColumn and RenameColumn
	Values  []Literal           // of Insert: one per column; of Update and AddColumn (default): one per column of Columns
	Where   []Literal           // values of the first columns, which find the row
	Match   []string            // the names of those columns
	Native  string
}

// Column is a column of a created table. Key columns come first.
type Column struct {
	Name string
	Type waybill.Type
	Key  bool
}

// Literal is a value in SQL and as the contract has it.
type Literal struct {
	SQL   string
	Value waybill.Value
}

// Null is NULL.
var Null = Literal{"NULL", waybill.Null}

// Int returns an integer.
func Int(n int) Literal { return Literal{strconv.Itoa(n), waybill.IntValue(int64(n))} }

// Text returns characters.
func Text(s string) Literal {
	return Literal{"'" + strings.ReplaceAll(s, "'", "''") + "'", waybill.TextValue(s)}
}

// SQL returns the statement in the words of PostgreSQL. Tables without a key are made ready to be followed.
func (s Statement) SQL() string {
	table := quote(s.Table.Schema) + "." + quote(s.Table.Name)
	switch s.Verb {
	case Prepare:
		return s.Native
	case Create:
		return createSQL(table, s.Columns)
	case Insert:
		return "INSERT INTO " + table + " VALUES (" + list(s.Values) + ")"
	case InsertMany:
		return "INSERT INTO " + table + " SELECT id, " + s.Values[2].SQL + " FROM generate_series(" + s.Values[0].SQL + ", " + s.Values[1].SQL + ") AS id"
	case Update:
		return "UPDATE " + table + " SET " + s.assignments() + " WHERE ctid = (SELECT ctid FROM " + table +
			" WHERE " + s.where() + " LIMIT 1)"
	case Delete:
		return "DELETE FROM " + table + " WHERE ctid = (SELECT ctid FROM " + table + " WHERE " + s.where() + " LIMIT 1)"
	case Truncate:
		for _, other := range s.Others {
			table += ", " + quote(other.Schema) + "." + quote(other.Name)
		}
		return "TRUNCATE " + table
	case AddColumn:
		sql := "ALTER TABLE " + table + " ADD COLUMN " + quote(s.Columns[0].Name) + " " + s.Columns[0].Type.Native
		if len(s.Values) > 0 {
			sql += " DEFAULT " + s.Values[0].SQL
		}
		return sql
	case DropColumn:
		return "ALTER TABLE " + table + " DROP COLUMN " + quote(s.Columns[0].Name)
	case RenameColumn:
		return "ALTER TABLE " + table + " RENAME COLUMN " + quote(s.Columns[0].Name) + " TO " + quote(s.To)
	case RenameTable:
		return "ALTER TABLE " + table + " RENAME TO " + quote(s.To)
	}
	return "DROP TABLE " + table
}

func createSQL(table string, columns []Column) string {
	var defined, key []string
	for _, c := range columns {
		defined = append(defined, quote(c.Name)+" "+c.Type.Native)
		if c.Key {
			key = append(key, quote(c.Name))
		}
	}
	if len(key) == 0 {
		return "CREATE TABLE " + table + " (" + strings.Join(defined, ", ") + "); ALTER TABLE " + table + " REPLICA IDENTITY FULL"
	}
	return "CREATE TABLE " + table + " (" + strings.Join(defined, ", ") + ", PRIMARY KEY (" + strings.Join(key, ", ") + "))"
}

func (s Statement) where() string {
	text := make([]string, len(s.Where))
	for i, v := range s.Where {
		text[i] = quote(s.Match[i]) + " IS NOT DISTINCT FROM " + v.SQL
	}
	return strings.Join(text, " AND ")
}

func (s Statement) assignments() string {
	text := make([]string, len(s.Values))
	for i, v := range s.Values {
		text[i] = quote(s.Columns[i].Name) + " = " + v.SQL
	}
	return strings.Join(text, ", ")
}

func list(values []Literal) string {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = v.SQL
	}
	return strings.Join(text, ", ")
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
