package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

func endpoint(url string) waybill.Endpoint {
	return waybill.Endpoint{Name: "test", Kind: kind, URL: waybill.NewSecret(url)}
}

// captured returns a database of a major version with capture installed.
func captured(t testing.TB, major int) string {
	t.Helper()
	url := dbtest.Database(t, major)
	if err := capture().Install(context.Background(), endpoint(url)); err != nil {
		t.Fatal(err)
	}
	return url
}

// events returns the events after an id, in order.
func events(t testing.TB, conn *pgconn.PgConn, after int64) []*event {
	t.Helper()
	rows, err := query(context.Background(), conn, fmt.Sprintf(
		`SELECT id, tag, statement, "by", "at", tables FROM waybill.event WHERE id > %d ORDER BY id`, after))
	if err != nil {
		t.Fatal(err)
	}
	var found []*event
	for _, row := range rows {
		e, err := parseEvent([]string{"id", "tag", "statement", "by", "at", "tables"}, row)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, e)
	}
	return found
}

// follower keeps the versions of a source by its events, as a stream does.
type follower struct {
	reshaper
	t     testing.TB
	conn  *pgconn.PgConn
	last  int64
	known map[string]*waybill.TableVersion
}

func follow(t testing.TB, conn *pgconn.PgConn) *follower {
	t.Helper()
	f := &follower{t: t, conn: conn, known: map[string]*waybill.TableVersion{}}
	for _, e := range events(t, conn, 0) {
		f.last = e.id
	}
	names, err := listTables(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	versions, err := describe(context.Background(), conn, names)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		f.known[v.ID] = v
	}
	return f
}

// next returns the shapes of the events since the last call.
func (f *follower) next() []*waybill.Shape {
	f.t.Helper()
	var all []*waybill.Shape
	for _, e := range events(f.t, f.conn, f.last) {
		f.last = e.id
		shapes, err := f.shapes(e, f.known)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, s := range shapes {
			if s.Before != nil {
				delete(f.known, s.Before.ID)
			}
			if s.After != nil {
				f.known[s.After.ID] = s.After
			}
		}
		all = append(all, shapes...)
	}
	return all
}

func run(t testing.TB, conn *pgconn.PgConn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if err := exec(context.Background(), conn, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// outline prints shapes as the steps they are made of.
func outline(shapes []*waybill.Shape) string {
	var lines []string
	for _, s := range shapes {
		for _, step := range s.Steps() {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s %s", s.Table(), step.Kind, step.Name)))
		}
	}
	return strings.Join(lines, "\n")
}

// captureCases are commands, and what they must be reported as.
var captureCases = []struct {
	name, setup, run, want string
}{
	{"create", "", "CREATE TABLE public.x (id int PRIMARY KEY)", "public.x: create table public.x"},
	{"create as", "", "CREATE TABLE public.x AS SELECT 1 AS a", "public.x: create table public.x\npublic.x: reload table public.x"},
	{"create as empty", "", "CREATE TABLE public.x AS SELECT 1 AS a WITH NO DATA", "public.x: create table public.x"},
	{"select into", "", "SELECT 1 AS a INTO public.x", "public.x: create table public.x\npublic.x: reload table public.x"},
	{"create schema with table", "", "CREATE SCHEMA s CREATE TABLE x (a int)", "s.x: create table s.x"},
	{"temporary", "", "CREATE TEMP TABLE x (a int); ALTER TABLE x ADD b int; DROP TABLE x", ""},
	{"unlogged", "", "CREATE UNLOGGED TABLE public.x (a int)", ""},
	{"unlogged to logged", "CREATE UNLOGGED TABLE public.x (a int); INSERT INTO public.x VALUES (1)", "ALTER TABLE public.x SET LOGGED",
		"public.x: create table public.x\npublic.x: reload table public.x"},
	{"view", "", "CREATE VIEW public.w AS SELECT 1 AS a; DROP VIEW public.w", ""},
	{"add", "", "ALTER TABLE public.t ADD c int", "public.t: add column c"},
	{"add constant", "", "ALTER TABLE public.t ADD c int NOT NULL DEFAULT 5", "public.t: add column c"},
	{"add volatile", "", "ALTER TABLE public.t ADD c float DEFAULT random()", "public.t: add column c\npublic.t: reload table public.t"},
	{"add serial", "", "ALTER TABLE public.t ADD c serial", "public.t: add column c\npublic.t: reload table public.t"},
	{"drop column", "", "ALTER TABLE public.t DROP b", "public.t: drop column b\npublic.t: change constraint public.t"},
	{"rename column", "", "ALTER TABLE public.t RENAME b TO c", "public.t: rename column b\npublic.t: change constraint public.t"},
	{"rename table", "", "ALTER TABLE public.t RENAME TO u", "public.t: rename table public.t\npublic.r: change constraint public.r"},
	{"set schema", "CREATE SCHEMA s", "ALTER TABLE public.t SET SCHEMA s", "public.t: rename table public.t\npublic.r: change constraint public.r"},
	{"rename schema", "CREATE SCHEMA s; CREATE TABLE s.x (a int)", "ALTER SCHEMA s RENAME TO z", "s.x: rename table s.x"},
	{"widen", "", "ALTER TABLE public.t ALTER b TYPE varchar(40)", "public.t: change type b"},
	{"int to bigint", "", "ALTER TABLE public.t ALTER n TYPE bigint", "public.t: change type n"},
	{"using", "", "ALTER TABLE public.t ALTER n TYPE bigint USING n + 1", "public.t: change type n\npublic.t: reload table public.t"},
	{"using same type", "", "ALTER TABLE public.t ALTER n TYPE int USING n + 1", "public.t: reload table public.t"},
	{"hidden using", "", "DO $$BEGIN EXECUTE 'ALTER TABLE public.t ALTER n TYPE bigint USING n + 1'; END$$", "public.t: change type n\npublic.t: reload table public.t"},
	{"not null", "", "ALTER TABLE public.t ALTER n SET NOT NULL", "public.t: change null n"},
	{"default", "", "ALTER TABLE public.t ALTER n SET DEFAULT 3", "public.t: change default n"},
	{"identity of rows", "", "ALTER TABLE public.t REPLICA IDENTITY FULL", "public.t: change key public.t"},
	{"drop key", "", "ALTER TABLE public.t DROP CONSTRAINT t_pkey CASCADE",
		"public.r: change constraint public.r\npublic.t: change key public.t\npublic.t: change constraint public.t"},
	{"create index", "", "CREATE INDEX i ON public.t (n)", "public.t: change index public.t"},
	{"create index concurrently", "", "CREATE INDEX CONCURRENTLY i ON public.t (n)", "public.t: change index public.t"},
	{"drop index", "CREATE UNIQUE INDEX i ON public.t (n)", "DROP INDEX public.i", "public.t: change index public.t"},
	{"drop index concurrently", "CREATE UNIQUE INDEX i ON public.t (n)", "DROP INDEX CONCURRENTLY public.i", "public.t: change index public.t"},
	{"rename index", "CREATE UNIQUE INDEX i ON public.t (n)", "ALTER INDEX public.i RENAME TO j", "public.t: change index public.t"},
	{"constraint", "", "ALTER TABLE public.t ADD CONSTRAINT c CHECK (n > 0) NOT VALID", "public.t: change constraint public.t"},
	{"comment table", "", "COMMENT ON TABLE public.t IS 'x'", "public.t: change comment public.t"},
	{"comment column", "", "COMMENT ON COLUMN public.t.n IS 'x'", "public.t: change comment n"},
	{"comment elsewhere", "", "COMMENT ON SCHEMA public IS 'x'", ""},
	{"drop table", "", "DROP TABLE public.r", "public.r: drop table public.r"},
	{"drop table cascade", "", "DROP TABLE public.t CASCADE", "public.t: drop table public.t\npublic.r: change constraint public.r"},
	{"drop schema", "CREATE SCHEMA s; CREATE TABLE s.x (a int); CREATE TABLE s.y (a int)", "DROP SCHEMA s CASCADE", "s.x: drop table s.x\ns.y: drop table s.y"},
	{"drop type", "", "DROP TYPE public.mood CASCADE", "public.t: change user type\npublic.t: drop column m"},
	{"enum label", "", "ALTER TYPE public.mood ADD VALUE 'new'", "public.t: change user type public.mood"},
	{"rename type", "", "ALTER TYPE public.mood RENAME TO feel", "public.t: change user type public.feel\npublic.t: change type m"},
	{"domain", "CREATE DOMAIN public.d AS int; CREATE TABLE public.x (a public.d)", "ALTER DOMAIN public.d ADD CHECK (VALUE > 0)", "public.x: change user type public.d"},
	{"composite", "CREATE TYPE public.c AS (a int); CREATE TABLE public.x (a public.c)", "ALTER TYPE public.c ADD ATTRIBUTE b int", "public.x: change user type public.c"},
	{"sequence of a default", "CREATE SEQUENCE public.q; CREATE TABLE public.x (a int DEFAULT nextval('public.q'))", "ALTER SEQUENCE public.q RENAME TO z",
		"public.x: change default a"},
	{"drop function", "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE public.x (a int DEFAULT public.f())", "DROP FUNCTION public.f() CASCADE",
		"public.x: change default a"},
	{"inheritance", "CREATE TABLE public.x () INHERITS (public.r)", "ALTER TABLE public.r ADD z int", "public.r: add column z\npublic.x: add column z"},
	{"partition", "", "CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES FROM (10) TO (20)", "public.p: change partition public.p"},
	{"sub-partition", "", "CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (a); CREATE TABLE public.p2a PARTITION OF public.p2 FOR VALUES IN (11)",
		"public.p: change partition public.p\npublic.p: change partition public.p"},
	{"attach empty", "CREATE TABLE public.x (a int NOT NULL, b int)", "ALTER TABLE public.p ATTACH PARTITION public.x FOR VALUES FROM (10) TO (20)",
		"public.x: drop table public.x\npublic.p: change partition public.p"},
	{"attach filled", "CREATE TABLE public.x (a int NOT NULL, b int); INSERT INTO public.x VALUES (11)", "ALTER TABLE public.p ATTACH PARTITION public.x FOR VALUES FROM (10) TO (20)",
		"public.x: drop table public.x\npublic.p: change partition public.p\npublic.p: reload table public.p"},
	{"detach", "", "ALTER TABLE public.p DETACH PARTITION public.p1", "public.p: change partition public.p\npublic.p1: create table public.p1\npublic.p1: reload table public.p1"},
	{"drop partition", "", "DROP TABLE public.p1", "public.p: change partition public.p"},
	{"alter partitioned", "", "ALTER TABLE public.p ADD c int", "public.p: add column c"},
	{"rewrite without change", "", "VACUUM FULL public.t; CLUSTER public.t USING t_pkey", ""},
	{"own schema", "", "ALTER TABLE waybill.heartbeat ADD x int; ALTER TABLE waybill.heartbeat DROP x", ""},
	{"extension", "", "CREATE EXTENSION IF NOT EXISTS hstore; DROP EXTENSION hstore", ""},
	{"rolled back", "", "BEGIN; ALTER TABLE public.t ADD c int; ROLLBACK", ""},
	{"rolled back in part", "", "BEGIN; SAVEPOINT a; ALTER TABLE public.t ADD c int; ROLLBACK TO a; ALTER TABLE public.t ADD d int; COMMIT", "public.t: add column d"},
	{"swap of tables", "CREATE TABLE public.x (a int)", "BEGIN; ALTER TABLE public.t RENAME TO t0; ALTER TABLE public.x RENAME TO t; ALTER TABLE public.t0 RENAME TO x; COMMIT",
		"public.t: rename table public.t\npublic.r: change constraint public.r\npublic.x: rename table public.x\npublic.t0: rename table public.t0\npublic.r: change constraint public.r"},
	{"replica session", "", "SET session_replication_role = replica; ALTER TABLE public.t ADD c int; RESET session_replication_role", "public.t: add column c"},
}

func TestCaptureReports(t *testing.T) {
	for _, major := range []int{10, 13, 15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			url := captured(t, major)
			conn := session(t, url)
			for _, c := range captureCases {
				if major < 11 && slices.Contains(notOnTen, c.name) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					run(t, conn, `CREATE TYPE public.mood AS ENUM ('a'); CREATE TABLE public.t (id int PRIMARY KEY, b varchar(20) CHECK (b <> ''), n int, m public.mood);
						INSERT INTO public.t VALUES (1, 'x', 1, 'a'); CREATE TABLE public.r (id int REFERENCES public.t);
						CREATE TABLE public.p (a int NOT NULL, b int) PARTITION BY RANGE (a); CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10)`)
					defer run(t, conn, "DROP EXTENSION IF EXISTS hstore; DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS s CASCADE; DROP SCHEMA IF EXISTS z CASCADE")
					if c.setup != "" {
						run(t, conn, c.setup)
					}
					f := follow(t, conn)
					if strings.HasPrefix(c.run, "BEGIN") || strings.HasPrefix(c.run, "DO") {
						run(t, conn, c.run)
					} else {
						run(t, conn, strings.Split(c.run, "; ")...)
					}
					if got := outline(f.next()); got != c.want {
						t.Errorf("reported\n%s\nwant\n%s", got, c.want)
					}
					f.check()
				})
			}
		})
	}
}

// TestPartitionOfAnUnknownTable: the command that makes a partition does not make the table. Where the stream has not
// heard of the table before, its rows are not in the log.
func TestPartitionOfAnUnknownTable(t *testing.T) {
	for _, major := range []int{10, 15, 18} {
		conn := session(t, captured(t, major))
		run(t, conn, "CREATE TABLE public.p (a int NOT NULL) PARTITION BY RANGE (a)", "CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10)",
			"INSERT INTO public.p VALUES (1)")
		f := follow(t, conn)
		clear(f.known)
		run(t, conn, "CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES FROM (10) TO (20)")
		if got, want := outline(f.next()), "public.p: create table public.p\npublic.p: reload table public.p"; got != want {
			t.Errorf("PostgreSQL %d: reported\n%s\nwant\n%s", major, got, want)
		}
	}
}

// notOnTen are cases that version 10 cannot run or must copy rows for.
var notOnTen = []string{"add constant", "drop index concurrently"}

// check compares what the events told with what the source says.
func (f *follower) check() {
	f.t.Helper()
	now := follow(f.t, f.conn)
	for id, v := range now.known {
		told := f.known[id]
		if told == nil {
			f.t.Errorf("%s: not reported", v.Table)
		} else if steps := (&waybill.Shape{Before: told, After: v}).Steps(); len(steps) > 0 && told.Table.Name != "p1" {
			f.t.Errorf("%s: reported structure differs: %v", v.Table, steps)
		}
	}
	for id, v := range f.known {
		if now.known[id] == nil {
			f.t.Errorf("%s: its end was not reported", v.Table)
		}
	}
}

func TestCaptureCannotBreakCommands(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := captured(t, major)
		conn := session(t, url)
		run(t, conn, "CREATE TABLE public.t (a int)", "CREATE OR REPLACE FUNCTION waybill.structure(relation oid) RETURNS json LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken'; END$$")
		f := follow(t, conn)
		run(t, conn, "ALTER TABLE public.t ADD b int")
		found := events(t, conn, f.last)
		if len(found) != 1 {
			t.Fatalf("%d events, want 1", len(found))
		}
		if _, err := f.shapes(found[0], f.known); waybill.FaultOf(err) != waybill.Drift || !strings.Contains(err.Error(), "broken") {
			t.Errorf("shapes: %v, want drift that says broken", err)
		}
		run(t, conn, "DROP TABLE waybill.event", "ALTER TABLE public.t ADD c int", "DROP TABLE public.t")
	}
}

func TestCaptureInstallsAndLeavesNothing(t *testing.T) {
	ctx := context.Background()
	for _, major := range []int{10, 15, 18} {
		url := dbtest.Database(t, major)
		inventory := `SELECT (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_event_trigger),
			(SELECT count(*) FROM pg_type), (SELECT count(*) FROM pg_description)`
		before := fmt.Sprint(dbtest.Rows(t, url, inventory))
		c := capture()
		wantInstalled := func(want bool) {
			t.Helper()
			if got, err := c.Installed(ctx, endpoint(url)); err != nil || got != want {
				t.Errorf("installed = %v, %v, want %v", got, err, want)
			}
		}
		wantInstalled(false)
		for range 2 {
			if err := c.Install(ctx, endpoint(url)); err != nil {
				t.Fatal(err)
			}
			wantInstalled(true)
		}
		dbtest.Exec(t, url, "ALTER EVENT TRIGGER waybill_drop DISABLE")
		wantInstalled(false)
		script, err := c.Script(ctx, endpoint(url))
		if err != nil {
			t.Fatal(err)
		}
		dbtest.Exec(t, url, script)
		wantInstalled(true)
		for range 2 {
			if err := c.Remove(ctx, endpoint(url)); err != nil {
				t.Fatal(err)
			}
			wantInstalled(false)
		}
		if after := fmt.Sprint(dbtest.Rows(t, url, inventory)); after != before {
			t.Errorf("postgres %d: left behind: %s, before %s", major, after, before)
		}
	}
}

func TestCaptureNeedsRights(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "DROP ROLE IF EXISTS capture_plain", "CREATE ROLE capture_plain LOGIN")
	plain := strings.Replace(url, "postgres@", "capture_plain@", 1)
	err := capture().Install(context.Background(), endpoint(plain))
	if waybill.FaultOf(err) != waybill.Setup || !strings.Contains(waybill.HintOf(err), "schema install") {
		t.Errorf("install without rights: %v, hint %q", err, waybill.HintOf(err))
	}
	script, err := capture().Script(context.Background(), endpoint(plain))
	if err != nil || !strings.Contains(script, `TO "capture_plain"`) {
		t.Fatalf("script: %v", err)
	}
	dbtest.Exec(t, url, script)
	if got, err := capture().Installed(context.Background(), endpoint(plain)); err != nil || !got {
		t.Errorf("installed, seen by the plain role: %v, %v", got, err)
	}
	dbtest.Exec(t, url, "CREATE TABLE public.x (a int PRIMARY KEY)", "GRANT ALL ON SCHEMA public TO capture_plain")
	dbtest.Exec(t, plain, "CREATE TABLE public.y (a int)", "DROP TABLE public.y")
	if rows := dbtest.Rows(t, plain, `SELECT DISTINCT "by" FROM waybill.event ORDER BY 1`); len(rows) != 2 {
		t.Errorf("who changed structures: %v, want two roles", rows)
	}
	if err := capture().Remove(context.Background(), endpoint(url)); err != nil {
		t.Fatal(err)
	}
	dbtest.Exec(t, url, "DROP TABLE public.x", "REVOKE ALL ON SCHEMA public FROM capture_plain", "DROP ROLE capture_plain")
}

func TestCapturePrunes(t *testing.T) {
	conn := session(t, captured(t, 15))
	run(t, conn, `INSERT INTO waybill.event (tag, at, tables) SELECT 'old', now() - interval '8 days', '[]' FROM generate_series(1, 5)`)
	for i := range 16 { // one in sixteen events looks for old ones
		run(t, conn, fmt.Sprintf("CREATE TABLE public.x%d (a int)", i))
	}
	rows, err := query(context.Background(), conn, "SELECT tag, count(*) FROM waybill.event GROUP BY 1")
	if err != nil || len(rows) != 1 || string(rows[0][0]) != "CREATE TABLE" {
		t.Errorf("left: %s, %v, want the new ones", rows, err)
	}
}

func TestCapturePublishesNewTables(t *testing.T) {
	for _, major := range []int{10, 13, 15, 18} {
		conn := session(t, captured(t, major))
		run(t, conn, "CREATE PUBLICATION waybill_l FOR TABLE waybill.event", "CREATE SCHEMA sales")
		if err := enlistPublication(context.Background(), conn, "waybill_l", waybill.Selection{"public.*", "!public.tmp_*", `"sales"."a.b"`}); err != nil {
			t.Fatal(err)
		}
		run(t, conn, "CREATE TABLE public.k (id int PRIMARY KEY)", "CREATE TABLE public.tmp_x (id int PRIMARY KEY)", `CREATE TABLE sales."a.b" (id int PRIMARY KEY)`,
			"CREATE TABLE sales.ab (id int PRIMARY KEY)", "CREATE TABLE public.keyless (id int)", "CREATE TABLE public.late (id int)",
			"INSERT INTO public.late VALUES (1)", "UPDATE public.late SET id = 2")
		f := follow(t, conn)
		run(t, conn, "ALTER TABLE public.late ADD PRIMARY KEY (id)")
		shapes := f.next()
		if len(shapes) != 1 || !shapes[0].Reload {
			t.Errorf("postgres %d: a filled table that gets its key late is not copied again: %s", major, outline(shapes))
		}
		rows, err := query(context.Background(), conn, "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = 'waybill_l' ORDER BY 1")
		if got, want := fmt.Sprintf("%s", rows), "[[public.k] [public.late] [sales.a.b] [waybill.event]]"; err != nil || got != want {
			t.Errorf("postgres %d: published %s, want %s (%v)", major, got, want, err)
		}
	}
}

// TestCaptureDoesNotWait has another transaction hold the publication: the command goes on at once, and the
// table is marked for a copy.
func TestCaptureDoesNotWait(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := captured(t, major)
		conn, other := session(t, url), session(t, url)
		run(t, conn, "CREATE PUBLICATION waybill_l FOR TABLE waybill.event")
		if err := enlistPublication(context.Background(), conn, "waybill_l", nil); err != nil {
			t.Fatal(err)
		}
		f := follow(t, conn)
		run(t, other, "BEGIN", "CREATE TABLE public.a (id int PRIMARY KEY)")
		start := time.Now()
		run(t, conn, "CREATE TABLE public.b (id int PRIMARY KEY)")
		t.Logf("postgres %d: with the publication in use the command took %v", major, time.Since(start))
		run(t, other, "COMMIT")
		shapes := f.next()
		if len(shapes) != 2 || !slices.ContainsFunc(shapes, func(s *waybill.Shape) bool { return s.After.Table.Name == "b" && s.Reload }) {
			t.Errorf("postgres %d: the table that could not be published is not marked: %s", major, outline(shapes))
		}
	}
}

// Partitions that come later can be updated like the others, and their table is not copied again for it.
func TestCapturePublishesNewPartitions(t *testing.T) {
	for _, major := range testMajors {
		conn := session(t, captured(t, major))
		run(t, conn, "CREATE PUBLICATION waybill_l FOR TABLE waybill.event")
		if err := enlistPublication(context.Background(), conn, "waybill_l", waybill.Selection{"public.*"}); err != nil {
			t.Fatal(err)
		}
		run(t, conn, "CREATE TABLE public.p (a int NOT NULL, b int) PARTITION BY RANGE (a)", "ALTER TABLE public.p REPLICA IDENTITY FULL",
			"CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10)", "INSERT INTO public.p VALUES (1)")
		f := follow(t, conn)
		run(t, conn, "CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES FROM (10) TO (20)", "INSERT INTO public.p VALUES (11)",
			"UPDATE public.p SET b = 1", "DELETE FROM public.p WHERE a = 11")
		if got := outline(f.next()); got != "public.p: change partition public.p" {
			t.Errorf("postgres %d: a new partition is reported as\n%s", major, got)
		}
		f.check()
		run(t, conn, "ALTER TABLE public.p ADD c int", "COMMENT ON TABLE public.p IS 'x'")
		if got := outline(f.next()); got != "public.p: add column c\npublic.p: change comment public.p" {
			t.Errorf("postgres %d: changes of a published partitioned table are reported as\n%s", major, got)
		}
		rows, err := query(context.Background(), conn, "SELECT count(*) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid WHERE c.relname LIKE 'p%'")
		want := "1"
		if major < 13 {
			want = "2" // there a publication holds the partitions, not their root
		}
		if err != nil || string(rows[0][0]) != want {
			t.Errorf("postgres %d: %s relations are published, want %s (%v)", major, rows[0][0], want, err)
		}
	}
}
