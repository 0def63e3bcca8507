package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

const finishTimeout = 2 * time.Second

// changes is an open stream. Its goroutines run from openChanges to Close: one receives and decodes, one tells the
// server what is durable, one sends heartbeats. The methods have one caller.
type changes struct {
	endpoint waybill.Endpoint
	options  waybill.ChangeOptions
	server   identity
	reader   *reader
	slabs    *slabs
	wire     *replication
	backlog  *backlog // nil: the ordinary stream from the start
	slot     string
	version  int // of the server
	side     *side
	export   *exported // the snapshot of the slot's making, until View takes it
	durable  atomic.Uint64
	told     chan struct{}

	cancel context.CancelCauseFunc
	group  sync.WaitGroup

	slab      *slab // being delivered
	from      int   // first change not delivered
	commit    int   // first commit not delivered
	delivered uint64
	inside    bool              // parts of a transaction were delivered, not its end
	marks     []uint64          // places that no batch straddles, ascending
	after     map[string]uint64 // by oid
	held      map[waybill.TableName]bool
	joined    map[string]bool // by oid: tables that the caller has copied; their appearance is no news
	takenIn   uint64          // rows of newcomers up to here were left out of the stream; 0: there are none
	outdated  error           // a table was followed from before that
}

var _ waybill.ChangeSource = (*changes)(nil)

// errClosed ends the goroutines of a stream that is closed.
var errClosed = errors.New("the stream is closed")

// start begins to receive after the position.
func (c *changes) start(ctx context.Context, conn *pgconn.PgConn, from uint64, prepared *preparation) error {
	c.slot, c.version = prepared.publication.name, serverVersion(conn)
	timeout, err := senderTimeout(ctx, conn)
	if err == nil {
		c.backlog, err = openBacklog(ctx, c.endpoint, c.options.Stream, c.slot, from, c.options.Log)
	}
	if err != nil {
		closeConn(conn)
		return err
	}
	wire, err := takeOver(conn)
	if err == nil && c.backlog == nil {
		err = c.stream(wire, from)
	}
	if err != nil {
		if c.backlog != nil {
			c.backlog.close()
		}
		return err
	}
	c.wire, c.slabs, c.delivered, c.told = wire, newSlabs(), from, make(chan struct{}, 1)
	c.durable.Store(from)
	c.takenIn = prepared.shapes.newcomers
	c.reader = &reader{wire: wire, slabs: c.slabs, shapes: prepared.shapes, spilled: newOpenTransactions(c.options.SpillDir, c.slot),
		log: c.options.Log, stream: c.options.Stream, durable: &c.durable, sent: from}
	if err := c.reader.spilled.clean(); err != nil {
		c.options.Log.Warn("leftovers of a killed process stay", "error", err)
	}
	c.run(&pulse{wire: wire, durable: &c.durable, confirmed: c.told, status: min(statusEvery, timeout/4), beat: c.options.Heartbeat,
		statement: prepared.heartbeat, side: c.side, log: c.options.Log})
	return nil
}

// stream lets the ordinary stream begin; a connection on which it does not is closed.
func (c *changes) stream(wire *replication, from uint64) error {
	if err := wire.startReplication(startStatement(c.slot, from, c.version)); err != nil {
		wire.finish(time.Now().Add(finishTimeout))
		return slotRefusal("start stream "+c.options.Stream, err)
	}
	return nil
}

// run starts the goroutines. The first that fails ends the others.
func (c *changes) run(p *pulse) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.cancel = cancel
	wire := c.wire // Close may have taken it back by the time that the end of the context is noticed
	unblock := context.AfterFunc(ctx, func() { _ = wire.conn.SetReadDeadline(time.Unix(1, 0)) })
	reports := func() {
		if err := p.run(ctx); err != nil && ctx.Err() == nil {
			cancel(classify("report to the server of "+c.options.Stream, waybill.TableName{}, err))
		}
	}
	c.group.Go(func() {
		defer unblock()
		err := c.readOn(ctx, wire)
		if err == nil {
			c.group.Go(reports)
			err = c.reader.run(ctx)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = errors.Join(classify("read stream "+c.options.Stream, waybill.TableName{}, err), c.reader.spilled.discard())
		c.slabs.fail(err)
		cancel(err)
	})
	c.group.Go(func() { p.beats(ctx) })
}

// readOn reads the backlog, if there is one, and joins the ordinary stream to its end. While it was read the slot was
// nobody's: it must be where it was left (invariant 6).
func (c *changes) readOn(ctx context.Context, wire *replication) error {
	if c.backlog == nil {
		return nil
	}
	if err := c.reader.readBacklog(ctx, c.backlog); err != nil {
		return err
	}
	err := c.side.use(ctx, func(conn *pgconn.PgConn) error {
		slot, err := awaitSlot(ctx, conn, c.slot)
		if err == nil {
			err = slot.checkResume(c.slot, position{LSN: c.reader.sent})
		}
		if err == nil {
			err = slot.checkUsable(c.slot, c.server.database)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.stream(wire, c.reader.sent)
}

// View joins the stream: the first one is the snapshot that the slot was made with, later ones take their own.
func (c *changes) View(ctx context.Context) (waybill.View, error) {
	options := waybill.ViewOptions{Tables: c.options.Tables, Positioned: true, Log: c.options.Log}
	open := func() (*view, error) { return openView(ctx, c.endpoint, options) }
	if x := c.export; x != nil {
		c.export = nil
		open = func() (*view, error) {
			return newView(ctx, c.endpoint, x.snapshot, c.server.at(x.lsn), options, x.close)
		}
	}
	v, err := open()
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Confirm lets the server forget what is up to the position. It returns before the server knows: the server is told
// within a moment, and at Close.
func (c *changes) Confirm(_ context.Context, p waybill.Position) error {
	at, err := parsePosition(p)
	if err != nil {
		return waybill.Errorf(waybill.Bug, "confirm", "%w", err)
	}
	if at.System != c.server.system || at.LSN > c.delivered {
		return waybill.Errorf(waybill.Bug, "confirm", "position %s was not delivered by this stream", p)
	}
	for {
		was := c.durable.Load()
		if at.LSN <= was {
			return nil
		}
		if c.durable.CompareAndSwap(was, at.LSN) {
			wake(c.told)
			return nil
		}
	}
}

// Follow sets from where a table's changes are delivered. Where they were left out, because the table was not given as
// a followed one, the stream ends: opened anew with the table and its place, it has them.
func (c *changes) Follow(v *waybill.TableVersion, after waybill.Position) {
	delete(c.held, v.Table)
	c.joined[v.ID] = true
	at, err := parsePosition(after)
	if err == nil && at.LSN < c.takenIn && c.delivered < c.takenIn {
		c.outdated = &waybill.Error{Op: "follow", Table: v.Table, Fault: waybill.Passing,
			Err: fmt.Errorf("the stream was opened without the table, at %s, and it was copied before that, at %s", formatLSN(c.takenIn), formatLSN(at.LSN))}
	}
	if err == nil && at.LSN > c.delivered {
		c.after[v.ID] = at.LSN
	} else {
		delete(c.after, v.ID)
	}
}

// Mark keeps batches from straddling a position. A position that was delivered already is no mark.
func (c *changes) Mark(p waybill.Position) {
	at, err := parsePosition(p)
	if err != nil || at.LSN <= c.delivered {
		return
	}
	if i, found := slices.BinarySearch(c.marks, at.LSN); !found {
		c.marks = slices.Insert(c.marks, i, at.LSN)
	}
}

// Close ends the stream; what was confirmed is told to the server.
func (c *changes) Close() error {
	var err error
	if c.export != nil {
		err = c.export.close()
		c.export = nil
	}
	if c.cancel != nil {
		c.cancel(errClosed)
		c.group.Wait()
	}
	if c.wire != nil {
		_ = c.wire.conn.SetWriteDeadline(time.Now().Add(finishTimeout))
		_ = c.wire.status(c.durable.Load(), time.Now()) // a server that is gone keeps the older position
		c.wire.finish(time.Now().Add(finishTimeout))
		c.wire = nil
	}
	c.side.close()
	return err
}

// exported is a snapshot that lives as long as the session which made it stays idle.
type exported struct {
	conn     *pgconn.PgConn
	snapshot string
	lsn      uint64
}

func (x *exported) close() error {
	closeConn(x.conn)
	return nil
}

func logOf(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
