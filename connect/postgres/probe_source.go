package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/waybill-data/waybill"
)

// heavySlot is how much log another reader's idle slot may keep before it is worth a warning.
const heavySlot = 10 << 30

// log checks the settings of the write-ahead log.
func (x *examination) log(ctx context.Context) error {
	row, err := x.row(ctx, `SELECT current_setting('wal_level'), current_setting('max_replication_slots'), (SELECT count(*) FROM pg_replication_slots),
		current_setting('max_wal_senders'), (SELECT count(*) FROM pg_stat_replication), current_setting('max_slot_wal_keep_size', true),
		coalesce(current_setting('idle_replication_slot_timeout', true), '0'), pg_size_pretty(pg_database_size(current_database()))`)
	if err != nil {
		return err
	}
	if row[0] == "logical" {
		x.add(waybill.Fine, "wal.level", "", "wal_level is logical")
	} else {
		x.add(waybill.Blocker, "wal.level", "ALTER SYSTEM SET wal_level = 'logical'; then restart the server", "wal_level is %s, so the log does not tell row changes", row[0])
	}
	if err := x.room("wal.slots", "max_replication_slots", row[1], row[2]); err != nil {
		return err
	}
	if err := x.room("wal.senders", "max_wal_senders", row[3], row[4]); err != nil {
		return err
	}
	switch row[5] {
	case "", "-1":
		fix := "ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'; SELECT pg_reload_conf()"
		if serverVersion(x.conn) < 130000 {
			fix = "watch the free space of the log's disk"
		}
		x.add(waybill.Note, "wal.keep", fix, "nothing bounds the log that is kept for a link that stands still: it can fill the server's disk")
	default:
		x.add(waybill.Note, "wal.keep", "", "a link that is more than %s of log behind loses its place and must copy anew (max_slot_wal_keep_size)", row[5])
	}
	if row[6] != "0" {
		x.add(waybill.Warning, "wal.idle", "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
			"a link that is stopped for longer than %s loses its place and must copy anew (idle_replication_slot_timeout)", row[6])
	}
	x.add(waybill.Note, "disk.size", "", "the database holds %s; a copy of all of it needs about as much at the target", row[7])
	return nil
}

// room checks that two places are free: one for the stream and one for the view of a copy.
func (x *examination) room(code, setting, limit, used string) error {
	of, err := strconv.Atoi(limit)
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	taken, err := strconv.Atoi(used)
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	fix := fmt.Sprintf("ALTER SYSTEM SET %s = %d; then restart the server", setting, max(10, of*2))
	switch free := of - taken; {
	case free <= 0:
		x.add(waybill.Blocker, code, fix, "all %d of %s are in use", of, setting)
	case free < 2:
		x.add(waybill.Warning, code, fix, "one of %d of %s is free; a link uses one, and two while it copies", of, setting)
	default:
		x.add(waybill.Fine, code, "", "%d of %d of %s are free", free, of, setting)
	}
	return nil
}

// replication tries what a stream does first. The rules of pg_hba.conf, which no query tells, are tried by it too.
func (x *examination) replication(ctx context.Context) error {
	conn, err := connect(ctx, x.endpoint, "doctor", map[string]string{"replication": "database"})
	if err == nil {
		_, err = query(ctx, conn, "IDENTIFY_SYSTEM")
		closeConn(conn)
	}
	if err == nil {
		x.add(waybill.Fine, "right.replication", "", "role %s may replicate", x.user)
		return nil
	}
	fix := "ALTER ROLE " + quoteName(x.user) + " REPLICATION (with managed servers: grant the provider's replication role)"
	if sqlState(err) != "42501" {
		if hint := waybill.HintOf(err); hint != "" {
			fix = hint
		}
	}
	x.add(waybill.Blocker, "right.replication", fix, "role %s cannot open a replication session: %v", x.user, err)
	return nil
}

func (x *examination) sourceRights(ctx context.Context) error {
	row, err := x.row(ctx, `SELECT has_database_privilege(current_database(), 'CREATE'), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)`)
	if err != nil {
		return err
	}
	if row[0] == "t" {
		x.add(waybill.Fine, "right.publication", "", "role %s may create publications", x.user)
	} else {
		x.add(waybill.Blocker, "right.publication", "GRANT CREATE ON DATABASE "+quoteName(x.database)+" TO "+quoteName(x.user),
			"role %s may not create a publication", x.user)
	}
	installed, err := captureInstalled(ctx, x.conn)
	if err != nil {
		return err
	}
	if !installed && row[1] != "t" {
		x.add(waybill.Note, "right.capture", "waybill schema install prints the script: let a superuser run it",
			"role %s is no superuser, so it cannot install the capture of structure changes itself", x.user)
	}
	return nil
}

// slots looks at the marks that were left at the server, those of links and those of others that fill its disk.
func (x *examination) slots(ctx context.Context) error {
	status := "NULL"
	if serverVersion(x.conn) >= 130000 {
		status = "wal_status"
	}
	current := "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
	rows, err := query(ctx, x.conn, `SELECT slot_name, active, coalesce(pg_wal_lsn_diff(`+current+`, restart_lsn), 0)::bigint, `+status+`,
		database = current_database() AND slot_name LIKE 'waybill\_%' FROM pg_replication_slots ORDER BY slot_name`)
	if err != nil {
		return err
	}
	for _, row := range rows {
		name, ours := string(row[0]), isTrue(row[4])
		kept, err := strconv.ParseInt(string(row[2]), 10, 64)
		if err != nil {
			return err
		}
		drop := "SELECT pg_drop_replication_slot(" + quoteLiteral(name) + ")"
		switch state := string(row[3]); {
		case state == "lost" && ours:
			x.add(waybill.Warning, "slot.lost", "waybill link resync, or, when no link uses it, "+drop, "slot %s has lost its place in the log", name)
		case state == "unreserved":
			x.add(waybill.Warning, "slot.unreserved", "let its reader catch up now, or raise max_slot_wal_keep_size", "slot %s loses its place at the next checkpoint", name)
		case !isTrue(row[1]) && kept > heavySlot:
			x.add(waybill.Warning, "slot.heavy", "start its reader, or, when nobody needs it, "+drop, "slot %s is not read and keeps %d MB of log", name, kept>>20)
		case ours:
			x.add(waybill.Note, "slot.present", "", "slot %s keeps %d MB of log, active: %t", name, kept>>20, isTrue(row[1]))
		}
	}
	return nil
}

// oldTransactions looks for what a new slot would wait for.
func (x *examination) oldTransactions(ctx context.Context) error {
	rows, err := query(ctx, x.conn, fmt.Sprintf(`SELECT pid::text, coalesce(usename, ''), date_trunc('second', now() - xact_start)::text FROM pg_stat_activity
		WHERE backend_xid IS NOT NULL AND xact_start < now() - interval '%d seconds' AND pid <> pg_backend_pid()
		UNION ALL SELECT gid, owner, date_trunc('second', now() - prepared)::text FROM pg_prepared_xacts WHERE prepared < now() - interval '%[1]d seconds'`,
		int(oldTransaction.Seconds())))
	if err != nil {
		return err
	}
	for _, row := range rows {
		id := string(row[0])
		fix := "let it end, or SELECT pg_terminate_backend(" + id + ")"
		if _, err := strconv.Atoi(id); err != nil {
			fix = "COMMIT PREPARED or ROLLBACK PREPARED " + quoteLiteral(id)
		}
		x.add(waybill.Warning, "transaction.old", fix, "a link cannot start before transaction %s of %s ends, which has been open for %s", id, row[1], row[2])
	}
	return nil
}
