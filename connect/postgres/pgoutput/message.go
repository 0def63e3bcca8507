package pgoutput

// Type is the first byte of a message.
type Type byte

// The types of messages.
const (
	Begin            Type = 'B'
	Commit           Type = 'C'
	Origin           Type = 'O'
	Relation         Type = 'R'
	TypeName         Type = 'Y'
	Insert           Type = 'I'
	Update           Type = 'U'
	Delete           Type = 'D'
	Truncate         Type = 'T'
	Logical          Type = 'M' // a logical decoding message, pg_logical_emit_message
	StreamStart      Type = 'S'
	StreamStop       Type = 'E'
	StreamCommit     Type = 'c'
	StreamAbort      Type = 'A'
	BeginPrepare     Type = 'b'
	Prepare          Type = 'P'
	CommitPrepared   Type = 'K'
	RollbackPrepared Type = 'r'
	StreamPrepare    Type = 'p'
)

// Identity is a relation's replica identity, as pg_class.relreplident has it.
type Identity byte

// The replica identities.
const (
	IdentityDefault Identity = 'd'
	IdentityNothing Identity = 'n'
	IdentityFull    Identity = 'f'
	IdentityIndex   Identity = 'i'
)

// OldKind says what an old tuple holds.
type OldKind byte

// The kinds of old tuples. The zero value is no old tuple.
const (
	OldKey  OldKind = 'K' // the columns of the replica identity, everything else null
	OldFull OldKind = 'O' // the whole row
)

// Message is one decoded message. Only the fields of its Type are set; see each field. Byte slices alias the
// decoded input, slices of other kinds are reused by the next Decode into the same Message.
type Message struct {
	Type Type
	// XID is the transaction of Begin and of the stream and prepare messages. For relation, type, row, truncate and
	// logical messages inside a stream it is the (sub)transaction they belong to, otherwise 0.
	XID uint32
	Sub uint32 // StreamAbort: the (sub)transaction that aborts; XID itself for the whole

	// LSN is the commit's own place (Begin, Commit, StreamCommit, CommitPrepared), that of the prepare (BeginPrepare,
	// Prepare, StreamPrepare, RollbackPrepared), of the abort (StreamAbort, 0 if not sent), of a logical message
	// or of an origin.
	LSN  uint64
	End  uint64 // the end of the transaction: Commit and all of two-phase commit
	Time int64  // microseconds since 1970-01-01 UTC: commit, prepare, rollback or abort; 0 if not sent

	Name []byte // Origin: its name; Relation, TypeName: the name; Logical: the prefix; prepare messages: the gid

	Namespace []byte   // Relation, TypeName; "pg_catalog" where the server sends it empty
	OID       uint32   // Relation, TypeName, Insert, Update, Delete
	Identity  Identity // Relation
	Columns   []Column // Relation

	OldKind OldKind // Update, Delete
	Old     Tuple   // Update, Delete
	New     Tuple   // Insert, Update

	OIDs            []uint32 // Truncate
	Cascade         bool     // Truncate
	RestartIdentity bool     // Truncate

	Transactional bool   // Logical
	Content       []byte // Logical

	First bool // StreamStart: the first segment of its transaction
}

// Column is one column of a relation message.
type Column struct {
	Key  bool // part of the replica identity
	Name []byte
	Type uint32 // oid
	Mod  int32  // type modifier, -1 for none
}

// Field says how a tuple's field was sent.
type Field byte

// The kinds of fields.
const (
	Null      Field = 'n'
	Unchanged Field = 'u' // an unchanged large value that was not sent
	Text      Field = 't'
	Binary    Field = 'b'
)

// Tuple is the fields of one row, already checked. The zero Tuple has none.
type Tuple struct {
	count int
	bytes []byte
}

// Len returns the number of fields.
func (t Tuple) Len() int { return t.count }

// Size returns how many bytes the fields take.
func (t Tuple) Size() int { return len(t.bytes) }

// Bytes returns the encoded fields, for a copy to be given to [Tuple.Over].
func (t Tuple) Bytes() []byte { return t.bytes }

// Over returns the same tuple over a copy of its bytes.
func (t Tuple) Over(copied []byte) Tuple { return Tuple{t.count, copied} }

// Fields returns a cursor before the first field.
func (t Tuple) Fields() Fields { return Fields(t) }

// Fields is a cursor over the fields of a tuple.
type Fields Tuple

// Next returns the next field and its bytes, nil unless it is Text or Binary. It returns 0 after the last.
func (f *Fields) Next() (Field, []byte) {
	if f.count == 0 {
		return 0, nil
	}
	f.count--
	kind := Field(f.bytes[0])
	if kind == Null || kind == Unchanged {
		f.bytes = f.bytes[1:]
		return kind, nil
	}
	end := 5 + int(uint32(f.bytes[1])<<24|uint32(f.bytes[2])<<16|uint32(f.bytes[3])<<8|uint32(f.bytes[4]))
	text := f.bytes[5:end:end]
	f.bytes = f.bytes[end:]
	return kind, text
}
