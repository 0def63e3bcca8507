package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// pickAll returns the picked rows as text.
func pickAll(t *testing.T, w *view, v *waybill.TableVersion, columns []int, places ...waybill.Row) []string {
	t.Helper()
	var rows []string
	for b, err := range w.Pick(context.Background(), v, columns, places) {
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range b.Rows {
			rows = append(rows, fmt.Sprint(row))
		}
	}
	slices.Sort(rows)
	return rows
}

// TestPick reads rows by key and by whole row, each once, whatever the places are.
func TestPick(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		key := ", PRIMARY KEY (id, day)"
		if major < 11 { // a partitioned table cannot have one
			key = ""
		}
		dbtest.Exec(t, url, "CREATE TABLE k (a int, b text, c numeric, PRIMARY KEY (b, a))",
			"INSERT INTO k SELECT i, 'it''s \\' || i, i FROM generate_series(1, 3000) i",
			"CREATE TABLE bag (n numeric, f float8, j json, t timestamp)",
			"INSERT INTO bag VALUES (1.0, '-0', '{\"a\": 1}', '294276-12-31 23:59:59.999999'), (1.0, '-0', '{\"a\": 1}', '294276-12-31 23:59:59.999999'), (1.00, 0, '{}', NULL), (NULL, NULL, NULL, NULL)",
			"CREATE TABLE p (id int NOT NULL, day date NOT NULL, v text"+key+") PARTITION BY RANGE (day)",
			"CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (MINVALUE) TO ('2000-01-01')",
			"CREATE TABLE p_high (v text, day date NOT NULL, id int NOT NULL)",
			"ALTER TABLE p ATTACH PARTITION p_high FOR VALUES FROM ('2000-01-01') TO (MAXVALUE)",
			"INSERT INTO p VALUES (1, '1999-12-31', 'low'), (1, '2000-01-01', 'high'), (1, 'infinity', 'last')")
		w := testView(t, url, waybill.ViewOptions{})
		v := testVersion(t, w, "k")
		var places []waybill.Row
		var want []string
		for i := range int64(2500) {
			b := fmt.Sprintf(`it's \%d`, i+1000)
			places = append(places, waybill.Row{waybill.TextValue(b), waybill.IntValue(i + 1000)}, waybill.Row{waybill.TextValue(b), waybill.IntValue(-1)})
			if i+1000 <= 3000 {
				want = append(want, fmt.Sprint(waybill.Row{waybill.IntValue(i + 1000), waybill.TextValue(b), waybill.DecimalValue(fmt.Sprint(i + 1000))}))
			}
		}
		slices.Sort(want)
		if d := cmp.Diff(want, pickAll(t, w, v, []int{1, 0}, append(places, places...)...)); d != "" {
			t.Errorf("by key:\n%s", d)
		}
		bag := testVersion(t, w, "bag")
		all := readAll(t, w, waybill.Slice{Version: bag})
		var rows []waybill.Row
		for b, err := range w.Read(context.Background(), waybill.Slice{Version: bag}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range b.Rows {
				rows = append(rows, row.Clone())
			}
		}
		got := pickAll(t, w, bag, []int{0, 1, 2, 3}, append(rows, waybill.Row{waybill.DecimalValue("1"), waybill.Null, waybill.Null, waybill.Null})...)
		if len(got) != len(all) {
			t.Errorf("%d of %d rows of a bag: %s", len(got), len(all), strings.Join(got, " "))
		}
		if got := pickAll(t, w, bag, []int{0, 1, 2, 3}, rows[0]); len(got) != 2 {
			t.Errorf("%d rows are the same as the first, want 2", len(got))
		}
		days := []waybill.Value{waybill.DateValue(waybill.Days(1999, 12, 31)), waybill.DateValue(waybill.Forever), waybill.DateValue(0)}
		places = nil
		for _, day := range days {
			places = append(places, waybill.Row{waybill.IntValue(1), day})
		}
		if got := pickAll(t, w, testVersion(t, w, "p"), []int{0, 1}, places...); len(got) != 2 || !strings.Contains(strings.Join(got, ""), "low") {
			t.Errorf("of a partitioned table %v", got)
		}
		if got := pickAll(t, w, v, []int{1, 0}); got != nil {
			t.Errorf("no place, yet rows %v", got)
		}
	})
}

// TestPickUsesTheIndex keeps a repair of a large table from reading it whole for each batch.
func TestPickUsesTheIndex(t *testing.T) {
	onMajors(t, func(t *testing.T, _ int, url string) {
		dbtest.Exec(t, url, "CREATE TABLE k (a varchar(20), b bigint, PRIMARY KEY (a, b))", "INSERT INTO k SELECT 'a' || i % 7, i FROM generate_series(1, 100000) i", "ANALYZE k")
		w := testView(t, url, waybill.ViewOptions{})
		v := testVersion(t, w, "k")
		conn, err := w.readers.take(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer w.readers.give(conn)
		wanted := *v
		wanted.Key, wanted.Identity = []int{0, 1}, waybill.IdentityKey
		target, err := openTarget(context.Background(), conn, &wanted)
		if err != nil {
			t.Fatal(err)
		}
		var places []waybill.Row
		for i := range int64(1000) {
			places = append(places, waybill.Row{waybill.TextValue(fmt.Sprint("a", i%7)), waybill.IntValue(i)})
		}
		k, err := newPicking(target, []int{0, 1}, places)
		if err != nil {
			t.Fatal(err)
		}
		result := conn.ExecParams(context.Background(), "EXPLAIN "+k.sql, k.params, nil, allBinary, nil).Read()
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		var plan []string
		for _, row := range result.Rows {
			plan = append(plan, string(row[0]))
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") {
			t.Errorf("the table is read whole:\n%s", text)
		}
	})
}
