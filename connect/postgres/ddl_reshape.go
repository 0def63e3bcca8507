package postgres

import (
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// reshapeStatements turn a target's table from one structure into the next, in the transaction that carries
// the rows before and after it. What cannot be carried out is refused with Fault Drift.
func reshapeStatements(s *waybill.Shape) ([]string, error) {
	switch {
	case s.Before == nil:
		return slices.Concat(createStatements(s.After), completeStatements(s.After)), nil
	case s.After == nil:
		return []string{"DROP TABLE " + quoteTable(s.Before.Table)}, nil
	}
	r := reshaping{before: s.Before, after: s.After, reload: s.Reload}
	r.renameTable()
	if err := r.types(); err != nil {
		return nil, err
	}
	r.dropConstraints()
	r.dropIndexes()
	r.columns()
	r.addConstraints()
	r.addIndexes()
	r.partitions()
	r.identity()
	r.add(commentStatements(s.Before, s.After)...)
	return r.statements, nil
}

// reshaping collects the statements of one change of structure, in the order they are to run.
type reshaping struct {
	before, after *waybill.TableVersion
	reload        bool // every row comes again, so rows that stand in the way may go
	statements    []string
}

func (r *reshaping) add(statements ...string) { r.statements = append(r.statements, statements...) }

// alter adds an ALTER TABLE of the table under its new name.
func (r *reshaping) alter(action string) {
	r.add("ALTER TABLE " + quoteTable(r.after.Table) + " " + action)
}

func (r *reshaping) renameTable() {
	old, now := r.before.Table, r.after.Table
	if old.Schema != now.Schema {
		r.add("CREATE SCHEMA IF NOT EXISTS "+quoteName(now.Schema), "ALTER TABLE "+quoteTable(old)+" SET SCHEMA "+quoteName(now.Schema))
		old.Schema = now.Schema
	}
	if old.Name != now.Name {
		r.add("ALTER TABLE " + quoteTable(old) + " RENAME TO " + quoteName(now.Name))
	}
}

// partitions drops, renames and creates partitions. Rows of a partition that left go with it: where it lives
// on as a table of its own, that table comes as a new one; rows of one that joined come by a reload.
func (r *reshaping) partitions() {
	was, now := partIDs(r.before.Partitions), partIDs(r.after.Partitions)
	for _, part := range flatten(r.before.Partitions) {
		next, stays := now[part.ID]
		switch {
		case !stays || next.Bound != part.Bound:
			r.add("DROP TABLE IF EXISTS " + quoteTable(part.Table))
		default:
			rename := reshaping{before: &waybill.TableVersion{Table: part.Table}, after: &waybill.TableVersion{Table: next.Table}}
			rename.renameTable()
			r.add(rename.statements...)
		}
	}
	r.createParts(r.after.Table, r.after.Partitions, was)
}

func (r *reshaping) createParts(parent waybill.TableName, p *waybill.Partitioning, was map[string]waybill.Partition) {
	if p == nil {
		return
	}
	for _, part := range p.Parts {
		if old, stayed := was[part.ID]; stayed && old.Bound == part.Bound {
			r.createParts(part.Table, part.Nested, was)
			continue
		}
		r.add(createPartition(parent, part)...)
	}
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

func (r *reshaping) identity() {
	if r.before.Identity == r.after.Identity {
		return
	}
	if r.after.Identity == waybill.IdentityFull {
		r.alter("REPLICA IDENTITY FULL")
	} else if r.before.Identity == waybill.IdentityFull {
		r.alter("REPLICA IDENTITY DEFAULT")
	}
}

func (r *reshaping) dropConstraints() {
	for _, c := range r.before.Constraints {
		if r.keptConstraint(c) != nil {
			continue
		}
		// The source let its key go, so whatever referred to it there is gone too.
		cascade := ""
		if c.Kind == waybill.PrimaryKey || c.Kind == waybill.Unique {
			cascade = " CASCADE"
		}
		r.alter("DROP CONSTRAINT IF EXISTS " + quoteName(c.Name) + cascade)
	}
}

// keptConstraint returns what a constraint is called now, or nil if it is gone or another.
func (r *reshaping) keptConstraint(c waybill.Constraint) *waybill.Constraint {
	now := r.renamed(c.Definition)
	var same *waybill.Constraint
	for i := range r.after.Constraints {
		if candidate := &r.after.Constraints[i]; candidate.Kind == c.Kind && candidate.Definition == now {
			if candidate.Name == c.Name {
				return candidate
			}
			if !slices.ContainsFunc(r.before.Constraints, func(o waybill.Constraint) bool { return o.Name == candidate.Name }) {
				same = candidate
			}
		}
	}
	return same
}

func (r *reshaping) addConstraints() {
	kept := map[string]bool{}
	for _, c := range r.before.Constraints {
		now := r.keptConstraint(c)
		if now == nil {
			continue
		}
		kept[now.Name] = true
		if now.Name != c.Name {
			r.alter("RENAME CONSTRAINT " + quoteName(c.Name) + " TO " + quoteName(now.Name))
		}
		if now.Comment != c.Comment {
			r.add(commentOnConstraint(r.after.Table, *now))
		}
	}
	for _, c := range r.after.Constraints {
		if !kept[c.Name] && c.Kind != waybill.ForeignKey { // the sink builds foreign keys when both ends allow it
			r.add(addConstraint(r.after.Table, c))
		}
	}
}

func (r *reshaping) dropIndexes() {
	for _, x := range r.before.Indexes {
		if r.keptIndex(x) == nil {
			r.add("DROP INDEX IF EXISTS " + indexName(r.after.Table, x))
		}
	}
}

func (r *reshaping) keptIndex(x waybill.Index) *waybill.Index {
	now := r.renamed(indexBody(x.Definition))
	var same *waybill.Index
	for i := range r.after.Indexes {
		if candidate := &r.after.Indexes[i]; candidate.Unique == x.Unique && indexBody(candidate.Definition) == now {
			if candidate.Name == x.Name {
				return candidate
			}
			if !slices.ContainsFunc(r.before.Indexes, func(o waybill.Index) bool { return o.Name == candidate.Name }) {
				same = candidate
			}
		}
	}
	return same
}

// indexBody is an index's statement from its method on: without its name and its table's.
func indexBody(definition string) string {
	_, body, _ := strings.Cut(definition, " USING ")
	return body
}

func (r *reshaping) addIndexes() {
	kept := map[string]bool{}
	for _, x := range r.before.Indexes {
		now := r.keptIndex(x)
		if now == nil {
			continue
		}
		kept[now.Name] = true
		if now.Name != x.Name {
			r.add("ALTER INDEX " + indexName(r.after.Table, x) + " RENAME TO " + quoteName(now.Name))
		}
		if now.Comment != x.Comment {
			r.add("COMMENT ON INDEX " + indexName(r.after.Table, *now) + " IS " + literalOrNull(now.Comment))
		}
	}
	for _, x := range r.after.Indexes {
		if !kept[x.Name] {
			r.add(createIndex(r.after.Table, x))
		}
	}
}

// renamed returns a definition with the columns that were renamed under their new names, as the server shows
// it after the rename.
func (r *reshaping) renamed(definition string) string {
	names := map[string]string{}
	for _, old := range r.before.Columns {
		if i := columnByID(r.after, old.ID); i >= 0 && r.after.Columns[i].Name != old.Name {
			names[shownName(old.Name)] = shownName(r.after.Columns[i].Name)
		}
	}
	if len(names) == 0 {
		return definition
	}
	return replaceNames(definition, names)
}

// shownName writes a name as the server does in definitions: quoted only where it must be. A reserved word is
// quoted too; taking it for unquoted costs a constraint built again, never a wrong one.
func shownName(name string) string {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return quoteName(name)
		}
	}
	return name
}

// replaceNames replaces whole identifiers outside of string literals.
func replaceNames(sql string, names map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(sql); {
		end := tokenEnd(sql, i)
		token := sql[i:end]
		if replacement, found := names[token]; found {
			token = replacement
		}
		b.WriteString(token)
		i = end
	}
	return b.String()
}

// tokenEnd returns where the token that starts at i ends: a quoted name, a literal, a word or one character.
func tokenEnd(sql string, i int) int {
	if quote := sql[i]; quote == '\'' || quote == '"' {
		for j := i + 1; j < len(sql); j++ {
			if sql[j] != quote {
				continue
			}
			if j+1 < len(sql) && sql[j+1] == quote {
				j++
				continue
			}
			return j + 1
		}
		return len(sql)
	}
	j := i
	for j < len(sql) && isNameByte(sql[j]) {
		j++
	}
	return max(j, i+1)
}

func isNameByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
