package compare

import (
	"context"
	"math/bits"

	"github.com/waybill-data/waybill"
)

// inParts compares a large table in ranges of its key, one after the other, each of which is proved and
// recorded by itself.
func (r *run) inParts(ctx context.Context, p *plan) error {
	low, high, err := r.bounds(ctx, p)
	if err != nil || low > high {
		return err
	}
	shift := uint(bits.Len64((high - low) / uint64(max(1, p.expected/r.PartRows))))
	if r.Resumed != nil && len(r.Resumed.parts[p.result.Table]) > 0 {
		shift = r.Resumed.parts[p.result.Table][0].Shift
	}
	for number := low >> shift; number <= high>>shift; number++ {
		s := part{Shift: shift, Number: number}
		known, ok := r.proved(p, s)
		if ok {
			s = known
			p.result.PartsFromRun++
			err = r.saved(ctx, p, s) // so that this run can be resumed in its turn
		} else {
			err = r.onePart(ctx, p, &s)
		}
		if err != nil {
			return err
		}
		p.result.SourceRows += s.SourceRows
		p.result.TargetRows += s.TargetRows
		if number == ^uint64(0)>>shift {
			break
		}
	}
	return nil
}

// onePart compares a part, and records it if it is equal.
func (r *run) onePart(ctx context.Context, p *plan, s *part) error {
	a, b := p.source, p.target
	wanted := waybill.Part{Column: p.columns[p.order[0]], Ranges: []waybill.Range{rangeOf(p.ranged, s.span())}}
	for _, side := range []struct {
		view waybill.View
		side *slice
	}{{r.Source, &a}, {r.Target, &b}} {
		var err error
		if side.side.Slice, err = narrowed(side.view, side.side.Slice, wanted); err != nil {
			return err
		}
		side.side.part = wanted
	}
	before, suspects := p.result.Rows(), p.suspected()
	var err error
	s.SourceRows, s.TargetRows, err = r.sides(ctx, p, a, b)
	if err != nil || p.result.Rows() != before || p.suspected() != suspects {
		return err
	}
	return r.saved(ctx, p, *s)
}

func (p *plan) suspected() int {
	if p.suspects == nil {
		return 0
	}
	return p.suspects.Records()
}

// bounds returns the first and the last place at both sides; the first is larger where there is no row.
func (r *run) bounds(ctx context.Context, p *plan) (low, high uint64, err error) {
	low = ^uint64(0)
	for _, side := range []struct {
		view waybill.View
		side *slice
	}{{r.Source, &p.source}, {r.Target, &p.target}} {
		from, to, err := side.view.(waybill.Narrower).Bounds(ctx, side.side.Slice, p.columns[p.order[0]])
		if err != nil {
			return 0, 0, err
		}
		if from.IsNull() {
			continue
		}
		low, high = min(low, placeOf(from)), max(high, placeOf(to))
	}
	return low, high, nil
}
