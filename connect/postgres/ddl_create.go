package postgres

import (
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// createStatements returns what makes a table that is not there: schemas, extensions, types, sequences, then
// the bare table with its partitions. It has no key, index, constraint, default or identity; those are
// completeStatements'.
func createStatements(v *waybill.TableVersion) []string {
	statements := typeStatements(v)
	for _, s := range v.Sequences {
		if !feedsIdentity(v, s) {
			statements = append(statements, createSequence(s))
		}
	}
	statements = append(statements, createTable(v))
	return append(statements, createParts(v.Table, v.Partitions)...)
}

func createSequence(s waybill.OwnedSequence) string {
	return "CREATE SEQUENCE IF NOT EXISTS " + quoteTable(s.Name) + " " + s.Definition
}

// typeStatements returns the schemas and types of a table.
func typeStatements(v *waybill.TableVersion) []string {
	var statements []string
	for _, schema := range schemasOf(v) {
		statements = append(statements, createSchema(schema))
	}
	for _, t := range v.Types {
		switch {
		case t.Extension != "":
			statements = append(statements, "CREATE EXTENSION IF NOT EXISTS "+quoteName(t.Extension)+" SCHEMA "+quoteName(t.Name.Schema)+" CASCADE")
		case t.Kind == "enum":
			statements = append(statements, createEnum(t))
		case t.Definition != "":
			statements = append(statements, guarded("to_regtype("+quoteLiteral(quoteTable(t.Name))+") IS NULL", t.Definition))
		}
	}
	return statements
}

// createSchema asks first: CREATE SCHEMA needs a right on the database even where it has nothing to do.
func createSchema(name string) string {
	return guarded("NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = "+quoteLiteral(name)+")", "CREATE SCHEMA "+quoteName(name))
}

// createEnum makes an enum, in the place of one that lacks labels and that nothing uses any more.
func createEnum(t waybill.UserType) string {
	name := quoteLiteral(quoteTable(t.Name))
	lacks := "NOT ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = to_regtype(" + name + ")) @> " + quoteLiteral(textArray(t.Labels)) + "::text[]"
	return block("", "IF to_regtype("+name+") IS NOT NULL AND "+lacks+" THEN\nDROP TYPE "+quoteTable(t.Name)+";\nEND IF;\nIF to_regtype("+name+") IS NULL THEN\n"+
		t.Definition+";\nEND IF;")
}

// schemasOf returns the schemas that a table and what belongs to it are in; those that every server has aside.
func schemasOf(v *waybill.TableVersion) []string {
	names := []string{v.Table.Schema}
	for _, t := range v.Types {
		names = append(names, t.Name.Schema)
	}
	for _, s := range v.Sequences {
		names = append(names, s.Name.Schema)
	}
	for _, p := range partIDs(v.Partitions) {
		names = append(names, p.Table.Schema)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "pg_catalog" })
}

func createTable(v *waybill.TableVersion) string {
	columns := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		columns[i] = columnDefinition(c)
	}
	statement := "CREATE TABLE " + quoteTable(v.Table) + " (" + strings.Join(columns, ", ") + ")"
	if v.Partitions != nil {
		statement += " PARTITION BY " + v.Partitions.By
	}
	return statement
}

// columnDefinition writes a column without its default: name, type, collation, generation, NOT NULL.
func columnDefinition(c waybill.Column) string {
	text := quoteName(c.Name) + " " + columnType(c)
	switch c.Generated {
	case waybill.Stored:
		text += " GENERATED ALWAYS AS (" + c.Default + ") STORED"
	case waybill.Virtual:
		text += " GENERATED ALWAYS AS (" + c.Default + ") VIRTUAL"
	}
	if c.NotNull {
		text += " NOT NULL"
	}
	return text
}

func columnType(c waybill.Column) string {
	if c.Collation != "" {
		return c.Type.Native + " COLLATE " + c.Collation
	}
	return c.Type.Native
}

// createParts creates the partitions below a table, parents first.
func createParts(parent waybill.TableName, p *waybill.Partitioning) []string {
	if p == nil {
		return nil
	}
	var statements []string
	for _, part := range p.Parts {
		statements = append(statements, createPart(parent, part)...)
	}
	return statements
}

func createPart(parent waybill.TableName, part waybill.Partition) []string {
	statement := "CREATE TABLE " + quoteTable(part.Table) + " PARTITION OF " + quoteTable(parent) + " " + part.Bound
	if part.Nested != nil {
		statement += " PARTITION BY " + part.Nested.By
	}
	return append([]string{statement}, createParts(part.Table, part.Nested)...)
}

// feedsIdentity reports whether a sequence belongs to an identity column, which brings it along.
func feedsIdentity(v *waybill.TableVersion, s waybill.OwnedSequence) bool {
	i := v.Column(s.Column)
	return i >= 0 && isIdentity(v.Columns[i])
}

func isIdentity(c waybill.Column) bool {
	return c.Generated == waybill.IdentityAlways || c.Generated == waybill.IdentityByDefault
}

// guarded runs a statement where a condition holds.
func guarded(condition, statement string) string {
	return block("", "IF "+condition+" THEN\n"+statement+";\nEND IF;")
}

// block writes an anonymous block. Its quoting is chosen so that nothing in the body ends it.
func block(declare, body string) string {
	quote := "$waybill$"
	for strings.Contains(declare+body, quote) {
		quote = quote[:len(quote)-1] + "_$"
	}
	if declare != "" {
		declare = "DECLARE " + declare + "\n"
	}
	return "DO " + quote + "\n" + declare + "BEGIN\n" + body + "\nEND\n" + quote
}

// regclass writes a table as a constant that is resolved when the statement runs.
func regclass(t waybill.TableName) string {
	return quoteLiteral(quoteTable(t)) + "::pg_catalog.regclass"
}

// flatten lists the partitions of a tree, those nearest the root first.
func flatten(p *waybill.Partitioning) []waybill.Partition {
	if p == nil {
		return nil
	}
	var parts []waybill.Partition
	for _, part := range p.Parts {
		parts = append(append(parts, part), flatten(part.Nested)...)
	}
	return parts
}
