package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

func onMajors(t *testing.T, test func(t *testing.T, major int, url string)) {
	for _, major := range testMajors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { test(t, major, dbtest.Database(t, major)) })
	}
}

func testView(t testing.TB, url string, o waybill.ViewOptions) *view {
	t.Helper()
	w, err := openView(context.Background(), testEndpoint(url), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func testVersion(t testing.TB, w *view, name string) *waybill.TableVersion {
	t.Helper()
	v, err := w.Version(context.Background(), waybill.TableName{Schema: "public", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// readAll returns the rows of a slice as text, columns apart by |.
func readAll(t testing.TB, w *view, s waybill.Slice) []string {
	t.Helper()
	var rows []string
	for b, err := range w.Read(context.Background(), s) {
		if err != nil {
			t.Fatalf("slice %q: %v", s.Range, err)
		}
		for _, row := range b.Rows {
			text := make([]string, len(row))
			for i, v := range row {
				text[i] = v.String()
			}
			rows = append(rows, strings.Join(text, "|"))
		}
	}
	return rows
}

func TestViewSeesOneMoment(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		dbtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY, t text)", "INSERT INTO a SELECT i, 'x' FROM generate_series(1, 5000) i")
		for _, positioned := range []bool{false, true} {
			var want []string
			for _, row := range dbtest.Rows(t, url, "SELECT id, t FROM a") {
				want = append(want, strings.Join(row, "|"))
			}
			w := testView(t, url, waybill.ViewOptions{Positioned: positioned})
			dbtest.Exec(t, url, "INSERT INTO a SELECT max(id) + 1, 'late' FROM a", "UPDATE a SET t = t || 'y' WHERE id < 9", "DELETE FROM a WHERE id = 10")
			v := testVersion(t, w, "a")
			for range 2 {
				if got := readAll(t, w, waybill.Slice{Version: v}); !slices.Equal(got, want) {
					t.Errorf("positioned %v: got %d rows, want %d", positioned, len(got), len(want))
				}
			}
			if got := w.Position() != ""; got != positioned {
				t.Errorf("position = %q, positioned %v", w.Position(), positioned)
			}
			if p, err := parsePosition(w.Position()); positioned && (err != nil || p.Position() != w.Position()) {
				t.Errorf("position %q: %v", w.Position(), err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		if rows := dbtest.Rows(t, url, "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"); len(rows) != 0 {
			t.Errorf("slots left: %v", rows)
		}
	})
}

func TestTablesOfAView(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE SCHEMA waybill", "CREATE TABLE waybill.event (id int)", "CREATE TABLE b (id int)", `CREATE SCHEMA "A.b"`, `CREATE TABLE "A.b"."x y" (id int)`,
		"CREATE TABLE p (id int) PARTITION BY LIST (id)", "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)", "CREATE VIEW v AS SELECT 1", "CREATE UNLOGGED TABLE u (id int)",
		"CREATE TABLE parent (id int)", "CREATE TABLE child () INHERITS (parent)")
	for _, c := range []struct {
		options waybill.ViewOptions
		want    string
	}{
		{waybill.ViewOptions{}, `["A.b".x y public.b public.child public.p public.parent public.u]`},
		{waybill.ViewOptions{Positioned: true}, `["A.b".x y public.b public.child public.p public.parent]`},
		{waybill.ViewOptions{Tables: waybill.Selection{"public.p*"}}, `[public.p public.parent]`},
	} {
		w := testView(t, url, c.options)
		tables, err := w.Tables(context.Background())
		if got := fmt.Sprint(tables); err != nil || got != c.want {
			t.Errorf("got %s, %v, want %s", got, err, c.want)
		}
	}
	w := testView(t, url, waybill.ViewOptions{Positioned: true})
	for _, name := range []string{"u", "v", "p1", "nowhere"} {
		_, err := w.Version(context.Background(), waybill.TableName{Schema: "public", Name: name})
		if err == nil || waybill.HintOf(err) == "" || waybill.FaultOf(err) == waybill.Bug {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInheritanceChildrenAreReadApart(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE parent (id int)", "CREATE TABLE child () INHERITS (parent)", "INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (2)")
	w := testView(t, url, waybill.ViewOptions{})
	if got := readAll(t, w, waybill.Slice{Version: testVersion(t, w, "parent")}); fmt.Sprint(got) != "[1]" {
		t.Errorf("parent: %v", got)
	}
}

// A snapshot sees a table that was rewritten or truncated since as empty: reading it would lose every row.
func TestTableChangedAfterTheSnapshotIsRefused(t *testing.T) {
	for _, change := range []string{"TRUNCATE a", "ALTER TABLE a ALTER id TYPE bigint", "ALTER TABLE a ADD c int", "ALTER TABLE a DROP t",
		"ALTER TABLE a RENAME t TO u", "ALTER TABLE a RENAME TO z", "DROP TABLE a", "DROP TABLE a; CREATE TABLE a (id int, t text)"} {
		t.Run(change, func(t *testing.T) {
			url := dbtest.Database(t, 15)
			dbtest.Exec(t, url, "CREATE TABLE a (id int, t text)", "INSERT INTO a VALUES (1, 'x')")
			w := testView(t, url, waybill.ViewOptions{})
			dbtest.Exec(t, url, change)
			_, err := w.Version(context.Background(), waybill.TableName{Schema: "public", Name: "a"})
			if waybill.FaultOf(err) != waybill.Passing || err == nil {
				t.Errorf("fault %v: %v", waybill.FaultOf(err), err)
			}
		})
	}
}

func TestTableIsKeptAsItIsUntilClose(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)")
	w := testView(t, url, waybill.ViewOptions{})
	v := testVersion(t, w, "a")
	conn := testSession(t, url)
	err := exec(context.Background(), conn, "SET lock_timeout = '50ms'; TRUNCATE public.a")
	if sqlState(err) != "55P03" {
		t.Errorf("truncate: %v", err)
	}
	if got := readAll(t, w, waybill.Slice{Version: v}); len(got) != 1 {
		t.Errorf("rows: %v", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := exec(context.Background(), conn, "TRUNCATE public.a"); err != nil {
		t.Errorf("truncate after close: %v", err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int, t text)", "INSERT INTO a SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 300000) i")
	ignore := goleak.IgnoreCurrent()
	w := testView(t, url, waybill.ViewOptions{})
	v := testVersion(t, w, "a")
	for _, ordered := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(20*time.Millisecond, cancel)
		began := time.Now()
		var last error
		for _, err := range w.Read(ctx, waybill.Slice{Version: v, Ordered: ordered}) {
			last = err
		}
		timer.Stop()
		if !errors.Is(last, context.Canceled) {
			t.Errorf("ordered %v: ended with %v", ordered, last)
		}
		if spent := time.Since(began); spent > time.Second {
			t.Errorf("ordered %v: ended after %v", ordered, spent)
		}
	}
	for range w.Read(context.Background(), waybill.Slice{Version: v}) {
		break
	}
	if got := len(readAll(t, w, waybill.Slice{Version: v})); got != 300000 {
		t.Errorf("%d rows after the breaks", got)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, ignore)
	gone := "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'waybill view%' AND datname = current_database()"
	for deadline := time.Now().Add(5 * time.Second); dbtest.Rows(t, url, gone)[0][0] != "0"; {
		if time.Now().After(deadline) {
			t.Fatal("sessions are left at the server")
		}
	}
}

func TestRowLargerThanTheBuffer(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int, t text)", "INSERT INTO a VALUES (1, 'a'), (2, repeat(E'x\\ny', 2000000)), (3, repeat('z', 3000000)), (4, 'b')")
	w := testView(t, url, waybill.ViewOptions{})
	rows := readAll(t, w, waybill.Slice{Version: testVersion(t, w, "a")})
	if len(rows) != 4 || len(rows[1]) != 6_000_002 || len(rows[2]) != 3_000_002 || rows[3] != "4|b" || strings.Count(rows[1], "x\ny") != 2000000 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestGeneratedColumnsAreRead(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := dbtest.Database(t, major)
		dbtest.Exec(t, url, "CREATE TABLE a (id int, twice int GENERATED ALWAYS AS (id * 2) STORED, t text)", "INSERT INTO a VALUES (4, DEFAULT, NULL)", "CREATE TABLE nothing ()", "INSERT INTO nothing DEFAULT VALUES")
		w := testView(t, url, waybill.ViewOptions{})
		if got := readAll(t, w, waybill.Slice{Version: testVersion(t, w, "a")}); fmt.Sprint(got) != "[4|8|NULL]" {
			t.Errorf("rows: %v", got)
		}
		if got := readAll(t, w, waybill.Slice{Version: testVersion(t, w, "nothing")}); len(got) != 1 {
			t.Errorf("rows of a table without columns: %v", got)
		}
	}
}

func TestRowSecurityStopsAReader(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1), (2)", "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
		"CREATE POLICY only_one ON a USING (id = 1)", "DROP ROLE IF EXISTS narrow", "CREATE ROLE narrow LOGIN", "GRANT SELECT ON a TO narrow")
	t.Cleanup(func() { dbtest.Exec(t, url, "DROP OWNED BY narrow", "DROP ROLE narrow") })
	w := testView(t, strings.Replace(url, "postgres@", "narrow@", 1), waybill.ViewOptions{})
	v := testVersion(t, w, "a")
	for b, err := range w.Read(context.Background(), waybill.Slice{Version: v}) {
		if err == nil {
			t.Errorf("%d rows were read past the policy", len(b.Rows))
		} else if waybill.FaultOf(err) != waybill.Setup || !strings.Contains(waybill.HintOf(err), "BYPASSRLS") {
			t.Errorf("fault %v, hint %q: %v", waybill.FaultOf(err), waybill.HintOf(err), err)
		}
	}
}

func TestReadersInParallelSeeTheSame(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY, t text)", "INSERT INTO a SELECT i, 'x' FROM generate_series(1, 40000) i", "ANALYZE a")
	w := testView(t, url, waybill.ViewOptions{Positioned: true})
	parts, err := w.Slices(context.Background(), testVersion(t, w, "a"), 5000)
	if err != nil {
		t.Fatal(err)
	}
	dbtest.Exec(t, url, "DELETE FROM a WHERE id % 2 = 0", "UPDATE a SET id = -id")
	var sum, count atomic.Int64
	group, ctx := errgroup.WithContext(context.Background())
	for _, s := range parts {
		group.Go(func() error {
			if _, err := w.Version(ctx, s.Version.Table); err != nil {
				return err
			}
			for b, err := range w.Read(ctx, s) {
				if err != nil {
					return err
				}
				for _, row := range b.Rows {
					sum.Add(row[0].Int())
				}
				count.Add(int64(len(b.Rows)))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || count.Load() != 40000 || sum.Load() != 40000*40001/2 || len(parts) < 8 {
		t.Errorf("%d slices, %d rows, sum %d, %v", len(parts), count.Load(), sum.Load(), err)
	}
}

func TestViewWhoseSnapshotIsGoneIsPassing(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int)")
	w := testView(t, url, waybill.ViewOptions{})
	v := testVersion(t, w, "a")
	dbtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'waybill view%' AND datname = current_database()")
	for range 3 {
		for _, err := range w.Read(context.Background(), waybill.Slice{Version: v}) {
			if waybill.FaultOf(err) != waybill.Passing || err == nil {
				t.Errorf("fault %v: %v", waybill.FaultOf(err), err)
			}
		}
	}
}
