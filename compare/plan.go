package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// plan is how one table is compared.
type plan struct {
	result         TableResult
	source, target slice
	columns        []string // compared, in this order at both sides
	order          []int    // indexes into columns that the rows come ordered by
	keyed          bool
	ints           bool // the first of them is an integer and never NULL, so that ranges of it can be read
	expected       int64
	scanned        atomic.Int64 // rows of the source that were digested
}

// slice is one side of a plan: what is read, and where the compared columns are in its rows.
type slice struct {
	waybill.Slice
	empty   bool   // the view has no slice of it
	columns []int  // index in the side's rows for each compared column
	printed []bool // for each compared column: kinds differ between the sides, compare in printed form
}

// plan pairs the tables of both sides and their columns.
func (r *run) plan(ctx context.Context) ([]*plan, error) {
	source, err := r.Source.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tables of the source: %w", err)
	}
	target, err := r.Target.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tables of the target: %w", err)
	}
	source, target = r.Options.Tables.Pick(source), r.Options.Tables.Pick(target)
	var plans []*plan
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Workers)
	for _, table := range source {
		p := &plan{result: TableResult{Table: table}}
		plans = append(plans, p)
		if !slices.Contains(target, table) {
			p.result.State = MissingAtTarget
			continue
		}
		g.Go(func() error { return r.pair(ctx, p) })
	}
	for _, table := range target {
		if r.Owned != nil && r.Owned(table) && !slices.Contains(source, table) {
			plans = append(plans, &plan{result: TableResult{Table: table, State: MissingAtSource}})
		}
	}
	return plans, g.Wait()
}

func (r *run) pair(ctx context.Context, p *plan) error {
	err := r.pairSides(ctx, p)
	if err != nil && aboutTable(err) && ctx.Err() == nil {
		p.result.State, p.result.Cause = Refused, err.Error()
		return nil
	}
	return err
}

func (r *run) pairSides(ctx context.Context, p *plan) error {
	source, err := r.Source.Version(ctx, p.result.Table)
	if err != nil {
		return err
	}
	target, err := r.Target.Version(ctx, p.result.Table)
	if err != nil {
		return err
	}
	p.result.Structure = structure(source, target)
	if err := p.match(source, target); err != nil {
		return err
	}
	if p.source.Slice, p.source.empty, err = whole(ctx, r.Source, source, p.source.columns, p.order); err != nil {
		return err
	}
	p.target.Slice, p.target.empty, err = whole(ctx, r.Target, target, p.target.columns, p.order)
	p.expected = p.source.Rows
	return err
}

// match pairs the columns by name and chooses what rows are ordered and paired by.
func (p *plan) match(source, target *waybill.TableVersion) error {
	place := make(map[string]int) // of a column among the compared
	for i, c := range source.Columns {
		j := target.Column(c.Name)
		if j < 0 {
			continue
		}
		printed := c.Type.Kind != target.Columns[j].Type.Kind
		place[c.Name] = len(p.columns)
		p.columns = append(p.columns, c.Name)
		p.source.columns, p.source.printed = append(p.source.columns, i), append(p.source.printed, printed)
		p.target.columns, p.target.printed = append(p.target.columns, j), append(p.target.printed, printed)
	}
	for _, side := range []*waybill.TableVersion{source, target} {
		if p.order = places(side, place); p.order != nil {
			p.keyed = true
			break
		}
	}
	if !p.keyed {
		for i := range p.columns {
			p.order = append(p.order, i)
		}
	}
	for _, i := range p.order {
		if p.source.printed[i] {
			return &waybill.Error{Op: "pair rows of ", Table: p.result.Table, Fault: waybill.Drift,
				Hint: "Give the column the same type at both sides, or take the table out of the comparison.",
				Err: fmt.Errorf("column %s orders the rows and is %s at the source, %s at the target", p.columns[i],
					source.Columns[p.source.columns[i]].Type.Native, target.Columns[p.target.columns[i]].Type.Native)}
		}
		if p.keyed {
			p.result.Key = append(p.result.Key, p.columns[i])
		}
	}
	p.ints = p.keyed && integer(source, p.source.columns[p.order[0]]) && integer(target, p.target.columns[p.order[0]])
	return nil
}

func integer(v *waybill.TableVersion, column int) bool {
	return v.Columns[column].Type.Kind == waybill.KindInt && v.Columns[column].NotNull
}

// ruled reports whether values are changed before they are compared.
func (p *plan) ruled() bool { return slices.Contains(p.source.printed, true) }

// places returns where the key of a version is among the compared columns, nil if it has none or not all of it.
func places(v *waybill.TableVersion, place map[string]int) []int {
	var order []int
	for _, k := range v.Key {
		i, compared := place[v.Columns[k].Name]
		if !compared {
			return nil
		}
		order = append(order, i)
	}
	return order
}

// whole returns the slice that is the whole table, ordered by the given of the compared columns: the order
// is asked for as the key of the slice's version, so that both sides come in the same one.
func whole(ctx context.Context, v waybill.View, version *waybill.TableVersion, columns, order []int) (waybill.Slice, bool, error) {
	ordered := *version
	ordered.Key = make([]int, len(order))
	for i, c := range order {
		ordered.Key[i] = columns[c]
	}
	cut, err := v.Slices(ctx, &ordered, 0)
	if err != nil {
		return waybill.Slice{}, false, err
	}
	switch len(cut) {
	case 0:
		return waybill.Slice{}, true, nil
	case 1:
		s := cut[0]
		s.Version, s.Ordered = &ordered, true
		return s, false, nil
	}
	return waybill.Slice{}, false, &waybill.Error{Op: "read whole table ", Table: version.Table, Fault: waybill.Bug,
		Err: fmt.Errorf("asked for one slice, got %d", len(cut))}
}

// structure lists what differs in the structures that bears on rows; order of columns does not.
func structure(source, target *waybill.TableVersion) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, c := range source.Columns {
		j := target.Column(c.Name)
		if j < 0 {
			say("column %s is missing at the target", c.Name)
			continue
		}
		d := target.Columns[j]
		if c.Type.Native != d.Type.Native {
			say("column %s is %s at the source, %s at the target", c.Name, c.Type.Native, d.Type.Native)
		}
		if c.Collation != d.Collation {
			say("column %s has collation %q at the source, %q at the target", c.Name, c.Collation, d.Collation)
		}
		if c.NotNull != d.NotNull {
			say("column %s is %s at the source, %s at the target", c.Name, nullWord(c), nullWord(d))
		}
	}
	for _, d := range target.Columns {
		if source.Column(d.Name) < 0 {
			say("column %s is only at the target", d.Name)
		}
	}
	if a, b := keyNames(source), keyNames(target); a != b {
		say("key is (%s) at the source, (%s) at the target", a, b)
	}
	return found
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
