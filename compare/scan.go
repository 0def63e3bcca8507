package compare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

const (
	sliceRows = 2_000_000 // read by one of several readers at a time, at most
	tellRows  = 100_000   // between two reports of progress
)

// scan digests both sides of a plan, each in slices of any order, both at the same time.
func (r *run) scan(ctx context.Context, p *plan, a, b slice) (source, target *digest, err error) {
	source, target = new(digest), new(digest)
	raw, err := rawColumns(r.Source, r.Target, p)
	if err != nil {
		return nil, nil, err
	}
	one, other := r.scanners(p, a, b, raw)
	one.sum, other.sum = source, target
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return side("source", one.all(ctx, one.one)) })
	g.Go(func() error { return side("target", other.all(ctx, other.one)) })
	return source, target, g.Wait()
}

// scanners returns who reads the two sides; raw is what rawColumns gave.
func (r *run) scanners(p *plan, a, b slice, raw []int) (source, target *scanner) {
	source = &scanner{run: r, plan: p, view: r.Source, side: &a, raw: raw != nil, turns: r.sourceTurns, pace: &r.sourcePace}
	target = &scanner{run: r, plan: p, view: r.Target, side: &b, raw: raw != nil, turns: r.targetTurns, pace: &r.targetPace}
	for _, c := range raw {
		source.columns, target.columns = append(source.columns, a.columns[c]), append(target.columns, b.columns[c])
	}
	return source, target
}

// rawColumns returns the compared columns in the order they are read in undecoded, the key first, or nil
// where the two sides do not speak one encoding.
func rawColumns(source, target waybill.View, p *plan) ([]int, error) {
	a, aOK := source.(waybill.RawReader)
	b, bOK := target.(waybill.RawReader)
	if !aOK || !bOK || p.ruled() {
		return nil, nil
	}
	columns, seen := append([]int(nil), p.order...), make([]bool, len(p.columns))
	for _, c := range p.order {
		seen[c] = true
	}
	for c := range p.columns {
		if !seen[c] {
			columns = append(columns, c)
		}
	}
	encoding := func(v waybill.RawReader, s *slice) waybill.Format {
		own := make([]int, len(columns))
		for i, c := range columns {
			own[i] = s.columns[c]
		}
		return v.Encoding(s.Version, own)
	}
	if e := encoding(a, &p.source); e == "" || e != encoding(b, &p.target) {
		return nil, nil
	}
	return columns, nil
}

// scanner digests one side of a plan.
type scanner struct {
	*run
	plan    *plan
	view    waybill.View
	side    *slice
	raw     bool
	columns []int // of the side's version, for raw reading
	turns   chan struct{}
	pace    *pace

	mu  sync.Mutex // guards what follows
	sum *digest
	at  [][]byte // where suspects lie
}

// all has the side read slice by slice.
func (s *scanner) all(ctx context.Context, one func(context.Context, waybill.Slice) error) error {
	if s.side.empty {
		return nil
	}
	cut, err := s.slices(ctx)
	if err != nil {
		return err
	}
	g, reading := errgroup.WithContext(ctx)
	for _, c := range cut {
		select {
		case s.turns <- struct{}{}:
		case <-reading.Done():
			return errors.Join(g.Wait(), ctx.Err())
		}
		g.Go(func() error {
			defer func() { <-s.turns }()
			return one(reading, c)
		})
	}
	return g.Wait()
}

// slices cuts the table for several readers: a whole one costs the server a little less. Of a part of it there is one slice, so that an index can serve it.
func (s *scanner) slices(ctx context.Context) ([]waybill.Slice, error) {
	if s.side.part.Column != "" || s.side.part.Where != "" {
		one := s.side.Slice
		one.Ordered = false
		return []waybill.Slice{one}, nil
	}
	rows := 0
	if s.Readers > 1 {
		rows = int(min(sliceRows, s.side.Rows/int64(2*s.Readers)+1))
	}
	return s.view.Slices(ctx, s.side.Version, rows)
}

// one digests a slice into sums of its own and adds them to the side's.
func (s *scanner) one(ctx context.Context, c waybill.Slice) error {
	h := &hasher{plan: s.plan, seed: s.seed, step: s.pace.step(), tell: func(rows int64) error { return s.tell(ctx, rows) }}
	var err error
	if s.raw {
		err = s.view.(waybill.RawReader).ReadRaw(ctx, c, s.columns, h.raw)
	} else {
		err = s.values(ctx, c, h)
	}
	if err != nil {
		return err
	}
	if err := s.tell(ctx, h.rows%h.step); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.merge(&h.digest)
	return nil
}

// tell reports the source's rows, and waits where they come too fast.
func (s *scanner) tell(ctx context.Context, rows int64) error {
	if s.pace == &s.sourcePace {
		s.report(Progress{Table: s.plan.result.Table, Rows: s.plan.scanned.Add(rows), Expected: s.plan.expected})
	}
	return s.pace.wait(ctx, rows)
}

func (s *scanner) values(ctx context.Context, c waybill.Slice, h *hasher) error {
	in := &reader{view: s.view, slice: *s.side}
	var rows chunk
	for batch, err := range s.view.Read(ctx, c) {
		if err != nil {
			return err
		}
		if err := in.fill(&rows, batch); err != nil {
			return err
		}
		for i := range rows.rows {
			if err := h.value(rows.row(i)); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// hasher digests rows one by one.
type hasher struct {
	digest
	plan   *plan
	seed   uint64
	rows   int64
	step   int64 // rows between two calls of tell
	tell   func(rows int64) error
	buffer []byte
}

func (h *hasher) raw(row []byte) error {
	sum := xxh3.Hash128Seed(row, h.seed)
	place, err := h.place(row, sum)
	if err != nil {
		return err
	}
	return h.count(place, sum)
}

func (h *hasher) place(row []byte, sum xxh3.Uint128) (uint64, error) {
	switch {
	case h.plan.ranged != 0:
		place, ok := rawPlace(h.plan.ranged, row)
		if !ok {
			return 0, &waybill.Error{Op: "read ", Table: h.plan.result.Table, Fault: waybill.Bug,
				Err: fmt.Errorf("the key is no %s: %x", h.plan.ranged, row[:min(len(row), 20)])}
		}
		return place, nil
	case h.plan.keyed:
		return xxh3.HashSeed(row[:prefix(row, len(h.plan.order))], h.seed), nil
	}
	return sum.Lo, nil
}

func (h *hasher) value(row waybill.Row) error {
	h.buffer = encode(h.buffer[:0], row)
	sum := xxh3.Hash128Seed(h.buffer, h.seed)
	place := sum.Lo
	switch {
	case h.plan.ranged != 0:
		place = placeOf(row[h.plan.order[0]])
	case h.plan.keyed:
		h.buffer = h.buffer[:0]
		for _, c := range h.plan.order {
			h.buffer = encode(h.buffer, row[c:c+1])
		}
		place = xxh3.HashSeed(h.buffer, h.seed)
	}
	return h.count(place, sum)
}

func (h *hasher) count(place uint64, sum xxh3.Uint128) error {
	h.add(place, sum.Hi, sum.Lo)
	if h.rows++; h.rows%h.step != 0 {
		return nil
	}
	return h.tell(h.step)
}

// prefix returns how many bytes the first n fields of an undecoded row take.
func prefix(row []byte, n int) int {
	at := 0
	for range n {
		if at+4 > len(row) {
			return len(row)
		}
		size := int32(binary.BigEndian.Uint32(row[at:]))
		at += 4 + int(max(size, 0))
	}
	return min(at, len(row))
}
