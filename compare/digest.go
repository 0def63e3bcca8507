package compare

import (
	"slices"
)

// maxCells is how many cells a digest has at most: 64 Ki make 600 rows a cell in ten million, and 4 MiB.
const maxCells = 1 << 16

// digest sums up rows by their place, a number that equal rows have in common: rows whose places share all
// but the last shift bits are one cell. A cell has a count and two sums of 64 bits, so rows may come in any
// order, from any number of readers, and equal rows count. It begins with a cell for each place and becomes
// coarser as it fills, which needs neither bounds nor statistics and takes gaps and clusters as they are.
// The zero digest is empty.
type digest struct {
	shift uint
	cells []cell // open addressing; a power of two; without rows: free
	used  int
	last  int // index of the cell that was used last: places often come in order
}

type cell struct {
	place uint64 // already shifted
	rows  uint64
	a, b  uint64
}

func (c *cell) same(d *cell) bool { return c.rows == d.rows && c.a == d.a && c.b == d.b }

// add sums up one row, given as two independent hashes of all its values.
func (d *digest) add(place, a, b uint64) {
	if d.cells == nil {
		d.cells = make([]cell, 1<<10)
	}
	place >>= d.shift
	c := &d.cells[d.last]
	if c.place != place || c.rows == 0 {
		c = d.find(place)
	}
	c.rows++
	c.a += a
	c.b += b
}

// start is where a place is looked for first: its bits are mixed, because keys with a common factor would
// otherwise all begin at a few cells.
func start(place uint64) int {
	place = (place ^ place>>32) * 0x9e3779b97f4a7c15
	return int(place ^ place>>32)
}

// find returns the cell of a shifted place, a new one if need be.
func (d *digest) find(place uint64) *cell {
	mask := len(d.cells) - 1
	for at := start(place) & mask; ; at = (at + 1) & mask {
		c := &d.cells[at]
		switch {
		case c.rows == 0 && d.used == len(d.cells)/2:
			return d.find(d.grow(place))
		case c.rows == 0:
			c.place = place
			d.used++
		case c.place != place:
			continue
		}
		d.last = at
		return c
	}
}

// grow makes room, by more memory or by coarser cells, and returns the place as it is shifted now.
func (d *digest) grow(place uint64) uint64 {
	if len(d.cells) < 2*maxCells {
		d.rebuild(d.shift, 2*len(d.cells))
		return place
	}
	before := d.shift
	for d.used > maxCells/2 {
		d.rebuild(d.shift+1, len(d.cells))
	}
	return place >> (d.shift - before)
}

func (d *digest) rebuild(shift uint, size int) {
	old := d.cells
	by := shift - d.shift
	*d = digest{shift: shift, cells: make([]cell, size)}
	for i := range old {
		if old[i].rows > 0 {
			d.put(&old[i], by)
		}
	}
}

// put adds a cell whose place is still to be shifted by so many bits.
func (d *digest) put(c *cell, by uint) {
	to := d.find(c.place >> by)
	to.rows += c.rows
	to.a += c.a
	to.b += c.b
}

// merge adds everything of e.
func (d *digest) merge(e *digest) {
	if d.cells == nil {
		d.shift, d.cells = e.shift, make([]cell, max(len(e.cells), 2))
	}
	if d.shift < e.shift {
		d.rebuild(e.shift, len(d.cells))
	}
	for i := range e.cells {
		if e.cells[i].rows == 0 {
			continue
		}
		c := e.cells[i]
		// d may become coarser in between.
		c.place >>= d.shift - e.shift
		d.put(&c, 0)
	}
}

func (d *digest) rows() int64 {
	var sum uint64
	for i := range d.cells {
		sum += d.cells[i].rows
	}
	return int64(sum)
}

// span is a run of places from first to last, both included. Rows is how many there are at the side that has more.
type span struct {
	first, last uint64
	rows        uint64
}

// suspects returns where two digests differ, ascending, neighbours as one. It may make one of them coarser.
func suspects(d, e *digest) []span {
	for _, coarse := range [][2]*digest{{d, e}, {e, d}} {
		if coarse[0].shift < coarse[1].shift {
			coarse[0].rebuild(coarse[1].shift, max(len(coarse[0].cells), 2))
		}
	}
	var found []span
	look := func(from, in *digest, both bool) {
		for i := range from.cells {
			c := &from.cells[i]
			if c.rows == 0 {
				continue
			}
			other := in.lookup(c.place)
			if other == nil || both && !c.same(other) {
				rows := c.rows
				if other != nil {
					rows = max(rows, other.rows)
				}
				found = append(found, span{c.place << d.shift, (c.place+1)<<d.shift - 1, rows})
			}
		}
	}
	look(d, e, true)
	look(e, d, false)
	slices.SortFunc(found, func(a, b span) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return join(found)
}

func join(spans []span) []span {
	var joined []span
	for _, s := range spans {
		if n := len(joined); n > 0 && joined[n-1].last+1 == s.first {
			joined[n-1].last, joined[n-1].rows = s.last, joined[n-1].rows+s.rows
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

func (d *digest) lookup(place uint64) *cell {
	mask := len(d.cells) - 1
	if mask < 0 {
		return nil
	}
	for at := start(place) & mask; d.cells[at].rows > 0; at = (at + 1) & mask {
		if d.cells[at].place == place {
			return &d.cells[at]
		}
	}
	return nil
}
