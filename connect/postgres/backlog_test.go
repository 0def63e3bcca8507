package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// behind opens and leaves a stream, which from then on reads whatever it is behind as a backlog.
func behind(r *rig) *rig {
	r.endpoint.Settings[backlogSetting] = "0"
	r.open()
	r.barrier()
	r.close()
	r.lines = nil
	return r
}

// TestBacklogTellsWhatTheStreamTells reads the same log in both ways.
func TestBacklogTellsWhatTheStreamTells(t *testing.T) {
	eachMajor(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, big text, n int)", "ALTER TABLE a ALTER big SET STORAGE EXTERNAL",
			"CREATE TABLE bag (x int, y text)", "ALTER TABLE bag REPLICA IDENTITY FULL", "CREATE TABLE p (id int PRIMARY KEY, y int) PARTITION BY RANGE (id)",
			"CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)", "CREATE TABLE far (id int PRIMARY KEY)")
		if err := capture().Install(t.Context(), r.endpoint); err != nil {
			t.Fatal(err)
		}
		ordinary := rigAt(t, r.url)
		behind(r)
		behind(ordinary)
		ordinary.endpoint.Settings[backlogSetting] = "off"
		open := hold(t, r.url, "INSERT INTO far VALUES (1)")
		r.exec("INSERT INTO a SELECT i, repeat('x', 3000), i FROM generate_series(1, 50) i", "UPDATE a SET n = -n WHERE id < 10", "UPDATE a SET id = -id WHERE id > 45",
			"BEGIN; INSERT INTO bag SELECT i % 7, repeat('y', 300) FROM generate_series(1, 2000) i; SAVEPOINT s; DELETE FROM a; ROLLBACK TO s; DELETE FROM bag WHERE x = 3; COMMIT",
			"BEGIN; DELETE FROM bag; ROLLBACK", "ALTER TABLE a ADD COLUMN c int DEFAULT 7", "UPDATE a SET c = 8 WHERE id = 1", "INSERT INTO p VALUES (1, 1)",
			"CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)", "INSERT INTO p VALUES (150, 1)", "TRUNCATE bag, p",
			"BEGIN; INSERT INTO bag VALUES (100, 'prepared'); PREPARE TRANSACTION 'x"+r.options.Stream+"'", "INSERT INTO bag VALUES (101, 'before it')",
			"COMMIT PREPARED 'x"+r.options.Stream+"'", "ALTER TABLE bag RENAME TO sack", "INSERT INTO sack VALUES (102, NULL)")
		open("COMMIT")
		r.exec("DROP TABLE far", "INSERT INTO barrier VALUES ('the end')")
		for _, way := range []*rig{ordinary, r} {
			way.open()
			if got := way.source.backlog != nil; got != (way == r) {
				t.Fatalf("reads a backlog: %t", got)
			}
			way.until("the end")
			way.lines = slices.DeleteFunc(way.lines, func(line string) bool { return strings.HasPrefix(line, "insert barrier (barrier") })
		}
		if !slices.Equal(r.lines, ordinary.lines) {
			n := 0
			for n < min(len(r.lines), len(ordinary.lines)) && r.lines[n] == ordinary.lines[n] {
				n++
			}
			t.Errorf("backlog, from change %d:\n  %s\nordinary stream:\n  %s", n, strings.Join(r.lines[n:], "\n  "), strings.Join(ordinary.lines[n:], "\n  "))
		}
		r.exec("INSERT INTO sack VALUES (103, 'and on')")
		r.until("and on")
		r.barrier()
		slots := "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE '" + backlogSlot + "%'"
		if got := dbtest.Rows(t, r.url, slots)[0][0]; got != "0" {
			t.Errorf("%s temporary slots are left", got)
		}
	})
}

// hold starts a transaction in a session of its own; the returned function goes on in it.
func hold(t *testing.T, url, statement string) func(statement string) {
	t.Helper()
	conn, err := connect(t.Context(), waybill.Endpoint{Name: "holder", URL: waybill.NewSecret(url)}, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	run := func(statement string) {
		t.Helper()
		if err := exec(t.Context(), conn, "SET search_path = public; "+statement); err != nil {
			t.Fatal(err)
		}
	}
	run("BEGIN; " + statement)
	return run
}

// fall makes a stream behind by so many transactions of 60,000 rows, numbered from 1.
func fall(r *rig, transactions int) {
	for n := range transactions {
		r.exec(fmt.Sprintf("INSERT INTO a SELECT i FROM generate_series(%d, %d) i", n*60_000+1, (n+1)*60_000))
	}
}

func TestBacklogIsLeftAndTakenUpAgain(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := behind(newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)"))
		fall(r, 6)
		r.open()
		for r.last == "" || !strings.Contains(strings.Join(r.lines, "\n"), "insert a (60000)") {
			if err := r.next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for n := len(r.batches); r.batches[n-1].Position == ""; n = len(r.batches) {
			if err := r.next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r.close()
		r.exec("INSERT INTO barrier VALUES ('the end')")
		r.open()
		r.until("the end")
		var want []string
		for n := range 360_000 {
			want = append(want, fmt.Sprintf("insert a (%d)", n+1))
		}
		r.expect(append(want, "insert barrier (the end)")...)
	})
}

// TestBacklogKeepsTheSlot: while the backlog is read the slot is free. Who takes it away then is found out.
func TestBacklogKeepsTheSlot(t *testing.T) {
	r := behind(newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)"))
	fall(r, 6)
	r.open()
	r.exec("SELECT pg_drop_replication_slot('" + streamName(r.options.Stream) + "')")
	fallen := r.tryUntil("there is no such change")
	if waybill.FaultOf(fallen) != waybill.Drift || !strings.Contains(fallen.Error(), "is gone") {
		t.Errorf("got %v", fallen)
	}
}

// TestBacklogThatTheServerRefuses is read as an ordinary stream.
func TestBacklogThatTheServerRefuses(t *testing.T) {
	r := behind(newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)"))
	database := dbtest.Rows(t, r.url, "SELECT current_database()")[0][0]
	fall(r, 1)
	r.exec("ALTER DATABASE "+database+" SET temp_file_limit = '1MB'", "ALTER DATABASE "+database+" SET work_mem = '64kB'",
		"INSERT INTO barrier VALUES ('the end')")
	r.open()
	if r.source.backlog == nil {
		t.Fatal("no backlog is read")
	}
	r.until("the end")
	if got := len(r.lines); got != 60_001 {
		t.Errorf("%d changes came, want 60001", got)
	}
}

// TestBacklogUnderWrites: a stream that reads a backlog meets the ordinary one without a gap while others write, and
// says of itself how far it is.
func TestBacklogUnderWrites(t *testing.T) {
	r := behind(newRig(t, 18, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)"))
	fall(r, 2)
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		n := 120_000
		defer func() { stopped <- n }()
		for {
			select {
			case <-stop:
				return
			default:
				n++
				dbtest.Exec(t, r.url, fmt.Sprintf("INSERT INTO a VALUES (%d)", n))
			}
		}
	}()
	r.open()
	r.until("insert a (120200)")
	close(stop)
	last := <-stopped
	r.until(fmt.Sprintf("insert a (%d)", last))
	seen := map[string]bool{}
	for _, line := range r.lines {
		if seen[line] {
			t.Errorf("%s came twice", line)
		}
		seen[line] = true
	}
	if len(seen) != last {
		t.Errorf("%d changes came, want %d", len(seen), last)
	}
	deadline := time.Now().Add(20 * time.Second)
	for confirmed := uint64(0); confirmed < lsnOfPosition(t, r.last); {
		confirmed = lsnOf(t, dbtest.Rows(t, r.url, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '"+streamName(r.options.Stream)+"'")[0][0])
		if time.Now().After(deadline) {
			t.Fatalf("the slot stays at %s", formatLSN(confirmed))
		}
	}
}

func lsnOfPosition(t *testing.T, p waybill.Position) uint64 {
	t.Helper()
	at, err := parsePosition(p)
	if err != nil {
		t.Fatal(err)
	}
	return at.LSN
}

func TestBacklogSetting(t *testing.T) {
	r := behind(newRig(t, 15, barrierTable))
	for text, want := range map[string]string{"1,5": `setting backlog_mb: "1,5" is not known`, "-1": "not known", "on": "not known"} {
		r.endpoint.Settings[backlogSetting] = text
		if err := r.tryOpen(); waybill.FaultOf(err) != waybill.Setup || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestBacklogOfAnOldServer(t *testing.T) {
	r := behind(newRig(t, 10, barrierTable))
	r.exec("INSERT INTO barrier VALUES ('the end')")
	r.open()
	if r.source.backlog != nil {
		t.Error("a slot cannot be copied before version 12")
	}
	r.until("the end")
}
