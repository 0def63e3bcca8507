package postgres

// slots is a hash index from 64-bit hashes to row numbers, by open addressing. It holds no keys: find asks
// its caller whether a row is the one meant. It is reused from batch to batch without a new allocation.
type slots struct {
	table []slot
	used  int // slots that are taken or were once
}

type slot struct {
	hash uint64
	row  int32 // number of the row plus one; 0: never used; slotRemoved: not any more
}

const (
	slotRemoved = -1
	minSlots    = 64
)

func (s *slots) reset() {
	if len(s.table) > 16*minSlots && s.used < len(s.table)/16 {
		s.table = nil // made for a batch much larger than the last: emptying it would cost more than the next one
	}
	clear(s.table)
	s.used = 0
}

// find returns the place of a row, or -1.
func (s *slots) find(hash uint64, is func(row int32) bool) int {
	if len(s.table) == 0 {
		return -1
	}
	mask := len(s.table) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		at := &s.table[i]
		if at.row == 0 {
			return -1
		}
		if at.row > 0 && at.hash == hash && is(at.row-1) {
			return i
		}
	}
}

func (s *slots) row(at int) int32 { return s.table[at].row - 1 }

func (s *slots) set(at int, row int32) { s.table[at].row = row + 1 }

func (s *slots) remove(at int) { s.table[at].row = slotRemoved }

// put adds a row that find did not find and returns its place, which is valid until the next put.
func (s *slots) put(hash uint64, row int32) int {
	if 2*(s.used+1) > len(s.table) {
		s.grow()
	}
	s.used++
	return s.place(slot{hash, row + 1})
}

func (s *slots) place(entry slot) int {
	mask := len(s.table) - 1
	i := int(entry.hash) & mask
	for s.table[i].row != 0 {
		i = (i + 1) & mask
	}
	s.table[i] = entry
	return i
}

func (s *slots) grow() {
	old := s.table
	s.table = make([]slot, max(minSlots, 2*len(old)))
	s.used = 0
	for _, entry := range old {
		if entry.row > 0 {
			s.place(entry)
			s.used++
		}
	}
}
