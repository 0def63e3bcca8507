package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// sliceShapes are tables by the statements that make them. Each has a column id without repeats.
var sliceShapes = []struct {
	name       string
	atLeast    int // slices from version 14 on
	statements []string
}{
	{"empty", 1, []string{"CREATE TABLE a (id int PRIMARY KEY)"}},
	{"one", 1, []string{"CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)"}},
	{"analyzed", 8, []string{"CREATE TABLE a (id int PRIMARY KEY, t text)", "INSERT INTO a SELECT i, 'x' FROM generate_series(1, 10000) i", "ANALYZE a"}},
	{"not analyzed", 4, []string{"CREATE TABLE a (id bigint PRIMARY KEY, t text)", "INSERT INTO a SELECT i * 7, 'x' FROM generate_series(-5000, 5000) i"}},
	{"keyless", 4, []string{"CREATE TABLE a (id int, t text)", "INSERT INTO a SELECT i, 'x' FROM generate_series(1, 10000) i"}},
	{"bloated", 2, []string{"CREATE TABLE a (id int PRIMARY KEY, t text) WITH (autovacuum_enabled = off)", "INSERT INTO a SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i",
		"DELETE FROM a WHERE id % 10 > 0", "VACUUM ANALYZE a", "INSERT INTO a SELECT -i, repeat('y', 30) FROM generate_series(1, 500) i", "UPDATE a SET t = 'z' WHERE id < 5000"}},
	{"grown since analyze", 2, []string{"CREATE TABLE a (id int PRIMARY KEY, t text) WITH (autovacuum_enabled = off)", "INSERT INTO a SELECT i, 'x' FROM generate_series(1, 1500) i", "ANALYZE a",
		"INSERT INTO a SELECT i, 'x' FROM generate_series(100000, 110000) i"}},
	{"text key", 4, []string{"CREATE TABLE a (id text PRIMARY KEY, t text)", `INSERT INTO a SELECT 'k"\ ,{' || md5(i::text), 'x' FROM generate_series(1, 10000) i`, "ANALYZE a"}},
	{"uuid key", 4, []string{"CREATE TABLE a (id uuid PRIMARY KEY)", "INSERT INTO a SELECT md5(i::text)::uuid FROM generate_series(1, 10000) i", "ANALYZE a"}},
	{"date key", 4, []string{"CREATE TABLE a (id date PRIMARY KEY)", "INSERT INTO a SELECT '2000-01-01'::date + i FROM generate_series(1, 9998) i", "INSERT INTO a VALUES ('infinity'), ('-infinity'), ('0044-03-15 BC')", "ANALYZE a"}},
	{"two column key", 4, []string{"CREATE TABLE a (id int, n int, PRIMARY KEY (id, n))", "INSERT INTO a SELECT i, i FROM generate_series(1, 10000) i", "ANALYZE a"}},
	{"dropped column", 4, []string{"CREATE TABLE a (x text, id int PRIMARY KEY, t text)", "INSERT INTO a SELECT 'x', i, 'x' FROM generate_series(1, 10000) i", "ALTER TABLE a DROP x", "ALTER TABLE a ADD y int DEFAULT 5"}},
	{"partitioned", 6, []string{"CREATE TABLE a (id int, t text, day int) PARTITION BY RANGE (day)", "CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (10)",
		"CREATE TABLE a2 (day int, gone int, t text, id int)", "ALTER TABLE a2 DROP gone", "ALTER TABLE a ATTACH PARTITION a2 FOR VALUES FROM (10) TO (20)",
		"CREATE TABLE a3 PARTITION OF a FOR VALUES FROM (20) TO (30) PARTITION BY LIST (day)", `CREATE TABLE "a 3 of x" PARTITION OF a3 FOR VALUES IN (20, 21)`,
		"CREATE TABLE a32 PARTITION OF a3 FOR VALUES IN (22, 23, 24, 25, 26, 27, 28, 29) PARTITION BY LIST (t)", "CREATE TABLE a321 PARTITION OF a32 FOR VALUES IN ('x')",
		"CREATE TABLE empty PARTITION OF a FOR VALUES FROM (30) TO (40) PARTITION BY LIST (t)",
		"INSERT INTO a SELECT i, 'x', i % 30 FROM generate_series(1, 12000) i", "ANALYZE a1", "ANALYZE a2"}},
	{"partitioned without partitions", 1, []string{"CREATE TABLE a (id int) PARTITION BY LIST (id)"}},
	{"unusual names", 4, []string{`CREATE SCHEMA "of all"`, `CREATE TABLE a ("I D; "" x" int PRIMARY KEY)`, `INSERT INTO a SELECT i FROM generate_series(1, 10000) i`, "ANALYZE a"}},
}

func TestSlicesHoldEachRowOnce(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		for _, shape := range sliceShapes {
			t.Run(shape.name, func(t *testing.T) {
				emptyDatabase(t, url)
				dbtest.Exec(t, url, shape.statements...)
				w := testView(t, url, waybill.ViewOptions{})
				v := testVersion(t, w, "a")
				want := readAll(t, w, waybill.Slice{Version: v})
				slices.Sort(want)
				for _, rows := range []int{0, 1000, 3} {
					parts, err := w.Slices(context.Background(), v, rows)
					if err != nil {
						t.Fatal(err)
					}
					if rows == 1000 && major >= 14 && len(parts) < shape.atLeast || rows == 0 && len(parts) != 1 {
						t.Errorf("%d slices of %d rows", len(parts), rows)
					}
					coverOnce(t, w, parts, want)
				}
			})
		}
	})
}

func coverOnce(t *testing.T, w *view, parts []waybill.Slice, want []string) {
	t.Helper()
	var got []string
	for i, s := range parts {
		if s.Number != i {
			t.Errorf("slice %d has number %d", i, s.Number)
		}
		got = append(got, readAll(t, w, s)...)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d slices hold %d rows, the table has %d; first slices %.300v", len(parts), len(got), len(want), parts)
	}
}

func TestOldServersAreCutByKey(t *testing.T) {
	for _, major := range []int{10, 13} {
		for _, shape := range []string{"analyzed", "not analyzed", "text key", "uuid key", "date key"} {
			url := dbtest.Database(t, major)
			for _, s := range sliceShapes {
				if s.name == shape {
					dbtest.Exec(t, url, s.statements...)
				}
			}
			w := testView(t, url, waybill.ViewOptions{})
			parts, err := w.Slices(context.Background(), testVersion(t, w, "a"), 1000)
			if err != nil || len(parts) < 5 || !strings.HasPrefix(parts[0].Range, "keys to ") {
				t.Errorf("%d %s: %d slices, %v", major, shape, len(parts), err)
			}
		}
	}
}

func TestBlocksAreReadByThemselves(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int)", "INSERT INTO a SELECT i FROM generate_series(1, 20000) i", "ANALYZE a")
	w := testView(t, url, waybill.ViewOptions{})
	parts, err := w.Slices(context.Background(), testVersion(t, w, "a"), 1000)
	if err != nil {
		t.Fatal(err)
	}
	sql, err := selectSlice(parts[3], []int{0})
	if err != nil {
		t.Fatal(err)
	}
	if plan := fmt.Sprint(dbtest.Rows(t, url, "EXPLAIN "+sql)); !strings.Contains(plan, "Tid Range Scan") {
		t.Errorf("plan: %s", plan)
	}
}

func TestRangesAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c cut
		name := rapid.OneOf(rapid.StringMatching(`[a-z ".\\]{1,12}`), rapid.SampledFrom([]string{"of", "blocks 1-2", "or null", "all of x"}))
		if rapid.Bool().Draw(t, "leaf") {
			c.leaf = waybill.TableName{Schema: name.Draw(t, "schema"), Name: name.Draw(t, "name")}
		}
		switch rapid.IntRange(0, 2).Draw(t, "part") {
		case 1:
			c.blocks, c.first, c.last = true, rapid.Int64Range(0, 1<<32).Draw(t, "first"), rapid.Int64Range(-1, 1<<32).Draw(t, "last")
		case 2:
			c.keys, c.keyNulls = true, rapid.Bool().Draw(t, "nulls")
			for _, bound := range []**string{&c.low, &c.high} {
				if rapid.Bool().Draw(t, "bound") {
					text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{` of "`, "or null", " to "})).Draw(t, "text")
					*bound = &text
				}
			}
		}
		if rapid.Bool().Draw(t, "where") {
			c.where = name.Draw(t, "condition")
		}
		got, err := parseRange(c.String())
		if err != nil || got.where != c.where || got.String() != c.String() || got.leaf != c.leaf || got.blocks != c.blocks || got.keys != c.keys || got.keyNulls != c.keyNulls {
			t.Fatalf("range %q became %q, %v", c, got, err)
		}
	})
	for _, text := range []string{"blocks", "blocks x-1", "everything", "keys from 5", "blocks 1-2; DROP TABLE a", "all of a.b.c", "where n > 5", `where "n > 5" x`} {
		if c, err := parseRange(text); err == nil {
			t.Errorf("range %q was read as %q", text, c)
		}
	}
}
