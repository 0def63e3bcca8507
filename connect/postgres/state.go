package postgres

import (
	"context"

	"github.com/waybill-data/waybill"
)

// streamState tells what the server keeps of a stream, without touching it.
func streamState(ctx context.Context, e waybill.Endpoint, stream string) (waybill.StreamState, error) {
	state := waybill.StreamState{Stream: stream}
	conn, err := connect(ctx, e, "state of "+stream, map[string]string{"replication": "database"})
	if err != nil {
		return state, err
	}
	defer closeConn(conn)
	server, err := identify(ctx, conn)
	if err != nil {
		return state, err
	}
	name := streamName(stream)
	slot, err := readSlot(ctx, conn, name)
	if err != nil {
		return state, err
	}
	rows, err := query(ctx, conn, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END")
	if err != nil {
		return state, classify("read state of "+stream, waybill.TableName{}, err)
	}
	end, err := parseLSN(string(rows[0][0]))
	if err != nil {
		return state, err
	}
	state.Exists, state.Active, state.Current = slot.exists, slot.pid != "", server.at(end)
	if !slot.exists {
		return state, nil
	}
	state.Note = slot.note(name, server.database)
	if slot.confirmed != 0 {
		state.Position, state.Behind = server.at(slot.confirmed), max(0, int64(end-slot.confirmed))
	}
	if restart, err := parseLSN(slot.restart); err == nil {
		state.Retained = max(0, int64(end-restart))
	}
	return state, nil
}

// note says what is wrong with a slot.
func (s slotState) note(name, database string) string {
	switch {
	case s.kind != "logical" || s.plugin != "pgoutput" || s.database != database:
		return "somebody else's slot has the name " + name
	case s.invalid != "":
		return "invalidated: " + s.invalid
	case s.walStatus == "lost":
		return "the server removed log that the slot needs"
	case s.walStatus == "unreserved":
		return "the server is about to remove log that the slot needs (max_slot_wal_keep_size)"
	case s.twoPhase:
		return "the slot was altered to two_phase"
	}
	return ""
}

// dropStream removes slot, publication and registration of a stream. A slot that somebody reads is refused.
func dropStream(ctx context.Context, e waybill.Endpoint, stream string) error {
	conn, err := connect(ctx, e, "drop of "+stream, nil)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	name := streamName(stream)
	slot, err := awaitSlot(ctx, conn, name)
	if err != nil {
		return err
	}
	if slot.pid != "" {
		return slot.inUse("drop stream " + stream)
	}
	if slot.exists {
		database, err := query(ctx, conn, "SELECT current_database()")
		if err != nil {
			return classify("drop stream "+stream, waybill.TableName{}, err)
		}
		if slot.kind != "logical" || slot.plugin != "pgoutput" || slot.database != string(database[0][0]) {
			return slot.checkUsable(name, string(database[0][0]))
		}
		if err := dropSlot(ctx, conn, name); err != nil {
			return err
		}
	}
	return (&publication{name: name, stream: stream}).drop(ctx, conn)
}
