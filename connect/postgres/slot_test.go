package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/internal/pgserver"
)

func TestStreamNames(t *testing.T) {
	seen := map[string]string{}
	long := strings.Repeat("a", 80)
	for _, stream := range []string{"shop", "shop_to_lake", "Shop", "shop-to-lake", "shop to lake", "ünï", long, long + "b", "a.b", "a_b"} {
		name := streamName(stream)
		if other, taken := seen[name]; taken || len(name) > 63 {
			t.Errorf("%q and %q are both %q", stream, other, name)
		}
		seen[name] = stream
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("name %q of %q", name, stream)
		}
	}
	if got := streamName("shop_to_lake"); got != "waybill_shop_to_lake" {
		t.Errorf("name is %q", got)
	}
	if plain := streamName("shop-to-lake"); streamName(strings.TrimPrefix(plain, "waybill_")) == plain {
		t.Errorf("a stream can be called so that it gets the name %q of another", plain)
	}
}

func TestPositions(t *testing.T) {
	p := position{System: 7312345678901234567, Timeline: 1, LSN: 0x16B3748}
	if got := p.Position(); got != "7312345678901234567/1/0/16B3748" {
		t.Errorf("prints %s", got)
	}
	if back, err := parsePosition(p.Position()); err != nil || back != p {
		t.Errorf("reads %v, %v", back, err)
	}
	for _, bad := range []waybill.Position{"", "1", "1/2", "1/2/3", "x/1/0/1", "1/1/0/123456789", "1/1/-1/1", "1/1/0/1/2"} {
		if got, err := parsePosition(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
	if order, err := comparePositions("1/1/F/0", "1/2/10/0"); err != nil || order != -1 {
		t.Errorf("order %d, %v", order, err)
	}
	if _, err := comparePositions("1/1/0/1", "2/1/0/1"); err == nil {
		t.Error("positions of two clusters were compared")
	}
}

// A slot that is not what it was stops the stream with a diagnosis instead of skipping.
func TestDamagedSlotStops(t *testing.T) {
	cases := map[string]struct {
		sql   []string
		fault waybill.Fault
		says  string
	}{
		"dropped":   {[]string{"SELECT pg_drop_replication_slot('SLOT')"}, waybill.Drift, "is gone"},
		"advanced":  {[]string{"INSERT INTO a VALUES (9)", "SELECT pg_replication_slot_advance('SLOT', pg_current_wal_lsn())"}, waybill.Drift, "after the stream's position"},
		"made anew": {[]string{"SELECT pg_drop_replication_slot('SLOT')", "INSERT INTO a VALUES (9)", "SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput')"}, waybill.Drift, "made again"},
		"other plugin": {[]string{"SELECT pg_drop_replication_slot('SLOT')", "SELECT pg_create_physical_replication_slot('SLOT', true)"},
			waybill.Setup, "somebody else's"},
		"publication dropped": {[]string{"DROP PUBLICATION \"SLOT\""}, waybill.Drift, "publication"},
		"table removed":       {[]string{"ALTER PUBLICATION \"SLOT\" DROP TABLE a"}, waybill.Setup, "taken out"},
		"column list":         {[]string{"ALTER PUBLICATION \"SLOT\" SET TABLE a (id), barrier"}, waybill.Setup, "column list"},
		"row filter":          {[]string{"ALTER PUBLICATION \"SLOT\" SET TABLE a WHERE (id > 5), barrier"}, waybill.Setup, "row filter"},
		"kinds of changes":    {[]string{"ALTER PUBLICATION \"SLOT\" SET (publish = 'insert')"}, waybill.Setup, "every kind"},
		"own names":           {[]string{"ALTER PUBLICATION \"SLOT\" SET (publish_via_partition_root = false)"}, waybill.Setup, "partitions"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			eachMajor(t, bothMajors, func(t *testing.T, major int) {
				r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
				r.open()
				r.barrier()
				r.close()
				for _, sql := range c.sql {
					r.exec(strings.ReplaceAll(sql, "SLOT", streamName(r.options.Stream)))
				}
				err := r.tryOpen()
				if err == nil || waybill.FaultOf(err) != c.fault || !strings.Contains(err.Error(), c.says) || waybill.HintOf(err) == "" {
					t.Errorf("error %v (%v, %s), want %v with %q", err, waybill.FaultOf(err), waybill.HintOf(err), c.fault, c.says)
				}
			})
		})
	}
}

func TestPositionOfAnotherHistoryStops(t *testing.T) {
	r := newRig(t, 15, barrierTable)
	r.open()
	r.barrier()
	r.close()
	p, err := parsePosition(r.last)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []position{{p.System + 1, p.Timeline, p.LSN}, {p.System, p.Timeline + 1, p.LSN}} {
		r.last = other.Position()
		if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Drift {
			t.Errorf("position %s: %v, want drift", r.last, err)
		}
	}
	if end, ok := timelineEnd([]byte("1\t0/3000000\tno recovery target specified\n\n2\t0/5000110\tbefore x\n"), 2); !ok || end != 0x5000110 {
		t.Errorf("timeline 2 ends at %x, %t", end, ok)
	}
}

func TestSecondReaderIsRefused(t *testing.T) {
	r := newRig(t, 15, barrierTable)
	r.open()
	r.barrier()
	second := rigAt(t, r.url)
	second.options.Stream, second.last = r.options.Stream, r.last
	if err := second.tryOpen(); waybill.FaultOf(err) != waybill.Setup || !strings.Contains(err.Error(), "waybill stream") {
		t.Errorf("second reader: %v, want a refusal that names the first", err)
	}
	if err := dropStream(context.Background(), r.endpoint, r.options.Stream); waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("drop under a reader: %v, want a refusal", err)
	}
	r.barrier()
}

func TestUnfinishedBeginningIsReplacedAndAReadSlotIsNot(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable)
		r.open()
		r.close()
		r.last = ""
		r.open()
		r.barrier()
		r.close()
		r.last = ""
		if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Setup || !strings.Contains(err.Error(), "already read") {
			t.Errorf("beginning over a slot that was read: %v", err)
		}
		if err := dropStream(context.Background(), r.endpoint, r.options.Stream); err != nil {
			t.Fatal(err)
		}
		if left := dbtest.Rows(t, r.url, "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() UNION ALL SELECT pubname FROM pg_publication"); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := dropStream(context.Background(), r.endpoint, r.options.Stream); err != nil {
			t.Errorf("dropping again: %v", err)
		}
		r.open()
	})
}

func TestStateOfAStream(t *testing.T) {
	eachMajor(t, []int{10, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable)
		ctx := context.Background()
		if s, err := streamState(ctx, r.endpoint, r.options.Stream); err != nil || s.Exists {
			t.Errorf("before: %+v, %v", s, err)
		}
		r.open()
		r.barrier()
		if s, err := streamState(ctx, r.endpoint, r.options.Stream); err != nil || !s.Exists || !s.Active || s.Position == "" || s.Note != "" {
			t.Errorf("while open: %+v, %v", s, err)
		}
		r.close()
		s, err := streamState(ctx, r.endpoint, r.options.Stream)
		if err != nil || s.Active || s.Position != r.last {
			t.Errorf("after: %+v, %v, want position %s", s, err, r.last)
		}
	})
}

func TestKeylessTableIsRefusedOrGivenItsIdentity(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE bag (x int)", "INSERT INTO bag VALUES (1)")
	if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Setup || !strings.Contains(waybill.HintOf(err), `ALTER TABLE ONLY "public"."bag" REPLICA IDENTITY FULL`) {
		t.Fatalf("keyless table: %v (%s)", err, waybill.HintOf(err))
	}
	r.exec("UPDATE bag SET x = 2") // which the server would refuse had the table been published
	r.endpoint.Settings[fullIdentity] = "full"
	r.open()
	r.exec("UPDATE bag SET x = 3")
	r.barrier()
	r.expect("update bag (2) -> (3)")
}

func TestNewTablesAreTakenIn(t *testing.T) {
	eachMajor(t, []int{10, 13, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable)
		r.open()
		r.barrier()
		r.exec("CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (1)")
		r.barrier()
		r.expect()
		r.close()
		r.open()
		r.exec("INSERT INTO late VALUES (2)")
		r.barrier()
		r.expect("reshape late | create table public.late  | reload table public.late "+newcomerReason+" (inferred)", "insert late (2)")
	})
}

func TestTablesMadeAnewWhileNobodyLookedAndNothingReported(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
		r.open()
		r.barrier()
		r.close()
		r.exec("INSERT INTO a VALUES (1)", "DROP TABLE a", "CREATE TABLE a (id text PRIMARY KEY)", "DROP TABLE b", "INSERT INTO a VALUES ('old')")
		r.open()
		r.barrier()
		r.exec("INSERT INTO a VALUES ('x')")
		r.barrier()
		r.expect("insert a (1)", "reshape a | drop table public.a  (inferred)", "reshape b | drop table public.b  (inferred)",
			"reshape a | create table public.a  | reload table public.a "+newcomerReason+" (inferred)", "insert a (x)")
	})
}

// After a crash in a first copy the stream begins again where its oldest table was copied; a table copied later
// has the structure of its copy, whatever the log says of the time before.
func TestTableCopiedAheadOfTheStream(t *testing.T) {
	for _, installed := range []bool{true, false} {
		t.Run(fmt.Sprintf("capture=%t", installed), func(t *testing.T) {
			r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, gone int)")
			if installed {
				if err := capture().Install(context.Background(), r.endpoint); err != nil {
					t.Fatal(err)
				}
			}
			r.open()
			r.barrier()
			r.close()
			r.exec("INSERT INTO a VALUES (1)", "ALTER TABLE a DROP gone", "INSERT INTO a VALUES (2)", "ALTER TABLE a ADD t text", "INSERT INTO a VALUES (3)")
			begin := r.last
			r.open()
			view, err := r.source.View(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			version, err := view.Version(context.Background(), waybill.TableName{Schema: "public", Name: "a"})
			if err != nil {
				t.Fatal(err)
			}
			position := view.Position()
			if err := view.Close(); err != nil {
				t.Fatal(err)
			}
			r.close()
			r.last, r.lines = begin, nil
			r.versions[version.Table] = version
			r.options.After = map[waybill.TableName]waybill.Position{version.Table: position}
			r.exec("INSERT INTO a VALUES (4, 'x')", "ALTER TABLE a ADD u int", "INSERT INTO a VALUES (5, 'y', 6)")
			r.open()
			r.barrier()
			inferred := " (inferred)"
			if installed {
				inferred = ""
			}
			r.expect("insert a (4, x)", "reshape a | add column u integer"+inferred, "insert a (5, y, 6)")
		})
	}
}

// A table that the target has no copy of yet is a newcomer; once it is copied and followed it goes on with the
// right structure and without further news.
func TestPendingTableJoinsWithItsStructure(t *testing.T) {
	r := capturedRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)")
	r.open()
	r.barrier()
	r.close()
	table := waybill.TableName{Schema: "public", Name: "a"}
	pending := r.versions[table]
	delete(r.versions, table)
	r.exec("INSERT INTO a VALUES (1)", "ALTER TABLE a ADD n int", "ALTER TABLE a DROP t", "INSERT INTO a VALUES (2, 2)")
	r.options.Hold = []waybill.TableName{table}
	r.open()
	r.barrier()
	r.exec("INSERT INTO a VALUES (3, 3)")
	r.barrier()
	r.expect()
	r.source.Follow(pending, r.last)
	r.exec("INSERT INTO a VALUES (4, 4)", "ALTER TABLE a RENAME n TO m", "INSERT INTO a VALUES (5, 5)")
	r.barrier()
	r.expect("insert a (4, 4)", "reshape a | rename column n m", "insert a (5, 5)")
}

// A copy that was made before the stream was opened without the table goes on in no gap: the stream ends, and has the
// rows once it is opened with the table.
func TestFollowFromBeforeTheStreamWasOpened(t *testing.T) {
	r := capturedRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
	r.open()
	r.barrier()
	r.close()
	table, copied := waybill.TableName{Schema: "public", Name: "a"}, r.last
	version := r.versions[table]
	delete(r.versions, table)
	r.exec("INSERT INTO a VALUES (1)")
	r.open()
	r.source.Follow(version, copied)
	if err := r.next(t.Context()); waybill.FaultOf(err) != waybill.Passing {
		t.Fatalf("the stream went on with %v, want fault passing", err)
	}
	r.close()
	r.versions[table], r.options.After = version, map[waybill.TableName]waybill.Position{table: copied}
	r.open()
	r.barrier()
	r.expect("insert a (1)")
}

// The server keeps a slot's position only from checkpoint to checkpoint: after a crash it sends again what it forgot.
func TestCrashOfTheSource(t *testing.T) {
	ctx := context.Background()
	for _, major := range bothMajors {
		t.Run(dbMajor(major), func(t *testing.T) {
			server, err := pgserver.Start(ctx, pgserver.Options{Major: major})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Stop(); err != nil {
					t.Error(err)
				}
			})
			r := rigAt(t, server.URL("postgres"))
			r.exec(barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
			r.open()
			r.exec("CHECKPOINT", "INSERT INTO a VALUES (1)")
			r.barrier()
			if err := server.Down(ctx, "immediate"); err != nil {
				t.Fatal(err)
			}
			if err := r.tryUntil("never"); waybill.FaultOf(err) != waybill.Passing {
				t.Errorf("crash under the stream: %v, want passing", err)
			}
			r.close()
			if err := server.Up(ctx); err != nil {
				t.Fatal(err)
			}
			r.open()
			r.exec("INSERT INTO a VALUES (2)")
			r.barrier()
			r.expect("insert a (1)", "insert a (2)")
		})
	}
}

// A promotion of the same data, slots included, as a standby with synchronized slots is: the stream goes on, on the new
// timeline; a position after the promotion's place is refused.
func TestPromotionMidStream(t *testing.T) {
	ctx := context.Background()
	server, err := pgserver.Start(ctx, pgserver.Options{Major: 15, Settings: []string{"restore_command='/bin/false'"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	r := rigAt(t, server.URL("postgres"))
	r.exec(barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
	r.open()
	r.barrier()
	r.close()
	r.exec("INSERT INTO a VALUES (1)")
	if err := server.Down(ctx, "fast"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(server.DataDir(), "recovery.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Up(ctx); err != nil {
		t.Fatal(err)
	}
	for line := ""; line != "2"; { // the server takes connections before it is promoted
		line = dbtest.Rows(t, r.url, "SELECT timeline_id FROM pg_control_checkpoint()")[0][0]
	}
	before := r.last
	r.open()
	r.barrier()
	r.expect("insert a (1)")
	if p, err := parsePosition(r.last); err != nil || p.Timeline != 2 {
		t.Errorf("position %s, want timeline 2", r.last)
	}
	p, err := parsePosition(r.last)
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	for _, wrong := range []position{{p.System, 1, p.LSN}, {p.System, 3, p.LSN}} {
		r.last = wrong.Position()
		if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Drift {
			t.Errorf("position %s (before: %s): %v, want drift", r.last, before, err)
		}
	}
}

func TestSlotAlteredToTwoPhaseIsRefused(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable)
		r.open()
		r.barrier()
		r.close()
		name := streamName(r.options.Stream)
		r.exec("SELECT pg_drop_replication_slot('"+name+"')", "SELECT pg_create_logical_replication_slot('"+name+"', 'pgoutput', false, true)")
		p, err := parsePosition(r.last)
		if err != nil {
			t.Fatal(err)
		}
		p.LSN += 1 << 20
		r.last = p.Position()
		if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Setup || !strings.Contains(err.Error(), "two_phase") {
			t.Errorf("error %v, want a refusal", err)
		}
	})
}

func TestLostSlotStops(t *testing.T) {
	ctx := context.Background()
	for _, major := range bothMajors {
		t.Run(dbMajor(major), func(t *testing.T) {
			server, err := pgserver.Start(ctx, pgserver.Options{Major: major, Settings: []string{"max_slot_wal_keep_size=1MB", "max_wal_size=32MB", "min_wal_size=32MB"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Stop(); err != nil {
					t.Error(err)
				}
			})
			r := rigAt(t, server.URL("postgres"))
			r.exec(barrierTable)
			r.open()
			r.barrier()
			r.close()
			r.exec("CREATE TABLE filler (t text)")
			for range 5 {
				r.exec("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)", "SELECT pg_switch_wal()", "CHECKPOINT")
			}
			state, err := streamState(ctx, r.endpoint, r.options.Stream)
			if err != nil || state.Note == "" {
				t.Errorf("state %+v, %v: want a note", state, err)
			}
			if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Drift || !strings.Contains(err.Error(), "invalidated") {
				t.Errorf("error %v, want drift", err)
			}
			if err := dropStream(ctx, r.endpoint, r.options.Stream); err != nil {
				t.Errorf("drop: %v", err)
			}
		})
	}
}

func TestClosedStreamLeavesNoGoroutine(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)")
	before := goleak.IgnoreCurrent()
	r.open()
	r.exec("INSERT INTO a SELECT i, repeat('x', 200) FROM generate_series(1, 200000) i")
	r.until("insert a")
	started := time.Now()
	r.close() // in the middle of the transaction
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("closing took %s", took)
	}
	goleak.VerifyNone(t, before)
}
