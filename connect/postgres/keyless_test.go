package postgres

import (
	"testing"

	"github.com/waybill-data/waybill"
)

func TestApplyToATableWithoutKey(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE a (x int, y text, j json, p point, f float8, c char(4), n numeric)",
			"ALTER TABLE a REPLICA IDENTITY FULL",
			`INSERT INTO a SELECT 1, NULL, '{"a": 1}', '(1,2)', 'NaN', 'ab', 1.0 FROM generate_series(1, 3)`,
			`INSERT INTO a VALUES (1, NULL, '{"a": 1}', '(1,2)', 'NaN', 'ab', 1.00), (1, '', '{"a": 1}', '(1,2)', 'NaN', 'ab', 1.0)`)
		v := r.version("a")
		same := func(y, n string) []string { return []string{"1", y, `{"a": 1}`, "(1,2)", "NaN", "ab  ", n} }
		r.apply("1", r.remove(v, same("NULL", "1.0")...))
		r.want("SELECT y, n::text, count(*) FROM a GROUP BY 1, 2 ORDER BY 1, 2", "|1.0|1", "NULL|1.0|2", "NULL|1.00|1")
		r.apply("2", r.remove(v, same("NULL", "1.00")...), r.insert(v, same("z", "3")...), r.insert(v, same("z", "3")...), r.insert(v, same("q", "4")...),
			r.remove(v, same("q", "4")...), r.move(v, r.row(v, same("NULL", "1.0")...), same("w", "1.0")...))
		r.want("SELECT y, n::text, count(*) FROM a GROUP BY 1, 2 ORDER BY 1, 2", "|1.0|1", "w|1.0|1", "z|3|2", "NULL|1.0|1")
		r.apply("3", r.move(v, r.row(v, same("z", "3")...), "~", "zz", "~", "~", "~", "~", "~"))
		r.want("SELECT y, n, count(*) FROM a WHERE n = 3 GROUP BY 1, 2 ORDER BY 1", "z|3|1", "zz|3|1")
		wantFault(t, r.try("4", r.remove(v, same("z", "3")...), r.remove(v, same("z", "3")...)), waybill.Drift, "public.a", "1 of 2")
		r.want("SELECT count(*) FROM a WHERE y = 'z'", "1")
	})
}

func TestApplyToAPartitionedTableWithoutKey(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE a (x int NOT NULL, y text) PARTITION BY LIST (x)", "CREATE TABLE a1 PARTITION OF a FOR VALUES IN (1)",
			"CREATE TABLE a2 PARTITION OF a FOR VALUES IN (2)", "INSERT INTO a VALUES (1, 'a'), (1, 'a'), (2, 'a'), (2, 'a')")
		v := r.version("a")
		r.apply("1", r.remove(v, "1", "a"), r.move(v, r.row(v, "2", "a"), "2", "b"))
		r.want("SELECT * FROM a ORDER BY x, y", "1|a", "2|a", "2|b")
	})
}

func TestApplyWithADeferrableKey(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY DEFERRABLE, b text)", "ALTER TABLE a REPLICA IDENTITY FULL", "INSERT INTO a VALUES (1, 'one'), (2, 'two')")
	v := r.version("a")
	if len(v.Key) > 0 {
		v.Identity = waybill.IdentityFull
	}
	r.apply("1", r.move(v, r.row(v, "1", "one"), "2", "one"), r.move(v, r.row(v, "2", "two"), "1", "two"))
	r.want("SELECT * FROM a ORDER BY id", "1|two", "2|one")
}

func TestApplyRefusesAnOldRowThatIsNotWhole(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (x int, y text)", "INSERT INTO a VALUES (1, 'a')")
	v := r.version("a")
	wantFault(t, r.try("1", r.remove(v, "1", "~")), waybill.Setup, "public.a")
	wantFault(t, r.try("1", waybill.Change{Op: waybill.Update, Version: v, After: r.row(v, "1", "b")}), waybill.Setup, "public.a")
	r.want("SELECT * FROM a", "1|a")
}
