package compare

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// locateMost is how many rows are found again by where they lie, at each side.
const locateMost = 50_000

// errMany says that too many rows are in doubt to be found one by one.
var errMany = errors.New("too many rows")

// locate finds the rows of spans whose places are hashes, which no system can be asked for: both sides are read
// once more, undecoded, and the rows of the spans noted by where they lie. That costs less than having whole tables
// sorted. It returns false where the systems cannot do it.
func (r *run) locate(ctx context.Context, p *plan, a, b slice, spans []span) (bool, error) {
	raw, err := rawColumns(r.Source, r.Target, p)
	source, sourceOK := r.Source.(waybill.Locator)
	target, targetOK := r.Target.(waybill.Locator)
	if err != nil || raw == nil || !sourceOK || !targetOK {
		return false, err
	}
	if _, ok := source.Located(a.Slice, nil); !ok {
		return false, nil
	}
	if _, ok := target.Located(b.Slice, nil); !ok {
		return false, nil
	}
	one, other := r.scanners(p, a, b, raw)
	g, reading := errgroup.WithContext(ctx)
	for _, s := range []struct {
		name string
		*scanner
		from waybill.Locator
	}{{"source", one, source}, {"target", other, target}} {
		g.Go(func() error {
			return side(s.name, s.all(reading, func(ctx context.Context, c waybill.Slice) error { return s.note(ctx, s.from, c, spans) }))
		})
	}
	if err := g.Wait(); err != nil {
		if errors.Is(err, errMany) && ctx.Err() == nil {
			return false, nil
		}
		return false, err
	}
	a.Slice, _ = source.Located(a.Slice, one.at)
	b.Slice, _ = target.Located(b.Slice, other.at)
	_, _, err = r.merge(ctx, p, a, b)
	return true, err
}

// note remembers where the rows of the spans lie.
func (s *scanner) note(ctx context.Context, from waybill.Locator, c waybill.Slice, spans []span) error {
	h := &hasher{plan: s.plan, seed: s.seed}
	step := s.pace.step()
	var at [][]byte
	err := from.ReadLocated(ctx, c, s.columns, func(raw, place []byte) error {
		here, err := h.place(raw, xxh3.Hash128Seed(raw, s.seed))
		if err != nil {
			return err
		}
		if i := sort.Search(len(spans), func(i int) bool { return spans[i].last >= here }); i < len(spans) && spans[i].first <= here {
			if at = append(at, slices.Clone(place)); len(at) > locateMost {
				return errMany
			}
		}
		if h.rows++; h.rows%step != 0 {
			return nil
		}
		return s.pace.wait(ctx, step)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at = append(s.at, at...); len(s.at) > locateMost {
		return errMany
	}
	return nil
}
