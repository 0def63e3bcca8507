package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// TestOrderedSlicesAreInOrder reads tables of every type in the order that other systems' rows are merged in.
func TestOrderedSlicesAreInOrder(t *testing.T) {
	shapes := [][]string{
		{"CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a SELECT (i * 7919) % 10007 - 5000 FROM generate_series(0, 10006) i"},
		{`CREATE TABLE a (id text COLLATE "en_US" PRIMARY KEY)`, "INSERT INTO a SELECT chr(32 + i) || 'x' FROM generate_series(0, 500) i", "INSERT INTO a VALUES ('a-b'), ('ab'), ('A'), ('é'), ('😀')"},
		{"CREATE TABLE a (id char(4) PRIMARY KEY)", `INSERT INTO a VALUES ('a'), (E'a\t'), ('a!'), ('ab'), ('')`},
		{"CREATE DOMAIN code AS char(4)", "CREATE TABLE a (id code PRIMARY KEY)", `INSERT INTO a VALUES ('a'), (E'a\t'), ('a!'), ('ab'), ('')`},
		{"CREATE TABLE a (id inet PRIMARY KEY)", "INSERT INTO a VALUES ('10.0.0.1'), ('10.0.0.1/8'), ('9.0.0.1'), ('10.0.0.10'), ('::1')"},
		{"CREATE TABLE a (id numeric PRIMARY KEY)", "INSERT INTO a VALUES ('NaN'), (1e20), (-5), (0.5), (10), (9)"},
		{"CREATE TABLE a (id float8 PRIMARY KEY)", "INSERT INTO a VALUES ('NaN'), ('Infinity'), ('-Infinity'), (-5), (0.5), (10), (9)"},
		{"CREATE TABLE a (id timestamptz PRIMARY KEY)", "INSERT INTO a VALUES ('infinity'), ('-infinity'), ('0044-03-15 BC'), ('2024-01-01')"},
		{"CREATE TABLE a (id timetz PRIMARY KEY)", "INSERT INTO a VALUES ('12:00+00'), ('12:00+02'), ('12:00-02'), ('11:00+05:30'), ('24:00-03')"},
		{"CREATE TABLE a (id bytea PRIMARY KEY)", `INSERT INTO a VALUES ('\x'), ('\xff'), ('\x00'), ('\x0001'), ('\x7f')`},
		{"CREATE TABLE a (id uuid PRIMARY KEY)", "INSERT INTO a SELECT md5(i::text)::uuid FROM generate_series(1, 100) i"},
		{"CREATE TABLE a (id interval PRIMARY KEY)", "INSERT INTO a VALUES ('1 day'), ('25 hours'), ('1 month'), ('-1 hour'), ('2 days')"},
		{"CREATE TYPE mood AS ENUM ('z', 'a', 'M')", "CREATE TABLE a (id mood PRIMARY KEY, b bool)", "INSERT INTO a VALUES ('z'), ('a'), ('M')"},
		{"CREATE TABLE a (id int[] PRIMARY KEY)", "INSERT INTO a VALUES ('{10}'), ('{9}'), ('{1,2}'), ('{}')"},
		{"CREATE TYPE pair AS (n int, t text)", "CREATE TABLE a (b bool, j json, jb jsonb, p pair, x xml, pt point, i int, t text, n name)",
			`INSERT INTO a VALUES (true, '{"a":1}', '{}', ROW(1,'x'), '<a/>', '(1,2)', 1, 'b')`, "INSERT INTO a VALUES (NULL), (false), (NULL)",
			`INSERT INTO a VALUES (NULL, '1', NULL), (true, NULL, '{"a":1}')`, "INSERT INTO a (p) VALUES (ROW(NULL, NULL)), (ROW(1, NULL))",
			"INSERT INTO a (x, i, t, n) VALUES ('<b/>', 3, 'B', 'n'), ('<a/>', 3, 'B', 'N')"},
		{"CREATE TABLE a (id int, t text) PARTITION BY LIST (t)", "CREATE TABLE a1 PARTITION OF a FOR VALUES IN ('x')", "CREATE TABLE a2 (t text, id int)", "ALTER TABLE a ATTACH PARTITION a2 FOR VALUES IN ('y')",
			"INSERT INTO a SELECT i, CASE WHEN i % 2 = 0 THEN 'x' ELSE 'y' END FROM generate_series(1, 100) i"},
	}
	onMajors(t, func(t *testing.T, major int, url string) {
		for i, statements := range shapes {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				emptyDatabase(t, url)
				dbtest.Exec(t, url, statements...)
				checkOrder(t, url)
			})
		}
	})
}

// emptyDatabase drops everything, which is quicker than another database.
func emptyDatabase(t testing.TB, url string) {
	t.Helper()
	dbtest.Exec(t, url, `DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS "of all" CASCADE; CREATE SCHEMA public; CREATE COLLATION public."en_US" FROM "C"`)
}

func checkOrder(t *testing.T, url string) {
	t.Helper()
	w := testView(t, url, waybill.ViewOptions{})
	v := testVersion(t, w, "a")
	var previous waybill.Row
	count := 0
	for b, err := range w.Read(context.Background(), waybill.Slice{Version: v, Ordered: true}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range b.Rows {
			if previous != nil && waybill.CompareKeys(previous, row, v.OrderColumns()) > 0 {
				t.Errorf("%v comes before %v", previous, row)
			}
			previous = row.Clone()
			count++
		}
	}
	if count < 3 {
		t.Errorf("%d rows", count)
	}
}
