package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// operation is what a statement does with the rows it is given.
type operation uint8

const (
	opDelete  operation = iota // by key
	opUpdate                   // by key, the key stays
	opMove                     // by old key, the key changes to one that is free
	opReplace                  // by old key: taken out and put back, so that keys and unique values may be swapped
	opInsert
	opDiscard // from a bag: so many rows equal to each given one
)

// statement is one prepared statement of an apply session. All its parameters are binary.
type statement struct {
	name     string
	sql      string
	prepared bool
	op       operation
	key      []int // columns given as the old key, in parameter order
	values   []int // columns given with new values, after the key
	flagged  []int // opReplace: columns for which a boolean tells whether the new value travelled, after the values
	counted  bool  // the last parameter is the number of rows that must be hit
	counts   bool  // opDiscard: an array with how many of each row, before the number of rows
	target   *target
}

// check ends a statement with data-modifying CTEs: it fails at the server, inside the transaction, unless
// exactly the expected rows were hit. So a whole transaction can be sent ahead, its end included.
const missedMark = "waybill: rows hit: "

func check(from string, parameter int) string {
	return fmt.Sprintf(" SELECT CASE WHEN count(*) = $%d::int8 THEN 0 ELSE ('%s' || count(*))::int4 END FROM %s", parameter, missedMark, from)
}

// unnest writes the FROM item that turns array parameters into rows: columns k0.. for the key, v0.. for values.
type unnest struct {
	arrays  []string
	columns []string
}

func (u *unnest) add(array, column string) {
	u.arrays = append(u.arrays, "$"+strconv.Itoa(len(u.arrays)+1)+"::"+array)
	u.columns = append(u.columns, column)
}

func (u *unnest) from(alias string) string {
	return "unnest(" + strings.Join(u.arrays, ", ") + ") AS " + alias + "(" + strings.Join(u.columns, ", ") + ")"
}

// next is the number of the next parameter.
func (u *unnest) next() int { return len(u.arrays) + 1 }

func (t *target) unnest(key, values []int) unnest {
	var u unnest
	for i, c := range key {
		u.add(wireTypes[t.fields[c].wire].array, "k"+strconv.Itoa(i))
	}
	for i, c := range values {
		u.add(wireTypes[t.fields[c].wire].array, "v"+strconv.Itoa(i))
	}
	return u
}

// matches is the condition that ties a row of the table to a given key, by the operators of the key's index.
func (t *target) matches(key []int) string {
	terms := make([]string, len(key))
	for i, c := range key {
		f := &t.fields[c]
		terms[i] = fmt.Sprintf("t.%s OPERATOR(%s) (u.k%d%s)%s", f.name, f.equal, i, f.cast, f.collate)
	}
	return strings.Join(terms, " AND ")
}

func (t *target) deleteStatement() *statement {
	u := t.unnest(t.key, nil)
	sql := "WITH done AS (DELETE FROM " + t.sql + " AS t USING " + u.from("u") + " WHERE " + t.matches(t.key) +
		" RETURNING 1)" + check("done", u.next())
	return &statement{op: opDelete, sql: sql, key: t.key, counted: true, target: t}
}

// updateStatement sets the given columns; with opMove they include the key's.
func (t *target) updateStatement(op operation, values []int) *statement {
	u := t.unnest(t.key, values)
	sets := make([]string, len(values))
	for i, c := range values {
		sets[i] = fmt.Sprintf("%s = u.v%d%s", t.fields[c].name, i, t.fields[c].cast)
	}
	sql := "WITH done AS (UPDATE " + t.sql + " AS t SET " + strings.Join(sets, ", ") + " FROM " + u.from("u") + " WHERE " +
		t.matches(t.key) + " RETURNING 1)" + check("done", u.next())
	return &statement{op: op, sql: sql, key: t.key, values: values, counted: true, target: t}
}

// replaceStatement takes rows out and puts them back with new values. The sort stands between the two: it
// takes in every deleted row before it gives the first one to the insert, so no value is ever there twice.
func (t *target) replaceStatement(flagged []int) *statement {
	u := t.unnest(t.key, t.columns)
	returned := make([]string, len(t.columns))
	names := make([]string, len(t.columns))
	outputs := make([]string, len(t.columns))
	flag := 0
	for i, c := range t.columns {
		f := &t.fields[c]
		value := fmt.Sprintf("u.v%d%s", i, f.cast)
		if flag < len(flagged) && flagged[flag] == c {
			u.add("bool[]", "p"+strconv.Itoa(flag))
			value = fmt.Sprintf("CASE WHEN u.p%d THEN %s ELSE t.%s END", flag, value, f.name)
			flag++
		}
		returned[i] = fmt.Sprintf("%s AS c%d", value, i)
		names[i], outputs[i] = f.name, "c"+strconv.Itoa(i)
	}
	sql := "WITH gone AS (DELETE FROM " + t.sql + " AS t USING " + u.from("u") + " WHERE " + t.matches(t.key) +
		" RETURNING " + strings.Join(returned, ", ") + ", t.ctid AS place), done AS (INSERT INTO " + t.sql +
		" (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(outputs, ", ") +
		" FROM gone ORDER BY place RETURNING 1)" + check("done", u.next())
	return &statement{op: opReplace, sql: sql, key: t.key, values: t.columns, flagged: flagged, counted: true, target: t}
}

func (t *target) insertStatement() *statement {
	u := t.unnest(nil, t.columns)
	names := make([]string, len(t.columns))
	values := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i], values[i] = t.fields[c].name, fmt.Sprintf("u.v%d%s", i, t.fields[c].cast)
	}
	sql := "INSERT INTO " + t.sql + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " +
		strings.Join(values, ", ") + " FROM " + u.from("u")
	return &statement{op: opInsert, sql: sql, values: t.columns, target: t}
}

// copySQL starts a copy of rows in COPY's text format into the table.
func (t *target) copySQL() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = t.fields[c].name
	}
	return "COPY " + t.sql + " (" + strings.Join(names, ", ") + ") FROM STDIN"
}

// discardStatement deletes so many rows equal to each given one. Equal means the same text of every column,
// as the server prints it: that knows NULL, tells 1.0 from 1.00 and works for types without an operator =.
// Columns that cannot be NULL and compare fast are compared first.
func (t *target) discardStatement() *statement {
	u := t.unnest(nil, t.columns)
	u.add("int4[]", "n")
	theirs := make([]string, len(t.columns))
	given := make([]string, len(t.columns))
	var fast strings.Builder
	for i, c := range t.columns {
		f := &t.fields[c]
		theirs[i] = "t." + f.name
		given[i] = fmt.Sprintf("u.v%d%s", i, f.cast)
		if f.notNull && f.exact {
			fmt.Fprintf(&fast, " AND t.%s = u.v%d", f.name, i)
		}
	}
	line := func(columns []string) string { return `ROW(` + strings.Join(columns, ", ") + `)::text COLLATE "C"` }
	sql := "WITH hit AS (SELECT t.tableoid AS part, t.ctid AS place, u.n, row_number() OVER (PARTITION BY u.line) AS nth FROM " +
		t.sql + " AS t JOIN (SELECT u.*, " + line(given) + " AS line FROM " + u.from("u") + ") AS u ON " + line(theirs) +
		" = u.line" + fast.String() + "), done AS (DELETE FROM " + t.sql + " AS t " + t.discarded() + " RETURNING 1)" +
		check("done", u.next())
	return &statement{op: opDiscard, sql: sql, values: t.columns, counts: true, counted: true, target: t}
}

// discarded finds the rows that were hit again. A place alone names a row only where there are no partitions.
func (t *target) discarded() string {
	if t.partitioned {
		return "USING hit WHERE hit.nth <= hit.n AND t.tableoid = hit.part AND t.ctid = hit.place"
	}
	return "WHERE t.ctid = ANY (ARRAY(SELECT place FROM hit WHERE nth <= n))"
}
