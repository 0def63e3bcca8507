package compare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/spill"
)

const (
	suspectMemory = 1 << 20 // bytes of a table's suspects in memory
	placesOnce    = 1000    // suspects read again at once
)

// met takes what is left at one place: a difference, or a suspect where it can be read again.
func (r *run) met(p *plan, left []*tally) error {
	if r.Again == nil {
		return r.confirm(p, left)
	}
	if p.suspects == nil {
		p.suspects = r.newSuspects()
	}
	return p.suspects.Append(0, suspectOf(p, left))
}

func (r *run) confirm(p *plan, left []*tally) error {
	for _, d := range differences(p, left) {
		if err := r.found(&p.result, d); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) newSuspects() *spill.Log {
	return spill.New(r.SpillDir, "waybill-compare-*", suspectMemory)
}

// lookAgain reads suspects again until none is left or it was done often enough.
func (r *run) lookAgain(ctx context.Context) error {
	defer func() {
		for _, p := range r.plans {
			if p.suspects != nil {
				_ = p.suspects.Discard() // a file without a name: nothing is left behind
			}
		}
	}()
	for look := 1; look <= r.Looks; look++ {
		left := slices.DeleteFunc(slices.Clone(r.plans), func(p *plan) bool { return p.suspects == nil || p.suspects.Records() == 0 })
		if len(left) == 0 {
			break
		}
		r.Log.Debug("suspects are read again", "tables", len(left), "look", look)
		select {
		case <-time.After(r.Delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.look(ctx, left); err != nil {
			return err
		}
	}
	for _, p := range r.plans {
		if p.suspects != nil && p.result.State == "" {
			p.result.InFlight = int64(p.suspects.Records())
			if err := r.finish(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) look(ctx context.Context, plans []*plan) (err error) {
	source, target, err := r.Again(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close(), target.Close()) }()
	for _, p := range plans {
		l := &looking{run: r, plan: p, source: source, target: target, moving: r.newSuspects()}
		err := l.all(ctx)
		err = errors.Join(err, p.suspects.Discard())
		p.suspects = l.moving
		if err == nil {
			continue
		}
		if !aboutTable(err) || ctx.Err() != nil {
			return fmt.Errorf("compare %s: %w", p.result.Table, err)
		}
		p.result.State, p.result.Cause = Refused, err.Error()
		if err := r.finish(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// looking reads the suspects of a table again.
type looking struct {
	*run
	plan           *plan
	source, target waybill.View
	moving         *spill.Log // what is still a suspect
	batch          []suspect
}

// suspect is a place and what was left there, as a hash. Rows at one place may spell it differently, as 1.0
// and 1.00, and a system may find them by their spelling.
type suspect struct {
	places []waybill.Row
	print  []byte
	group  group
}

func (l *looking) all(ctx context.Context) error {
	for _, s := range []struct {
		view waybill.View
		side *slice
	}{{l.source, &l.plan.source}, {l.target, &l.plan.target}} {
		now, err := s.view.Version(ctx, s.side.Version.Table)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(now.Columns, s.side.Version.Columns) {
			return &waybill.Error{Op: "read again", Table: now.Table, Fault: waybill.Drift, Err: errors.New("the structure has changed since the comparison began")}
		}
	}
	err := l.plan.suspects.Each(func(_ uint32, record []byte) error {
		s, err := decodeSuspect(record, len(l.plan.order))
		if err != nil {
			return err
		}
		if l.batch = append(l.batch, s); len(l.batch) < placesOnce {
			return nil
		}
		return l.some(ctx)
	})
	if err != nil || len(l.batch) == 0 {
		return err
	}
	return l.some(ctx)
}

// some reads the places of a batch at both sides. What is equal now was in flight; what is left as before,
// after both sides had time enough, differs; what has changed is read once more.
func (l *looking) some(ctx context.Context) error {
	if err := l.pick(ctx, l.source, &l.plan.source, 1); err != nil {
		return side("source", err)
	}
	if err := l.pick(ctx, l.target, &l.plan.target, -1); err != nil {
		return side("target", err)
	}
	for i := range l.batch {
		s := &l.batch[i]
		left := s.group.left()
		var err error
		switch {
		case len(left) == 0:
			l.plan.result.Gone++
		case string(fingerprint(left)) == string(s.print):
			err = l.confirm(l.plan, left)
		default:
			err = l.moving.Append(0, suspectOf(l.plan, left))
		}
		if err != nil {
			return err
		}
	}
	l.batch = l.batch[:0]
	return nil
}

func (l *looking) pick(ctx context.Context, v waybill.View, s *slice, n int64) error {
	picker, ok := v.(waybill.Picker)
	if !ok {
		return &waybill.Error{Op: "read again", Table: s.Version.Table, Fault: waybill.Setup, Err: errors.New("the system cannot read single rows")}
	}
	columns := make([]int, len(l.plan.order))
	for i, c := range l.plan.order {
		columns[i] = s.columns[c]
	}
	var places []waybill.Row
	for i := range l.batch {
		places = append(places, l.batch[i].places...)
	}
	in := &reader{view: v, slice: *s}
	var rows chunk
	for batch, err := range picker.Pick(ctx, s.Version, columns, places) {
		if err != nil {
			return err
		}
		if err := in.fill(&rows, batch); err != nil {
			return err
		}
		for i := range rows.rows {
			if at := l.find(rows.row(i)); at != nil {
				at.group.add(rows.row(i), n)
			}
		}
	}
	return ctx.Err()
}

// find returns the suspect at a row's place. Suspects are met in order, so the batch is ordered.
func (l *looking) find(row waybill.Row) *suspect {
	at := place(l.plan, row)
	all := make([]int, len(at))
	for i := range all {
		all[i] = i
	}
	i, found := slices.BinarySearchFunc(l.batch, at, func(s suspect, p waybill.Row) int { return waybill.CompareKeys(s.places[0], p, all) })
	if !found {
		return nil
	}
	return &l.batch[i]
}

// fingerprint is a hash of what is left at a place, in any order.
func fingerprint(left []*tally) []byte {
	var sums [4]uint64
	for _, t := range left {
		h := xxh3.Hash128(encode(nil, t.row))
		at := 0
		if t.n < 0 {
			at = 2
		}
		sums[at] += h.Hi * uint64(t.n)
		sums[at+1] += h.Lo * uint64(t.n)
	}
	var print []byte
	for _, s := range sums {
		print = binary.BigEndian.AppendUint64(print, s)
	}
	return print
}

const printSize = 4 * 8

// suspectOf writes down a suspect: the hash, then the spellings of the place.
func suspectOf(p *plan, left []*tally) []byte {
	record := fingerprint(left)
	var seen []waybill.Row
	for _, t := range left {
		at := place(p, t.row)
		if !slices.ContainsFunc(seen, func(s waybill.Row) bool { return same(s, at) }) {
			seen = append(seen, at)
			record = encode(record, at)
		}
	}
	return record
}

func decodeSuspect(record []byte, width int) (suspect, error) {
	s := suspect{print: slices.Clone(record[:min(len(record), printSize)])}
	var values waybill.Row
	for rest := record[len(s.print):]; len(rest) > 0; {
		v, n := decode(rest)
		if n == 0 {
			return s, waybill.Errorf(waybill.Bug, "read suspect", "%x", record)
		}
		values, rest = append(values, v), rest[n:]
	}
	for at := range slices.Chunk(values, width) {
		s.places = append(s.places, at)
	}
	if len(s.places) == 0 {
		return s, waybill.Errorf(waybill.Bug, "read suspect", "%x", record)
	}
	return s, nil
}

// decode reads the value that encode wrote first, and returns how many bytes it took, 0 if it cannot be read.
func decode(from []byte) (waybill.Value, int) {
	if len(from) < 10 {
		return waybill.Value{}, 0
	}
	size, used := binary.Uvarint(from[9:])
	if used <= 0 || uint64(len(from)-9-used) < size {
		return waybill.Value{}, 0
	}
	end := 9 + used + int(size)
	v, ok := waybill.ValueOf(waybill.Kind(from[0]), binary.BigEndian.Uint64(from[1:]), string(from[9+used:end]))
	if !ok {
		return waybill.Value{}, 0
	}
	return v, end
}
