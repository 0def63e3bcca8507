package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// field is one column of a table as it is at the target.
type field struct {
	name    string // quoted
	oid     uint32 // of its type, domains resolved
	cast    string // ::type to read the wire's text with; empty where the wire has the type already
	typed   string // ::type, whether the wire needs it or not
	wire    wire
	notNull bool
	exact   bool   // values that are equal are identical, and = is fast
	equal   string // of a key column: the operator of the key's index
	collate string // of a key column: COLLATE clause, where the index has another collation than the default
}

// target is one table at the target under one version of its source's structure: what statements are made
// from, and the statements made so far.
type target struct {
	version     *waybill.TableVersion
	name        waybill.TableName
	sql         string
	partitioned bool
	bag         bool    // rows are told apart by all their columns only
	unindexed   bool    // no unique index over the key: rows are found by hash join
	careful     int     // for so many batches updates take rows out and put them back: unique values changed places
	cascades    bool    // a foreign key that acts on deletes refers to the table
	fields      []field // one per column of the version; those of generated columns are empty
	columns     []int   // the columns that are written
	key         []int   // of a keyed table
	statements  map[string]*statement
	effect      *effect // of the batch at hand, nil when it has none yet
}

const targetColumnsSQL = `WITH RECURSIVE c(attnum, attname, attnotnull, attcollation, typ) AS (
  SELECT attnum, attname, attnotnull, attcollation, atttypid FROM pg_catalog.pg_attribute
  WHERE attrelid = $1::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT c.attnum, c.attname, c.attnotnull, c.attcollation, t.typbasetype
  FROM c JOIN pg_catalog.pg_type t ON t.oid = c.typ WHERE t.typtype = 'd')
SELECT c.attname, c.typ::pg_catalog.oid, pg_catalog.format_type(c.typ, -1), c.attnotnull,
  (SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = $1::pg_catalog.regclass),
  EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = $1::pg_catalog.regclass AND confdeltype IN ('c', 'n', 'd'))
FROM c JOIN pg_catalog.pg_type t ON t.oid = c.typ WHERE t.typtype <> 'd' ORDER BY c.attnum`

// The unique indexes that can find a row at once, with the operator and collation of each column.
const targetKeysSQL = `SELECT i.indexrelid, a.attname, pg_catalog.quote_ident(n.nspname) || '.' || o.oprname,
  CASE WHEN k.coll = 0 OR k.coll = 100 AND a.attcollation = 100 THEN ''
    ELSE (SELECT ' COLLATE ' || pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(l.collname)
      FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace WHERE l.oid = k.coll) END
FROM pg_catalog.pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) AS k(attnum, opclass, coll)
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_catalog.pg_opclass c ON c.oid = k.opclass
JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
  AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE i.indrelid = $1::pg_catalog.regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indexrelid`

var (
	errOldRow    = errors.New("the source did not send the old row")
	errNoColumns = errors.New("the table has no column that can be written")
)

// openTarget reads what the table is at the target.
func openTarget(ctx context.Context, conn *pgconn.PgConn, v *waybill.TableVersion) (*target, error) {
	t := &target{version: v, name: v.Table, sql: quoteTable(v.Table), columns: copyColumns(v), statements: map[string]*statement{}}
	t.bag = isBag(v)
	rows, err := query(ctx, conn, targetColumnsSQL, t.sql)
	if err != nil {
		return nil, classify("look at table", v.Table, err)
	}
	if err := t.readColumns(rows); err != nil {
		return nil, err
	}
	if t.bag {
		return t, nil
	}
	t.key = v.Key
	keys, err := query(ctx, conn, targetKeysSQL, t.sql)
	if err != nil {
		return nil, classify("look at keys of table", v.Table, err)
	}
	t.readKeys(keys)
	return t, nil
}

// isBag reports whether rows must be told apart by all their columns: there is no key, or the key may hold
// the same value twice for a while within a transaction.
func isBag(v *waybill.TableVersion) bool {
	if len(v.Key) == 0 {
		return true
	}
	if v.Identity != waybill.IdentityFull {
		return false
	}
	for _, c := range v.Constraints {
		if c.Kind != waybill.PrimaryKey && c.Kind != waybill.Unique || !coversKey(v, c.Columns) {
			continue
		}
		if !strings.Contains(c.Definition, " DEFERRABLE") || strings.Contains(c.Definition, "NOT DEFERRABLE") {
			return false
		}
	}
	for _, i := range v.Indexes {
		if i.Unique && coversKey(v, i.Columns) {
			return false
		}
	}
	return len(v.Constraints) > 0 // a version without constraints says nothing about its key
}

func coversKey(v *waybill.TableVersion, columns []string) bool {
	if len(columns) != len(v.Key) {
		return false
	}
	for _, k := range v.Key {
		if !slices.Contains(columns, v.Columns[k].Name) {
			return false
		}
	}
	return true
}

func (t *target) readColumns(rows [][][]byte) error {
	t.fields = make([]field, len(t.version.Columns))
	missing := []string{}
	for _, c := range t.columns {
		column := &t.version.Columns[c]
		at := slices.IndexFunc(rows, func(row [][]byte) bool { return string(row[0]) == column.Name })
		if at < 0 {
			missing = append(missing, column.Name)
			continue
		}
		oid, err := strconv.ParseUint(string(rows[at][1]), 10, 32)
		if err != nil {
			return fmt.Errorf("type of column %s: %w", column.Name, err)
		}
		t.fields[c] = newField(column, uint32(oid), string(rows[at][2]), isTrue(rows[at][3]))
		t.partitioned, t.cascades = isTrue(rows[at][4]), isTrue(rows[at][5])
	}
	switch {
	case len(missing) > 0:
		return &waybill.Error{Op: "apply to", Table: t.name, Fault: waybill.Drift,
			Err:  fmt.Errorf("the target's table has no column %s", strings.Join(missing, ", ")),
			Hint: "somebody changed the table at the target: add the column there, or copy the table again"}
	case len(t.columns) == 0:
		return &waybill.Error{Op: "apply to", Table: t.name, Fault: waybill.Data, Err: errNoColumns, Hint: "leave the table out of the link"}
	}
	return nil
}

func newField(column *waybill.Column, oid uint32, typeName string, notNull bool) field {
	f := field{name: quoteName(column.Name), oid: oid, wire: wireOf(oid, column.Type.Kind), notNull: notNull, equal: "pg_catalog.=", typed: "::" + typeName}
	if f.wire == wireText || f.wire == wireRaw && oid != 25 {
		f.cast = f.typed
	}
	switch f.wire {
	case wireInt2, wireInt4, wireInt8, wireUUID, wireDate, wireTimestamp, wireInstant:
		f.exact = true
	}
	return f
}

// readKeys takes the operators of the first unique index over exactly the key's columns.
func (t *target) readKeys(rows [][][]byte) {
	for start := 0; start < len(rows); {
		end := start + 1
		for end < len(rows) && string(rows[end][0]) == string(rows[start][0]) {
			end++
		}
		if t.takeKey(rows[start:end]) {
			return
		}
		start = end
	}
	t.unindexed = true
}

func (t *target) takeKey(index [][][]byte) bool {
	names := make([]string, len(index))
	for i, row := range index {
		names[i] = string(row[1])
	}
	if !coversKey(t.version, names) {
		return false
	}
	for i, row := range index {
		f := &t.fields[t.version.Column(names[i])]
		f.equal, f.collate = string(row[2]), string(row[3])
	}
	return true
}

// sendText makes a column travel as text from now on: it met a value that only the server's own syntax can tell.
func (t *target) sendText(column int) {
	f := &t.fields[column]
	f.wire, f.cast, f.exact = wireText, f.typed, false
	clear(t.statements)
}

// statement returns the statement under a name of its kind and column sets, made on first use.
func (t *target) statement(signature string, build func() *statement) *statement {
	s := t.statements[signature]
	if s == nil {
		s = build()
		t.statements[signature] = s
	}
	return s
}
