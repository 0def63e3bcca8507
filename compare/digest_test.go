package compare

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
)

type summand struct{ place, a, b uint64 }

func digestOf(rows []summand, parts int) *digest {
	var whole digest
	for i := range parts {
		var part digest
		for j, r := range rows {
			if j%parts == i {
				part.add(r.place, r.a, r.b)
			}
		}
		whole.merge(&part)
	}
	return &whole
}

// TestDigests digests rows in two orders and two numbers of parts, with some rows changed: every place that
// differs is a suspect, and nothing is where all is equal.
func TestDigests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spread := rapid.SampledFrom([]uint64{1, 3, 1 << 20, 1 << 44, 0x9e3779b97f4a7c15}).Draw(t, "spread")
		n := rapid.SampledFrom([]int{0, 1, 50, 1500}).Draw(t, "rows")
		rows := make([]summand, n)
		for i := range rows {
			rows[i] = summand{uint64(i) * spread, uint64(i) * 7919, uint64(i)*104729 + 1}
		}
		other := slices.Clone(rows)
		slices.Reverse(other)
		var changed []uint64
		for range rapid.IntRange(0, min(n, 20)).Draw(t, "changes") {
			i := rapid.IntRange(0, len(other)-1).Draw(t, "row")
			changed = append(changed, other[i].place)
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				other[i].b++
			case 1:
				other = slices.Delete(other, i, i+1)
			case 2:
				other = append(other, other[i])
			}
			if len(other) == 0 {
				break
			}
		}
		d, e := digestOf(rows, rapid.IntRange(1, 4).Draw(t, "parts")), digestOf(other, rapid.IntRange(1, 4).Draw(t, "parts"))
		if d.rows() != int64(len(rows)) || e.rows() != int64(len(other)) || d.used > maxCells || e.used > maxCells {
			t.Fatalf("%d and %d rows in %d and %d cells, want %d and %d rows", d.rows(), e.rows(), d.used, e.used, len(rows), len(other))
		}
		found := suspects(d, e)
		for i, s := range found {
			if s.first > s.last || i > 0 && s.first <= found[i-1].last {
				t.Fatalf("span %d of %v is out of order", i, found)
			}
		}
		covers := func(p uint64) bool {
			return slices.ContainsFunc(found, func(s span) bool { return s.first <= p && p <= s.last })
		}
		for _, p := range changed {
			if !covers(p) && differs(rows, other, p) {
				t.Fatalf("place %d differs and is in none of %v", p, found)
			}
		}
		if len(changed) == 0 && len(found) > 0 {
			t.Fatalf("equal rows differ at %v", found)
		}
	})
}

// TestDigestsBecomeCoarser has more places than cells, and one row that differs.
func TestDigestsBecomeCoarser(t *testing.T) {
	for _, spread := range []uint64{1, 1 << 40, 0x9e3779b97f4a7c15} {
		rows := make([]summand, 3*maxCells)
		for i := range rows {
			rows[i] = summand{uint64(i) * spread, uint64(i), uint64(i) * 7}
		}
		d := digestOf(rows, 3)
		slices.Reverse(rows)
		if e := digestOf(rows, 1); d.used > maxCells || len(suspects(d, e)) != 0 {
			t.Errorf("spread %x: %d cells, %v differ", spread, d.used, suspects(d, e))
		}
		rows[777].b++
		found := suspects(d, digestOf(rows, 1))
		if len(found) != 1 || found[0].first > rows[777].place || found[0].last < rows[777].place || found[0].rows > 100 {
			t.Errorf("spread %x: %v, want a few rows around %d", spread, found, rows[777].place)
		}
	}
}

func differs(a, b []summand, place uint64) bool {
	at := func(rows []summand) []summand {
		var found []summand
		for _, r := range rows {
			if r.place == place {
				found = append(found, r)
			}
		}
		return found
	}
	return !slices.Equal(at(a), at(b))
}

// BenchmarkDigest is a row of a table like pgbench's.
func BenchmarkDigest(b *testing.B) {
	h := &hasher{plan: &plan{ranged: waybill.KindInt, keyed: true, order: []int{0}}, step: tellRows, tell: func(int64) error { return nil }}
	row := make([]byte, 4*4+4*3+84)
	row[3] = 4
	b.ReportAllocs()
	for i := range b.N {
		row[4], row[5], row[6], row[7] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
		if err := h.raw(row); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPlaces wants the same place of a value whether it was decoded or not, and a range that begins with it.
func TestPlaces(t *testing.T) {
	raw := append([]byte{0, 0, 0, 16}, 0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0)
	v := waybill.UUIDValue("a0eebc99-9c0b-4ef8-0000-000000000000")
	place, ok := rawPlace(waybill.KindUUID, raw)
	if !ok || place != placeOf(v) || valueAt(waybill.KindUUID, place) != v {
		t.Errorf("place %x of %s, undecoded %x, %v; back %s", placeOf(v), v, place, ok, valueAt(waybill.KindUUID, place))
	}
	for _, n := range []int64{-1 << 63, -1, 0, 1, 1<<63 - 1} {
		if v := waybill.IntValue(n); valueAt(waybill.KindInt, placeOf(v)) != v {
			t.Errorf("place %x of %s", placeOf(v), v)
		}
	}
	for _, row := range [][]byte{nil, {0, 0, 0, 4, 1}, {255, 255, 255, 255}, {0, 0, 0, 3, 1, 2, 3}} {
		if place, ok := rawPlace(waybill.KindInt, row); ok {
			t.Errorf("%x has the place %x", row, place)
		}
	}
}
