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
	sliceRows = 2_000_000 // read by one reader of a side at a time
	tellRows  = 100_000   // between two reports of progress
)

// scan digests both sides of a plan, each in slices of any order, both at the same time.
func (r *run) scan(ctx context.Context, p *plan) (source, target *digest, err error) {
	source, target = new(digest), new(digest)
	raw, err := rawColumns(r.Source, r.Target, p)
	if err != nil {
		return nil, nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		name  string
		view  waybill.View
		slice *slice
		sum   *digest
		turns chan struct{}
		told  bool
	}{{"source", r.Source, &p.source, source, r.sourceTurns, true}, {"target", r.Target, &p.target, target, r.targetTurns, false}} {
		if s.slice.empty {
			continue
		}
		sc := &scanner{run: r, plan: p, view: s.view, side: s.slice, raw: raw != nil, turns: s.turns, told: s.told, sum: s.sum}
		for _, c := range raw {
			sc.columns = append(sc.columns, s.slice.columns[c])
		}
		g.Go(func() error { return side(s.name, sc.all(ctx)) })
	}
	return source, target, g.Wait()
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
	told    bool // its rows are the progress

	mu  sync.Mutex // guards sum
	sum *digest
}

func (s *scanner) all(ctx context.Context) error {
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
			return s.one(reading, c)
		})
	}
	return g.Wait()
}

// slices cuts the table. Of a part of it there is one slice, so that an index can serve it.
func (s *scanner) slices(ctx context.Context) ([]waybill.Slice, error) {
	if s.side.part.Column != "" || s.side.part.Where != "" {
		one := s.side.Slice
		one.Ordered = false
		return []waybill.Slice{one}, nil
	}
	return s.view.Slices(ctx, s.side.Version, sliceRows)
}

// one digests a slice into sums of its own and adds them to the side's.
func (s *scanner) one(ctx context.Context, c waybill.Slice) error {
	h := &hasher{plan: s.plan, seed: s.seed, tell: func(rows int64) { s.tell(rows) }}
	var err error
	if s.raw {
		err = s.view.(waybill.RawReader).ReadRaw(ctx, c, s.columns, h.raw)
	} else {
		err = s.values(ctx, c, h)
	}
	if err != nil {
		return err
	}
	s.tell(h.rows % tellRows)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.merge(&h.digest)
	return nil
}

func (s *scanner) tell(rows int64) {
	if s.told {
		s.report(Progress{Table: s.plan.result.Table, Rows: s.plan.scanned.Add(rows), Expected: s.plan.expected})
	}
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
			h.value(rows.row(i))
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
	tell   func(rows int64)
	buffer []byte
}

func (h *hasher) raw(row []byte) error {
	sum := xxh3.Hash128Seed(row, h.seed)
	place := sum.Lo
	switch {
	case h.plan.ints:
		n, ok := rawInt(row)
		if !ok {
			return &waybill.Error{Op: "read ", Table: h.plan.result.Table, Fault: waybill.Bug,
				Err: fmt.Errorf("the key is no integer: %x", row[:min(len(row), 12)])}
		}
		place = placeOf(n)
	case h.plan.keyed:
		place = xxh3.HashSeed(row[:prefix(row, len(h.plan.order))], h.seed)
	}
	h.count(place, sum)
	return nil
}

func (h *hasher) value(row waybill.Row) {
	h.buffer = encode(h.buffer[:0], row)
	sum := xxh3.Hash128Seed(h.buffer, h.seed)
	place := sum.Lo
	switch {
	case h.plan.ints:
		place = placeOf(row[h.plan.order[0]].Int())
	case h.plan.keyed:
		h.buffer = h.buffer[:0]
		for _, c := range h.plan.order {
			h.buffer = encode(h.buffer, row[c:c+1])
		}
		place = xxh3.HashSeed(h.buffer, h.seed)
	}
	h.count(place, sum)
}

func (h *hasher) count(place uint64, sum xxh3.Uint128) {
	h.add(place, sum.Hi, sum.Lo)
	if h.rows++; h.rows%tellRows == 0 {
		h.tell(tellRows)
	}
}

// placeOf keeps the order of signed numbers.
func placeOf(n int64) uint64 { return uint64(n) ^ 1<<63 }

// intAt is the reverse of placeOf.
func intAt(place uint64) int64 { return int64(place ^ 1<<63) }

// rawInt reads the integer that an undecoded row begins with.
func rawInt(row []byte) (int64, bool) {
	if len(row) < 4 {
		return 0, false
	}
	size, value := binary.BigEndian.Uint32(row), row[4:]
	switch {
	case size == 4 && len(value) >= 4:
		return int64(int32(binary.BigEndian.Uint32(value))), true
	case size == 8 && len(value) >= 8:
		return int64(binary.BigEndian.Uint64(value)), true
	case size == 2 && len(value) >= 2:
		return int64(int16(binary.BigEndian.Uint16(value))), true
	}
	return 0, false
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
