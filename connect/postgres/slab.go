package postgres

import (
	"context"
	"sync"
	"unsafe"

	"github.com/waybill-data/waybill"
)

// The bounds of what is decoded ahead of the caller (invariant 7): a slab ends at either of the first two, and
// one is filled, slabQueue wait and one is in the caller's hands.
const (
	slabChanges = 100_000
	slabBytes   = 24 << 20
	slabQueue   = 1

	valueChunk = 16 << 10 // values allocated at once
	textChunk  = 512 << 10
	chunkKeep  = 4 << 20 // a chunk of more bytes is not kept for the next slab
)

// ending is the end of a transaction in a slab.
type ending struct {
	to        int // index after its last change
	lsn       uint64
	time      int64 // microseconds since 1970
	reshaped  bool
	parted    bool // earlier slabs hold a part of it
	heartbeat bool
}

// slab is a run of decoded changes with all the memory they refer to. Changes after the last commit are part of a
// transaction that goes on in the next slab.
type slab struct {
	changes []waybill.Change
	commits []ending
	opens   uint64 // place of the transaction that goes on in the next slab, just above its commit record; 0: none
	advance uint64 // everything before it was sent; above the last commit where the server had nothing for us
	values  [][]waybill.Value
	value   int // chunk in use
	texts   [][]byte
	text    int
	bytes   int
}

func (s *slab) full() bool  { return len(s.changes) >= slabChanges || s.bytes >= slabBytes }
func (s *slab) empty() bool { return len(s.changes) == 0 && len(s.commits) == 0 && s.advance == 0 }

// row returns a row of n absent values.
func (s *slab) row(n int) waybill.Row {
	s.bytes += n * int(unsafe.Sizeof(waybill.Value{}))
	for ; s.value < len(s.values); s.value++ {
		chunk := s.values[s.value]
		if at := len(chunk); cap(chunk)-at >= n {
			s.values[s.value] = chunk[:at+n]
			row := chunk[at : at+n : at+n]
			clear(row)
			return row
		}
	}
	chunk := make([]waybill.Value, n, max(n, valueChunk))
	s.values = append(s.values, chunk)
	return chunk[:n:n]
}

// hold returns a copy that lives as long as the slab.
func (s *slab) hold(text []byte) []byte {
	s.bytes += len(text)
	for ; s.text < len(s.texts); s.text++ {
		chunk := s.texts[s.text]
		if at := len(chunk); cap(chunk)-at >= len(text) {
			s.texts[s.text] = append(chunk, text...)
			return s.texts[s.text][at:]
		}
	}
	chunk := append(make([]byte, 0, max(len(text), textChunk)), text...)
	s.texts = append(s.texts, chunk)
	return chunk
}

func (s *slab) add(c waybill.Change) {
	s.bytes += int(unsafe.Sizeof(c))
	s.changes = append(s.changes, c)
}

func (s *slab) reset() {
	clear(s.changes) // versions and shapes are not to be kept alive
	s.changes, s.commits = s.changes[:0], s.commits[:0]
	s.opens, s.advance, s.bytes, s.value, s.text = 0, 0, 0, 0, 0
	values, texts := s.values[:0], s.texts[:0]
	for _, chunk := range s.values {
		if cap(chunk)*int(unsafe.Sizeof(waybill.Value{})) <= chunkKeep {
			values = append(values, chunk[:0])
		}
	}
	for _, chunk := range s.texts {
		if cap(chunk) <= chunkKeep {
			texts = append(texts, chunk[:0])
		}
	}
	clear(s.values[len(values):])
	clear(s.texts[len(texts):])
	s.values, s.texts = values, texts
}

// slabs hands slabs from the goroutine that fills them to the caller of Next. A slab that ends with a transaction
// while nothing more can be read is parked: whoever comes first takes it, the caller to deliver it or the
// reader to fill it further. So a waiting caller gets every transaction at once and a busy one gets many.
type slabs struct {
	mu     sync.Mutex
	queue  []*slab
	parked *slab
	free   []*slab
	err    error
	ready  chan struct{} // wakes the caller
	room   chan struct{} // wakes the reader
}

func newSlabs() *slabs {
	return &slabs{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fresh returns an empty slab.
func (q *slabs) fresh() *slab {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		s := q.free[n-1]
		q.free = q.free[:n-1]
		return s
	}
	return &slab{}
}

// push queues a slab, waiting for room.
func (q *slabs) push(ctx context.Context, s *slab) error {
	for {
		q.mu.Lock()
		if len(q.queue) < slabQueue {
			q.queue = append(q.queue, s)
			q.mu.Unlock()
			wake(q.ready)
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// park offers a slab to the caller of Next until unpark.
func (q *slabs) park(s *slab) {
	q.mu.Lock()
	q.parked = s
	q.mu.Unlock()
	wake(q.ready)
}

// unpark takes the parked slab back; nil if it was delivered.
func (q *slabs) unpark() *slab {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.parked
	q.parked = nil
	return s
}

// fail ends the queue: take returns the error after what is queued.
func (q *slabs) fail(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	wake(q.ready)
}

// take returns the next slab, waiting for it.
func (q *slabs) take(ctx context.Context) (*slab, error) {
	for {
		if s, err := q.tryTake(); s != nil || err != nil {
			return s, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// waiting reports whether a full slab is queued.
func (q *slabs) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue) > 0
}

func (q *slabs) tryTake() (*slab, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) > 0 {
		s := q.queue[0]
		q.queue = append(q.queue[:0], q.queue[1:]...)
		wake(q.room)
		return s, nil
	}
	if s := q.parked; s != nil {
		q.parked = nil
		return s, nil
	}
	return nil, q.err
}

// release gives a delivered slab back to be filled again.
func (q *slabs) release(s *slab) {
	s.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.free) <= slabQueue {
		q.free = append(q.free, s)
	}
}

// worthy reports whether there is more to tell than progress.
func (s *slab) worthy() bool {
	for _, c := range s.commits {
		if c.heartbeat {
			return true
		}
	}
	return len(s.changes) > 0
}
