package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

var bothMajors = []int{15, 18}

func eachMajor(t *testing.T, majors []int, test func(t *testing.T, major int)) {
	for _, major := range majors {
		t.Run(dbMajor(major), func(t *testing.T) { test(t, major) })
	}
}

func dbMajor(major int) string {
	return "postgres" + string(rune('0'+major/10)) + string(rune('0'+major%10))
}

func TestChangesOfEveryKind(t *testing.T) {
	eachMajor(t, []int{10, 13, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text, n numeric)",
			"CREATE TABLE bag (x int, y text)", "ALTER TABLE bag REPLICA IDENTITY FULL")
		r.open()
		r.exec("INSERT INTO a VALUES (1, 'one', 1.50), (2, NULL, 'NaN')", "UPDATE a SET t = 'uno' WHERE id = 1", "UPDATE a SET id = 3 WHERE id = 2",
			"DELETE FROM a WHERE id = 3", "INSERT INTO bag VALUES (1, 'x')", "UPDATE bag SET y = 'z'", "DELETE FROM bag")
		r.barrier()
		r.expect("insert a (1, one, 1.50)", "insert a (2, NULL, NaN)", "update a (1, uno, 1.50)", "update a (2, ?, ?) -> (3, NULL, NaN)",
			"delete a (3, ?, ?) ->", "insert bag (1, x)", "update bag (1, x) -> (1, z)", "delete bag (1, z) ->")
	})
}

func TestResumeLosesAndRepeatsNothing(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
		r.open()
		r.exec("INSERT INTO a VALUES (1)")
		r.barrier()
		r.close()
		r.exec("INSERT INTO a VALUES (2)")
		r.open()
		r.exec("INSERT INTO a VALUES (3)")
		r.barrier()
		r.expect("insert a (1)", "insert a (2)", "insert a (3)")
	})
}

func TestUnchangedLargeValues(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, big text, n int)", "ALTER TABLE a ALTER big SET STORAGE EXTERNAL",
			"INSERT INTO a VALUES (1, repeat('x', 9000), 1)")
		r.open()
		r.exec("UPDATE a SET n = 2", "UPDATE a SET id = 2")
		r.barrier()
		r.expect("update a (1, ?, 2)", "update a (1, ?, ?) -> (2, ?, 2)")
		r.exec("ALTER TABLE a REPLICA IDENTITY FULL", "UPDATE a SET n = 3")
		r.barrier()
		r.expect("reshape a | change key public.a full (id) (inferred)", "update a (2, xxxxxxxxxx..9000, 2) -> (2, xxxxxxxxxx..9000, 3)")
	})
}

func TestTruncate(t *testing.T) {
	eachMajor(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id serial PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY REFERENCES a)",
			"CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
			"CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)")
		r.open()
		r.exec("BEGIN; INSERT INTO a VALUES (1); TRUNCATE a RESTART IDENTITY CASCADE; INSERT INTO a VALUES (2); COMMIT", "INSERT INTO p VALUES (1), (11)", "TRUNCATE p")
		r.barrier()
		r.expect("insert a (1)", "truncate a restart=true cascade=true", "truncate b restart=true cascade=true", "insert a (2)",
			"insert p (1)", "insert p (11)", "truncate p restart=false cascade=false")
	})
}

func TestPartitionsTravelAsTheirRoot(t *testing.T) {
	eachMajor(t, []int{10, 13, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE p (t text, id int) PARTITION BY RANGE (id)",
			"CREATE TABLE p1 (id int NOT NULL PRIMARY KEY, t text)", "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)")
		if major > 10 {
			r.exec("ALTER TABLE p ADD PRIMARY KEY (id)")
		} else {
			r.exec("ALTER TABLE p1 REPLICA IDENTITY FULL")
		}
		r.open()
		r.exec("INSERT INTO p VALUES ('x', 1)", "DELETE FROM p")
		r.barrier()
		old := "delete p (?, 1) ->"
		if major == 10 {
			old = "delete p (x, 1) ->"
		}
		r.expect("insert p (x, 1)", old)
	})
}

func TestPreparedTransactionsComeAtTheirCommit(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
		r.open()
		r.exec("BEGIN; INSERT INTO a VALUES (1); PREPARE TRANSACTION '" + r.options.Stream + "x'")
		r.exec("BEGIN; INSERT INTO a VALUES (2); PREPARE TRANSACTION '" + r.options.Stream + "y'")
		r.barrier()
		r.expect()
		r.close()
		r.open()
		r.exec("COMMIT PREPARED '"+r.options.Stream+"x'", "ROLLBACK PREPARED '"+r.options.Stream+"y'")
		r.barrier()
		r.expect("insert a (1)")
	})
}

func TestHeartbeatsAndIdleProgress(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, "CREATE TABLE quiet (id int PRIMARY KEY)")
		r.open()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for r.beats < 3 {
			if err := r.next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		b := r.batches[len(r.batches)-1]
		if age := time.Since(b.Committed); age < 0 || age > 10*time.Second {
			t.Errorf("heartbeat is %s old", age)
		}
	})
}

// A neighbour that writes much must not keep the log of a quiet stream from being freed.
func TestBusyNeighbourFreesTheLog(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, "CREATE TABLE quiet (id int PRIMARY KEY)")
		neighbour := dbtest.Database(t, major)
		r.options.Heartbeat = time.Hour
		r.open()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		if err := r.next(ctx); err != nil { // the first heartbeat
			t.Fatal(err)
		}
		dbtest.Exec(t, neighbour, "CREATE TABLE busy AS SELECT generate_series(1, 100000)")
		end := lsnOf(t, dbtest.Rows(t, r.url, "SELECT pg_current_wal_lsn()")[0][0])
		for {
			if err := r.next(ctx); err != nil {
				t.Fatal(err)
			}
			p, err := parsePosition(r.last)
			if err != nil {
				t.Fatal(err)
			}
			if p.LSN >= end {
				break
			}
		}
		r.close() // tells the server
		confirmed := lsnOf(t, dbtest.Rows(t, r.url, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '"+streamName(r.options.Stream)+"'")[0][0])
		if confirmed < end {
			t.Errorf("slot is at %s, want at least %s", formatLSN(confirmed), formatLSN(end))
		}
	})
}

func lsnOf(t testing.TB, text string) uint64 {
	t.Helper()
	lsn, err := parseLSN(text)
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

// While nobody calls Next the server must not think that the stream is dead.
func TestSlowTargetKeepsTheStream(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)")
	dbtest.Exec(t, r.url, "ALTER DATABASE "+dbtest.Rows(t, r.url, "SELECT current_database()")[0][0]+" SET wal_sender_timeout = '2s'")
	r.open()
	for i := range 10 {
		r.exec(fmt.Sprintf("INSERT INTO a SELECT i, repeat('x', 1000) FROM generate_series(%d, %d) i", i*6000+1, (i+1)*6000))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
	<-ctx.Done()
	cancel()
	rows := 0
	for rows < 60000 {
		b, err := r.source.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			if c.Op == waybill.Insert {
				rows++
			}
		}
	}
}

func TestViewJoinsTheStream(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)")
		r.open()
		r.exec("INSERT INTO a VALUES (2)")
		if got := viewRows(t, r); got != "(1)" {
			t.Errorf("first view has %s, want (1)", got)
		}
		r.barrier()
		r.expect("insert a (2)")
		r.exec("INSERT INTO a VALUES (3)")
		v, err := r.source.View(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		r.source.Follow(r.versions[waybill.TableName{Schema: "public", Name: "a"}], v.Position())
		r.exec("INSERT INTO a VALUES (4)")
		r.barrier()
		r.expect("insert a (4)")
	})
}

func viewRows(t *testing.T, r *rig) string {
	t.Helper()
	ctx := context.Background()
	v, err := r.source.View(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	version, err := v.Version(ctx, waybill.TableName{Schema: "public", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	slices, err := v.Slices(ctx, version, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, s := range slices {
		for b, err := range v.Read(ctx, s) {
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range b.Rows {
				text += rowText(row)
			}
		}
	}
	return text
}

func TestMarkEndsTheBatch(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
	r.open()
	r.exec("INSERT INTO a VALUES (1)")
	mark := r.source.server.at(lsnOf(t, dbtest.Rows(t, r.url, "SELECT pg_current_wal_insert_lsn()")[0][0]))
	r.exec("INSERT INTO a VALUES (2)")
	r.source.Mark(mark)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		if err := r.next(ctx); err != nil {
			t.Fatal(err)
		}
		order, err := comparePositions(r.last, mark)
		if err != nil || order > 0 {
			t.Fatalf("a batch ends at %s, past the mark %s (%v)", r.last, mark, err)
		}
		if order == 0 {
			break
		}
	}
	r.expect("insert a (1)")
	r.barrier()
	r.expect("insert a (2)")
}

func TestHeldTableComesAfterFollow(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
	table := waybill.TableName{Schema: "public", Name: "a"}
	r.options.Hold = []waybill.TableName{table}
	r.open()
	r.exec("INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)", "ALTER TABLE a RENAME TO c", "INSERT INTO c VALUES (2)")
	r.barrier()
	r.expect("insert b (1)")
	renamed := *r.versions[table]
	renamed.Table.Name = "c"
	r.source.Follow(&renamed, r.last)
	r.exec("INSERT INTO c VALUES (3)")
	r.barrier()
	r.expect("insert c (3)")
}

// TestFollowedTableIsKnownByItsIdentity: a copy may know a table by a name that the stream has not come to yet.
func TestFollowedTableIsKnownByItsIdentity(t *testing.T) {
	r := capturedRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
	r.open()
	r.barrier()
	r.exec("INSERT INTO a VALUES (1)", "ALTER TABLE a RENAME TO b", "INSERT INTO b VALUES (2)")
	v, err := r.source.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	copied, err := v.Version(t.Context(), waybill.TableName{Schema: "public", Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	r.source.Follow(copied, v.Position())
	r.exec("INSERT INTO b VALUES (3)")
	r.barrier()
	r.expect("insert b (3)")
}
