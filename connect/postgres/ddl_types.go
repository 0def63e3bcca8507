package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// beforeStatements returns what must be committed before the transaction of a change: a label added to an
// enum cannot be used in the transaction that adds it. Each is its own transaction and changes nothing when
// it is run again.
func beforeStatements(s *waybill.Shape) []string {
	if s.Before == nil || s.After == nil {
		return nil
	}
	var statements []string
	for _, now := range s.After.Types {
		old, found := typeBefore(s, now)
		if !found || now.Kind != "enum" || renamedLabel(old, now) >= 0 {
			continue
		}
		for i, label := range now.Labels {
			if slices.Contains(old.Labels, label) {
				continue
			}
			statement := "ALTER TYPE " + quoteTable(old.Name) + " ADD VALUE IF NOT EXISTS " + quoteLiteral(label)
			if i > 0 {
				statement += " AFTER " + quoteLiteral(now.Labels[i-1])
			} else if len(old.Labels) > 0 {
				statement += " BEFORE " + quoteLiteral(old.Labels[0])
			}
			statements = append(statements, statement)
		}
	}
	return statements
}

// extendEnums gives enums that the target has from before the labels that the source added since: a copy that was cut
// off leaves them, and rows of its next attempt need them.
func (s *sink) extendEnums(ctx context.Context, versions []*waybill.TableVersion) error {
	for _, v := range versions {
		for _, now := range v.Types {
			if now.Kind != "enum" || now.Extension != "" {
				continue
			}
			rows, err := query(ctx, s.session.conn, "SELECT enumlabel FROM pg_catalog.pg_enum WHERE enumtypid = pg_catalog.to_regtype("+
				quoteLiteral(quoteTable(now.Name))+") ORDER BY enumsortorder")
			if err != nil {
				return classify("look at the types of", v.Table, err)
			}
			old := now
			old.Labels = nil
			for _, row := range rows {
				old.Labels = append(old.Labels, string(row[0]))
			}
			if len(rows) == 0 || slices.ContainsFunc(old.Labels, func(label string) bool { return !slices.Contains(now.Labels, label) }) {
				continue // it is not there, or another one
			}
			shape := &waybill.Shape{Before: &waybill.TableVersion{Table: v.Table, Types: []waybill.UserType{old}}, After: v}
			if err := s.runAhead(ctx, shape); err != nil {
				return err
			}
		}
	}
	return nil
}

// typeBefore finds what a type was before the change: the one of its name, or one of another name that is
// gone and was otherwise the same.
func typeBefore(s *waybill.Shape, now waybill.UserType) (waybill.UserType, bool) {
	named := func(types []waybill.UserType, name waybill.TableName) int {
		return slices.IndexFunc(types, func(t waybill.UserType) bool { return t.Name == name })
	}
	if i := named(s.Before.Types, now.Name); i >= 0 {
		return s.Before.Types[i], s.Before.Types[i].Kind == now.Kind
	}
	for _, old := range s.Before.Types {
		if old.Kind == now.Kind && named(s.After.Types, old.Name) < 0 && slices.Equal(old.Labels, now.Labels) &&
			(now.Kind != "range" || definitionTail(old) == definitionTail(now)) {
			return old, true
		}
	}
	return waybill.UserType{}, false
}

// definitionTail is a definition without the type's own name.
func definitionTail(t waybill.UserType) string {
	_, tail, _ := strings.Cut(t.Definition, " AS ")
	return tail
}

// renamedLabel returns the place of the one label that was renamed, or -1.
func renamedLabel(old, now waybill.UserType) int {
	if len(old.Labels) != len(now.Labels) {
		return -1
	}
	place := -1
	for i := range now.Labels {
		if old.Labels[i] == now.Labels[i] {
			continue
		}
		if place >= 0 || slices.Contains(old.Labels, now.Labels[i]) {
			return -1
		}
		place = i
	}
	return place
}

// types brings the user types of the table to what they are after the change. Another table of the same
// transaction may have done so already.
func (r *reshape) types() {
	for _, now := range r.b.Types {
		old, found := typeBefore(r.shape, now)
		if !found || now.Extension != "" {
			continue
		}
		if old.Name != now.Name {
			r.renameType(old.Name, now.Name)
		}
		switch now.Kind {
		case "enum":
			if i := renamedLabel(old, now); i >= 0 {
				r.add(guarded("EXISTS (SELECT FROM pg_catalog.pg_enum WHERE enumtypid = "+quoteLiteral(quoteTable(now.Name))+
					"::pg_catalog.regtype AND enumlabel = "+quoteLiteral(old.Labels[i])+")",
					"ALTER TYPE "+quoteTable(now.Name)+" RENAME VALUE "+quoteLiteral(old.Labels[i])+" TO "+quoteLiteral(now.Labels[i])))
			}
		case "domain":
			r.domain(old, now)
		case "composite":
			r.composite(old, now)
		}
	}
	r.statements = append(r.statements, typeStatements(r.b)...)
}

func (r *reshape) renameType(old, now waybill.TableName) {
	// A type that has the new name was dropped at the source, or the name would not have been free.
	steps := []string{"DROP TYPE IF EXISTS " + quoteTable(now)}
	if old.Name != now.Name {
		steps = append(steps, "ALTER TYPE "+quoteTable(old)+" RENAME TO "+quoteName(now.Name))
	}
	if old.Schema != now.Schema {
		r.add(createSchema(now.Schema))
		steps = append(steps, "ALTER TYPE "+quoteTable(waybill.TableName{Schema: old.Schema, Name: now.Name})+" SET SCHEMA "+quoteName(now.Schema))
	}
	r.add(guarded("to_regtype("+quoteLiteral(quoteTable(old))+") IS NOT NULL", strings.Join(steps, ";\n")))
}

// domain brings a domain's default, NOT NULL and checks to what they are. All of it can be repeated.
func (r *reshape) domain(old, now waybill.UserType) {
	alter := "ALTER DOMAIN " + quoteTable(now.Name) + " "
	for _, clause := range old.Labels {
		if slices.Contains(now.Labels, clause) {
			continue
		}
		name, isCheck := strings.CutPrefix(clause, "CONSTRAINT ")
		switch {
		case isCheck:
			name, _ = leadingName(name)
			r.add(alter + "DROP CONSTRAINT IF EXISTS " + name)
		case clause == "NOT NULL":
			r.add(alter + "DROP NOT NULL")
		default:
			r.add(alter + "DROP DEFAULT")
		}
	}
	for _, clause := range now.Labels {
		if slices.Contains(old.Labels, clause) {
			continue
		}
		name, isCheck := strings.CutPrefix(clause, "CONSTRAINT ")
		if !isCheck {
			r.add(alter + "SET " + clause)
			continue
		}
		name, _ = leadingName(name)
		r.add(alter + "DROP CONSTRAINT IF EXISTS " + name)
		r.add(alter + "ADD " + clause)
	}
}

// composite brings a composite type's attributes to what they are. An attribute that changed its name at its
// place, and nothing else, was renamed.
func (r *reshape) composite(old, now waybill.UserType) {
	alter := "ALTER TYPE " + quoteTable(now.Name) + " "
	was, is := attributeTypes(old), attributeTypes(now)
	condition := func(attribute, operator string) string {
		return operator + " (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.typrelid = a.attrelid WHERE t.oid = " +
			quoteLiteral(quoteTable(now.Name)) + "::pg_catalog.regtype AND pg_catalog.quote_ident(a.attname) = " + quoteLiteral(attribute) + " AND NOT a.attisdropped)"
	}
	for i, label := range old.Labels {
		name, kind := leadingName(label)
		if _, kept := is[name]; kept {
			continue
		}
		if len(old.Labels) == len(now.Labels) {
			if other, otherKind := leadingName(now.Labels[i]); otherKind == kind && was[other] == "" {
				r.add(guarded(condition(name, "EXISTS"), alter+"RENAME ATTRIBUTE "+name+" TO "+other+" CASCADE"))
				was[other] = kind
				continue
			}
		}
		r.add(alter + "DROP ATTRIBUTE IF EXISTS " + name)
	}
	for _, label := range now.Labels {
		name, kind := leadingName(label)
		switch was[name] {
		case kind:
		case "":
			r.add(guarded(condition(name, "NOT EXISTS"), alter+"ADD ATTRIBUTE "+label))
		default:
			r.add(alter + "ALTER ATTRIBUTE " + name + " TYPE " + kind)
		}
	}
}

func attributeTypes(t waybill.UserType) map[string]string {
	types := map[string]string{}
	for _, label := range t.Labels {
		name, kind := leadingName(label)
		types[name] = kind
	}
	return types
}

// leadingName splits a text that begins with an identifier as the server quotes it.
func leadingName(text string) (name, rest string) {
	if !strings.HasPrefix(text, `"`) {
		name, rest, _ = strings.Cut(text, " ")
		return name, rest
	}
	for i := 1; i < len(text); i++ {
		if text[i] == '"' {
			if strings.HasPrefix(text[i+1:], `"`) {
				i++
				continue
			}
			return text[:i+1], strings.TrimPrefix(text[i+1:], " ")
		}
	}
	return text, ""
}

// runAhead runs what must be committed before the transaction of a structure change, on a session of its own.
// What only this transaction can see, a type that it made itself, is left to it: there new labels are usable
// at once.
func (s *sink) runAhead(ctx context.Context, shape *waybill.Shape) error {
	statements := beforeStatements(shape)
	if len(statements) == 0 {
		return nil
	}
	conn, err := s.borrow(ctx)
	if err != nil {
		return err
	}
	defer s.giveBack(ctx, conn)
	for _, statement := range statements {
		err := exec(ctx, conn, "SET lock_timeout = '10s'")
		if err == nil {
			err = exec(ctx, conn, statement)
		}
		if state := sqlState(err); state == "42704" || state == "55P03" {
			err = exec(ctx, s.session.conn, statement)
		}
		if err != nil {
			return classify("change structure of", shape.Table(), err)
		}
	}
	return classify("change structure of", shape.Table(), exec(ctx, conn, "SET lock_timeout = 0"))
}
