package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// Window is a time: rows whose value of the column is at or after From and before To. A zero time leaves it
// open at that end; rows without a value are in no window. The zero Window is all rows.
type Window struct {
	Column   string
	From, To time.Time
}

// restrict narrows both sides of a plan to the part that is compared.
func (r *run) restrict(p *plan) error {
	var told []string
	for _, s := range []struct {
		view waybill.View
		side *slice
	}{{r.Source, &p.source}, {r.Target, &p.target}} {
		part, err := r.partOf(s.side)
		if err != nil || part.Column == "" && part.Where == "" {
			return err
		}
		if s.side.Slice, err = narrowed(s.view, s.side.Slice, part); err != nil {
			return err
		}
		s.side.part, told = part, append(told, s.side.Range)
	}
	p.result.Part = strings.Join(slices.Compact(told), "; at the target ")
	return nil
}

func narrowed(v waybill.View, s waybill.Slice, part waybill.Part) (waybill.Slice, error) {
	n, ok := v.(waybill.Narrower)
	if !ok {
		return s, &waybill.Error{Op: "narrow", Table: s.Version.Table, Fault: waybill.Setup, Err: fmt.Errorf("the system cannot read a part of a table")}
	}
	return n.Narrow(s, part)
}

// partOf writes the window in the values of the side's column.
func (r *run) partOf(s *slice) (waybill.Part, error) {
	part := waybill.Part{Where: r.Where}
	if r.Window.Column == "" {
		return part, nil
	}
	v := s.Version
	refuse := func(format string, args ...any) error {
		return &waybill.Error{Op: "take window of", Table: v.Table, Fault: waybill.Drift, Err: fmt.Errorf(format, args...)}
	}
	at := v.Column(r.Window.Column)
	if at < 0 {
		return part, refuse("there is no column %q", r.Window.Column)
	}
	var window waybill.Range
	for _, end := range []struct {
		time time.Time
		to   *waybill.Value
	}{{r.Window.From, &window.From}, {r.Window.To, &window.To}} {
		if end.time.IsZero() {
			continue
		}
		micros := end.time.UnixMicro()
		switch kind := v.Columns[at].Type.Kind; kind {
		case waybill.KindInstant:
			*end.to = waybill.InstantValue(micros)
		case waybill.KindTimestamp:
			*end.to = waybill.TimestampValue(micros)
		case waybill.KindDate:
			days, rest := micros/dayMicros, micros%dayMicros
			if rest != 0 {
				return part, refuse("column %s has whole days, so the window must begin and end at midnight UTC", r.Window.Column)
			}
			*end.to = waybill.DateValue(days)
		default:
			return part, refuse("column %s is no time", r.Window.Column)
		}
	}
	part.Column, part.Ranges = r.Window.Column, []waybill.Range{window}
	return part, nil
}

const dayMicros = 24 * 3600 * 1_000_000

// count compares the counts only.
func (r *run) count(ctx context.Context, p *plan) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		name string
		view waybill.View
		side *slice
		rows *int64
	}{{"source", r.Source, &p.source, &p.result.SourceRows}, {"target", r.Target, &p.target, &p.result.TargetRows}} {
		g.Go(func() (err error) {
			c, ok := s.view.(waybill.Counter)
			switch {
			case !ok:
				err = &waybill.Error{Op: "count", Table: s.side.Version.Table, Fault: waybill.Setup, Err: fmt.Errorf("the system cannot count rows")}
			case !s.side.empty:
				*s.rows, err = c.Count(ctx, s.side.Slice)
			}
			return side(s.name, err)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.result.State = SameCount
	if p.result.SourceRows != p.result.TargetRows || len(p.result.Structure) > 0 {
		p.result.State = Different
	}
	return nil
}

// unused refuses names that are in no table: they would be ignored in silence.
func (r *run) unused(tables []waybill.TableName, plans []*plan) error {
	var names []ColumnName
	names = append(append(names, r.Columns...), r.Without...)
	for _, rule := range r.Rules {
		names = append(names, rule.Name)
	}
	for _, n := range names {
		if !slices.ContainsFunc(plans, func(p *plan) bool { return p.has(n) }) {
			return waybill.Errorf(waybill.Setup, "compare", "no compared table has a column %s at both sides", n)
		}
	}
	for table := range r.As {
		if !slices.Contains(tables, table) {
			return waybill.Errorf(waybill.Setup, "compare", "the source has no table %s, or it is not chosen", table)
		}
	}
	return nil
}

func (p *plan) has(n ColumnName) bool {
	return slices.ContainsFunc(slices.Concat(p.columns, p.result.LeftOut), func(c string) bool { return n.is(p.result.Table, c) })
}
