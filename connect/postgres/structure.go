package postgres

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// describeTemplate is one SQL expression over pg_class c and pg_namespace n whose value is the complete
// structure of c as a JSON document. It is the same text in the session of a reader and in the capture
// trigger, so both report a structure alike.
//
//go:embed describe.sql
var describeTemplate string

// describing is what describe.sql is filled in with.
type describing struct {
	Major int
	Lean  bool // for tables without user types and partitions
}

// expand fills a template of SQL in; it may use the template "describe" with a describing.
func expand(text string, values any) (string, error) {
	parsed, err := template.New("describe").Parse(strings.TrimSpace(describeTemplate))
	if err == nil {
		parsed, err = parsed.New("main").Parse(text)
	}
	if err != nil {
		return "", fmt.Errorf("parse template: %w", err)
	}
	var b bytes.Buffer
	if err := parsed.Execute(&b, values); err != nil {
		return "", fmt.Errorf("expand template: %w", err)
	}
	return b.String(), nil
}

// describe returns the structures of tables in the order of names; a table that does not exist is nil.
func describe(ctx context.Context, conn *pgconn.PgConn, names []waybill.TableName) ([]*waybill.TableVersion, error) {
	versions := make([]*waybill.TableVersion, len(names))
	if len(names) == 0 {
		return versions, nil
	}
	expression, err := expand(`{{template "describe" .}}`, describing{Major: serverVersion(conn) / 10000})
	if err != nil {
		return nil, err
	}
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		schemas[i], tables[i] = name.Schema, name.Name
	}
	rows, err := query(ctx, conn, `SELECT w.place::text, `+expression+`::text
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(schema, name, place)
		JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
		JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')`,
		textArray(schemas), textArray(tables))
	if sqlState(err) == "XX000" && strings.Contains(err.Error(), "cache lookup failed") {
		return nil, &waybill.Error{Op: "describe tables", Fault: waybill.Passing, Err: err,
			Hint: "something was dropped while it was looked at: it is looked at again"}
	}
	if err != nil {
		return nil, classify("describe tables", waybill.TableName{}, err)
	}
	for _, row := range rows {
		place, err := strconv.Atoi(string(row[0]))
		if err != nil {
			return nil, fmt.Errorf("describe tables: %w", err)
		}
		if versions[place-1], err = parseStructure(row[1]); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

// listTables lists the tables that can be carried, sorted, partitioned ones under their root. Tables that an
// extension brings are its own business.
func listTables(ctx context.Context, conn *pgconn.PgConn) ([]waybill.TableName, error) {
	rows, err := query(ctx, conn, `SELECT n.nspname, c.relname
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition
		  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'waybill') AND n.nspname !~ '^pg_(toast|temp)'
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
		    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')`)
	if err != nil {
		return nil, classify("list tables", waybill.TableName{}, err)
	}
	names := make([]waybill.TableName, len(rows))
	for i, row := range rows {
		names[i] = waybill.TableName{Schema: string(row[0]), Name: string(row[1])}
	}
	slices.SortFunc(names, func(a, b waybill.TableName) int {
		if c := strings.Compare(a.Schema, b.Schema); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return names, nil
}

// textArray writes an array literal of texts.
func textArray(items []string) string {
	quoted := make([]string, len(items))
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for i, item := range items {
		quoted[i] = `"` + escape.Replace(item) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// relation is the document that describe.sql makes.
type relation struct {
	OID          string
	Schema, Name string
	Kind         string // r or p
	Persistence  string // p, u or t
	Replica      string // d, i, f or n
	Comment      string
	Columns      []attribute
	Key          *struct {
		Columns   []int
		Immediate bool
	}
	ReplicaIndex []int `json:"replica_index"`
	Constraints  []constraint
	Indexes      []waybill.Index
	Types        []userType
	Sequences    []sequence
	Parts        []part
}

type attribute struct {
	ID         int
	Name       string
	Type, Base string
	NotNull    bool `json:"not_null"`
	Default    string
	Missing    *string
	Identity   string // "", a or d
	Generated  string // "", s or v
	Collation  string
	Comment    string
}

type constraint struct {
	Name       string
	Kind       string
	Definition string
	Columns    []string
	References *struct{ Schema, Name string }
	Comment    string
}

type userType struct {
	Schema, Name string
	Kind         string
	Extension    string
	Labels       []string
	Definition   string
}

type sequence struct {
	Schema, Name string
	Column       string
	Definition   string
}

type part struct {
	OID, Parent  string
	Schema, Name string
	Kind         string
	Bound, By    string
}

// parseStructure reads the document that describe.sql makes.
func parseStructure(doc []byte) (*waybill.TableVersion, error) {
	var r relation
	if err := json.Unmarshal(doc, &r); err != nil {
		return nil, waybill.Errorf(waybill.Bug, "read structure", "%w", err)
	}
	return r.version()
}

func (r *relation) version() (*waybill.TableVersion, error) {
	v := &waybill.TableVersion{
		Table: waybill.TableName{Schema: r.Schema, Name: r.Name}, ID: r.OID, Dialect: kind, Comment: r.Comment,
		Indexes: r.Indexes,
	}
	for _, a := range r.Columns {
		v.Columns = append(v.Columns, a.column())
	}
	r.identify(v)
	for _, c := range r.Constraints {
		v.Constraints = append(v.Constraints, c.constraint())
	}
	for _, t := range r.Types {
		v.Types = append(v.Types, t.userType())
	}
	for _, s := range r.Sequences {
		v.Sequences = append(v.Sequences, waybill.OwnedSequence{Name: waybill.TableName{Schema: s.Schema, Name: s.Name},
			Column: s.Column, Definition: s.Definition})
	}
	for _, p := range r.Parts {
		if p.Kind != "r" && p.Kind != "p" {
			return nil, &waybill.Error{Op: "describe", Table: v.Table, Fault: waybill.Data,
				Hint: "leave the table out of the selection, or detach the partition",
				Err:  fmt.Errorf("partition %s.%s is a foreign table, whose rows this server does not log", p.Schema, p.Name)}
		}
	}
	v.Partitions = nestParts(r.Parts, "0", r.OID)
	return v, nil
}

func (c *constraint) constraint() waybill.Constraint {
	w := waybill.Constraint{Name: c.Name, Kind: constraintKinds[c.Kind], Definition: c.Definition, Columns: c.Columns, Comment: c.Comment}
	if c.References != nil {
		w.References = &waybill.TableName{Schema: c.References.Schema, Name: c.References.Name}
	}
	return w
}

var constraintKinds = map[string]waybill.ConstraintKind{"p": waybill.PrimaryKey, "u": waybill.Unique, "f": waybill.ForeignKey,
	"c": waybill.Check, "x": waybill.Exclusion}

// identify sets Key and Identity. A key that is checked only at commit (deferrable) names no row in the log,
// but still names rows for comparison.
func (r *relation) identify(v *waybill.TableVersion) {
	v.Identity = waybill.IdentityNone
	if r.Key != nil {
		v.Key = indexesOf(v, r.Key.Columns)
	}
	switch r.Replica {
	case "d":
		if r.Key != nil && r.Key.Immediate {
			v.Identity = waybill.IdentityKey
		}
	case "f":
		v.Identity = waybill.IdentityFull
	case "i":
		if len(r.ReplicaIndex) > 0 {
			v.Key, v.Identity = indexesOf(v, r.ReplicaIndex), waybill.IdentityIndex
		}
	}
}

func indexesOf(v *waybill.TableVersion, ids []int) []int {
	var found []int
	for _, id := range ids {
		found = append(found, slices.IndexFunc(v.Columns, func(c waybill.Column) bool { return c.ID == id }))
	}
	return found
}

func (a *attribute) column() waybill.Column {
	c := waybill.Column{ID: a.ID, Name: a.Name, Type: typeOf(a.Type, a.Base), NotNull: a.NotNull, Default: a.Default,
		Missing: a.Missing, Collation: a.Collation, Comment: a.Comment}
	switch {
	case a.Generated == "s":
		c.Generated = waybill.Stored
	case a.Generated == "v":
		c.Generated = waybill.Virtual
	case a.Identity == "a":
		c.Generated = waybill.IdentityAlways
	case a.Identity == "d":
		c.Generated = waybill.IdentityByDefault
	}
	return c
}

var modifier = regexp.MustCompile(`\((-?\d+)(?:,(-?\d+))?\)`)

// typeOf reads a column's type: native is its own name, base that of what is stored.
func typeOf(native, base string) waybill.Type {
	t := waybill.Type{Kind: kindOf(base), Native: native}
	numbers := modifier.FindStringSubmatch(base)
	if numbers == nil || strings.HasSuffix(base, "]") || strings.HasPrefix(base, `"`) {
		return t
	}
	first, _ := strconv.Atoi(numbers[1]) // the pattern lets nothing but digits through
	switch t.Kind {
	case waybill.KindDecimal:
		t.Digits = first
		t.Scale, _ = strconv.Atoi(numbers[2]) // absent: 0
	case waybill.KindTime, waybill.KindTimeTZ, waybill.KindTimestamp, waybill.KindInstant, waybill.KindInterval:
		t.Scale = first
	case waybill.KindText:
		t.Length = first
	default:
		if strings.HasPrefix(base, "bit") {
			t.Length = first
		}
	}
	return t
}

func (t *userType) userType() waybill.UserType {
	u := waybill.UserType{Name: waybill.TableName{Schema: t.Schema, Name: t.Name}, Definition: t.Definition, Labels: t.Labels,
		Extension: t.Extension}
	switch {
	case t.Extension != "":
		u.Kind = "extension"
		u.Labels = nil
	case t.Kind == "e":
		u.Kind = "enum"
	case t.Kind == "d":
		u.Kind = "domain"
	case t.Kind == "r":
		u.Kind = "range"
	default:
		u.Kind = "composite"
	}
	return u
}

// nestParts builds the tree below a partitioned table out of the flat list, which holds the table itself too.
func nestParts(parts []part, parent, id string) *waybill.Partitioning {
	root := slices.IndexFunc(parts, func(p part) bool { return p.OID == id && p.Parent == parent })
	if root < 0 || parts[root].By == "" {
		return nil
	}
	p := &waybill.Partitioning{By: parts[root].By}
	for _, child := range parts {
		if child.Parent == id {
			p.Parts = append(p.Parts, waybill.Partition{Table: waybill.TableName{Schema: child.Schema, Name: child.Name},
				ID: child.OID, Bound: child.Bound, Nested: nestParts(parts, id, child.OID)})
		}
	}
	return p
}
