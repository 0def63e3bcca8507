package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// backlogSetting is the endpoint setting that says from how many megabytes of log on a stream is read in pieces.
const backlogSetting = "backlog_mb"

// How long, when all is read, the ordinary stream is put off for what is not applied yet: to find its place costs
// the server much, and the target has enough to do.
const (
	drainPoll = 10 * time.Millisecond
	drainMost = 5 * time.Second // without progress
)

// Bounds of reading a backlog, in bytes of the server's log.
const (
	backlogDefault = 32 << 20  // from here on a stream reads in pieces
	backlogEnough  = 1 << 20   // so little is left to the ordinary stream
	pieceFirst     = 8 << 20   // the target is not to wait for long
	pieceGrowth    = 4         // few pieces: for each the server reads some log a second time
	pieceMost      = 256 << 20 // the server keeps what it decoded of one piece in a temporary file
	backlogHeld    = 4         // pieces that an open transaction may make the server read again each time
	forgetEvery    = 256 << 20 // how often the server may forget log while a long backlog is read
	never          = math.MaxUint64
)

// backlogSlot begins the names of temporary slots, as those of no stream do.
const backlogSlot = "waybillbacklog_"

// backlog reads what a stream is behind in large pieces, by SQL, from a temporary copy of the stream's slot. A
// server decodes so more than twice as fast as in its replication protocol, where it makes two system calls for
// each row (send and receive; PostgreSQL's walsender.c). The copy moves on as it is read; the slot of the stream
// only with what is durable, so that a crash loses nothing.
type backlog struct {
	conn    *pgconn.PgConn
	slot    string // the stream's
	copied  string // the temporary one
	options string
	buffer  []byte
	log     *slog.Logger

	piece   uint64 // bytes of log to read next
	forgot  uint64 // how far the stream's slot was moved
	restart uint64 // from where the server reads for the next piece
	broken  bool   // the session is in the middle of a statement
}

// openBacklog returns nil where the ordinary stream serves as well: the stream is not far behind, the server is too
// old, or does not let it.
func openBacklog(ctx context.Context, e waybill.Endpoint, stream, slot string, from uint64, log *slog.Logger) (*backlog, error) {
	least, err := backlogLeast(e)
	if err != nil || least == never {
		return nil, err
	}
	conn, err := connect(ctx, e, "backlog of "+stream, nil)
	if err != nil {
		return nil, err
	}
	b := &backlog{conn: conn, slot: slot, copied: backlogSlot + strconv.Itoa(int(conn.PID())), log: log, piece: pieceFirst, forgot: from, restart: from}
	version := serverVersion(conn)
	b.options = "'proto_version', '1', 'publication_names', " + quoteLiteral(quoteName(slot))
	if version >= 140000 {
		b.options += ", 'messages', 'true'"
	}
	end, err := b.end(ctx)
	if err != nil || version < 120000 || end < from+max(least, 1) { // before 12 slots cannot be copied
		closeConn(conn)
		return nil, err
	}
	if err := b.copySlot(ctx, from); err != nil {
		closeConn(conn)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		log.Info("the backlog is read as an ordinary stream", "reason", err)
		return nil, nil
	}
	return b, nil
}

// backlogLeast reads the setting.
func backlogLeast(e waybill.Endpoint) (uint64, error) {
	switch text := e.Settings[backlogSetting]; text {
	case "":
		return backlogDefault, nil
	case "off":
		return never, nil
	default:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return 0, &waybill.Error{Op: "open stream", Fault: waybill.Setup, Err: fmt.Errorf("setting %s: %q is not known", backlogSetting, text),
				Hint: "use a number of megabytes, or off"}
		}
		return n << 20, nil
	}
}

// copySlot makes the temporary slot, which begins exactly after from. Where the client is gone it must not go on for
// long.
func (b *backlog) copySlot(ctx context.Context, from uint64) error {
	if serverVersion(b.conn) >= 140000 {
		if err := exec(ctx, b.conn, "SET client_connection_check_interval = 2000"); err != nil {
			b.log.Debug("the server cannot look after its client", "error", err) // not on every system
		}
	}
	copied := quoteLiteral(b.copied)
	if err := exec(ctx, b.conn, "SELECT pg_copy_logical_replication_slot("+quoteLiteral(b.slot)+", "+copied+", true)"); err != nil {
		return err
	}
	state, err := readSlot(ctx, b.conn, b.copied)
	if err != nil {
		return err
	}
	if state.confirmed > from {
		return fmt.Errorf("the slot is at %s, after %s", formatLSN(state.confirmed), formatLSN(from))
	}
	if state.confirmed < from {
		return exec(ctx, b.conn, "SELECT pg_replication_slot_advance("+copied+", "+quoteLiteral(formatLSN(from))+")")
	}
	return nil
}

// readBacklog reads until the stream is hardly behind, or the backlog cannot be read any more; the ordinary stream
// goes on from what was sent.
func (r *reader) readBacklog(ctx context.Context, b *backlog) error {
	defer b.close()
	from, started := r.sent, time.Now()
	defer func() {
		r.log.Info("backlog read", "log bytes", r.sent-from, "time", time.Since(started).Round(time.Millisecond))
	}()
	for {
		end, err := b.end(ctx)
		if err != nil {
			return err
		}
		if end < r.sent+backlogEnough {
			if r.drained(ctx) {
				return ctx.Err()
			}
			continue
		}
		if b.held(r.sent) {
			r.log.Info("an open transaction holds the backlog: the ordinary stream goes on")
			return nil
		}
		r.resume()
		before := r.sent
		at, err := b.next(ctx, before, func(message []byte) error { return r.replicated(ctx, message) })
		if errors.Is(err, errRefused) {
			r.log.Info("the ordinary stream goes on", "reason", err)
			r.offer()
			return nil
		}
		if err != nil {
			r.deliver()
			return err
		}
		r.advance(at)
		r.offer()
		if at <= before {
			return nil
		}
		b.forget(ctx, r.durable.Load())
	}
}

// drained waits a moment for the target and reports whether it has all that was sent, or does not get on.
func (r *reader) drained(ctx context.Context) bool {
	durable := r.durable.Load()
	poll, deadline := time.NewTicker(drainPoll), time.Now().Add(drainMost)
	defer poll.Stop()
	for r.durable.Load() == durable {
		if durable >= r.sent || ctx.Err() != nil || time.Now().After(deadline) {
			return true
		}
		<-poll.C
		r.resume()
		r.offer()
	}
	return false
}

// end returns how far the server's log goes.
func (b *backlog) end(ctx context.Context) (uint64, error) {
	rows, err := query(ctx, b.conn, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END")
	if err != nil {
		return 0, classify("read backlog", waybill.TableName{}, err)
	}
	return parseLSN(string(rows[0][0]))
}

// errRefused says that a piece could not be read and that nothing of it was taken.
var errRefused = errors.New("the server does not give the backlog")

// next reads the next piece after from and gives its messages to take. It returns how far it got.
func (b *backlog) next(ctx context.Context, from uint64, take func(message []byte) error) (uint64, error) {
	upto := from + b.piece
	sql := fmt.Sprintf("COPY (SELECT data FROM pg_logical_slot_get_binary_changes(%s, '%s', NULL, %s)) TO STDOUT (FORMAT binary)",
		quoteLiteral(b.copied), formatLSN(upto), b.options)
	stop := watch(ctx, b.conn)
	taken, err := b.copyOut(ctx, sql, take)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		b.broken = true
		if !taken && sqlState(err) != "" && ctx.Err() == nil {
			return from, fmt.Errorf("%w: %w", errRefused, err)
		}
		return from, err
	}
	state, err := readSlot(ctx, b.conn, b.copied)
	if err != nil {
		return from, err
	}
	if b.restart, err = parseLSN(state.restart); err != nil {
		return from, err
	}
	b.piece = min(pieceGrowth*b.piece, pieceMost)
	return state.confirmed, nil
}

// held reports whether a transaction that is open for long makes the server read ever more for every piece.
func (b *backlog) held(at uint64) bool {
	return at > b.restart && at-b.restart > backlogHeld*b.piece
}

// copyOut runs the COPY; taken tells whether any message was given on.
func (b *backlog) copyOut(ctx context.Context, sql string, take func(message []byte) error) (taken bool, err error) {
	if b.buffer == nil {
		b.buffer = make([]byte, copyBuffer)
	}
	c, err := startCopy(ctx, b.conn, sql, b.buffer)
	if err != nil {
		return false, err
	}
	defer func() { b.buffer = c.buf }()
	first := true
	for !c.ended {
		kind, row, ok, err := c.frame()
		switch {
		case err != nil:
			return taken, err
		case ok && kind == 'd':
			message, err := onlyField(row, first)
			first = false
			if err == nil && message != nil {
				taken = true
				err = take(message)
			}
			if err != nil {
				return taken, err
			}
		case !ok:
			if err := c.fill(); err != nil {
				return taken, err
			}
		}
	}
	return taken, nil
}

// copySignature begins a COPY in binary form, with two words after it (PostgreSQL manual, COPY, binary format).
var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

// onlyField takes a row of one column apart; nil at the end of the rows.
func onlyField(row []byte, first bool) ([]byte, error) {
	if first {
		rest, ok := bytes.CutPrefix(row, copySignature)
		if !ok || len(rest) < 8 {
			return nil, waybill.Errorf(waybill.Bug, "read backlog", "the copy begins with %q", row[:min(len(row), 20)])
		}
		row = rest[8:]
	}
	if len(row) >= 2 && int16(binary.BigEndian.Uint16(row)) == -1 {
		return nil, nil
	}
	if len(row) < 6 || binary.BigEndian.Uint16(row) != 1 || int(binary.BigEndian.Uint32(row[2:])) != len(row)-6 {
		return nil, waybill.Errorf(waybill.Bug, "read backlog", "a row of %d bytes is not one message", len(row))
	}
	return row[6:], nil
}

// forget lets the server drop log that is behind what is durable, now and then. That it cannot is no harm.
func (b *backlog) forget(ctx context.Context, durable uint64) {
	if durable < b.forgot+forgetEvery {
		return
	}
	b.forgot = durable
	if err := exec(ctx, b.conn, "SELECT pg_replication_slot_advance("+quoteLiteral(b.slot)+", "+quoteLiteral(formatLSN(durable))+")"); err != nil {
		b.log.Warn("the server keeps its log until the backlog is read", "error", err)
	}
}

// close ends the session, and with it the temporary slot.
func (b *backlog) close() {
	if b.broken {
		abandon(b.conn)
		return
	}
	closeConn(b.conn)
}
