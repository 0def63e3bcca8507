package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// applyValues are types with the extremes of their values, as SQL expressions.
var applyValues = []struct {
	name   string
	values []string
}{
	{"boolean", []string{"true", "false"}},
	{"smallint", []string{"-32768", "32767"}},
	{"integer", []string{"-2147483648", "2147483647"}},
	{"bigint", []string{"-9223372036854775808", "9223372036854775807"}},
	{"oid", []string{"4294967295"}},
	{"real", []string{"'NaN'", "'-0'", "'Infinity'", "1e-45", "3.4028235e38"}},
	{"double precision", []string{"'NaN'", "'-0'", "'-Infinity'", "5e-324", "0.1"}},
	{"numeric", []string{"'NaN'", "1.00", "-0.000", "1e-130", "123456789012345678901234567890.12345"}},
	{"numeric(10,2)", []string{"-99999999.99"}},
	{"money", []string{"'-92233720368547758.08'"}},
	{"text", []string{"''", `E'\t\n\r\\\'\x01'`, "'NULL'", "'{a,\"b\"}'", "'\U0001F600'"}},
	{"varchar(5)", []string{"'abc  '"}},
	{"char(5)", []string{"'ab'"}},
	{`"char"`, []string{"'x'"}},
	{"name", []string{"'n'"}},
	{"bytea", []string{`'\x'`, `'\x00ff5c27'`}},
	{"date", []string{"'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'"}},
	{"time", []string{"'24:00'", "'00:00:00.000001'"}},
	{"time(2)", []string{"'12:00:00.12'"}},
	{"timetz", []string{"'24:00-15:59'", "'01:02:03.4+00'"}},
	{"timestamp", []string{"'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"}},
	{"timestamptz", []string{"'infinity'", "'-infinity'", "'4713-01-01 00:00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'"}},
	{"interval", []string{"'-1 year 2 mons -3 days 04:05:06.789'", "'00:00'"}},
	{"uuid", []string{"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}},
	{"json", []string{`'{"b": 1.0, "a": [null, "\u0041"],  "b": 2}'`, "'null'"}},
	{"jsonb", []string{`'{"b": 1.0, "a": [null, "x"]}'`, "'null'"}},
	{"xml", []string{"'<a>b</a>'", "'text'"}},
	{"inet", []string{"'192.168.0.1'", "'::1/64'"}},
	{"cidr", []string{"'10.0.0.0/8'"}},
	{"macaddr", []string{"'08:00:2b:01:02:03'"}},
	{"bit(3)", []string{"B'101'"}},
	{"bit varying", []string{"B''", "B'1011'"}},
	{"tsvector", []string{"'''a b'':1A c'"}},
	{"point", []string{"'(1.5,-2)'"}},
	{"int4range", []string{"'empty'", "'[1,)'"}},
	{"integer[]", []string{"'{}'", "'[0:1][2:3]={{1,NULL},{3,4}}'"}},
	{"text[]", []string{`ARRAY['', NULL, 'NULL', 'a"b\c', '{}']`}},
	{"public.mood", []string{"'sad'", "'quite \"happy\"'"}},
	{"public.pair", []string{"ROW(1, 'a,b')::public.pair", "ROW(NULL, '')::public.pair"}},
	{"public.small", []string{"7"}},
	{"public.smalls", []string{"'{7,8}'"}},
}

var typeDefinitions = []string{
	`CREATE TYPE mood AS ENUM ('sad', 'quite "happy"')`, "CREATE TYPE pair AS (a int, b text)",
	"CREATE DOMAIN small AS int CHECK (VALUE < 10)", "CREATE DOMAIN smalls AS int[]",
}

// TestApplyIsExactForEveryType reads rows from one database and applies them to another, as an insert, as an
// update, by COPY and through a bag, and compares the texts.
func TestApplyIsExactForEveryType(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		definition := []string{"id int"}
		rows := []string{"(0" + strings.Repeat(", NULL", len(applyValues)) + ")"}
		for n := range 5 {
			row := []string{string(rune('1' + n))}
			for i, c := range applyValues {
				if n == 0 {
					definition = append(definition, "c"+string(rune('a'+i/26))+string(rune('a'+i%26))+" "+c.name)
				}
				row = append(row, "("+c.values[n%len(c.values)]+")::"+c.name)
			}
			rows = append(rows, "("+strings.Join(row, ", ")+")")
		}
		body := "(" + strings.Join(definition, ", ") + ")"
		setup := append(typeDefinitions[:len(typeDefinitions):len(typeDefinitions)], "CREATE TABLE a "+body, "ALTER TABLE a ADD PRIMARY KEY (id)", "CREATE TABLE bag "+body)
		source := dbtest.Database(t, major)
		dbtest.Exec(t, source, append(setup, "INSERT INTO a VALUES "+strings.Join(rows, ", "))...)
		r := newSinkRig(t, major, setup...)
		v, bag := r.version("a"), r.version("bag")
		all := r.rows(source, v)

		var inserts, updates, bags, less []waybill.Change
		for i, row := range all {
			inserts = append(inserts, waybill.Change{Op: waybill.Insert, Version: v, After: row})
			turned := append(waybill.Row{row[0]}, all[(i+1)%len(all)][1:]...)
			updates = append(updates, waybill.Change{Op: waybill.Update, Version: v, After: turned})
			bags = append(bags, waybill.Change{Op: waybill.Insert, Version: bag, After: row})
			less = append(less, waybill.Change{Op: waybill.Delete, Version: bag, Before: row})
		}
		want := texts(t, source, "SELECT x::text FROM a x ORDER BY id")
		r.apply("1", inserts...)
		r.want("SELECT x::text FROM a x ORDER BY id", want...)
		r.apply("2", updates...)
		r.want("SELECT count(*) FROM a", "6")
		for i := range updates {
			updates[i].After = all[i]
		}
		r.apply("3", updates...)
		r.want("SELECT x::text FROM a x ORDER BY id", want...)
		for range 1 + minCopyRows/len(bags) {
			bags = append(bags, bags[:len(all)]...)
		}
		r.apply("4", bags...)
		r.apply("5", less...)
		r.want("SELECT x::text FROM (SELECT DISTINCT ON (id) * FROM bag ORDER BY id) x ORDER BY id", want...)
		r.want("SELECT DISTINCT count(*) FROM bag GROUP BY id", dbtest.Rows(t, r.url, "SELECT count(*) FROM bag WHERE id = 1")[0][0])
	})
}

// rows reads a table through a view of the source.
func (r *sinkRig) rows(url string, v *waybill.TableVersion) []waybill.Row {
	r.t.Helper()
	ctx := context.Background()
	view, err := openView(ctx, waybill.Endpoint{Name: "source", Kind: kind, URL: waybill.NewSecret(url)}, waybill.ViewOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer view.Close()
	slices, err := view.Slices(ctx, v, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var rows []waybill.Row
	for batch, err := range view.Read(ctx, slices[0]) {
		if err != nil {
			r.t.Fatal(err)
		}
		for _, row := range batch.Rows {
			rows = append(rows, row.Clone())
		}
	}
	return rows
}

func texts(t *testing.T, url, query string) []string {
	t.Helper()
	var lines []string
	for _, row := range dbtest.Rows(t, url, query) {
		lines = append(lines, strings.Join(row, "|"))
	}
	return lines
}

// TestApplyFindsRowsByKeysOfEveryType updates, moves and deletes by keys whose index has its own operators or
// collation.
func TestApplyFindsRowsByKeysOfEveryType(t *testing.T) {
	types := []struct{ name, one, two, three string }{
		{"smallint", "1", "2", "3"}, {"numeric", "1.0", "1.5", "NaN"}, {"text COLLATE \"C\"", "a", "B", ""}, {"varchar(9)", "a", "b", "c"},
		{"char(3)", "a  ", "b  ", "c  "}, {"timestamptz", "2024-01-01 00:00:00+00", "infinity", "-infinity"}, {"boolean", "t", "f", ""},
		{"public.mood", "sad", `quite "happy"`, ""}, {"public.citext", "a", "B", "c"}, {"double precision", "NaN", "0.1", "2"},
		{"uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002", "00000000-0000-0000-0000-000000000003"},
		{"bytea", `\x01`, `\x`, `\x02`}, {"inet", "1.1.1.1", "::1", "2.2.2.2/8"}, {"integer[]", "{1}", "{}", "{2}"}, {"interval", "PT1H", "P1D", "P1M"},
		{"public.small", "1", "2", "3"}, {"date", "2024-01-01", "infinity", "0001-01-01 BC"}, {"public.named COLLATE \"POSIX\"", "a", "b", "c"},
	}
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, append(typeDefinitions, "CREATE EXTENSION citext SCHEMA public", "CREATE DOMAIN named AS varchar(7)")...)
		for i, c := range types {
			table := "k" + string(rune('a'+i))
			dbtest.Exec(t, r.url, "CREATE TABLE "+table+" (k "+c.name+" PRIMARY KEY, v int)")
			v := r.version(table)
			r.apply(waybill.Position(table+"1"), r.insert(v, c.one, "1"), r.insert(v, c.two, "2"))
			changes := []waybill.Change{r.update(v, c.one, "10")}
			want := "10"
			if c.three != "" {
				changes = append(changes, r.move(v, r.row(v, c.two, "~"), c.three, "3"))
				want = "3,10"
			} else {
				changes = append(changes, r.remove(v, c.two, "~"))
			}
			r.apply(waybill.Position(table+"2"), changes...)
			r.want("SELECT string_agg(v::text, ',' ORDER BY v) FROM "+table, want)
			if r.sink.targets[v.Table].unindexed {
				t.Errorf("%s: the key's index was not found", c.name)
			}
			wantFault(t, r.try("x", r.update(v, c.two, "1")), waybill.Drift, "public."+table)
		}
	})
}
