package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

const (
	maxName  = 63              // bytes of a slot's or publication's name
	slotWait = 5 * time.Second // how long a slot that is just being let go may stay active
	slotPoll = 50 * time.Millisecond
)

// streamName returns the name of a stream's slot and publication: waybill_<stream> where that is a valid name, else
// with a hash of the stream at its end. Different streams never share one.
func streamName(stream string) string {
	plain := func(c rune) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	name := "waybill_" + strings.Map(func(c rune) rune {
		if plain(c) {
			return c
		}
		return '_'
	}, strings.ToLower(stream))
	if name == "waybill_"+stream && len(name) <= maxName && !hashed.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(stream))
	tail := "_x" + hex.EncodeToString(sum[:5])
	return name[:min(len(name), maxName-len(tail))] + tail
}

// hashed matches names that end like those that streamName makes with a hash.
var hashed = regexp.MustCompile(`_x[0-9a-f]{10}$`)

// identity is which server answers, and where its log is.
type identity struct {
	system   uint64
	timeline uint32
	database string
}

// identify asks a replication session.
func identify(ctx context.Context, conn *pgconn.PgConn) (identity, error) {
	rows, err := query(ctx, conn, "IDENTIFY_SYSTEM")
	if err != nil {
		return identity{}, classify("identify server", waybill.TableName{}, err)
	}
	system, err := strconv.ParseUint(string(rows[0][0]), 10, 64)
	if err != nil {
		return identity{}, fmt.Errorf("identify server: %w", err)
	}
	timeline, err := strconv.ParseUint(string(rows[0][1]), 10, 32)
	if err != nil {
		return identity{}, fmt.Errorf("identify server: %w", err)
	}
	return identity{system, uint32(timeline), string(rows[0][3])}, nil
}

func (i identity) at(lsn uint64) waybill.Position {
	return position{i.system, i.timeline, lsn}.Position()
}

// checkHistory makes sure that a position is in the history of the server that answers.
func (i identity) checkHistory(ctx context.Context, conn *pgconn.PgConn, p position) error {
	if p.System != i.system {
		return lost("the server is another cluster (system identifier %d) than the one the stream was read from (%d)", i.system, p.System)
	}
	if p.Timeline == i.timeline {
		return nil
	}
	if p.Timeline > i.timeline {
		return lost("the server is on timeline %d, the stream was read from timeline %d: the server was restored or is a standby left behind", i.timeline, p.Timeline)
	}
	rows, err := query(ctx, conn, "TIMELINE_HISTORY "+strconv.FormatUint(uint64(i.timeline), 10))
	if err != nil {
		return classify("read timeline history", waybill.TableName{}, err)
	}
	end, ok := timelineEnd(rows[0][1], p.Timeline)
	switch {
	case !ok:
		return lost("timeline %d of the server did not come out of timeline %d, from which the stream was read", i.timeline, p.Timeline)
	case p.LSN > end:
		return lost("the server was promoted at %s, before the stream's position %s: what was read after that is not in its history", formatLSN(end), formatLSN(p.LSN))
	}
	return nil
}

// timelineEnd finds in a history file where a timeline was left.
func timelineEnd(history []byte, timeline uint32) (uint64, bool) {
	for line := range bytes.Lines(history) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || fields[0] != strconv.FormatUint(uint64(timeline), 10) {
			continue
		}
		if end, err := parseLSN(fields[1]); err == nil {
			return end, true
		}
	}
	return 0, false
}

// lost is the diagnosis of a stream that cannot be read on without a gap.
func lost(format string, args ...any) error {
	return &waybill.Error{Op: "resume stream", Fault: waybill.Drift, Err: fmt.Errorf(format, args...),
		Hint: "changes may be missing from here on: copy the tables again (waybill link resync), which makes the slot anew"}
}

// slotState is what the server tells of a slot.
type slotState struct {
	exists      bool
	plugin      string
	kind        string
	database    string
	pid         string // of the session that reads it; empty: none
	application string
	restart     string
	confirmed   uint64
	walStatus   string
	invalid     string
	twoPhase    bool
	temporary   bool
}

// readSlot reads the state of a slot. It works on ordinary and on replication sessions.
func readSlot(ctx context.Context, conn *pgconn.PgConn, name string) (slotState, error) {
	version := serverVersion(conn)
	since := func(v int, column, otherwise string) string {
		if version >= v {
			return column
		}
		return otherwise
	}
	rows, err := query(ctx, conn, `SELECT s.plugin, s.slot_type, s.database, s.active_pid, a.application_name, s.restart_lsn, s.confirmed_flush_lsn, `+
		since(130000, "s.wal_status", "NULL")+", "+
		since(170000, "s.invalidation_reason", since(160000, "CASE WHEN s.conflicting THEN 'conflict with recovery' END", "NULL"))+", "+
		since(140000, "s.two_phase", "false")+`, s.temporary
		FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = `+quoteLiteral(name))
	if err != nil || len(rows) == 0 {
		return slotState{}, classify("read slot "+name, waybill.TableName{}, err)
	}
	r := rows[0]
	s := slotState{exists: true, plugin: string(r[0]), kind: string(r[1]), database: string(r[2]), pid: string(r[3]), application: string(r[4]),
		restart: string(r[5]), walStatus: string(r[7]), invalid: string(r[8]), twoPhase: isTrue(r[9]), temporary: isTrue(r[10])}
	if len(r[6]) > 0 {
		if s.confirmed, err = parseLSN(string(r[6])); err != nil {
			return slotState{}, err
		}
	}
	return s, nil
}

// awaitSlot reads a slot's state, giving a session that is about to end a moment to let go of it.
func awaitSlot(ctx context.Context, conn *pgconn.PgConn, name string) (slotState, error) {
	deadline := time.NewTimer(slotWait)
	defer deadline.Stop()
	poll := time.NewTicker(slotPoll)
	defer poll.Stop()
	for {
		s, err := readSlot(ctx, conn, name)
		if err != nil || s.pid == "" {
			return s, err
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			return s, nil
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
	}
}

// checkUsable makes sure that the slot is the stream's own and free.
func (s slotState) checkUsable(name, database string) error {
	op := "use slot " + name
	switch {
	case s.kind != "logical" || s.plugin != "pgoutput" || s.database != database || s.temporary:
		return &waybill.Error{Op: op, Fault: waybill.Setup, Err: fmt.Errorf("somebody else's slot has the name: %s slot of plugin %q in database %q", s.kind, s.plugin, s.database),
			Hint: "drop the slot (SELECT pg_drop_replication_slot('" + name + "')) if nobody needs it, or give the link another name"}
	case s.twoPhase:
		return &waybill.Error{Op: op, Fault: waybill.Setup, Err: fmt.Errorf("the slot was altered to two_phase"),
			Hint: "ALTER_REPLICATION_SLOT " + name + " (TWO_PHASE false) in a replication session, or let the slot be made again (waybill link resync)"}
	case s.pid != "":
		return s.inUse(op)
	}
	return nil
}

func (s slotState) inUse(op string) error {
	return &waybill.Error{Op: op, Fault: waybill.Setup, Err: fmt.Errorf("process %s of the server reads it for %q", s.pid, s.application),
		Hint: "stop the other process that runs this link; if there is none: SELECT pg_terminate_backend(" + s.pid + ")"}
}

// checkResume makes sure that the slot still has everything after the position (invariant 6): the server itself
// would skip silently to where the slot is.
func (s slotState) checkResume(name string, at position) error {
	switch {
	case !s.exists:
		return lost("slot %s is gone: it was dropped, or the server is a promoted standby that did not have it", name)
	case s.walStatus == "lost" || s.invalid != "" || s.restart == "":
		reason := s.invalid
		if reason == "" {
			reason = "its log was removed"
		}
		return lost("the server invalidated slot %s: %s (max_slot_wal_keep_size, idle_replication_slot_timeout)", name, strings.ReplaceAll(reason, "_", " "))
	case s.confirmed > at.LSN:
		return lost("slot %s is at %s, after the stream's position %s: it was advanced by hand, read by somebody else, or made again",
			name, formatLSN(s.confirmed), formatLSN(at.LSN))
	}
	return nil
}

// createdSlot is a slot just made.
type createdSlot struct {
	consistent uint64
	snapshot   string // exported until the session's next command
}

// createSlot makes the slot of a stream. It waits for all transactions under way to end.
func createSlot(ctx context.Context, conn *pgconn.PgConn, name string, failover bool) (createdSlot, error) {
	options := "EXPORT_SNAPSHOT"
	if failover && serverVersion(conn) >= 170000 {
		options = "(SNAPSHOT 'export', FAILOVER true)"
	}
	rows, err := query(ctx, conn, "CREATE_REPLICATION_SLOT "+quoteName(name)+" LOGICAL pgoutput "+options)
	if err != nil {
		return createdSlot{}, slotRefusal("create slot "+name, err)
	}
	lsn, err := parseLSN(string(rows[0][1]))
	return createdSlot{lsn, string(rows[0][2])}, err
}

// slotRefusal adds what to do to the refusals that a new user meets.
func slotRefusal(op string, err error) error {
	known, ok := errors.AsType[*waybill.Error](classify(op, waybill.TableName{}, err))
	if !ok {
		return err
	}
	switch sqlState(err) {
	case "55000":
		known.Fault, known.Hint = waybill.Setup, "ALTER SYSTEM SET wal_level = logical, then restart the server"
	case "42501":
		known.Fault, known.Hint = waybill.Setup, "ALTER ROLE <user of the url> REPLICATION (or GRANT rds_replication and the like)"
	case "53400":
		known.Fault, known.Hint = waybill.Setup, "raise max_replication_slots and restart the server, or drop slots that nobody uses"
	}
	return known
}

// The notes on a publication that tell how far the beginning of its stream got.
const (
	beginningNote = "waybill: the slot is being made"
	madeNote      = "waybill: the slot was made at "
)

// checkUnread refuses to replace a slot that was read from.
func (s slotState) checkUnread(p *publication) error {
	made, err := parseLSN(strings.TrimPrefix(p.comment, madeNote))
	if !p.exists || p.comment == beginningNote || err == nil && s.confirmed <= made {
		return nil
	}
	return &waybill.Error{Op: "begin stream " + p.stream, Fault: waybill.Setup,
		Err:  fmt.Errorf("slot %s was already read up to %s, but the target does not know of it", p.name, formatLSN(s.confirmed)),
		Hint: "if another link has this name, give this one another; if the target was replaced, drop the stream first (waybill link resync), which begins anew with a full copy"}
}

// dropSlot removes a slot that nobody reads.
func dropSlot(ctx context.Context, conn *pgconn.PgConn, name string) error {
	_, err := query(ctx, conn, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = "+quoteLiteral(name))
	return classify("drop slot "+name, waybill.TableName{}, err)
}
