package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// reshapeStatements returns what makes the target's table follow a change of structure, to be run in order in
// one transaction, after beforeStatements. Rows that the change touched at the source have the same values
// afterwards, except where the shape says Reload.
func reshapeStatements(s *waybill.Shape) ([]string, error) {
	switch {
	case s.Before == nil:
		return slices.Concat(createStatements(s.After), completeStatements(s.After)), nil
	case s.After == nil:
		return dropTable(s.Before.Table), nil
	case s.Reload && !samePartitioning(s):
		return append(dropTable(s.Before.Table), createStatements(s.After)...), nil
	}
	r := reshape{shape: s, a: s.Before, b: s.After}
	r.types()
	r.rename()
	r.sequences()
	r.dropRules()
	r.dropColumns()
	r.renameColumns()
	r.changeColumns()
	r.addColumns()
	r.statements = append(r.statements, ownSequences(r.b)...)
	r.addRules()
	if err := r.partitions(); err != nil {
		return nil, err
	}
	if full := r.b.Identity == waybill.IdentityFull; full != (r.a.Identity == waybill.IdentityFull) {
		r.alter(map[bool]string{true: "REPLICA IDENTITY FULL", false: "REPLICA IDENTITY DEFAULT"}[full])
	}
	r.statements = append(r.statements, commentStatements(r.a, r.b)...)
	return r.statements, nil
}

func dropTable(t waybill.TableName) []string {
	return []string{dropReferences(t), "DROP TABLE " + quoteTable(t)}
}

// dropReferences drops the foreign keys of other tables to a table: its own end at the source took them along.
func dropReferences(t waybill.TableName) string {
	return block("f record;", `FOR f IN SELECT k.conrelid::regclass AS relation, k.conname FROM pg_catalog.pg_constraint k
  WHERE k.contype = 'f' AND k.confrelid = `+regclass(t)+` AND k.conrelid <> k.confrelid AND k.coninhcount = 0 LOOP
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', f.relation, f.conname);
END LOOP;`)
}

// reshape collects the statements for one table.
type reshape struct {
	shape      *waybill.Shape
	a, b       *waybill.TableVersion
	statements []string
}

func (r *reshape) add(statement string) { r.statements = append(r.statements, statement) }

// alter adds ALTER TABLE on the table as it is called after the change.
func (r *reshape) alter(action string) { r.add("ALTER TABLE " + quoteTable(r.b.Table) + " " + action) }

func (r *reshape) rename() { r.statements = append(r.statements, renameTable(r.a.Table, r.b.Table)...) }

// renameTable renames and moves a table. Between the two its name is one that nothing else has.
func renameTable(old, now waybill.TableName) []string {
	var statements []string
	if old.Schema != now.Schema && old.Name != now.Name {
		passing := waybill.TableName{Schema: old.Schema, Name: passingName(old.Name)}
		statements = append(statements, "ALTER TABLE "+quoteTable(old)+" RENAME TO "+quoteName(passing.Name))
		old = passing
	}
	if old.Schema != now.Schema {
		statements = append(statements, "ALTER TABLE "+quoteTable(old)+" SET SCHEMA "+quoteName(now.Schema))
		old.Schema = now.Schema
	}
	if old.Name != now.Name {
		statements = append(statements, "ALTER TABLE "+quoteTable(old)+" RENAME TO "+quoteName(now.Name))
	}
	return statements
}

// passingName is a name for the moments of a swap, no longer than names may be.
func passingName(name string) string {
	const longest = 63 - len("waybill~")
	for len(name) > longest {
		runes := []rune(name)
		name = string(runes[:len(runes)-1])
	}
	return "waybill~" + name
}

// sequences makes those that are new, and renames and alters the others.
func (r *reshape) sequences() {
	for _, now := range r.b.Sequences {
		old, found := r.sequenceBefore(now)
		if !found {
			if !feedsIdentity(r.b, now) {
				r.add(createSequence(now))
			}
			continue
		}
		if old.Name != now.Name {
			r.moveSequence(old.Name, now.Name)
		}
		if old.Definition != now.Definition {
			options := now.Definition
			if !strings.HasSuffix(options, " CYCLE") {
				options += " NO CYCLE"
			}
			r.add("ALTER SEQUENCE " + quoteTable(now.Name) + " " + options)
		}
	}
}

func (r *reshape) sequenceBefore(now waybill.OwnedSequence) (waybill.OwnedSequence, bool) {
	i := slices.IndexFunc(r.a.Sequences, func(s waybill.OwnedSequence) bool { return s.Name == now.Name })
	if i < 0 && now.Column != "" {
		i = slices.IndexFunc(r.a.Sequences, func(s waybill.OwnedSequence) bool {
			was, is := r.a.Column(s.Column), r.b.Column(now.Column)
			return was >= 0 && is >= 0 && r.a.Columns[was].ID == r.b.Columns[is].ID
		})
	}
	if i < 0 {
		return waybill.OwnedSequence{}, false
	}
	return r.a.Sequences[i], true
}

// moveSequence renames a sequence. It has moved along already where its table changed schema.
func (r *reshape) moveSequence(old, now waybill.TableName) {
	moved := waybill.TableName{Schema: now.Schema, Name: old.Name}
	var steps string
	if old.Schema != now.Schema {
		steps = "IF to_regclass(" + quoteLiteral(quoteTable(old)) + ") IS NOT NULL AND to_regclass(" + quoteLiteral(quoteTable(moved)) + ") IS NULL THEN\n" +
			"ALTER SEQUENCE " + quoteTable(old) + " SET SCHEMA " + quoteName(now.Schema) + ";\nEND IF;\n"
	}
	if old.Name != now.Name {
		steps += "IF to_regclass(" + quoteLiteral(quoteTable(moved)) + ") IS NOT NULL THEN\nALTER SEQUENCE " + quoteTable(moved) + " RENAME TO " + quoteName(now.Name) + ";\nEND IF;\n"
	}
	r.add(block("", steps))
}

// dropColumns drops generated columns first: they may be made from the others.
func (r *reshape) dropColumns() {
	for _, computed := range []bool{true, false} {
		for _, c := range r.a.Columns {
			if c.Writable() != computed && columnByID(r.b, c.ID) < 0 {
				r.alter("DROP COLUMN " + quoteName(c.Name))
			}
		}
	}
}

// renameColumns gives columns their new names. Where a new name is still taken, as in a swap, all go through
// passing names.
func (r *reshape) renameColumns() {
	var direct, first, second []string
	taken := false
	for _, c := range r.b.Columns {
		i := columnByID(r.a, c.ID)
		if i < 0 || r.a.Columns[i].Name == c.Name {
			continue
		}
		old := r.a.Columns[i].Name
		if holder := r.a.Column(c.Name); holder >= 0 && columnByID(r.b, r.a.Columns[holder].ID) >= 0 {
			taken = true
		}
		direct = append(direct, "RENAME COLUMN "+quoteName(old)+" TO "+quoteName(c.Name))
		first = append(first, "RENAME COLUMN "+quoteName(old)+" TO "+quoteName(passingName(old)))
		second = append(second, "RENAME COLUMN "+quoteName(passingName(old))+" TO "+quoteName(c.Name))
	}
	if taken {
		direct = append(first, second...)
	}
	for _, action := range direct {
		r.alter(action)
	}
}

func (r *reshape) changeColumns() {
	for _, now := range r.b.Columns {
		i := columnByID(r.a, now.ID)
		if i < 0 {
			continue
		}
		old := r.a.Columns[i]
		column := "ALTER COLUMN " + quoteName(now.Name) + " "
		retyped := old.Type.Native != now.Type.Native || old.Collation != now.Collation
		if retyped {
			r.retype(old, now)
		}
		if old.NotNull && !now.NotNull {
			r.alter(column + "DROP NOT NULL")
		}
		if !old.NotNull && now.NotNull && !r.shape.Reload {
			r.alter(column + "SET NOT NULL")
		}
		r.changeDefault(old, now, retyped)
	}
}

// retype changes a column's type. A renamed user type is the same type at the target already.
func (r *reshape) retype(old, now waybill.Column) {
	column := "ALTER COLUMN " + quoteName(now.Name) + " "
	change := "ALTER TABLE " + quoteTable(r.b.Table) + " " + column + "TYPE " + columnType(now)
	if now.Collation == "" && old.Collation != "" {
		change += " COLLATE pg_catalog.\"default\""
	}
	if now.Writable() && !plainTypes(old.Type.Native, now.Type.Native) {
		change += " USING " + quoteName(now.Name) + "::pg_catalog.text::" + now.Type.Native
	}
	if old.Default != "" && old.Writable() {
		change = "ALTER TABLE " + quoteTable(r.b.Table) + " " + column + "DROP DEFAULT;\n" + change
		if now.Default != "" && now.Writable() {
			change += ";\nALTER TABLE " + quoteTable(r.b.Table) + " " + column + "SET DEFAULT " + now.Default
		}
	}
	if r.shape.Reload && now.Writable() {
		change = r.orNull(change, now)
	}
	if old.Collation == now.Collation {
		change = guarded(columnIs(r.b.Table, now.Name, "format_type(a.atttypid, a.atttypmod) <> "+quoteLiteral(now.Type.Native)), change)
		r.add(change)
		return
	}
	r.add(block("", change+";"))
}

// orNull lets go of a column's values where they cannot be cast as the source did, for all rows come again.
// What a column of NULLs cannot keep, NOT NULL and a key, is Complete's to add after that.
func (r *reshape) orNull(change string, now waybill.Column) string {
	column := "ALTER TABLE " + quoteTable(r.b.Table) + " ALTER COLUMN " + quoteName(now.Name)
	var lose []string
	for _, c := range r.b.Constraints {
		if c.Kind == waybill.PrimaryKey && slices.Contains(c.Columns, now.Name) {
			lose = append(lose, "ALTER TABLE "+quoteTable(r.b.Table)+" DROP CONSTRAINT IF EXISTS "+quoteName(c.Name))
		}
	}
	lose = append(lose, column+" DROP DEFAULT", column+" DROP NOT NULL", column+" TYPE "+columnType(now)+" USING NULL::"+now.Type.Native)
	if now.Default != "" {
		lose = append(lose, column+" SET DEFAULT "+now.Default)
	}
	return "BEGIN\n" + change + ";\nEXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch OR cannot_coerce THEN\n" +
		strings.Join(lose, ";\n") + ";\nEND"
}

// changeDefault changes who makes a column's values where nothing is given.
func (r *reshape) changeDefault(old, now waybill.Column, retyped bool) {
	column := "ALTER COLUMN " + quoteName(now.Name) + " "
	switch {
	case !old.Writable() && now.Writable():
		r.alter(column + "DROP EXPRESSION")
		if now.Default != "" {
			r.alter(column + "SET DEFAULT " + now.Default)
		}
	case !now.Writable():
		if old.Default != now.Default || old.Generated != now.Generated {
			r.regenerate(now)
		}
	case isIdentity(old) && !isIdentity(now):
		r.alter(column + "DROP IDENTITY IF EXISTS")
		if now.Default != "" {
			r.alter(column + "SET DEFAULT " + now.Default)
		}
	case !isIdentity(old) && isIdentity(now):
		if old.Default != "" {
			r.alter(column + "DROP DEFAULT")
		}
		r.identity(now)
	case now.Default == old.Default && !retyped:
	case now.Default != "":
		r.alter(column + "SET DEFAULT " + now.Default)
	case old.Default != "":
		r.alter(column + "DROP DEFAULT")
	}
}

func (r *reshape) identity(c waybill.Column) {
	if r.shape.Reload {
		return // an identity is NOT NULL, which the rows are not before they have come; Complete adds both
	}
	r.add(guarded(columnIs(r.b.Table, c.Name, "a.attidentity = ''"),
		"ALTER TABLE "+quoteTable(r.b.Table)+" ALTER COLUMN "+quoteName(c.Name)+" ADD "+identityClause(r.b, c)))
}

// regenerate gives a generated column another expression, unless a rename has already made the stored one
// read like it. Servers before 17 cannot change one in place; there the column is made again, at the end.
func (r *reshape) regenerate(c waybill.Column) {
	table, name := quoteTable(r.b.Table), quoteName(c.Name)
	r.add(block("", `IF NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = `+regclass(r.b.Table)+` AND a.attname = `+quoteLiteral(c.Name)+` AND pg_get_expr(d.adbin, d.adrelid) = `+quoteLiteral(c.Default)+`) THEN
  IF current_setting('server_version_num')::int >= 170000 THEN
    EXECUTE `+quoteLiteral("ALTER TABLE "+table+" ALTER COLUMN "+name+" SET EXPRESSION AS ("+c.Default+")")+`;
  ELSE
    ALTER TABLE `+table+` DROP COLUMN `+name+`;
    ALTER TABLE `+table+` ADD COLUMN `+columnDefinition(c)+`;
  END IF;
END IF;`))
}

// addColumns adds columns so that the rows that are there have in them what the source's old rows have.
func (r *reshape) addColumns() {
	for _, c := range r.b.Columns {
		if columnByID(r.a, c.ID) >= 0 {
			continue
		}
		if r.shape.Reload && c.Missing == nil && c.Writable() {
			c.NotNull = false // until the rows have come; Complete sets it
		}
		definition := columnDefinition(c)
		if c.Missing != nil && c.Writable() {
			definition += " DEFAULT " + quoteLiteral(*c.Missing) + "::" + c.Type.Native
		}
		r.alter("ADD COLUMN " + definition)
		column := "ALTER COLUMN " + quoteName(c.Name) + " "
		switch {
		case isIdentity(c):
			r.identity(c)
		case !c.Writable():
		case c.Default != "":
			r.alter(column + "SET DEFAULT " + c.Default)
		case c.Missing != nil:
			r.alter(column + "DROP DEFAULT")
		}
	}
}

// partitions follows parts that came, left, or changed their names or bounds. The rows of a part that left go
// with it: where it lives on as a table of its own, that table comes as a new one.
func (r *reshape) partitions() error {
	if !samePartitioning(r.shape) {
		return &waybill.Error{Op: "reshape", Table: r.b.Table, Fault: waybill.Drift, Hint: "resync the table",
			Err: fmt.Errorf("it was partitioned by %q and is now by %q", partitionedBy(r.a), partitionedBy(r.b))}
	}
	if r.a.Partitions != nil {
		r.level(r.a.Partitions, r.b.Partitions, r.b.Table)
	}
	return nil
}

// samePartitioning reports whether the table is cut the same way. A renamed column reads differently there.
func samePartitioning(s *waybill.Shape) bool {
	a, b := partitionedBy(s.Before), partitionedBy(s.After)
	return a == b || a != "" && b != "" && !namesKept(s.Before, s.After)
}

func (r *reshape) level(a, b *waybill.Partitioning, parent waybill.TableName) {
	for _, old := range a.Parts {
		if now := findPart(b, old.ID); now == nil || (now.Nested == nil) != (old.Nested == nil) {
			r.add("DROP TABLE IF EXISTS " + quoteTable(old.Table))
		}
	}
	for _, now := range b.Parts {
		old := findPart(a, now.ID)
		if old == nil || (now.Nested == nil) != (old.Nested == nil) {
			r.statements = append(r.statements, createPart(parent, now)...)
			continue
		}
		r.statements = append(r.statements, renameTable(old.Table, now.Table)...)
		if old.Bound != now.Bound {
			r.alterPart(parent, "DETACH PARTITION "+quoteTable(now.Table))
			r.alterPart(parent, "ATTACH PARTITION "+quoteTable(now.Table)+" "+now.Bound)
		}
		if old.Nested != nil {
			r.level(old.Nested, now.Nested, now.Table)
		}
	}
}

func (r *reshape) alterPart(parent waybill.TableName, action string) {
	r.add("ALTER TABLE " + quoteTable(parent) + " " + action)
}

// namesKept reports whether no column was renamed: a rename changes how the partitioning reads.
func namesKept(a, b *waybill.TableVersion) bool {
	return !slices.ContainsFunc(b.Columns, func(c waybill.Column) bool {
		i := columnByID(a, c.ID)
		return i >= 0 && a.Columns[i].Name != c.Name
	})
}

func findPart(p *waybill.Partitioning, id string) *waybill.Partition {
	for i := range p.Parts {
		if p.Parts[i].ID == id {
			return &p.Parts[i]
		}
	}
	return nil
}
