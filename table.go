package waybill

import (
	"fmt"
	"strings"
)

// TableName names a table inside one endpoint. Names are exact: never folded, never quoted.
type TableName struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

// String returns schema.name; a part that holds a dot or a quote is put in double quotes.
func (t TableName) String() string {
	if t.Schema == "" {
		return quotePart(t.Name)
	}
	return quotePart(t.Schema) + "." + quotePart(t.Name)
}

// MarshalText writes [TableName.String], so that a table can be a key in JSON.
func (t TableName) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what [TableName.String] writes.
func (t *TableName) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTableName(string(text))
	return err
}

// Less orders names by schema, then name.
func (t TableName) Less(u TableName) bool {
	if t.Schema != u.Schema {
		return t.Schema < u.Schema
	}
	return t.Name < u.Name
}

func quotePart(s string) string {
	if s != "" && !strings.ContainsAny(s, `."`) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// ParseTableName reads schema.name with optional double quotes around either part.
func ParseTableName(s string) (TableName, error) {
	var parts []string
	rest := s
	for {
		part, tail, err := parsePart(rest)
		if err != nil {
			return TableName{}, fmt.Errorf("table name %q: %w", s, err)
		}
		parts = append(parts, part)
		if tail == "" {
			break
		}
		rest = tail[1:]
	}
	switch len(parts) {
	case 1:
		return TableName{Name: parts[0]}, nil
	case 2:
		return TableName{Schema: parts[0], Name: parts[1]}, nil
	}
	return TableName{}, fmt.Errorf("table name %q: want schema.table", s)
}

// parsePart returns the first part of a dotted name and the tail that starts with its dot.
func parsePart(s string) (part, tail string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, '.')
		if end < 0 {
			end = len(s)
		}
		if end == 0 {
			return "", "", fmt.Errorf("a part is empty")
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i:], `""`):
			b.WriteByte('"')
			i++
		case i+1 < len(s) && s[i+1] != '.':
			return "", "", fmt.Errorf("text after the closing quote")
		default:
			return b.String(), s[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("no closing quote")
}

// Type is a column's type: how its values are held, and its full name in the dialect of its table version.
type Type struct {
	Kind   Kind   `json:"kind"`
	Native string `json:"native"`          // full name in the dialect, e.g. numeric(10,2), public.mood, text[]
	Length int    `json:"length,omitzero"` // characters or bytes, 0 when unlimited or meaningless
	Digits int    `json:"digits,omitzero"` // decimal precision
	Scale  int    `json:"scale,omitzero"`  // decimal scale, or fractional digits of a clock type
}

// Generated says who makes a column's values.
type Generated string

// How a column's values come to be. Stored and Virtual columns are never written.
const (
	ByDefault         Generated = ""                 // written, or its default
	Stored            Generated = "stored"           // computed by the database and stored
	Virtual           Generated = "virtual"          // computed when read
	IdentityAlways    Generated = "identity always"  // a sequence; explicit values need an override
	IdentityByDefault Generated = "identity default" // a sequence where no value is given
)

// Column is one column of a table version.
type Column struct {
	ID        int       `json:"id"` // stable for the column's life: a rename keeps it, drop and re-add changes it
	Name      string    `json:"name"`
	Type      Type      `json:"type"`
	NotNull   bool      `json:"not_null,omitzero"`
	Default   string    `json:"default,omitzero"`   // expression in the dialect; of a generated column its expression
	Missing   *string   `json:"missing,omitzero"`   // literal text that rows older than the column hold; nil: NULL or unknown
	Generated Generated `json:"generated,omitzero"` // who makes the values
	Collation string    `json:"collation,omitzero"` // set only when it is not the type's own
	Comment   string    `json:"comment,omitzero"`
}

// Writable reports whether a value may be given for the column.
func (c Column) Writable() bool { return c.Generated != Stored && c.Generated != Virtual }

// Identity says which rows of a table an update or delete can be tied to.
type Identity string

// The identities a source can give its changes.
const (
	IdentityKey   Identity = "key"   // by TableVersion.Key
	IdentityFull  Identity = "full"  // the whole old row travels
	IdentityNone  Identity = "none"  // updates and deletes cannot be carried
	IdentityIndex Identity = "index" // by the columns of a chosen unique index, which are TableVersion.Key
)

// TableVersion is one structure of one table. It is immutable: whoever holds a pointer may keep it, and a
// change of structure is a new TableVersion. Rows made under it have one Value per column, in order.
type TableVersion struct {
	Table       TableName       `json:"table"`
	ID          string          `json:"id,omitzero"`      // the source's identity of the table; a rename keeps it
	Dialect     string          `json:"dialect,omitzero"` // whose words types, defaults and definitions are in: a connector kind
	Columns     []Column        `json:"columns"`
	Key         []int           `json:"key,omitzero"` // indexes into Columns that name a row; empty for a keyless table
	Identity    Identity        `json:"identity,omitzero"`
	Constraints []Constraint    `json:"constraints,omitzero"` // in a fixed order, the primary key first
	Indexes     []Index         `json:"indexes,omitzero"`     // those that no constraint owns
	Types       []UserType      `json:"types,omitzero"`       // user types of the columns, dependencies first
	Sequences   []OwnedSequence `json:"sequences,omitzero"`   // sequences that defaults or identities use
	Partitions  *Partitioning   `json:"partitions,omitzero"`  // nil for a table without partitions
	Comment     string          `json:"comment,omitzero"`
}

// Column returns the index of the column with the given name, or -1.
func (v *TableVersion) Column(name string) int {
	for i := range v.Columns {
		if v.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// ConstraintKind tells the kinds of constraints apart.
type ConstraintKind string

// The kinds of constraints.
const (
	PrimaryKey ConstraintKind = "primary key"
	Unique     ConstraintKind = "unique"
	ForeignKey ConstraintKind = "foreign key"
	Check      ConstraintKind = "check"
	Exclusion  ConstraintKind = "exclusion"
)

// Constraint is a named rule of a table.
type Constraint struct {
	Name       string         `json:"name"`
	Kind       ConstraintKind `json:"kind"`
	Definition string         `json:"definition"`          // in the dialect, without the name: PRIMARY KEY (id)
	Columns    []string       `json:"columns,omitzero"`    // the columns it is over, in its order
	References *TableName     `json:"references,omitzero"` // of a foreign key
	Comment    string         `json:"comment,omitzero"`
}

// Index is an index that no constraint owns.
type Index struct {
	Name       string   `json:"name"`
	Definition string   `json:"definition"` // the complete statement in the dialect
	Unique     bool     `json:"unique,omitzero"`
	Columns    []string `json:"columns,omitzero"` // plain columns; empty where an expression is indexed
	Comment    string   `json:"comment,omitzero"`
}

// UserType is a type that must exist before a table that uses it.
type UserType struct {
	Name       TableName `json:"name"`
	Kind       string    `json:"kind"`                // enum, domain, composite, range, extension
	Definition string    `json:"definition,omitzero"` // complete CREATE statement in the dialect
	Labels     []string  `json:"labels,omitzero"`     // of an enum, in order; of a domain its clauses, of a composite its attributes, in the dialect
	Extension  string    `json:"extension,omitzero"`  // the extension that brings it
}

// OwnedSequence is a sequence that feeds a column.
type OwnedSequence struct {
	Name       TableName `json:"name"`
	Column     string    `json:"column,omitzero"`     // the column it belongs to; empty when only a default uses it
	Definition string    `json:"definition,omitzero"` // options in the dialect: AS bigint INCREMENT BY 1 ...
}

// Partitioning says how a root table is cut and into what. Rows travel as rows of the root.
type Partitioning struct {
	By    string      `json:"by"` // in the dialect: RANGE (day)
	Parts []Partition `json:"parts,omitzero"`
}

// Partition is one part of a partitioned table, or of a partition that is itself partitioned.
type Partition struct {
	Table  TableName     `json:"table"`
	ID     string        `json:"id,omitzero"`
	Bound  string        `json:"bound"` // in the dialect: FOR VALUES FROM (...) TO (...), or DEFAULT
	Nested *Partitioning `json:"nested,omitzero"`
}
