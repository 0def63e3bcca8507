package pgoutput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// microsTo2000 is 2000-01-01, where the server's clock starts, in microseconds since 1970-01-01.
const microsTo2000 = 946_684_800_000_000

var (
	errShort  = errors.New("message is too short")
	errLong   = errors.New("message is too long")
	pgCatalog = []byte("pg_catalog")
)

// Decoder decodes the messages of one stream in order. The zero Decoder is at the start of a stream of changes.
type Decoder struct {
	// InStream says that the next message is inside a segment of a streamed transaction and so carries its own
	// transaction id. Decode keeps it; set it to decode messages that were kept from such a segment.
	InStream bool
}

// Decode decodes one message into m. The input must not change while m is in use.
func (d *Decoder) Decode(input []byte, m *Message) error {
	if len(input) == 0 {
		return errShort
	}
	columns, oids := m.Columns[:0], m.OIDs[:0]
	*m = Message{Type: Type(input[0]), Columns: columns, OIDs: oids}
	r := reader{rest: input[1:]}
	if d.InStream && m.Type.inTransaction() {
		m.XID = r.uint32()
	}
	if !m.body(&r) {
		return fmt.Errorf("unknown message type %q", byte(m.Type))
	}
	if r.err == nil && len(r.rest) != 0 {
		r.err = errLong
	}
	if r.err != nil {
		return fmt.Errorf("message type %q: %w", byte(m.Type), r.err)
	}
	switch m.Type {
	case StreamStart:
		d.InStream = true
	case StreamStop:
		d.InStream = false
	}
	return nil
}

func (t Type) inTransaction() bool {
	switch t {
	case Relation, TypeName, Insert, Update, Delete, Truncate, Logical:
		return true
	}
	return false
}

func (m *Message) body(r *reader) bool {
	switch m.Type {
	case Insert:
		m.OID = r.uint32()
		r.expect('N')
		m.New = r.tuple()
	case Update:
		m.update(r)
	case Delete:
		m.OID = r.uint32()
		m.OldKind = OldKind(r.byte())
		if r.err == nil && m.OldKind != OldKey && m.OldKind != OldFull {
			r.err = fmt.Errorf("old tuple of kind %q", byte(m.OldKind))
		}
		m.Old = r.tuple()
	case Begin:
		m.LSN, m.Time, m.XID = r.uint64(), r.time(), r.uint32()
	case Commit:
		r.flags()
		m.LSN, m.End, m.Time = r.uint64(), r.uint64(), r.time()
	case Relation:
		m.relation(r)
	case TypeName:
		m.OID, m.Namespace, m.Name = r.uint32(), r.namespace(), r.name()
	case Truncate:
		m.truncate(r)
	case Origin:
		m.LSN, m.Name = r.uint64(), r.name()
	case Logical:
		m.Transactional = r.byte()&1 != 0
		m.LSN, m.Name = r.uint64(), r.name()
		m.Content = r.take(int(r.uint32()))
	default:
		return m.streamed(r)
	}
	return true
}

func (m *Message) streamed(r *reader) bool {
	switch m.Type {
	case StreamStart:
		m.XID, m.First = r.uint32(), r.byte() == 1
	case StreamStop:
	case StreamCommit:
		m.XID = r.uint32()
		r.flags()
		m.LSN, m.End, m.Time = r.uint64(), r.uint64(), r.time()
	case StreamAbort:
		m.XID, m.Sub = r.uint32(), r.uint32()
		if len(r.rest) != 0 {
			m.LSN, m.Time = r.uint64(), r.time()
		}
	case BeginPrepare:
		m.LSN, m.End, m.Time, m.XID, m.Name = r.uint64(), r.uint64(), r.time(), r.uint32(), r.name()
	case Prepare, CommitPrepared, StreamPrepare:
		r.flags()
		m.LSN, m.End, m.Time, m.XID, m.Name = r.uint64(), r.uint64(), r.time(), r.uint32(), r.name()
	case RollbackPrepared:
		r.flags()
		m.LSN, m.End = r.uint64(), r.uint64()
		r.time() // of the prepare
		m.Time, m.XID, m.Name = r.time(), r.uint32(), r.name()
	default:
		return false
	}
	return true
}

func (m *Message) update(r *reader) {
	m.OID = r.uint32()
	kind := r.byte()
	if kind == byte(OldKey) || kind == byte(OldFull) {
		m.OldKind = OldKind(kind)
		m.Old = r.tuple()
		kind = r.byte()
	}
	if r.err == nil && kind != 'N' {
		r.err = fmt.Errorf("tuple of kind %q where the new one belongs", kind)
	}
	m.New = r.tuple()
}

func (m *Message) relation(r *reader) {
	m.OID, m.Namespace, m.Name = r.uint32(), r.namespace(), r.name()
	m.Identity = Identity(r.byte())
	for n := r.uint16(); n > 0 && r.err == nil; n-- {
		m.Columns = append(m.Columns, Column{Key: r.byte()&1 != 0, Name: r.name(), Type: r.uint32(), Mod: int32(r.uint32())})
	}
}

func (m *Message) truncate(r *reader) {
	n := r.uint32()
	flags := r.byte()
	m.Cascade, m.RestartIdentity = flags&1 != 0, flags&2 != 0
	if r.err == nil && uint64(n)*4 != uint64(len(r.rest)) {
		r.err = fmt.Errorf("%d tables in %d bytes", n, len(r.rest))
	}
	for ; n > 0 && r.err == nil; n-- {
		m.OIDs = append(m.OIDs, r.uint32())
	}
}

// reader takes fields off the front of a message. After the first error it gives zero values.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		if r.err == nil {
			r.err = errShort
		}
		r.rest = nil
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) time() int64 { return int64(r.uint64()) + microsTo2000 }

func (r *reader) flags() {
	if flags := r.byte(); r.err == nil && flags != 0 {
		r.err = fmt.Errorf("unknown flags %#x", flags)
	}
}

func (r *reader) expect(want byte) {
	if got := r.byte(); r.err == nil && got != want {
		r.err = fmt.Errorf("%q where %q belongs", got, want)
	}
}

func (r *reader) name() []byte {
	end := bytes.IndexByte(r.rest, 0)
	name := r.take(end)
	r.take(1)
	return name
}

func (r *reader) namespace() []byte {
	if name := r.name(); len(name) != 0 {
		return name
	}
	return pgCatalog
}

// tuple walks over a tuple and checks every length, so that [Fields] need not.
func (r *reader) tuple() Tuple {
	count := int(r.uint16())
	start := r.rest
	for range count {
		switch kind := Field(r.byte()); kind {
		case Null, Unchanged:
		case Text, Binary:
			r.take(int(int32(r.uint32())))
		default:
			if r.err == nil {
				r.err = fmt.Errorf("field of kind %q", byte(kind))
			}
		}
		if r.err != nil {
			return Tuple{}
		}
	}
	size := len(start) - len(r.rest)
	return Tuple{count, start[:size:size]}
}
