package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/spill"
)

// spillMemory is how many bytes of an open transaction stay in memory before a file is made.
const spillMemory = 64 << 10

// openTransaction is a transaction that the server streams before it is committed. Its messages are kept as they
// came, each under the (sub)transaction that it belongs to, and mean nothing until the commit.
type openTransaction struct {
	log     *spill.Log
	aborted map[uint32]bool // subtransactions that were rolled back
}

// openTransactions keeps the transactions that are under way.
type openTransactions struct {
	dir     string
	pattern string
	open    map[uint32]*openTransaction
	current *openTransaction // whose segment is being received; nil outside of one
}

func newOpenTransactions(dir, slot string) *openTransactions {
	return &openTransactions{dir: dir, pattern: "waybill-spill-" + slot + "-*", open: map[uint32]*openTransaction{}}
}

// clean removes the files of a process that was killed. The slot must be this process's own.
func (o *openTransactions) clean() error { return spill.Clean(o.dir, o.pattern) }

// start begins a segment of a transaction.
func (o *openTransactions) start(m *pgoutput.Message) error {
	t := o.open[m.XID]
	switch {
	case m.First && t != nil:
		if err := t.log.Discard(); err != nil {
			return err
		}
		fallthrough
	case m.First:
		t = &openTransaction{log: spill.New(o.dir, o.pattern, spillMemory), aborted: map[uint32]bool{}}
		o.open[m.XID] = t
	case t == nil:
		return waybill.Errorf(waybill.Bug, "receive transaction", "transaction %d goes on, but its beginning did not come", m.XID)
	}
	o.current = t
	return nil
}

// keep adds a message of the current segment.
func (o *openTransactions) keep(message []byte) error {
	if len(message) < 5 {
		return waybill.Errorf(waybill.Bug, "receive transaction", "message of %d bytes", len(message))
	}
	if err := o.current.log.Append(binary.BigEndian.Uint32(message[1:]), message); err != nil {
		return o.spillError(err)
	}
	return nil
}

func (o *openTransactions) spillError(err error) error {
	e := &waybill.Error{Op: "keep open transaction", Fault: waybill.Setup, Err: err,
		Hint: "make the spill directory writable"}
	if o.dir != "" {
		e.Hint += " (" + o.dir + ")"
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		e.Hint = "free disk space where open transactions are kept (spill directory " + o.dir + "), or name another directory; nothing is lost, the source sends the transaction again"
	}
	return e
}

// abort drops a subtransaction, or the whole transaction.
func (o *openTransactions) abort(m *pgoutput.Message) error {
	t := o.open[m.XID]
	if t == nil {
		return nil // aborted before anything of it was streamed
	}
	if m.Sub != m.XID {
		t.aborted[m.Sub] = true
		return nil
	}
	delete(o.open, m.XID)
	return t.log.Discard()
}

// commit gives the kept messages to apply, in order and without what was rolled back, and drops them.
func (o *openTransactions) commit(ctx context.Context, m *pgoutput.Message, apply func(m *pgoutput.Message) error) error {
	t := o.open[m.XID]
	if t == nil {
		return waybill.Errorf(waybill.Bug, "commit transaction", "transaction %d was never begun", m.XID)
	}
	delete(o.open, m.XID)
	decoder := pgoutput.Decoder{InStream: true}
	var message pgoutput.Message
	err := t.log.Each(func(xid uint32, record []byte) error {
		if t.aborted[xid] {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := decoder.Decode(record, &message); err != nil {
			return waybill.Errorf(waybill.Bug, "decode log", "%w", err)
		}
		return apply(&message)
	})
	if err != nil {
		err = fmt.Errorf("replay transaction %d: %w", m.XID, err)
	}
	return errors.Join(err, t.log.Discard())
}

// discard drops everything: a server that is asked again sends open transactions from their start.
func (o *openTransactions) discard() error {
	var err error
	for _, t := range o.open {
		err = errors.Join(err, t.log.Discard())
	}
	o.open, o.current = nil, nil
	return err
}
