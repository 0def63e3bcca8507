package repair

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// maxHeld is how many bytes of rows are held at once. A batch with more is taken in halves.
const maxHeld = 64 << 20

// maxCopies is how many equal rows are written at once.
const maxCopies = 10_000

var errTooLarge = errors.New("the rows of the batch are too large to be held at once")

// spot is one place with the rows that both sides have there now.
type spot struct {
	place   waybill.Row
	tallies map[string]*tally
	order   []*tally
}

type tally struct {
	row            waybill.Row
	source, target int64
}

// reading reads the rows at some places again, both sides as of one moment.
type reading struct {
	shape *shape
	spots []spot // in the order of their places
	all   []int  // indexes into a place
}

func newReading(s *shape, places []waybill.Row) *reading {
	r := &reading{shape: s, all: make([]int, len(s.pairs))}
	for i := range r.all {
		r.all[i] = i
	}
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b waybill.Row) int { return waybill.CompareKeys(a, b, r.all) })
	for i, p := range places {
		if i == 0 || waybill.CompareKeys(places[i-1], p, r.all) != 0 {
			r.spots = append(r.spots, spot{place: p, tallies: map[string]*tally{}})
		}
	}
	return r
}

// find returns the spot of a row, nil where the row is at none.
func (r *reading) find(row waybill.Row) *spot {
	at := make(waybill.Row, len(r.shape.pairs))
	for i, c := range r.shape.pairs {
		at[i] = row[c]
	}
	i, found := slices.BinarySearchFunc(r.spots, at, func(s spot, p waybill.Row) int { return waybill.CompareKeys(s.place, p, r.all) })
	if !found {
		return nil
	}
	return &r.spots[i]
}

// run reads both sides and returns what differs now.
func (r *reading) run(ctx context.Context, places []waybill.Row, m *Moment) ([]waybill.Correction, error) {
	source, err := m.Source.Version(ctx, r.shape.source.Table)
	if err != nil {
		return nil, err
	}
	target, err := m.Target.Version(ctx, r.shape.target.Table)
	if err == nil {
		err = r.shape.current(source, target)
	}
	if err != nil {
		return nil, err
	}
	var theirs, ours []waybill.Row
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		theirs, err = r.side(ctx, m.Source, source, r.shape.ofSource, places)
		return err
	})
	g.Go(func() (err error) {
		ours, err = r.side(ctx, m.Target, target, r.shape.ofTarget, places)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, row := range theirs {
		r.count(row).source++
	}
	for _, row := range ours {
		r.count(row).target++
	}
	return r.corrections()
}

func (r *reading) count(row waybill.Row) *tally {
	s := r.find(row)
	key := string(encode(nil, row))
	t := s.tallies[key]
	if t == nil {
		t = &tally{row: row}
		s.tallies[key] = t
		s.order = append(s.order, t)
	}
	return t
}

// side reads the rows of one side that are at the spots.
func (r *reading) side(ctx context.Context, v waybill.View, version *waybill.TableVersion, columns []int, places []waybill.Row) ([]waybill.Row, error) {
	pairs := make([]int, len(r.shape.pairs))
	for i, c := range r.shape.pairs {
		pairs[i] = columns[c]
	}
	var rows []waybill.Row
	held := 0
	for b, err := range read(ctx, v, version, pairs, places) {
		if err != nil {
			return nil, err
		}
		for _, row := range b.Rows {
			fitted := r.shape.fit(row, columns)
			if r.find(fitted) == nil {
				continue
			}
			rows = append(rows, fitted)
			if held += size(fitted); held > maxHeld && len(r.spots) > 1 {
				return nil, errTooLarge
			}
		}
	}
	return rows, ctx.Err()
}

// read gives the rows at the places, and others; all there are where the view cannot read single rows.
func read(ctx context.Context, v waybill.View, version *waybill.TableVersion, pairs []int, places []waybill.Row) iter.Seq2[waybill.Batch, error] {
	if picker, ok := v.(waybill.Picker); ok {
		return picker.Pick(ctx, version, pairs, places)
	}
	return func(yield func(waybill.Batch, error) bool) {
		cut, err := v.Slices(ctx, version, 0)
		if err != nil {
			yield(waybill.Batch{}, err)
		}
		for _, s := range cut {
			for b, err := range v.Read(ctx, s) {
				if !yield(b, err) {
					return
				}
			}
		}
	}
}

func size(row waybill.Row) int {
	n := 32 * len(row)
	for _, v := range row {
		n += len(v.Text())
	}
	return n
}

// corrections returns what the target needs at the spots.
func (r *reading) corrections() ([]waybill.Correction, error) {
	var all []waybill.Correction
	for i := range r.spots {
		s := &r.spots[i]
		if !r.shape.keyed {
			for _, t := range s.order {
				if t.source != t.target {
					all = append(all, waybill.Correction{Version: r.shape.write, Before: t.row, After: t.row, Was: t.target, Wanted: t.source})
				}
			}
			continue
		}
		var source, target waybill.Row
		for _, t := range s.order {
			if t.source > 1 || t.target > 1 || t.source > 0 && source != nil || t.target > 0 && target != nil {
				return nil, &waybill.Error{Op: "repair", Table: r.shape.target.Table, Fault: waybill.Drift,
					Hint: "the key must be unique at both sides", Err: fmt.Errorf("several rows have the key %v", s.place)}
			}
			if t.source > 0 {
				source = t.row
			}
			if t.target > 0 {
				target = t.row
			}
		}
		if c, differs := r.shape.correction(source, target); differs {
			all = append(all, c)
		}
	}
	return all, nil
}
