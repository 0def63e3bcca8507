package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// structures tells what differs in the structures and bears on rows; order of columns does not. What differs
// in a column that has a rule is a note, and of one that is left out nothing is said.
func (p *plan) structures(source, target *waybill.TableVersion) {
	t := &p.result
	say := func(column, format string, args ...any) {
		line := "column " + column + fmt.Sprintf(format, args...)
		switch {
		case slices.Contains(t.LeftOut, column):
		case slices.ContainsFunc(t.Rules, func(r string) bool { return strings.HasPrefix(r, column+": ") }):
			t.Notes = append(t.Notes, line)
		default:
			t.Structure = append(t.Structure, line)
		}
	}
	for _, c := range source.Columns {
		j := target.Column(c.Name)
		if j < 0 {
			say(c.Name, " is missing at the target")
			continue
		}
		d := target.Columns[j]
		if c.Type.Native != d.Type.Native {
			say(c.Name, " is %s at the source, %s at the target", c.Type.Native, d.Type.Native)
		}
		if c.Collation != d.Collation {
			say(c.Name, " has collation %q at the source, %q at the target", c.Collation, d.Collation)
		}
		if c.NotNull != d.NotNull {
			say(c.Name, " is %s at the source, %s at the target", nullWord(c), nullWord(d))
		}
	}
	for _, d := range target.Columns {
		if source.Column(d.Name) < 0 {
			say(d.Name, " is only at the target")
		}
	}
	if a, b := keyNames(source), keyNames(target); a != b {
		t.Structure = append(t.Structure, fmt.Sprintf("key is (%s) at the source, (%s) at the target", a, b))
	}
	t.Notes = append(t.Notes, notes(source, target)...)
}

func nullWord(c waybill.Column) string {
	if c.NotNull {
		return "not null"
	}
	return "nullable"
}

func keyNames(v *waybill.TableVersion) string {
	names := make([]string, len(v.Key))
	for i, k := range v.Key {
		names[i] = v.Columns[k].Name
	}
	return strings.Join(names, ", ")
}

// notes lists what differs in the structures and has no bearing on rows that are there already. Names of
// constraints and indexes do not count, nor does the schema in a statement.
func notes(source, target *waybill.TableVersion) []string {
	if source.Dialect != target.Dialect {
		return nil
	}
	var found []string
	for _, c := range source.Columns {
		j := target.Column(c.Name)
		if j < 0 {
			continue
		}
		if d := target.Columns[j]; c.Default != d.Default || c.Generated != d.Generated {
			found = append(found, fmt.Sprintf("column %s: %s at the source, %s at the target", c.Name, madeBy(c), madeBy(d)))
		}
	}
	for _, of := range []struct {
		what           string
		source, target []string
	}{
		{"constraint", constraints(source), constraints(target)},
		{"index", indexes(source), indexes(target)},
	} {
		for _, d := range missing(of.source, of.target) {
			found = append(found, of.what+" is missing at the target: "+d)
		}
		for _, d := range missing(of.target, of.source) {
			found = append(found, of.what+" is only at the target: "+d)
		}
	}
	return found
}

func madeBy(c waybill.Column) string {
	switch {
	case c.Generated != waybill.ByDefault:
		return strings.TrimSpace(string(c.Generated) + " " + c.Default)
	case c.Default != "":
		return "default " + c.Default
	}
	return "no default"
}

func constraints(v *waybill.TableVersion) []string {
	var all []string
	for _, c := range v.Constraints {
		if c.Kind != waybill.PrimaryKey { // a difference of key is told already
			all = append(all, c.Definition)
		}
	}
	slices.Sort(all)
	return all
}

// indexes returns what follows the table's name in the definitions.
func indexes(v *waybill.TableVersion) []string {
	var all []string
	for _, x := range v.Indexes {
		definition := x.Definition
		if _, after, ok := strings.Cut(definition, " USING "); ok {
			definition = after
		}
		if x.Unique {
			definition = "unique " + definition
		}
		all = append(all, definition)
	}
	slices.Sort(all)
	return all
}

// missing returns what of a is not in b, both sorted, as bags.
func missing(a, b []string) []string {
	var left []string
	for len(a) > 0 {
		order := -1
		if len(b) > 0 {
			order = cmp.Compare(a[0], b[0])
		}
		switch {
		case order < 0:
			left, a = append(left, a[0]), a[1:]
		case order > 0:
			b = b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return left
}
