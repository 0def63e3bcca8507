package compare

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// The limits of what is held of one place in the order. A key has one row at each side, so only a table
// without a key, or a target that has lost its own, can reach them.
const (
	groupRows  = 100_000
	groupBytes = 64 << 20
)

// merge compares two ordered streams of rows as bags: identical heads cancel out, any other head goes into the
// group of rows at its place in the order, and what is left of a group when the streams have passed it are the
// differences. This needs no second rule for tables without keys, nor for rows that the order cannot tell apart.
type merge struct {
	plan   *plan
	source cursor
	target cursor
	group  group
	found  func(left []*tally) error
	report func(Progress)
	strict bool // a difference was met: from here on the order of both streams matters and is checked
}

// merge merges two ordered slices, adds what it finds to the plan's result, and returns how many rows there were.
func (r *run) merge(ctx context.Context, p *plan, a, b slice) (sourceRows, targetRows int64, err error) {
	source, target := r.newReader(r.Source, a, &r.sourcePace), r.newReader(r.Target, b, &r.targetPace)
	m := &merge{
		plan:   p,
		source: cursor{name: "source", in: source.out, free: source.free},
		target: cursor{name: "target", in: target.out, free: target.free},
		found:  func(left []*tally) error { return r.met(p, left) },
		report: r.report,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return side("source", source.run(ctx)) })
	g.Go(func() error { return side("target", target.run(ctx)) })
	g.Go(func() error { return m.run(ctx) })
	err = g.Wait()
	return m.source.rows, m.target.rows, err
}

func side(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (m *merge) run(ctx context.Context) error {
	var told *chunk
	for {
		a, aOK, err := m.source.head(ctx)
		if err != nil {
			return err
		}
		b, bOK, err := m.target.head(ctx)
		if err != nil {
			return err
		}
		if told != m.source.chunk {
			told = m.source.chunk
			m.report(Progress{Table: m.plan.result.Table, Rows: max(m.source.rows, m.plan.scanned.Load()), Expected: m.plan.expected,
				Differences: m.plan.result.Rows()})
		}
		if !aOK && !bOK {
			return m.flush()
		}
		if err := m.step(a, b, aOK, bOK); err != nil {
			return err
		}
	}
}

func (m *merge) step(a, b waybill.Row, aOK, bOK bool) error {
	if aOK && bOK && same(a, b) {
		return m.pass(a, b, true, true)
	}
	m.strict = true
	order := 0
	switch {
	case !bOK:
		order = -1
	case !aOK:
		order = 1
	default:
		order = waybill.CompareKeys(a, b, m.plan.order)
	}
	if order <= 0 {
		if err := m.set(a, 1); err != nil {
			return err
		}
	}
	if order >= 0 {
		if err := m.set(b, -1); err != nil {
			return err
		}
	}
	return m.pass(a, b, order <= 0, order >= 0)
}

// pass moves over the heads. While only identical rows were met the order does not matter, as every row has
// met its equal; afterwards a row out of order could be missed by its equal, so it ends the comparison.
func (m *merge) pass(a, b waybill.Row, source, target bool) error {
	if source {
		if err := m.check(&m.source, a); err != nil {
			return err
		}
		m.source.advance()
	}
	if target {
		if err := m.check(&m.target, b); err != nil {
			return err
		}
		m.target.advance()
	}
	return nil
}

func (m *merge) check(c *cursor, row waybill.Row) error {
	if !m.strict {
		return nil
	}
	if c.prev != nil && waybill.CompareKeys(c.prev, row, m.plan.order) > 0 {
		return &waybill.Error{Op: "merge rows of ", Table: m.plan.result.Table, Fault: waybill.Bug,
			Err: fmt.Errorf("the %s gives rows out of order: %v after %v", c.name,
				fields(m.plan, row, m.plan.order), fields(m.plan, c.prev, m.plan.order))}
	}
	c.prev = row
	return nil
}

func same(a, b waybill.Row) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// group counts rows at one place in the order: +1 for each at the source, -1 for each at the target.
type group struct {
	head   waybill.Row // one of them, for its place
	counts map[string]*tally
	rows   []*tally // in the order met
	bytes  int
}

type tally struct {
	row waybill.Row
	n   int64
}

func (m *merge) set(row waybill.Row, n int64) error {
	g := &m.group
	if g.head != nil && waybill.CompareKeys(g.head, row, m.plan.order) != 0 {
		if err := m.flush(); err != nil {
			return err
		}
	}
	g.add(row, n)
	if len(g.rows) > groupRows || g.bytes > groupBytes && len(g.rows) > 2 {
		return &waybill.Error{Op: "compare rows of ", Table: m.plan.result.Table, Fault: waybill.Data,
			Hint: "Give both sides the same key.",
			Err:  fmt.Errorf("%d different rows are at one place in the order: %v", len(g.rows), fields(m.plan, row, m.plan.order))}
	}
	return nil
}

func (g *group) add(row waybill.Row, n int64) {
	key := string(encode(nil, row))
	if t := g.counts[key]; t != nil {
		t.n += n
		return
	}
	t := &tally{row.Clone(), n}
	if g.head == nil {
		g.head, g.counts = t.row, make(map[string]*tally, 2)
	}
	g.counts[key] = t
	g.rows = append(g.rows, t)
	g.bytes += 2 * len(key)
}

// left returns the rows that have met no equal.
func (g *group) left() []*tally {
	return slices.DeleteFunc(g.rows, func(t *tally) bool { return t.n == 0 })
}

// encode appends a form of the row that no other row has.
func encode(dst []byte, row waybill.Row) []byte {
	for _, v := range row {
		dst = append(dst, byte(v.Kind()))
		dst = binary.BigEndian.AppendUint64(dst, v.Uint())
		dst = binary.AppendUvarint(dst, uint64(len(v.Text())))
		dst = append(dst, v.Text()...)
	}
	return dst
}

// flush reports what is left of the group.
func (m *merge) flush() error {
	left := m.group.left()
	m.group = group{}
	if len(left) == 0 {
		return nil
	}
	return m.found(left)
}

// differences names what is left at one place. Where rows are paired by key, one row left at each side is one
// changed row.
func differences(p *plan, left []*tally) []Difference {
	if p.keyed && len(left) == 2 && left[0].n*left[1].n == -1 {
		if left[0].n < 0 {
			left[0], left[1] = left[1], left[0]
		}
		return []Difference{changed(p, left[0].row, left[1].row)}
	}
	var all []Difference
	for _, t := range left {
		all = append(all, alone(p, t.row, t.n))
	}
	return all
}
