package compare_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/connect/postgres"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// pair is a column of one type with one value at each side, both as SQL.
type pair struct {
	name, native, source, target string
	equal                        bool
}

var hardPairs = []pair{
	{"null and null", "text", "NULL", "NULL", true},
	{"null and empty", "text", "NULL", "''", false},
	{"null and the word", "text", "NULL", "'NULL'", false},
	{"null and copy's null", "text", "NULL", `E'\\N'`, false},
	{"null and zero", "int", "NULL", "0", false},
	{"trailing space", "text", "'a'", "'a '", false},
	{"trailing space varchar", "varchar(10)", "'a'", "'a '", false},
	{"padded char", "char(4)", "'a'", "'a  '", true},
	{"leading space", "text", "'a'", "' a'", false},
	{"case", "text", "'abc'", "'ABC'", false},
	{"unicode forms", "text", `U&'\00e9'`, `U&'e\0301'`, false},
	{"sharp s", "text", "'straße'", "'strasse'", false},
	{"tab and spelled tab", "text", `E'a\tb'`, `E'a\\tb'`, false},
	{"newline", "text", `E'a\nb'`, `E'a\r\nb'`, false},
	{"backslash", "text", `E'a\\b'`, `E'a\\\\b'`, false},
	{"zero width", "text", "'ab'", `U&'a\200bb'`, false},
	{"large, last byte", "text", "repeat('x', 3000000) || 'a'", "repeat('x', 3000000) || 'b'", false},
	{"large, equal", "text", "repeat('xy', 1500000)", "repeat('xy', 1500000)", true},
	{"large, one longer", "text", "repeat('x', 100000)", "repeat('x', 100001)", false},
	{"minus zero", "float8", "'0'", "'-0'", false},
	{"minus zero float4", "float4", "'0'", "'-0'", false},
	{"nan", "float8", "'NaN'", "'NaN'", true},
	{"nan and null", "float8", "'NaN'", "NULL", false},
	{"infinity", "float8", "'Infinity'", "'-Infinity'", false},
	{"infinities", "float8", "'Infinity'", "'Infinity'", true},
	{"last bit", "float8", "0.3", "0.1::float8 + 0.2::float8", false},
	{"last bit float4", "float4", "'0.3'", "'0.30000004'", false},
	{"smallest", "float8", "'5e-324'", "'0'", false},
	{"numeric scale", "numeric", "1.0", "1.00", false},
	{"numeric equal", "numeric", "1.00", "1.00", true},
	{"numeric zero scale", "numeric", "0", "0.0", false},
	{"numeric fixed scale", "numeric(10,2)", "1.0", "1.00", true},
	{"numeric nan", "numeric", "'NaN'", "'NaN'", true},
	{"numeric nan and zero", "numeric", "'NaN'", "0", false},
	{"numeric infinity", "numeric", "'Infinity'", "'-Infinity'", false},
	{"numeric past float", "numeric", "12345678901234567", "12345678901234568", false},
	{"numeric deep", "numeric", "1e-100", "1.0000000001e-100", false},
	{"bigint past float", "int8", "9007199254740992", "9007199254740993", false},
	{"bigint ends", "int8", "-9223372036854775808", "9223372036854775807", false},
	{"json text", "json", `'{"a":1,"b":2}'`, `'{"a": 1, "b": 2}'`, false},
	{"jsonb text", "jsonb", `'{"a":1,"b":2}'`, `'{"b": 2,   "a": 1}'`, true},
	{"jsonb number scale", "jsonb", `'1.0'`, `'1.00'`, false},
	{"jsonb null and null", "jsonb", `'null'`, `NULL`, false},
	{"json duplicate key", "json", `'{"a":1,"a":2}'`, `'{"a":2}'`, false},
	{"instant, other zone", "timestamptz", "'2024-03-31 01:30:00+00'", "'2024-03-31 03:30:00+02'", true},
	{"instant, one micro", "timestamptz", "'2024-03-31 01:30:00.000001+00'", "'2024-03-31 01:30:00+00'", false},
	{"wall clock", "timestamp", "'2024-03-31 02:30:00'", "'2024-03-31 03:30:00'", false},
	{"timestamp infinity", "timestamp", "'infinity'", "'-infinity'", false},
	{"timestamp infinities", "timestamp", "'infinity'", "'infinity'", true},
	{"timestamp before christ", "timestamp", "'0044-03-15 BC'", "'0044-03-15'", false},
	{"date before christ", "date", "'0001-01-01 BC'", "'0001-01-01'", false},
	{"timetz, same moment", "timetz", "'12:00:00+00'", "'14:00:00+02'", false},
	{"midnight", "time", "'00:00:00'", "'24:00:00'", false},
	{"millisecond", "time", "'00:00:00.001'", "'00:00:00.999'", false},
	{"interval, same length", "interval", "'1 month'", "'30 days'", false},
	{"interval, same days", "interval", "'1 day'", "'24 hours'", false},
	{"bytea", "bytea", `'\x00'`, `'\x'`, false},
	{"bytea last byte", "bytea", `'\xdeadbeef00'`, `'\xdeadbeef01'`, false},
	{"bytea equal", "bytea", `'\xDEADBEEF'`, `'\xdeadbeef'`, true},
	{"bytea null", "bytea", `'\x'`, "NULL", false},
	{"array null", "text[]", "ARRAY[NULL]::text[]", "ARRAY['NULL']", false},
	{"array empty and null", "text[]", "ARRAY[]::text[]", "NULL", false},
	{"array null and empty text", "text[]", "ARRAY[NULL]::text[]", "ARRAY['']", false},
	{"array comma", "text[]", "ARRAY['a,b','c']", "ARRAY['a','b,c']", false},
	{"array shape", "int[]", "ARRAY[[1,2],[3,4]]", "ARRAY[1,2,3,4]", false},
	{"array bounds", "int[]", "'[0:1]={1,2}'", "'{1,2}'", false},
	{"array equal", "int[]", "ARRAY[1,NULL,3]", "'{1,NULL,3}'", true},
	{"uuid case", "uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", true},
	{"inet mask", "inet", "'10.0.0.1'", "'10.0.0.1/24'", false},
	{"bit length", "varbit", "B'01'", "B'1'", false},
	{"bool", "bool", "true", "false", false},
	{"range bounds", "int4range", "'[1,3]'", "'[1,4)'", true},
	{"range empty and null", "int4range", "'empty'", "NULL", false},
	{"money", "money", "'1.00'", "'1.01'", false},
	{"xml", "xml", "'<a/>'", "'<a></a>'", false},
	{"char type", `"char"`, "'a'", "'b'", false},
	{"oid past int4", "oid", "4294967295", "2147483647", false},
}

// shapes are the tables that each pair is put into. %s is the type.
var shapes = map[string]string{
	"keyed":   "(id int PRIMARY KEY, v %s)",
	"keyless": "(id int, v %s)",
}

// TestHardPairs puts each pair into tables of their own, among equal neighbours, with and without a key.
func TestHardPairs(t *testing.T) {
	for _, majors := range [][2]int{{15, 15}, {15, 18}, {18, 15}} {
		t.Run(fmt.Sprint(majors[0], " and ", majors[1]), func(t *testing.T) {
			from, to := dbtest.Database(t, majors[0]), dbtest.Database(t, majors[1])
			var a, b []string
			want := map[string]compare.State{}
			for i, p := range hardPairs {
				for shape, columns := range shapes {
					table := fmt.Sprintf("%s_%d", shape, i)
					create := "CREATE TABLE " + table + fmt.Sprintf(columns, p.native)
					fill := "; INSERT INTO " + table + " SELECT g, NULL FROM generate_series(1, 3) g; INSERT INTO " + table + " VALUES (2, NULL), (5, NULL)"
					if shape == "keyed" {
						fill = "; INSERT INTO " + table + " SELECT g, NULL FROM unnest(ARRAY[1, 3, 5]) g"
					}
					a = append(a, create+fill+fmt.Sprintf("; INSERT INTO %s VALUES (4, %s)", table, p.source))
					b = append(b, create+fill+fmt.Sprintf("; INSERT INTO %s VALUES (4, %s)", table, p.target))
					want["public."+table] = compare.Different
					if p.equal {
						want["public."+table] = compare.Equal
					}
				}
			}
			dbtest.Exec(t, from, a...)
			dbtest.Exec(t, to, b...)
			result := run(t, from, to, compare.Options{})
			if len(result.Tables) != len(want) {
				t.Errorf("%d tables compared, want %d", len(result.Tables), len(want))
			}
			for _, got := range result.Tables {
				checkPair(t, got, want[got.Table.String()])
			}
		})
	}
}

func checkPair(t *testing.T, got compare.TableResult, want compare.State) {
	t.Helper()
	name := got.Table.Name
	var i int
	shape, number, _ := strings.Cut(name, "_")
	if _, err := fmt.Sscan(number, &i); err != nil {
		t.Fatal(err)
	}
	p := hardPairs[i]
	if got.State != want {
		t.Errorf("%s %s: %s, want %s: %+v", shape, p.name, got.State, want, got)
	}
	differences := [3]int64{got.Missing, got.Extra, got.Changed}
	expected := [3]int64{}
	if want == compare.Different {
		expected = map[string][3]int64{"keyed": {0, 0, 1}, "keyless": {1, 1, 0}}[shape]
	}
	if differences != expected {
		t.Errorf("%s %s: missing, extra, changed = %v, want %v: %+v", shape, p.name, differences, expected, got.Differences)
	}
	if rows := map[string]int64{"keyed": 4, "keyless": 6}[shape]; got.SourceRows != rows || got.TargetRows != rows {
		t.Errorf("%s %s: %d and %d rows, want %d", shape, p.name, got.SourceRows, got.TargetRows, rows)
	}
}

// TestHardKeys has keys whose order or equality differs between a database and a program.
func TestHardKeys(t *testing.T) {
	keys := map[string]struct{ native, values string }{
		"case":      {"text", "('a'), ('A'), ('b'), ('B'), ('ä'), ('z'), ('Z'), (''), (' '), ('a b'), ('ab'), ('a-b'), ('a_b')"},
		"collated":  {`text COLLATE "en-x-icu"`, "('a'), ('A'), ('b'), ('B'), ('ä'), ('z'), ('Z'), ('a b'), ('ab'), ('a-b')"},
		"char":      {"char(3)", "('a'), ('b'), ('A'), ('')"},
		"integer":   {"int8", "(-9223372036854775808), (-1), (0), (1), (9223372036854775807)"},
		"oid":       {"oid", "(0), (4294967295), (2147483648), (7)"},
		"small":     {"int2", "(-32768), (-1), (0), (32767)"},
		"numeric":   {"numeric", "(-1), (-0.5), (0), (0.1), (1e50), (1e-50), ('NaN'), ('Infinity'), ('-Infinity'), (10), (9)"},
		"float":     {"float8", "(-1), ('-0'), ('NaN'), ('Infinity'), ('-Infinity'), (5e-324), (1e308)"},
		"bytes":     {"bytea", `('\x'), ('\x00'), ('\x0001'), ('\xff'), ('\x7f')`},
		"date":      {"date", "('infinity'), ('-infinity'), ('0044-03-15 BC'), ('2024-02-29'), ('1969-12-31')"},
		"instant":   {"timestamptz", "('infinity'), ('-infinity'), ('2024-01-01 00:00:00+14'), ('2024-01-01 00:00:00-12'), ('1969-12-31 23:59:59.999999+00')"},
		"timetz":    {"timetz", "('12:00+00'), ('14:00+02'), ('11:00-03'), ('12:00+01')"},
		"interval":  {"interval", "('1 mon'), ('29 days'), ('-1 day'), ('1 year'), ('24:00:01')"},
		"uuid":      {"uuid", "('ffffffff-0000-0000-0000-000000000000'), ('00000000-0000-0000-0000-000000000000'), ('0fffffff-0000-0000-0000-000000000000')"},
		"inet":      {"inet", "('10.0.0.1'), ('9.0.0.1'), ('::1'), ('10.0.0.1/8')"},
		"boolean":   {"bool", "(false), (true)"},
		"array":     {"int[]", "('{1,10}'), ('{1,9}'), ('{}'), ('{NULL}'), ('{2}')"},
		"enum":      {"mood", "('sad'), ('ok'), ('happy')"},
		"mixedcase": {"varchar(5)", "('a,b'), ('a'), ('b'), (',')"},
	}
	for _, majors := range [][2]int{{15, 18}, {18, 15}} {
		from, to := dbtest.Database(t, majors[0]), dbtest.Database(t, majors[1])
		for _, url := range []string{from, to} {
			dbtest.Exec(t, url, "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
			for name, k := range keys {
				dbtest.Exec(t, url, fmt.Sprintf(`CREATE TABLE %q (k %s PRIMARY KEY, n int DEFAULT 1); INSERT INTO %q VALUES %s`, name, k.native, name, k.values))
			}
		}
		for _, got := range run(t, from, to, compare.Options{}).Tables {
			if got.State != compare.Equal || len(got.Key) != 1 || got.SourceRows == 0 {
				t.Errorf("postgres %v: %+v, want equal", majors, got)
			}
		}
		// One row less at one side, another less at the other: exactly these two are found.
		for name := range keys {
			dbtest.Exec(t, from, fmt.Sprintf("DELETE FROM %q WHERE k = (SELECT k FROM %q ORDER BY k LIMIT 1)", name, name))
			dbtest.Exec(t, to, fmt.Sprintf("DELETE FROM %q WHERE k = (SELECT k FROM %q ORDER BY k DESC LIMIT 1)", name, name))
		}
		for _, got := range run(t, from, to, compare.Options{}).Tables {
			if got.State != compare.Different || got.Missing != 1 || got.Extra != 1 || got.Changed != 0 {
				t.Errorf("postgres %v: %+v, want 1 missing and 1 extra", majors, got)
			}
		}
	}
}

func open(t testing.TB, url string) waybill.View {
	t.Helper()
	v, err := postgres.Connector().OpenView(context.Background(), waybill.Endpoint{Name: "x", Kind: "postgres", URL: waybill.NewSecret(url)}, waybill.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// run compares two databases twice, with digests first and without, and wants one verdict.
func run(t *testing.T, from, to string, o compare.Options) compare.Result {
	t.Helper()
	once := func(direct int64) compare.Result {
		o.Source, o.Target, o.Direct = open(t, from), open(t, to), direct
		result, err := compare.Run(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(o.Source.Close(), o.Target.Close()); err != nil {
			t.Fatal(err)
		}
		return result
	}
	merged, digested := once(math.MaxInt64), once(-1)
	if diff := cmp.Diff(merged, digested, untimed); diff != "" {
		t.Errorf("without and with digests (-without +with):\n%s", diff)
	}
	return digested
}

// untimed leaves out what no two comparisons have in common.
var untimed = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Took" }, cmp.Ignore())

// TestBags compares tables without keys.
func TestBags(t *testing.T) {
	cases := map[string]struct {
		source, target                    string
		missing, extra, sourceRows, kinds int64
	}{
		"same rows, other order":     {"(1,'a'), (2,'b'), (1,'a')", "(2,'b'), (1,'a'), (1,'a')", 0, 0, 3, 0},
		"one copy less":              {"(1,'a'), (1,'a'), (1,'a')", "(1,'a')", 2, 0, 3, 1},
		"pairs of two":               {"(1,'a'), (1,'a')", "(2,'b'), (2,'b')", 2, 2, 2, 2},
		"nulls":                      {"(NULL,NULL), (NULL,'a'), (1,NULL)", "(1,NULL), (NULL,'a'), (NULL,NULL)", 0, 0, 3, 0},
		"a null moved":               {"(NULL,'a'), (1,NULL)", "(NULL,NULL), (1,'a')", 2, 2, 2, 4},
		"separator":                  {"(1,'a,b')", "(1,'a'), (1,'b')", 1, 2, 1, 3},
		"text only, other order":     {"(1,'B'), (1,'a'), (1,'C')", "(1,'a'), (1,'B'), (1,'C')", 0, 0, 3, 0},
		"empty and three":            {"(0,'') LIMIT 0", "(1,'a'), (2,'b'), (3,'c')", 0, 3, 0, 3},
		"one against none in middle": {"(1,'a'), (2,'b'), (3,'c')", "(1,'a'), (3,'c')", 1, 0, 3, 1},
	}
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 15)
	for name, c := range cases {
		for url, rows := range map[string]string{from: c.source, to: c.target} {
			dbtest.Exec(t, url, fmt.Sprintf("CREATE TABLE %q (n numeric, v text); INSERT INTO %q VALUES %s", name, name, rows))
		}
	}
	for _, got := range run(t, from, to, compare.Options{}).Tables {
		c := cases[got.Table.Name]
		if got.Missing != c.missing || got.Extra != c.extra || got.SourceRows != c.sourceRows || got.Key != nil || int64(len(got.Differences)) != c.kinds {
			t.Errorf("%s: %+v, want %+v", got.Table, got, c)
		}
	}
}

// TestEqualInOrder has rows of a bag that the order cannot tell apart and that still differ.
func TestEqualInOrder(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 18)
	dbtest.Exec(t, from, "CREATE TABLE a (n numeric, f float8); INSERT INTO a VALUES (1.0, 0), (1.00, 0), (1.000, '-0'), (1, 0), (1, 0)")
	dbtest.Exec(t, to, "CREATE TABLE a (n numeric, f float8); INSERT INTO a VALUES (1, 0), (1.000, '-0'), (1.00, 0), (1.0, 0), (1, '-0')")
	got := run(t, from, to, compare.Options{}).Tables[0]
	var kinds []compare.DifferenceKind
	for _, d := range got.Differences {
		kinds = append(kinds, d.Kind)
		if d.Count != 1 || len(d.Key) != 2 || *d.Key[0].Value != "1" {
			t.Errorf("difference %+v, want one row with n = 1", d)
		}
	}
	slices.Sort(kinds)
	if diff := cmp.Diff([]compare.DifferenceKind{compare.Extra, compare.Missing}, kinds); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}
