package compare_test

import (
	"fmt"
	"testing"

	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// TestNarrow has large tables in which few rows differ, so that only ranges of keys are read again.
func TestNarrow(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 18)
	uuid := "md5('x' || %s)::uuid"
	tables := map[string]struct{ key, columns, at string }{
		"int4":   {"id", "id int", "g"},
		"int8":   {"id", "id bigint", "g * 1000000007::bigint - 5000"},
		"int2":   {"id", "id int2", "g - 5000"},
		"uuid":   {"id", "id uuid", fmt.Sprintf(uuid, "g")},
		"pair":   {"id, kind", "id int, kind text", "g / 3, 'k' || g % 3"},
		"parted": {"id", "id int", "g"},
		"text":   {"id", "id text", "'key ' || g"},
		"bag":    {"", "id int", "g % 100"},
	}
	for name, table := range tables {
		for i, url := range []string{from, to} {
			create := fmt.Sprintf("CREATE TABLE %s (%s, v text, n numeric, PRIMARY KEY (%s))", name, table.columns, table.key)
			if name == "bag" {
				create = "CREATE TABLE bag (id int, v text, n numeric)"
			}
			if name == "parted" {
				create += " PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (0) TO (3000); CREATE TABLE p2 PARTITION OF parted DEFAULT"
			}
			// The rows lie in another order at the target.
			order := []string{"g", "md5(g::text)"}[i]
			dbtest.Exec(t, url, create, fmt.Sprintf("INSERT INTO %s SELECT %s, 'row ' || g, g FROM generate_series(1, 10000) g ORDER BY %s", name, table.at, order))
		}
		dbtest.Exec(t, to,
			fmt.Sprintf("UPDATE %s SET n = 77.0 WHERE v = 'row 77'", name),
			fmt.Sprintf("DELETE FROM %s WHERE v IN ('row 1', 'row 10000', 'row 5000')", name),
			fmt.Sprintf("UPDATE %s t SET v = CASE v WHEN 'row 200' THEN 'row 9000' ELSE 'row 200' END WHERE v IN ('row 200', 'row 9000')", name))
		dbtest.Exec(t, from, fmt.Sprintf("DELETE FROM %s WHERE v = 'row 8888'", name))
	}
	for _, parts := range []int64{0, 3000} {
		for _, got := range run(t, from, to, compare.Options{PartRows: parts, Readers: 3}).Tables {
			if got.Table.Name == "bag" { // a changed row is one missing and one extra
				got.Missing, got.Extra, got.Changed = got.Missing-3, got.Extra-3, 3
			}
			if got.Missing != 3 || got.Extra != 1 || got.Changed != 3 || got.SourceRows != 9999 || got.TargetRows != 9997 {
				t.Errorf("parts of %d rows: %+v, want 3 missing, 1 extra, 3 changed", parts, got)
			}
		}
	}
}
