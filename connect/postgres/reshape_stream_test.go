package postgres

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

func capturedRig(t *testing.T, major int, setup ...string) *rig {
	t.Helper()
	r := newRig(t, major, setup...)
	if err := capture().Install(context.Background(), r.endpoint); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReshapesComeInPlace(t *testing.T) {
	eachMajor(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		r := capturedRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)")
		r.open()
		r.exec(`BEGIN;
			INSERT INTO a VALUES (1, 'x');
			ALTER TABLE a ADD n int DEFAULT 7;
			INSERT INTO a VALUES (2, 'y');
			ALTER TABLE a RENAME t TO u;
			UPDATE a SET u = 'z', n = 8 WHERE id = 1;
			SAVEPOINT s;
			ALTER TABLE a DROP u; INSERT INTO a VALUES (3);
			ROLLBACK TO s;
			ALTER TABLE a DROP n;
			DELETE FROM a WHERE id = 2;
			COMMIT`,
			"BEGIN; ALTER TABLE a ADD gone int; INSERT INTO a VALUES (9, 'gone', 1); ROLLBACK",
			"ALTER TABLE a RENAME TO b", "INSERT INTO b VALUES (4, 'b')",
			"CREATE TABLE a (id text PRIMARY KEY)", "INSERT INTO a VALUES ('new')",
			"DROP TABLE b", "DROP TABLE a", "CREATE TABLE a (id bigint PRIMARY KEY, id2 int)", "INSERT INTO a VALUES (5, 6)")
		r.barrier()
		r.expect("insert a (1, x)", "reshape a | add column n integer", "insert a (2, y, 7)", "reshape a | rename column t u",
			"update a (1, z, 8)", "reshape a | drop column n ", "delete a (2, ?) ->",
			"reshape a | rename table public.a public.b", "insert b (4, b)",
			"reshape a | create table public.a ", "insert a (new)", "reshape b | drop table public.b ", "reshape a | drop table public.a ",
			"reshape a | create table public.a ", "insert a (5, 6)")
	})
}

func TestSwappedNames(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := capturedRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, x text, y text)", "CREATE TABLE b (id int PRIMARY KEY)")
		r.open()
		r.exec("BEGIN; ALTER TABLE a RENAME x TO tmp; ALTER TABLE a RENAME y TO x; ALTER TABLE a RENAME tmp TO y; COMMIT",
			"INSERT INTO a (id, x, y) VALUES (1, 'was y', 'was x')",
			"BEGIN; ALTER TABLE a RENAME TO t; ALTER TABLE b RENAME TO a; ALTER TABLE t RENAME TO b; COMMIT",
			"INSERT INTO a VALUES (2)", "CREATE SCHEMA other", "ALTER TABLE b SET SCHEMA other", "INSERT INTO other.b (id, x) VALUES (3, 'x')")
		r.barrier()
		r.expect("reshape a | rename column x tmp", "reshape a | rename column y x", "reshape a | rename column tmp y",
			"insert a (1, was x, was y)", "reshape a | rename table public.a public.t", "reshape b | rename table public.b public.a",
			"reshape t | rename table public.t public.b", "insert a (2)", "reshape b | rename table public.b other.b", "insert b (3, NULL, x)")
	})
}

// A process that was away for many versions decodes every row with the structure of its time.
func TestFarBehindDecodesWithVersionsOfThen(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := capturedRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, c0 int)")
		r.open()
		r.barrier()
		r.close()
		var want []string
		for i := range 20 {
			n := string(rune('a' + i))
			r.exec("ALTER TABLE a DROP c"+prior(i)+", ADD c"+n+" int", "INSERT INTO a VALUES ("+itoa(i)+", "+itoa(i)+")")
			want = append(want, "reshape a | drop column c"+prior(i)+"  | add column c"+n+" integer", "insert a ("+itoa(i)+", "+itoa(i)+")")
		}
		r.open()
		r.barrier()
		r.expect(want...)
	})
}

func prior(i int) string {
	if i == 0 {
		return "0"
	}
	return string(rune('a' + i - 1))
}

func itoa(i int) string { return strconv.Itoa(i) }

func TestWithoutCaptureTheLogIsReadAsFarAsItTells(t *testing.T) {
	eachMajor(t, []int{10, 13, 15, 18}, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TYPE mood AS ENUM ('sad')", "CREATE DOMAIN code AS varchar(5)",
			"CREATE TABLE a (id int PRIMARY KEY, t varchar(10), m mood, c code, n numeric(10,2), ts timestamptz(3), arr int[], i interval day to second(2), b bit(3))")
		r.open()
		r.exec("INSERT INTO a VALUES (1, 'x')", "ALTER TABLE a ADD extra int", "INSERT INTO a (id, extra) VALUES (2, 3)",
			"ALTER TABLE a DROP extra, DROP t", "INSERT INTO a (id, m) VALUES (4, 'sad')", "ALTER TABLE a RENAME TO b", "DELETE FROM b WHERE id = 4")
		r.barrier()
		r.expect("insert a (1, x, NULL, NULL, NULL, NULL, NULL, NULL, NULL)", "reshape a | add column extra integer (inferred)",
			"insert a (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3)",
			"reshape a | drop column t  | drop column extra  (inferred)", "insert a (4, sad, NULL, NULL, NULL, NULL, NULL, NULL)",
			"reshape a | rename table public.a public.b (inferred)", "delete b (4, ?, ?, ?, ?, ?, ?, ?) ->")
	})
}

func TestWithoutCaptureAmbiguityStops(t *testing.T) {
	for name, ddl := range map[string]string{
		"rename":          "ALTER TABLE a RENAME t TO u",
		"type change":     "ALTER TABLE a ALTER t TYPE varchar(20)",
		"drop and re-add": "ALTER TABLE a DROP t, ADD t text",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text, z int)")
			r.open()
			r.exec("INSERT INTO a VALUES (1)", ddl, "INSERT INTO a VALUES (2)")
			err := r.tryUntil("nothing")
			if waybill.FaultOf(err) != waybill.Drift || waybill.HintOf(err) == "" {
				t.Errorf("%s: error %v (%s), want drift", name, err, waybill.HintOf(err))
			}
			r.expect("insert a (1, NULL, NULL)")
		})
	}
}

func TestReshapeHasItsBatchToItself(t *testing.T) {
	r := capturedRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)")
	r.open()
	r.barrier()
	r.close()
	r.exec("INSERT INTO a VALUES (1)", "BEGIN; ALTER TABLE a ADD n int; INSERT INTO a VALUES (2); COMMIT", "INSERT INTO a VALUES (3)")
	r.open()
	ctx := context.Background()
	for {
		b, err := r.source.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ops := ""
		for _, c := range b.Changes {
			ops += c.Op.String() + " "
		}
		if strings.Contains(ops, "reshape") {
			if ops != "reshape insert " || b.Transactions != 1 {
				t.Errorf("batch with the reshape: %q of %d transactions", ops, b.Transactions)
			}
			return
		}
	}
}

func TestIdentityChangesMidStream(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, k int NOT NULL, UNIQUE (k))")
		r.open()
		r.exec("INSERT INTO a VALUES (1, 10), (2, 20)", "ALTER TABLE a REPLICA IDENTITY USING INDEX a_k_key", "UPDATE a SET k = 11 WHERE id = 1",
			"ALTER TABLE a REPLICA IDENTITY NOTHING", "INSERT INTO a VALUES (3, 30)")
		r.barrier()
		r.expect("insert a (1, 10)", "insert a (2, 20)", "reshape a | change key public.a index (k) (inferred)", "update a (?, 10) -> (1, 11)",
			"reshape a | change key public.a none (k) (inferred)", "insert a (3, 30)")
	})
}
