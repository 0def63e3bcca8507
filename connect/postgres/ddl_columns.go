package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// columns drops, renames, adds and changes columns. On a reload the old rows may not fit the new columns
// (a cast that only the source knew, NOT NULL without a value): then they go, because all rows come again.
func (r *reshaping) columns() {
	c := reshaping{before: r.before, after: r.after, reload: r.reload}
	c.dropColumns()
	c.renameColumns()
	c.sequences()
	c.addColumns()
	for _, now := range r.after.Columns {
		if i := columnByID(r.before, now.ID); i >= 0 {
			c.changeColumn(&r.before.Columns[i], &now)
		}
	}
	if !r.reload || len(c.statements) == 0 {
		r.add(c.statements...)
		return
	}
	body := ""
	for _, s := range c.statements {
		body += "EXECUTE " + quoteLiteral(s) + ";\n"
	}
	r.add("DO " + quoteLiteral("BEGIN\n"+body+"EXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch OR cannot_coerce THEN\n"+
		"EXECUTE "+quoteLiteral("DELETE FROM "+quoteTable(r.after.Table))+";\n"+body+"END"))
}

func (r *reshaping) dropColumns() {
	for _, old := range r.before.Columns {
		if columnByID(r.after, old.ID) < 0 {
			r.alter("DROP COLUMN " + quoteName(old.Name))
		}
	}
}

// renameColumns goes through names that nobody has where a new name is still another column's.
func (r *reshaping) renameColumns() {
	var second []string
	for _, old := range r.before.Columns {
		i := columnByID(r.after, old.ID)
		if i < 0 || r.after.Columns[i].Name == old.Name {
			continue
		}
		name, from := r.after.Columns[i].Name, old.Name
		if r.before.Column(name) >= 0 {
			between := fmt.Sprintf("waybill between %d", old.ID)
			r.alter("RENAME COLUMN " + quoteName(from) + " TO " + quoteName(between))
			second = append(second, "RENAME COLUMN "+quoteName(between)+" TO "+quoteName(name))
			continue
		}
		r.alter("RENAME COLUMN " + quoteName(from) + " TO " + quoteName(name))
	}
	for _, action := range second {
		r.alter(action)
	}
}

// sequences creates those that new defaults use.
func (r *reshaping) sequences() {
	for _, s := range r.after.Sequences {
		known := slices.ContainsFunc(r.before.Sequences, func(o waybill.OwnedSequence) bool { return o.Name == s.Name })
		if !known && !isIdentity(r.after, s.Column) {
			r.add("CREATE SCHEMA IF NOT EXISTS "+quoteName(s.Name.Schema), "CREATE SEQUENCE IF NOT EXISTS "+quoteTable(s.Name)+" "+s.Definition)
		}
	}
}

// addColumns gives rows that are there exactly what the source gave them: the value it stored once for all
// of them (Missing), or NULL.
func (r *reshaping) addColumns() {
	for i := range r.after.Columns {
		c := &r.after.Columns[i]
		if columnByID(r.before, c.ID) >= 0 {
			continue
		}
		definition := columnDefinition(c)
		if c.Generated == waybill.ByDefault && c.Missing != nil {
			definition += " DEFAULT " + quoteLiteral(*c.Missing) + "::" + c.Type.Native
		}
		r.alter("ADD COLUMN " + definition)
		if c.Generated == waybill.ByDefault && (c.Default != "" || c.Missing != nil) {
			r.add(setDefault(r.after.Table, c))
		}
	}
}

func (r *reshaping) changeColumn(old, now *waybill.Column) {
	retyped := r.retyped(old, now)
	if retyped && old.Generated == waybill.ByDefault && old.Default != "" {
		r.alter("ALTER COLUMN " + quoteName(now.Name) + " DROP DEFAULT")
	}
	if retyped {
		action := "ALTER COLUMN " + quoteName(now.Name) + " TYPE " + now.Type.Native
		if now.Collation != "" {
			action += " COLLATE " + now.Collation
		}
		if r.reload && now.Writable() {
			action += " USING " + quoteName(now.Name) + "::pg_catalog.text::" + now.Type.Native
		}
		r.alter(action)
	}
	if old.NotNull && !now.NotNull {
		r.leaveGeneration(old, now)
		r.alter("ALTER COLUMN " + quoteName(now.Name) + " DROP NOT NULL")
	} else {
		if !old.NotNull && now.NotNull {
			r.alter("ALTER COLUMN " + quoteName(now.Name) + " SET NOT NULL")
		}
		r.leaveGeneration(old, now)
	}
	r.enterGeneration(old, now, retyped)
}

// retyped reports whether a column has another type; one whose user type was only renamed has not.
func (r *reshaping) retyped(old, now *waybill.Column) bool {
	if old.Type.Native == now.Type.Native && old.Collation == now.Collation {
		return false
	}
	for from, to := range renamedTypes(r.before.Types, r.after.Types) {
		if strings.Replace(old.Type.Native, shownType(from), shownType(to), 1) == now.Type.Native {
			return old.Collation != now.Collation
		}
	}
	return true
}

func isIdentityColumn(c *waybill.Column) bool {
	return c.Generated == waybill.IdentityAlways || c.Generated == waybill.IdentityByDefault
}

func (r *reshaping) leaveGeneration(old, now *waybill.Column) {
	switch {
	case isIdentityColumn(old) && !isIdentityColumn(now):
		r.alter("ALTER COLUMN " + quoteName(now.Name) + " DROP IDENTITY IF EXISTS")
	case old.Generated == waybill.Stored && now.Writable():
		r.alter("ALTER COLUMN " + quoteName(now.Name) + " DROP EXPRESSION IF EXISTS")
	}
}

func (r *reshaping) enterGeneration(old, now *waybill.Column, retyped bool) {
	switch {
	case isIdentityColumn(now):
		if !isIdentityColumn(old) {
			if old.Default != "" {
				r.alter("ALTER COLUMN " + quoteName(now.Name) + " DROP DEFAULT")
			}
			r.alter("ALTER COLUMN " + quoteName(now.Name) + " ADD GENERATED BY DEFAULT AS IDENTITY")
		}
	case !now.Writable():
		if old.Default != now.Default && old.Generated == now.Generated {
			r.alter("ALTER COLUMN " + quoteName(now.Name) + " SET EXPRESSION AS (" + now.Default + ")")
		}
	case old.Default != now.Default || old.Generated != now.Generated || retyped && now.Default != "":
		r.add(setDefault(r.after.Table, now))
	}
}

// types creates user types that are new, renames those that were renamed, and adds and renames labels of
// enums. Other changes of a type are refused: they change tables that this change does not name.
func (r *reshaping) types() error {
	renames := renamedTypes(r.before.Types, r.after.Types)
	for from, to := range renames {
		r.add(unlessMissing(typeExists(from), renameType(from, to)...))
	}
	for _, t := range r.after.Types {
		i := slices.IndexFunc(r.before.Types, func(o waybill.UserType) bool { return o.Name == t.Name })
		switch {
		case i < 0 && isTarget(renames, t.Name):
		case i < 0:
			r.add(createType(t))
		case t.Kind == "enum" && r.before.Types[i].Kind == "enum":
			if err := r.labels(r.before.Types[i].Labels, t); err != nil {
				return err
			}
		case t.Definition != r.before.Types[i].Definition:
			return r.refuseType(t)
		}
	}
	return nil
}

func (r *reshaping) refuseType(t waybill.UserType) error {
	return &waybill.Error{Op: "change structure of", Table: r.after.Table, Fault: waybill.Drift,
		Err:  fmt.Errorf("%s %s is now %s", t.Kind, t.Name, t.Definition),
		Hint: "make the same change at the target by hand, then let the link ignore it (on_reshape: {change user type: ignore}, or waybill link decide)"}
}

func (r *reshaping) labels(old []string, t waybill.UserType) error {
	name := quoteTable(t.Name)
	if len(old) == len(t.Labels) {
		for i := range old {
			if old[i] == t.Labels[i] {
				continue
			}
			if slices.Contains(old, t.Labels[i]) || slices.Contains(t.Labels, old[i]) {
				return r.refuseType(t)
			}
			r.add(unlessMissing("SELECT FROM pg_catalog.pg_enum WHERE enumtypid = "+quoteLiteral(name)+"::pg_catalog.regtype AND enumlabel = "+quoteLiteral(old[i]),
				"ALTER TYPE "+name+" RENAME VALUE "+quoteLiteral(old[i])+" TO "+quoteLiteral(t.Labels[i])))
		}
		return nil
	}
	for i, label := range t.Labels {
		if slices.Contains(old, label) {
			continue
		}
		place := ""
		if i > 0 {
			place = " AFTER " + quoteLiteral(t.Labels[i-1])
		} else if len(old) > 0 {
			place = " BEFORE " + quoteLiteral(old[0])
		}
		r.add("ALTER TYPE " + name + " ADD VALUE IF NOT EXISTS " + quoteLiteral(label) + place)
	}
	return nil
}

// renamedTypes pairs a type that is gone with one of the same kind and content that came.
func renamedTypes(old, now []waybill.UserType) map[waybill.TableName]waybill.TableName {
	renames := map[waybill.TableName]waybill.TableName{}
	for _, o := range old {
		if o.Kind == "extension" || slices.ContainsFunc(now, func(n waybill.UserType) bool { return n.Name == o.Name }) {
			continue
		}
		for _, n := range now {
			gone := !slices.ContainsFunc(old, func(p waybill.UserType) bool { return p.Name == n.Name })
			same := strings.Replace(o.Definition, shownType(o.Name), shownType(n.Name), 1) == n.Definition
			if gone && n.Kind == o.Kind && same && !isTarget(renames, n.Name) {
				renames[o.Name] = n.Name
				break
			}
		}
	}
	return renames
}

func isTarget(renames map[waybill.TableName]waybill.TableName, name waybill.TableName) bool {
	for _, to := range renames {
		if to == name {
			return true
		}
	}
	return false
}

func shownType(name waybill.TableName) string {
	return shownName(name.Schema) + "." + shownName(name.Name)
}

func renameType(from, to waybill.TableName) []string {
	var statements []string
	if from.Schema != to.Schema {
		statements = append(statements, "CREATE SCHEMA IF NOT EXISTS "+quoteName(to.Schema), "ALTER TYPE "+quoteTable(from)+" SET SCHEMA "+quoteName(to.Schema))
		from.Schema = to.Schema
	}
	if from.Name != to.Name {
		statements = append(statements, "ALTER TYPE "+quoteTable(from)+" RENAME TO "+quoteName(to.Name))
	}
	return statements
}

// unlessMissing runs statements in one block where a condition finds something.
func unlessMissing(condition string, statements ...string) string {
	body := "BEGIN IF EXISTS (" + condition + ") THEN\n"
	for _, s := range statements {
		body += "EXECUTE " + quoteLiteral(s) + ";\n"
	}
	return "DO " + quoteLiteral(body+"END IF; END")
}
