package postgres

import (
	"cmp"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// task is one statement and the rows of an effect that it is for.
type task struct {
	effect    *effect
	statement *statement
	rows      []int32
}

// plan turns an effect into tasks: what must go first in removals, the rest in changes, in an order in which
// no key or unique value is there twice for a moment.
type plan struct {
	removals []task // deletes; before any change of any table
	changes  []task // updates, moves, replacements, then inserts
}

// group is the updates that carry values for the same columns.
type group struct {
	signature string
	rows      []int32
}

func (e *effect) plan(careful bool) plan {
	if e.target.bag {
		return e.planBag()
	}
	var deletes, moves, inserts []int32
	var updates []group
	t := e.target
	for i := range e.rows {
		r := &e.rows[i]
		switch {
		case r.now == nil && r.origin == nil:
		case r.now == nil:
			deletes = append(deletes, int32(i))
		case r.origin == nil:
			inserts = append(inserts, int32(i))
		case !sameKey(r.origin, r.now, t.key):
			moves = append(moves, int32(i))
		default:
			updates = addToGroup(updates, t.present(r.now), int32(i))
		}
	}
	var p plan
	e.sortByKey(deletes)
	p.removals = e.task(p.removals, deletes, "delete", t.deleteStatement)
	careful = careful || t.careful > 0
	if careful {
		for _, g := range updates {
			moves = append(moves, g.rows...)
		}
		updates = nil
	}
	for _, g := range updates {
		e.sortByKey(g.rows)
		p.changes = e.taskUpdate(p.changes, opUpdate, g)
	}
	if careful || e.entangled(moves) {
		p.changes = e.taskReplace(p.changes, moves)
	} else {
		p.changes = e.taskMoves(p.changes, moves)
	}
	p.changes = e.task(p.changes, inserts, "insert", t.insertStatement)
	return p
}

func (e *effect) planBag() plan {
	var gone, inserts []int32
	for i := range e.rows {
		if e.rows[i].count < 0 {
			gone = append(gone, int32(i))
		}
		for range e.rows[i].count {
			inserts = append(inserts, int32(i))
		}
	}
	var p plan
	p.removals = e.task(p.removals, gone, "discard", e.target.discardStatement)
	p.changes = e.task(p.changes, inserts, "insert", e.target.insertStatement)
	return p
}

func (e *effect) task(tasks []task, rows []int32, signature string, build func() *statement) []task {
	if len(rows) == 0 {
		return tasks
	}
	return append(tasks, task{e, e.target.statement(signature, build), rows})
}

func (e *effect) taskUpdate(tasks []task, op operation, g group) []task {
	t := e.target
	values := t.valuesOf(g.signature)
	if op == opUpdate {
		values = slices.DeleteFunc(values, func(c int) bool { return slices.Contains(t.key, c) })
		if len(values) == 0 {
			// Every value but the key is unchanged or there is only the key: the row must still be there.
			values = t.key[:1]
		}
	}
	name := "update "
	if op == opMove {
		name = "move "
	}
	return e.task(tasks, g.rows, name+g.signature, func() *statement { return t.updateStatement(op, values) })
}

func (e *effect) taskMoves(tasks []task, moves []int32) []task {
	var groups []group
	for _, i := range moves {
		groups = addToGroup(groups, e.target.present(e.rows[i].now), i)
	}
	for _, g := range groups {
		tasks = e.taskUpdate(tasks, opMove, g)
	}
	return tasks
}

func (e *effect) taskReplace(tasks []task, rows []int32) []task {
	var flagged []int
	for _, c := range e.target.columns {
		if slices.ContainsFunc(rows, func(i int32) bool { return e.rows[i].now[c].IsAbsent() }) {
			flagged = append(flagged, c)
		}
	}
	signature := strings.Builder{}
	for _, c := range flagged {
		signature.WriteRune(rune(c))
	}
	return e.task(tasks, rows, "replace "+signature.String(), func() *statement { return e.target.replaceStatement(flagged) })
}

// entangled reports whether a row moves to a key that another moving row leaves: a swap or a chain.
func (e *effect) entangled(moves []int32) bool {
	if len(moves) < 2 {
		return false
	}
	var left slots
	for _, i := range moves {
		left.put(hashRow(e.rows[i].origin, e.target.key), i)
	}
	return slices.ContainsFunc(moves, func(i int32) bool {
		now := e.rows[i].now
		is := func(j int32) bool { return sameKey(e.rows[j].origin, now, e.target.key) }
		return left.find(hashRow(now, e.target.key), is) >= 0
	})
}

// present names the set of written columns that a row has values for: "" for all, else one bit per column.
func (t *target) present(row waybill.Row) string {
	missing := firstAbsent(row, t.columns)
	if missing < 0 {
		return ""
	}
	bits := make([]byte, (len(t.columns)+7)/8)
	for i, c := range t.columns {
		if !row[c].IsAbsent() {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return string(bits)
}

// valuesOf returns the columns of a set that present named.
func (t *target) valuesOf(signature string) []int {
	if signature == "" {
		return slices.Clone(t.columns)
	}
	var values []int
	for i, c := range t.columns {
		if signature[i/8]&(1<<(i%8)) != 0 {
			values = append(values, c)
		}
	}
	return values
}

func addToGroup(groups []group, signature string, row int32) []group {
	for i := range groups {
		if groups[i].signature == signature {
			groups[i].rows = append(groups[i].rows, row)
			return groups
		}
	}
	return append(groups, group{signature, []int32{row}})
}

// sortByKey orders rows by their old key, so that neighbours on disk are touched together.
func (e *effect) sortByKey(rows []int32) {
	key := e.target.key
	if len(rows) < 2 {
		return
	}
	first := key[0]
	if len(key) == 1 && e.rows[rows[0]].origin[first].Kind() == waybill.KindInt {
		slices.SortFunc(rows, func(a, b int32) int {
			return cmp.Compare(e.rows[a].origin[first].Int(), e.rows[b].origin[first].Int())
		})
		return
	}
	slices.SortFunc(rows, func(a, b int32) int { return waybill.CompareKeys(e.rows[a].origin, e.rows[b].origin, key) })
}

// byReference orders effects so that a table comes after those it refers to, as far as there is no cycle.
func byReference(effects []*effect) []*effect {
	byName := map[waybill.TableName]*effect{}
	for _, e := range effects {
		byName[e.target.name] = e
	}
	var ordered []*effect
	seen := map[*effect]bool{}
	var visit func(e *effect)
	visit = func(e *effect) {
		if e == nil || seen[e] {
			return
		}
		seen[e] = true
		for _, c := range e.target.version.Constraints {
			if c.Kind == waybill.ForeignKey && c.References != nil {
				visit(byName[*c.References])
			}
		}
		ordered = append(ordered, e)
	}
	for _, e := range effects {
		visit(e)
	}
	return ordered
}
