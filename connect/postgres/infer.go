package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres/pgoutput"
)

// firstUserType is the first oid of types that are not the server's own.
const firstUserType = 16384

const inferredReason = "derived from the log, which tells only names, types and identity of columns"

// compare checks the server's announcement of a table against a version. It returns nil when they agree, the
// version that follows from the difference when there is only one way to read it, and Drift otherwise: a column
// that went and one that came may be a rename, and a type that changed may have changed the rows.
func (h *shapes) compare(ctx context.Context, s *shape, v *waybill.TableVersion) (*waybill.TableVersion, error) {
	a := s.says
	if err := h.checkTypes(ctx, a, v); err != nil {
		return nil, err
	}
	added, dropped := columnDifference(a, v)
	_, isPart := h.roots[a.oid]
	renamed := !isPart && a.table != v.Table
	identity := !isPart && !identityAgrees(a, v)
	if !isPart {
		if err := ambiguous(a, v, added, dropped); err != nil {
			return nil, err
		}
	}
	if !renamed && !identity && len(added) == 0 && len(dropped) == 0 {
		return nil, nil
	}
	if isPart {
		return nil, drift(v.Table, "the columns of its partition "+a.table.String()+" differ without a report")
	}
	after := *v
	after.Table = a.table
	after.Columns = slices.Clone(v.Columns)
	removeColumns(&after, dropped)
	if err := h.addColumns(ctx, &after, a, added); err != nil {
		return nil, err
	}
	after.Key = keyOf(&after, columnNames(v, v.Key))
	if identity {
		setIdentity(&after, a)
	}
	return &after, nil
}

// checkTypes refuses a column whose type is not the version's.
func (h *shapes) checkTypes(ctx context.Context, a *announced, v *waybill.TableVersion) error {
	for _, c := range a.columns {
		at := v.Column(c.name)
		if at < 0 {
			continue
		}
		want := v.Columns[at].Type.Native
		now, err := h.nativeType(ctx, c.typ)
		if err != nil {
			return err
		}
		if now == want || c.typ.oid >= firstUserType && (h.captured || h.typeNames[c.typ.oid] == stripModifier(want)) {
			continue
		}
		return drift(v.Table, fmt.Sprintf("the type of column %s changed from %s to %s without a report", c.name, want, now))
	}
	return nil
}

// nativeType names a type as versions do. The server's own types never change their name; of user types the
// name is today's, which is why checkTypes also takes what the log called it then.
func (h *shapes) nativeType(ctx context.Context, t typeID) (string, error) {
	if name, ok := h.native[t]; ok {
		return name, nil
	}
	name, err := h.side.formatType(ctx, t)
	if err == nil {
		h.native[t] = name
	}
	return name, err
}

// nameType keeps what the log calls a user type. A domain is called by what it is over.
func (h *shapes) nameType(m *pgoutput.Message) {
	h.typeNames[m.OID] = plainName(string(m.Namespace)) + "." + plainName(string(m.Name))
}

// plainName quotes a name where the server's own functions would. Reserved words are not known here; such a name
// then differs, which stops rather than misleads.
func plainName(name string) string {
	plain := name != "" && (name[0] == '_' || name[0] >= 'a' && name[0] <= 'z')
	for _, c := range name {
		plain = plain && (c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9')
	}
	if plain {
		return name
	}
	return quoteName(name)
}

// columnDifference returns the announced columns that the version lacks, and the version's columns that are not
// announced though they could be.
func columnDifference(a *announced, v *waybill.TableVersion) (added, dropped []int) {
	seen := make([]bool, len(v.Columns))
	for i, c := range a.columns {
		if at := v.Column(c.name); at >= 0 {
			seen[at] = true
		} else {
			added = append(added, i)
		}
	}
	for i, c := range v.Columns {
		if !seen[i] && c.Writable() {
			dropped = append(dropped, i)
		}
	}
	return added, dropped
}

// ambiguous refuses a difference that can be read in more than one way.
func ambiguous(a *announced, v *waybill.TableVersion, added, dropped []int) error {
	if len(added) > 0 && len(dropped) > 0 {
		return drift(v.Table, fmt.Sprintf("column %s came and column %s went without a report: it may be a rename or not",
			a.columns[added[0]].name, v.Columns[dropped[0]].Name))
	}
	last := -1
	for i, c := range a.columns {
		at := v.Column(c.name)
		switch {
		case at < 0:
			continue
		case at < last:
			return drift(v.Table, fmt.Sprintf("column %s changed its place without a report: it may have been dropped and added again", c.name))
		case len(added) > 0 && i > added[0]:
			return drift(v.Table, fmt.Sprintf("column %s came before column %s without a report", a.columns[added[0]].name, c.name))
		}
		last = at
	}
	return nil
}

// removeColumns takes columns out of a version, with what cannot be without them.
func removeColumns(v *waybill.TableVersion, dropped []int) {
	if len(dropped) == 0 {
		return
	}
	gone := columnNames(v, dropped)
	hasGone := func(columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(gone, c) })
	}
	v.Columns = slices.DeleteFunc(v.Columns, func(c waybill.Column) bool { return slices.Contains(gone, c.Name) })
	v.Constraints = slices.DeleteFunc(slices.Clone(v.Constraints), func(c waybill.Constraint) bool { return hasGone(c.Columns) })
	v.Indexes = slices.DeleteFunc(slices.Clone(v.Indexes), func(i waybill.Index) bool { return hasGone(i.Columns) })
	v.Sequences = slices.DeleteFunc(slices.Clone(v.Sequences), func(s waybill.OwnedSequence) bool { return slices.Contains(gone, s.Column) })
}

// addColumns appends announced columns. What the log does not tell (default, NOT NULL, user types) is today's if
// the table still has the column with that type; without that the column has nothing but its name and type.
func (h *shapes) addColumns(ctx context.Context, v *waybill.TableVersion, a *announced, added []int) error {
	if len(added) == 0 {
		return nil
	}
	today, err := h.side.describe(ctx, a.oid)
	if err != nil {
		return err
	}
	for _, i := range added {
		c := a.columns[i]
		native, err := h.nativeType(ctx, c.typ)
		if err != nil {
			return err
		}
		column := waybill.Column{ID: nextID(v), Name: c.name, Type: typeOf(native, native)}
		if at := columnToday(today, c.name); at != nil && at.Type.Native == native {
			column = *at
			v.Types = today.Types
		} else if c.typ.oid >= firstUserType {
			return drift(v.Table, fmt.Sprintf("column %s came without a report, and its type %s is not known any more", c.name, native))
		}
		v.Columns = append(v.Columns, column)
	}
	return nil
}

// hidesValues reports whether an inferred column was given values that rows of before do not tell: a default that
// the server wrote into every row.
func hidesValues(before, after *waybill.TableVersion) bool {
	return slices.ContainsFunc(after.Columns, func(c waybill.Column) bool {
		return before.Column(c.Name) < 0 && c.Missing == nil && (c.Default != "" || c.Generated != waybill.ByDefault)
	})
}

func columnToday(v *waybill.TableVersion, name string) *waybill.Column {
	if v == nil || v.Column(name) < 0 {
		return nil
	}
	return &v.Columns[v.Column(name)]
}

func nextID(v *waybill.TableVersion) int {
	id := 0
	for _, c := range v.Columns {
		id = max(id, c.ID)
	}
	return id + 1
}

// identityAgrees compares the announced replica identity with the version's.
func identityAgrees(a *announced, v *waybill.TableVersion) bool {
	if a.identity == pgoutput.IdentityFull {
		return v.Identity == waybill.IdentityFull
	}
	announced := announcedKey(a)
	switch v.Identity {
	case waybill.IdentityKey:
		return a.identity == pgoutput.IdentityDefault && sameNames(announced, columnNames(v, v.Key))
	case waybill.IdentityIndex:
		return a.identity == pgoutput.IdentityIndex && sameNames(announced, columnNames(v, v.Key))
	case waybill.IdentityNone:
		return len(announced) == 0
	}
	return false
}

func setIdentity(v *waybill.TableVersion, a *announced) {
	names := announcedKey(a)
	switch {
	case a.identity == pgoutput.IdentityFull:
		v.Identity = waybill.IdentityFull
	case len(names) == 0:
		v.Identity = waybill.IdentityNone
	case a.identity == pgoutput.IdentityIndex:
		v.Identity, v.Key = waybill.IdentityIndex, keyOf(v, names)
	default:
		v.Identity, v.Key = waybill.IdentityKey, keyOf(v, names)
	}
}

func announcedKey(a *announced) []string {
	var names []string
	for _, c := range a.columns {
		if c.key {
			names = append(names, c.name)
		}
	}
	return names
}

func columnNames(v *waybill.TableVersion, columns []int) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = v.Columns[c].Name
	}
	return names
}

// keyOf returns the indexes of the named columns; nil where one is missing.
func keyOf(v *waybill.TableVersion, names []string) []int {
	var key []int
	for _, name := range names {
		at := v.Column(name)
		if at < 0 {
			return nil
		}
		key = append(key, at)
	}
	return key
}

func sameNames(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return strings.Join(a, "\x00") == strings.Join(b, "\x00")
}
