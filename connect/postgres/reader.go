package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres/pgoutput"
)

// idleEvery is how often a stream without changes delivers its progress.
const idleEvery = time.Second

// While the stream is behind, transactions are gathered into large slabs instead of being delivered one by one:
// the target writes many at once far faster. None waits for longer than a quarter of what it is late already.
const (
	lateAfter = 250 * time.Millisecond // a transaction that is sent so long after its commit is late
	gatherMax = time.Second
	gulp      = 20 * time.Millisecond // between reads while gathering: a wake-up for each message costs both ends dear
)

// reader receives and decodes the stream. It runs in one goroutine from start to the end of the connection.
type reader struct {
	wire    *replication
	slabs   *slabs
	shapes  *shapes
	spilled *openTransactions
	log     *slog.Logger
	stream  string
	durable *atomic.Uint64 // what was confirmed

	decoder pgoutput.Decoder
	message pgoutput.Message
	slab    *slab
	tx      received
	sent    uint64        // the furthest end of what was received whole
	idle    time.Time     // when progress without changes was last delivered
	cut     int           // number of the last truncate
	clock   int64         // the server's, when it sent the last message: microseconds since 2000
	late    time.Duration // of the last transaction, when it was sent
	since   time.Time     // when gathering began
}

// received is the transaction under way.
type received struct {
	open      bool
	parted    bool // a part of it is in an earlier slab
	reshaped  bool
	heartbeat bool
}

// run receives until the context ends or the stream fails, and always returns an error.
func (r *reader) run(ctx context.Context) error {
	r.resume()
	for {
		if !r.wire.buffered() && !r.gather(ctx) {
			r.offer()
		}
		kind, body, err := r.wire.next()
		r.resume()
		if err == nil {
			err = r.receive(ctx, kind, body)
		}
		if err != nil {
			r.deliver()
			return err
		}
	}
}

// gather waits a little for more where the stream is behind, and reports whether more came.
func (r *reader) gather(ctx context.Context) bool {
	if r.late < lateAfter || r.slab.empty() {
		r.since = time.Time{}
		return false
	}
	now := time.Now()
	if r.since.IsZero() {
		r.since = now
	}
	if now.Sub(r.since) >= min(r.late/4, gatherMax) || !r.wire.wait(ctx, gulp) {
		r.since, r.late = time.Time{}, 0
		return false
	}
	return true
}

// offer lets the caller of Next have what is decoded while nothing more can be read.
func (r *reader) offer() {
	if r.tx.open || r.slab.empty() {
		return
	}
	if !r.slab.worthy() {
		now := time.Now()
		if now.Sub(r.idle) < idleEvery {
			return
		}
		r.idle = now
	}
	r.slabs.park(r.slab)
	r.slab = nil
}

// resume takes the offered slab back, or a fresh one if it was delivered.
func (r *reader) resume() {
	if r.slab != nil {
		return
	}
	if r.slab = r.slabs.unpark(); r.slab == nil {
		r.slab = r.slabs.fresh()
	}
}

// deliver leaves to the caller the transactions that came whole before the stream failed.
func (r *reader) deliver() {
	s := r.slab
	if s == nil || len(s.commits) == 0 {
		return
	}
	if r.tx.open {
		s.changes, s.opens, s.advance = s.changes[:s.commits[len(s.commits)-1].to], 0, 0
	}
	r.slabs.park(s)
	r.slab = nil
}

func (r *reader) receive(ctx context.Context, kind byte, body []byte) error {
	switch kind {
	case 'd':
		return r.framed(ctx, body)
	case 'E':
		return classify("read stream "+r.stream, waybill.TableName{}, serverRefusal(body))
	case 'N', 'S':
		return nil
	case 'c', 'C', 'Z':
		return waybill.Errorf(waybill.Passing, "read stream "+r.stream, "the server ended the stream")
	}
	return waybill.Errorf(waybill.Bug, "read stream "+r.stream, "server message of type %q", kind)
}

func (r *reader) framed(ctx context.Context, body []byte) error {
	switch {
	case len(body) >= 25 && body[0] == 'w':
		r.clock = int64(binary.BigEndian.Uint64(body[17:]))
		return r.replicated(ctx, body[25:])
	case len(body) == 18 && body[0] == 'k':
		// Inside a transaction the server is not done with what it read from its log so far.
		if !r.tx.open && r.spilled.current == nil {
			r.advance(binary.BigEndian.Uint64(body[1:]))
		}
		if body[17] == 1 {
			return r.wire.status(r.durable.Load(), time.Now())
		}
		return nil
	}
	return waybill.Errorf(waybill.Bug, "read stream "+r.stream, "replication message of %d bytes", len(body))
}

// advance notes that the server has nothing for us before a place in its log.
func (r *reader) advance(lsn uint64) {
	if lsn <= r.sent {
		return
	}
	r.sent = lsn
	r.slab.opens = lsn
	r.tell()
	r.slab.opens = 0
	if s := r.slab; r.tx.reshaped {
		s.commits = append(s.commits, ending{to: len(s.changes), lsn: lsn, time: time.Now().UnixMicro(), reshaped: true})
		r.tx = received{}
		return
	}
	r.slab.advance = lsn
}

func (r *reader) replicated(ctx context.Context, data []byte) error {
	if r.spilled.current != nil && len(data) > 0 && pgoutput.Type(data[0]) != pgoutput.StreamStop {
		return r.spilled.keep(data)
	}
	m := &r.message
	if err := r.decoder.Decode(data, m); err != nil {
		return waybill.Errorf(waybill.Bug, "decode log", "%w", err)
	}
	switch m.Type {
	case pgoutput.Begin:
		r.begin(m)
		return nil
	case pgoutput.Commit:
		return r.commit(ctx, m)
	case pgoutput.StreamStart:
		return r.spilled.start(m)
	case pgoutput.StreamStop:
		r.spilled.current = nil
		return nil
	case pgoutput.StreamAbort:
		return r.spilled.abort(m)
	case pgoutput.StreamCommit:
		r.begin(m)
		if err := r.spilled.commit(ctx, m, func(kept *pgoutput.Message) error { return r.apply(ctx, kept) }); err != nil {
			return err
		}
		return r.commit(ctx, m)
	case pgoutput.BeginPrepare, pgoutput.Prepare, pgoutput.CommitPrepared, pgoutput.RollbackPrepared, pgoutput.StreamPrepare:
		return &waybill.Error{Op: "read stream " + r.stream, Fault: waybill.Setup, Err: fmt.Errorf("the slot sends transactions at PREPARE"),
			Hint: "the slot was altered to two_phase: remove the stream (waybill link resync) and let it be made again"}
	}
	return r.apply(ctx, m)
}

// begin starts a transaction whose commit record is at the message's LSN. Positions are ends of records, so the
// transaction is after a position exactly if the byte after the record's start is.
func (r *reader) begin(m *pgoutput.Message) {
	r.tx, r.slab.opens = received{open: true}, m.LSN+1
	r.tell()
}

// tell puts the newcomers before the first transaction that is after their taking in.
func (r *reader) tell() {
	for _, shape := range r.shapes.settle(r.slab.opens) {
		r.reshape(shape)
	}
}

// commit ends the transaction under way.
func (r *reader) commit(ctx context.Context, m *pgoutput.Message) error {
	if !r.tx.open {
		return waybill.Errorf(waybill.Bug, "decode log", "a commit came without its transaction")
	}
	s := r.slab
	s.commits = append(s.commits, ending{to: len(s.changes), lsn: m.End, time: m.Time, reshaped: r.tx.reshaped, parted: r.tx.parted,
		heartbeat: r.tx.heartbeat})
	r.tx, s.opens = received{}, 0
	r.sent = max(r.sent, m.End)
	r.late = serverEpoch.Add(time.Duration(r.clock) * time.Microsecond).Sub(time.UnixMicro(m.Time))
	return r.makeRoom(ctx)
}

// makeRoom hands a full slab over.
func (r *reader) makeRoom(ctx context.Context) error {
	if !r.slab.full() && len(r.slab.commits) < slabChanges {
		return nil
	}
	opens := r.slab.opens
	if err := r.slabs.push(ctx, r.slab); err != nil {
		return err
	}
	r.since = time.Time{}
	r.slab = r.slabs.fresh()
	r.slab.opens, r.tx.parted = opens, r.tx.open
	return nil
}

// apply decodes a message of the transaction under way, or one that stands outside of any.
func (r *reader) apply(ctx context.Context, m *pgoutput.Message) error {
	switch m.Type {
	case pgoutput.Insert, pgoutput.Update, pgoutput.Delete:
		return r.row(ctx, m)
	case pgoutput.Relation:
		r.shapes.announce(m)
	case pgoutput.TypeName:
		r.shapes.nameType(m)
	case pgoutput.Truncate:
		return r.truncate(ctx, m)
	case pgoutput.Logical:
		return r.logical(m)
	case pgoutput.Origin:
	default:
		return waybill.Errorf(waybill.Bug, "decode log", "message type %q in a transaction", byte(m.Type))
	}
	return nil
}

// logical takes the messages that Waybill itself writes into the log.
func (r *reader) logical(m *pgoutput.Message) error {
	switch {
	case !m.Transactional:
	case string(m.Name) == heartbeatPrefix && string(m.Content) == r.stream:
		r.tx.heartbeat = true
	case string(m.Name) == lostPrefix:
		return &waybill.Error{Op: "follow structure changes", Fault: waybill.Drift, Err: fmt.Errorf("a change could not be reported: %s", m.Content),
			Hint: "compare the structures (waybill schema diff) and copy the table that was changed again (waybill link resync)"}
	}
	return nil
}

func (r *reader) row(ctx context.Context, m *pgoutput.Message) error {
	s, reshape, err := r.shapes.of(ctx, m.OID, r.slab.opens)
	if s == nil || err != nil {
		return err
	}
	r.reshape(reshape)
	switch s.role {
	case ignored:
		return nil
	case heartbeat:
		r.tx.heartbeat = true
		return nil
	case eventLog:
		return r.event(s, m)
	}
	c, err := s.change(r.slab, m)
	if err != nil {
		return err
	}
	r.slab.add(c)
	return r.makeRoom(ctx)
}

func (r *reader) reshape(shape *waybill.Shape) {
	if shape == nil {
		return
	}
	version := cmp.Or(shape.Before, shape.After)
	r.slab.add(waybill.Change{Op: waybill.Reshape, Version: version, Shape: shape})
	r.tx.reshaped = true
	r.log.Info("structure changed", "table", version.Table.String(), "statement", shape.Statement, "inferred", shape.Inferred)
}

// event turns a row of the event table into reshapes. Old events that are deleted are of no concern.
func (r *reader) event(s *shape, m *pgoutput.Message) error {
	if m.Type != pgoutput.Insert {
		return nil
	}
	e, err := s.decodeEvent(m.New)
	if err != nil {
		return err
	}
	reshapes, err := r.shapes.reported(e, r.slab.opens)
	for _, shape := range reshapes {
		r.reshape(shape)
	}
	return err
}

func (r *reader) truncate(ctx context.Context, m *pgoutput.Message) error {
	r.cut++
	cut := map[*waybill.TableVersion]int{}
	for _, oid := range m.OIDs {
		s, reshape, err := r.shapes.of(ctx, oid, r.slab.opens)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		r.reshape(reshape)
		cut[s.mapped]++
		if s.role != carried || cut[s.mapped] > 1 {
			continue
		}
		r.slab.add(waybill.Change{Op: waybill.Truncate, Version: s.mapped,
			Cut: &waybill.Cut{Group: r.cut, RestartIdentity: m.RestartIdentity, Cascade: m.Cascade}})
	}
	for _, oid := range m.OIDs {
		if err := r.wholeCut(oid, cut); err != nil {
			return err
		}
	}
	return r.makeRoom(ctx)
}

// wholeCut refuses the truncation of single partitions. Servers before version 13 name partitions, not roots.
func (r *reader) wholeCut(oid uint32, cut map[*waybill.TableVersion]int) error {
	root, ok := r.shapes.roots[oid]
	if !ok {
		return nil
	}
	version, all := r.shapes.at(root).version, 0
	for leaf, of := range r.shapes.roots {
		if s := r.shapes.tables[leaf]; of == root && s != nil && s.says != nil {
			all++
		}
	}
	if version != nil && cut[version] < all {
		return drift(version.Table, "a single partition was truncated")
	}
	return nil
}
