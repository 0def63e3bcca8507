package repair

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
)

// shape is how rows of one table are read at both sides and written at the target. Rows hold the columns that
// both sides have, in the source's order, then those that only the target has and that are written there: they
// are Absent in rows of the source, and a row of the target keeps them whatever becomes of it.
type shape struct {
	source, target *waybill.TableVersion
	write          *waybill.TableVersion // the target's, columns in the order of the rows
	fresh          *waybill.TableVersion // of rows that are new: without the columns that only the target has
	ofSource       []int                 // for each column: where it is in a row of the side
	ofTarget       []int
	pairs          []int // of the common columns: rows are paired by
	keyed          bool  // the target has a key over exactly those
	touchy         []bool
	compared       []bool         // columns that were left out stay as they are in rows that change
	rules          []compare.Rule // of values that are not compared by identity
	acts           bool           // a foreign key refers to the table that acts when a row is deleted; set by order
}

// newShape pairs the columns; pairs names those that the comparison paired rows by.
func newShape(source, target *waybill.TableVersion, pairs []string, paired bool, terms *compare.Options) (*shape, error) {
	s := &shape{source: source, target: target}
	v := *target
	v.Columns, v.Key, v.Identity = nil, nil, waybill.IdentityFull
	if err := s.takeColumns(&v, pairs, terms); err != nil {
		return nil, err
	}
	for _, name := range pairs {
		i := v.Column(name)
		if i < 0 {
			return nil, s.refuse("column %s, by which rows are paired, is not at both sides", name)
		}
		s.pairs = append(s.pairs, i)
	}
	if s.keyed = paired && sameNames(target, pairs); s.keyed {
		v.Key, v.Identity = s.pairs, waybill.IdentityKey
	} else if slices.Contains(s.compared, false) || slices.ContainsFunc(s.rules, func(r compare.Rule) bool { return r != "" }) {
		return nil, s.refuse("without a key at the target, rows can only be told apart by all their columns and by identity")
	}
	s.write, s.fresh = &v, &v
	if fresh := len(s.ofSource); fresh < len(v.Columns) {
		cut := v
		cut.Columns = v.Columns[:fresh:fresh]
		s.fresh = &cut
	}
	s.findTouchy()
	return s, nil
}

func (s *shape) refuse(format string, args ...any) error {
	return &waybill.Error{Op: "repair", Table: s.target.Table, Fault: waybill.Drift, Err: fmt.Errorf(format, args...),
		Hint: "make the structure at the target equal to the source's, then compare again"}
}

// takeColumns takes the columns that both sides have, then those that only the target has.
func (s *shape) takeColumns(v *waybill.TableVersion, pairs []string, terms *compare.Options) error {
	for i, c := range s.source.Columns {
		j := s.target.Column(c.Name)
		if j < 0 {
			continue
		}
		pairing := slices.Contains(pairs, c.Name)
		compared, rule := pairing || terms.Compares(s.source.Table, c.Name), terms.RuleOf(s.source.Table, c.Name)
		d := s.target.Columns[j]
		switch {
		case c.Type.Kind != d.Type.Kind && !compared:
			continue
		case c.Type.Kind != d.Type.Kind:
			return s.refuse("column %s is %s at the source, %s at the target", c.Name, c.Type.Native, d.Type.Native)
		case rule != "" && pairing:
			return s.refuse("rows are paired by column %s, whose values are compared by rule %s", c.Name, rule)
		}
		s.compared, s.rules = append(s.compared, compared), append(s.rules, rule)
		s.ofSource, s.ofTarget = append(s.ofSource, i), append(s.ofTarget, j)
		v.Columns = append(v.Columns, d)
	}
	for j, c := range s.target.Columns {
		if s.source.Column(c.Name) < 0 && c.Writable() {
			s.compared, s.rules = append(s.compared, false), append(s.rules, "")
			s.ofTarget, v.Columns = append(s.ofTarget, j), append(v.Columns, c)
		}
	}
	return nil
}

func sameNames(v *waybill.TableVersion, names []string) bool {
	return len(v.Key) == len(names) && !slices.ContainsFunc(v.Key, func(k int) bool { return !slices.Contains(names, v.Columns[k].Name) })
}

// findTouchy marks the columns that a unique rule beside the key is over: where they change, rows may have
// exchanged their values.
func (s *shape) findTouchy() {
	s.touchy = make([]bool, len(s.write.Columns))
	mark := func(columns []string) {
		if s.keyed && sameNames(s.write, columns) {
			return
		}
		for i, c := range s.write.Columns {
			s.touchy[i] = s.touchy[i] || len(columns) == 0 || slices.Contains(columns, c.Name)
		}
	}
	for _, c := range s.target.Constraints {
		if c.Kind == waybill.PrimaryKey || c.Kind == waybill.Unique || c.Kind == waybill.Exclusion {
			mark(c.Columns)
		}
	}
	for _, x := range s.target.Indexes {
		if x.Unique {
			mark(x.Columns)
		}
	}
}

// current reports whether versions read later still are what the shape was made of.
func (s *shape) current(source, target *waybill.TableVersion) error {
	same := func(a, b *waybill.TableVersion) bool {
		return reflect.DeepEqual(a.Columns, b.Columns) && slices.Equal(a.Key, b.Key)
	}
	if same(s.source, source) && same(s.target, target) {
		return nil
	}
	return &waybill.Error{Op: "repair", Table: s.target.Table, Fault: waybill.Setup, Hint: "compare again, then repair what that finds",
		Err: fmt.Errorf("the structure of the table changed since it was compared")}
}

// fit takes the columns of a row of one side; those that only the target has stay Absent in one of the source.
func (s *shape) fit(row waybill.Row, columns []int) waybill.Row {
	fitted := make(waybill.Row, len(s.write.Columns))
	for i, c := range columns {
		fitted[i] = row[c].Clone()
	}
	return fitted
}

// same reports whether a column of two rows holds the same, or was left out of the comparison.
func (s *shape) same(column int, a, b waybill.Row) bool {
	return !s.compared[column] || s.rules[column].Same(a[column], b[column])
}

// correction makes one row of a keyed table out of what both sides have, nil for nothing. What is the same or was
// left out stays as it is at the target. It reports whether anything differs.
func (s *shape) correction(source, target waybill.Row) (waybill.Correction, bool) {
	c := waybill.Correction{Version: s.write, Before: target, After: source}
	switch {
	case source == nil:
		c.Was = 1
		return c, target != nil
	case target == nil:
		c.Version, c.After, c.Wanted = s.fresh, source[:len(s.fresh.Columns)], 1
		return c, true
	}
	c.Was, c.Wanted, c.After = 1, 1, slices.Clone(source)
	differs := false
	for i := range c.After {
		if s.same(i, source, target) {
			c.After[i] = target[i]
		} else {
			differs = true
		}
	}
	return c, differs
}

// changed returns the columns that a correction writes other values to.
func (s *shape) changed(c *waybill.Correction) []int {
	var columns []int
	for i := range c.After {
		if s.write.Columns[i].Writable() && !c.After[i].Same(c.Before[i]) {
			columns = append(columns, i)
		}
	}
	return columns
}

// computed reports whether only columns differ that the target computes.
func (s *shape) computed(c *waybill.Correction) bool {
	return s.keyed && c.Before != nil && c.After != nil && len(s.changed(c)) == 0
}

// replaces reports whether an update of the row is refused by the target whatever happens: the key is another
// text of an equal value, or an identity column that only takes new rows' values differs.
func (s *shape) replaces(c *waybill.Correction) bool {
	if !s.keyed || c.Before == nil || c.After == nil {
		return false
	}
	return slices.ContainsFunc(s.changed(c), func(i int) bool {
		return slices.Contains(s.pairs, i) || s.write.Columns[i].Generated == waybill.IdentityAlways
	})
}

// exchanges reports whether the row may have exchanged unique values with another one, so that statements that
// come one by one must take it out and put it back.
func (s *shape) exchanges(c *waybill.Correction) bool {
	return s.keyed && c.Before != nil && c.After != nil &&
		slices.ContainsFunc(s.changed(c), func(i int) bool { return s.touchy[i] })
}

// acting reports whether a foreign key does something to its rows when what they refer to is deleted.
func acting(definition string) bool {
	_, action, found := strings.Cut(strings.ToUpper(definition), "ON DELETE ")
	return found && !strings.HasPrefix(action, "NO ACTION") && !strings.HasPrefix(action, "RESTRICT")
}

// order sorts tables so that each comes after those it refers to, as far as there is no cycle, and notes
// which of them have rows that go when a row is deleted.
func order(tables []*Table) []*Table {
	byName := map[waybill.TableName]*Table{}
	for _, t := range tables {
		byName[t.shape.target.Table] = t
	}
	var ordered []*Table
	seen := map[*Table]bool{}
	var visit func(t *Table)
	visit = func(t *Table) {
		if t == nil || seen[t] {
			return
		}
		seen[t] = true
		for _, c := range t.shape.target.Constraints {
			if c.Kind != waybill.ForeignKey || c.References == nil {
				continue
			}
			referred := byName[*c.References]
			if referred != nil && acting(c.Definition) {
				referred.shape.acts = true
			}
			visit(referred)
		}
		ordered = append(ordered, t)
	}
	for _, t := range tables {
		visit(t)
	}
	return ordered
}
