package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/spill"
)

// plan is how one table is compared.
type plan struct {
	result         TableResult
	other          waybill.TableName // what it is called at the target
	source, target slice
	columns        []string // compared, in this order at both sides
	order          []int    // indexes into columns that the rows come ordered by
	keyed          bool
	ranged         waybill.Kind // of the first of them, if ranges of it can be read: it is never NULL; else 0
	expected       int64
	suspects       *spill.Log   // places that differed when they were read last; nil: none yet
	proof          *finding     // of the run that was resumed
	scanned        atomic.Int64 // rows of the source that were digested
}

// slice is one side of a plan: what is read, and where the compared columns are in its rows.
type slice struct {
	waybill.Slice
	empty   bool         // the view has no slice of it
	part    waybill.Part // of the table, where not all of it is compared
	columns []int        // index in the side's rows for each compared column
	rules   []Rule       // for each compared column
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
	all := target
	source, target = r.Options.Tables.Pick(source), r.Options.Tables.Pick(target)
	for _, other := range r.As {
		if slices.Contains(all, other) && !slices.Contains(target, other) {
			target = append(target, other)
		}
	}
	var plans []*plan
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Workers)
	for _, table := range source {
		p := &plan{result: TableResult{Table: table}, other: table}
		if other, ok := r.As[table]; ok {
			p.other = other
		}
		plans = append(plans, p)
		if !slices.Contains(target, p.other) {
			p.result.State = MissingAtTarget
			continue
		}
		g.Go(func() error { return r.pair(ctx, p) })
	}
	for _, table := range target {
		if r.Owned != nil && r.Owned(table) && !slices.ContainsFunc(plans, func(p *plan) bool { return p.other == table }) {
			plans = append(plans, &plan{result: TableResult{Table: table, State: MissingAtSource}})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return plans, r.unused(source, plans)
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
	target, err := r.Target.Version(ctx, p.other)
	if err != nil {
		return err
	}
	p.columnsOf(&r.Options, source, target)
	p.structures(source, target)
	if err := p.match(source, target); err != nil {
		return err
	}
	if p.source.Slice, p.source.empty, err = whole(ctx, r.Source, source, p.source.columns, p.order); err != nil {
		return err
	}
	if p.target.Slice, p.target.empty, err = whole(ctx, r.Target, target, p.target.columns, p.order); err != nil {
		return err
	}
	p.expected = p.source.Rows
	return r.restrict(p)
}

// match chooses what rows are ordered and paired by.
func (p *plan) match(source, target *waybill.TableVersion) error {
	place := make(map[string]int, len(p.columns)) // of a column among the compared
	for i, name := range p.columns {
		place[name] = i
	}
	for _, side := range []*waybill.TableVersion{source, target} {
		if p.order = places(side, place); p.order != nil {
			p.keyed = true
			break
		}
	}
	for i := range p.columns {
		// What a rule changes is no longer in the order that the side gives.
		if !p.keyed && p.rules()[i] == "" {
			p.order = append(p.order, i)
		}
	}
	for _, i := range p.order {
		if rule := p.rules()[i]; rule != "" {
			return p.unordered(i, rule, source, target)
		}
		if p.keyed {
			p.result.Key = append(p.result.Key, p.columns[i])
		}
	}
	if len(p.order) == 0 && len(p.columns) > 0 {
		return &waybill.Error{Op: "pair rows of ", Table: p.result.Table, Fault: waybill.Drift, Hint: "leave one column without a rule, and give it one type at both sides",
			Err: errors.New("the table has no key, and no column is compared as it is, so nothing orders its rows")}
	}
	if p.keyed {
		p.ranged = rangedBy(source.Columns[p.source.columns[p.order[0]]], target.Columns[p.target.columns[p.order[0]]])
	}
	return nil
}

func (p *plan) rules() []Rule { return p.source.rules }

// columnsOf pairs the columns by name, and chooses those that are compared and their rules. Those of the keys are always compared.
func (p *plan) columnsOf(o *Options, source, target *waybill.TableVersion) {
	table := p.result.Table
	named := func(names []ColumnName, column string) bool {
		return slices.ContainsFunc(names, func(n ColumnName) bool { return n.is(table, column) })
	}
	out := func(column string) bool {
		return len(o.Columns) > 0 && !named(o.Columns, column) || named(o.Without, column)
	}
	for _, d := range target.Columns {
		if source.Column(d.Name) < 0 && out(d.Name) {
			p.result.LeftOut = append(p.result.LeftOut, d.Name)
		}
	}
	for i, c := range source.Columns {
		j := target.Column(c.Name)
		key := slices.Contains(source.Key, i) || slices.Contains(target.Key, j)
		if out(c.Name) && !key {
			p.result.LeftOut = append(p.result.LeftOut, c.Name)
			continue
		}
		if j < 0 {
			continue
		}
		rule := o.rule(p, c.Name)
		if rule != "" {
			p.result.Rules = append(p.result.Rules, c.Name+": "+string(rule))
		}
		if rule == "" && c.Type.Kind != target.Columns[j].Type.Kind {
			rule = Printed
		}
		p.columns = append(p.columns, c.Name)
		p.source.columns, p.source.rules = append(p.source.columns, i), append(p.source.rules, rule)
		p.target.columns, p.target.rules = append(p.target.columns, j), append(p.target.rules, rule)
	}
}

// rule returns the rule that was chosen for a column.
func (o *Options) rule(p *plan, column string) Rule {
	var rule Rule
	for _, r := range o.Rules {
		if r.Name.is(p.result.Table, column) {
			rule = r.Rule
		}
	}
	return rule
}

func (p *plan) unordered(i int, rule Rule, source, target *waybill.TableVersion) error {
	err := &waybill.Error{Op: "pair rows of ", Table: p.result.Table, Fault: waybill.Drift}
	if rule == Printed {
		err.Hint = "Give the column the same type at both sides, or take the table out of the comparison."
		err.Err = fmt.Errorf("column %s orders the rows and is %s at the source, %s at the target", p.columns[i],
			source.Columns[p.source.columns[i]].Type.Native, target.Columns[p.target.columns[i]].Type.Native)
		return err
	}
	err.Hint = "leave the key without a rule"
	err.Err = fmt.Errorf("column %s orders the rows, so it cannot have the rule %s", p.columns[i], rule)
	return err
}

// ruled reports whether values are changed before they are compared.
func (p *plan) ruled() bool {
	return slices.ContainsFunc(p.rules(), func(r Rule) bool { return r != "" })
}

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
