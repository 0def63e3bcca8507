package compare_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// TestRules has a column of each type with values that identity tells apart, with a rule and without.
func TestRules(t *testing.T) {
	cases := map[string]struct {
		types          [2]string
		source, target string
		rule           compare.Rule
		equal          bool
	}{
		"scale":               {[2]string{"numeric", "numeric"}, "1.0", "1.00", compare.Number, true},
		"zeros":               {[2]string{"numeric", "numeric"}, "1000", "1000.000", compare.Number, true},
		"zero":                {[2]string{"numeric", "numeric"}, "0.000", "0", compare.Number, true},
		"digit":               {[2]string{"numeric", "numeric"}, "1.01", "1.1", compare.Number, false},
		"deep":                {[2]string{"numeric", "numeric"}, "1e-90", "1.0e-90", compare.Number, true},
		"sign":                {[2]string{"numeric", "numeric"}, "1", "-1", compare.Number, false},
		"minus zero":          {[2]string{"float8", "float8"}, "'0'", "'-0'", compare.Number, true},
		"last bit":            {[2]string{"float8", "float8"}, "0.3", "0.1::float8 + 0.2::float8", compare.Number, false},
		"integer and decimal": {[2]string{"int", "numeric(10,2)"}, "7", "7.00", compare.Number, true},
		"integer and float":   {[2]string{"int8", "float8"}, "9007199254740993", "9007199254740992", compare.Number, false},
		"nan":                 {[2]string{"float8", "numeric"}, "'NaN'", "'NaN'", compare.Number, true},
		"null is no zero":     {[2]string{"int", "int"}, "NULL", "0", compare.Number, false},
		"keys":                {[2]string{"json", "json"}, `'{"a": 1, "b": [1, 2]}'`, `'{"b":[1,2],"a":1.0}'`, compare.JSON, true},
		"elements":            {[2]string{"json", "json"}, `'[1, 2]'`, `'[2, 1]'`, compare.JSON, false},
		"json null":           {[2]string{"json", "json"}, `'null'`, `'"null"'`, compare.JSON, false},
		"json strings":        {[2]string{"json", "jsonb"}, `'"\u00e9"'`, `'"é"'`, compare.JSON, true},
		"json number string":  {[2]string{"json", "json"}, `'1'`, `'"1"'`, compare.JSON, false},
		"spaces":              {[2]string{"text", "char(5)"}, "'a'", "'a'", compare.Trimmed, true},
		"leading spaces":      {[2]string{"text", "text"}, "' a'", "'a'", compare.Trimmed, false},
		"empty":               {[2]string{"text", "text"}, "''", "NULL", compare.EmptyNull, true},
		"space":               {[2]string{"text", "text"}, "' '", "NULL", compare.EmptyNull, false},
		"millis":              {[2]string{"timestamptz", "timestamptz(3)"}, "'2024-01-01 00:00:00.0004'", "'2024-01-01 00:00:00'", compare.Millis, true},
		"millis before 1970":  {[2]string{"timestamp", "timestamp"}, "'1960-01-01 00:00:00.000999'", "'1960-01-01 00:00:00'", compare.Millis, true},
		"seconds":             {[2]string{"timestamp", "timestamp(0)"}, "'2024-01-01 00:00:00.4'", "'2024-01-01 00:00:00'", compare.Seconds, true},
		"next second":         {[2]string{"timestamp", "timestamp"}, "'2024-01-01 00:00:00.9'", "'2024-01-01 00:00:01'", compare.Seconds, false},
		"infinity":            {[2]string{"timestamp", "timestamp"}, "'infinity'", "'-infinity'", compare.Seconds, false},
		"printed":             {[2]string{"int", "text"}, "7", "'7'", compare.Printed, true},
	}
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 15)
	var rules []compare.ColumnRule
	for name, c := range cases {
		for i, url := range []string{from, to} {
			value := []string{c.source, c.target}[i]
			dbtest.Exec(t, url, `CREATE TABLE "`+name+`" (id int PRIMARY KEY, v `+c.types[i]+`); INSERT INTO "`+name+`" VALUES (1, NULL), (2, `+value+`)`)
		}
		rules = append(rules, compare.ColumnRule{Name: compare.ColumnName{Table: waybill.TableName{Schema: "public", Name: name}, Column: "v"}, Rule: c.rule})
	}
	for _, got := range run(t, from, to, compare.Options{Rules: rules}).Tables {
		c := cases[got.Table.Name]
		if (got.State == compare.Equal) != c.equal || got.State == compare.Refused || got.Whole() {
			t.Errorf("%s under the rule %s: %+v, want equal %v", got.Table.Name, c.rule, got, c.equal)
		}
	}
	for _, got := range run(t, from, to, compare.Options{}).Tables {
		if got.State == compare.Equal {
			t.Errorf("%s is equal without a rule", got.Table.Name)
		}
	}
}

func TestParts(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 18)
	for i, url := range []string{from, to} {
		dbtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY, at timestamptz, day date, kind text, v int)",
			"INSERT INTO a SELECT g, '2024-01-01'::timestamptz + g * interval '1 hour', '2024-01-01'::date + g, CASE WHEN g % 2 = 0 THEN 'even' ELSE 'odd' END, g FROM generate_series(0, 99) g",
			"INSERT INTO a VALUES (1000, NULL, NULL, 'odd', "+[]string{"1", "2"}[i]+")", "SET timezone = 'Asia/Tokyo'")
	}
	// Differences: id 1000 without time, id 50 at 2024-01-03 02:00, day 2024-02-20.
	dbtest.Exec(t, to, "UPDATE a SET v = -1 WHERE id = 50")
	day := func(d int) time.Time { return time.Date(2024, 1, d, 0, 0, 0, 0, time.UTC) }
	cases := map[string]struct {
		o               compare.Options
		state           compare.State
		source, changed int64
	}{
		"all":           {compare.Options{}, compare.Different, 101, 2},
		"before":        {compare.Options{Window: compare.Window{Column: "at", To: day(3).Add(2 * time.Hour)}}, compare.Equal, 50, 0},
		"from":          {compare.Options{Window: compare.Window{Column: "at", From: day(3).Add(2 * time.Hour)}}, compare.Different, 50, 1},
		"between":       {compare.Options{Window: compare.Window{Column: "at", From: day(3), To: day(3).Add(3 * time.Hour)}}, compare.Different, 3, 1},
		"days":          {compare.Options{Window: compare.Window{Column: "day", From: day(2), To: day(4)}}, compare.Equal, 2, 0},
		"odd":           {compare.Options{Where: "kind = 'odd' -- not even"}, compare.Different, 51, 1},
		"odd with time": {compare.Options{Where: "kind = 'odd' OR false", Window: compare.Window{Column: "at"}}, compare.Equal, 50, 0},
		"without v":     {compare.Options{Without: []compare.ColumnName{{Column: "v"}}}, compare.Equal, 101, 0},
		"only kind":     {compare.Options{Columns: []compare.ColumnName{{Column: "kind"}}}, compare.Equal, 101, 0},
		"only v":        {compare.Options{Columns: []compare.ColumnName{{Column: "v"}}}, compare.Different, 101, 2},
		"quick":         {compare.Options{Quick: true}, compare.SameCount, 101, 0},
		"no such time":  {compare.Options{Window: compare.Window{Column: "kind", From: day(1)}}, compare.Refused, 0, 0},
		"noon":          {compare.Options{Window: compare.Window{Column: "day", From: day(1).Add(12 * time.Hour)}}, compare.Refused, 0, 0},
		"no column":     {compare.Options{Window: compare.Window{Column: "x", From: day(1)}}, compare.Refused, 0, 0},
	}
	for name, c := range cases {
		got := run(t, from, to, c.o).Tables[0]
		if got.State != c.state || got.SourceRows != c.source || got.Changed != c.changed {
			t.Errorf("%s: %+v, want %s with %d changed of %d rows", name, got, c.state, c.changed, c.source)
		}
		if got.State == compare.Equal && got.Whole() {
			t.Errorf("%s: the verdict claims to be about the whole table: %+v", name, got)
		}
	}
}

func TestOtherName(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 15)
	dbtest.Exec(t, from, "CREATE TABLE a (id int PRIMARY KEY, v int DEFAULT 1 UNIQUE); INSERT INTO a VALUES (1, 1), (2, 2)")
	dbtest.Exec(t, to, "CREATE SCHEMA old; CREATE TABLE old.b (id int PRIMARY KEY, v int); CREATE INDEX ON old.b (v); INSERT INTO old.b VALUES (1, 1), (2, 3)")
	a, b := waybill.TableName{Schema: "public", Name: "a"}, waybill.TableName{Schema: "old", Name: "b"}
	o := compare.Options{As: map[waybill.TableName]waybill.TableName{a: b}, Owned: func(waybill.TableName) bool { return true }}
	got := run(t, from, to, o)
	if len(got.Tables) != 1 || got.Tables[0].Table != a || got.Tables[0].Changed != 1 {
		t.Fatalf("%+v, want one table with one changed row", got)
	}
	want := []string{"column v: default 1 at the source, no default at the target", "constraint is missing at the target: UNIQUE (v)",
		"index is only at the target: btree (v)"}
	if diff := cmp.Diff(want, got.Tables[0].Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	o.Quick = true
	dbtest.Exec(t, to, "INSERT INTO old.b VALUES (3, 3)")
	if got := run(t, from, to, o).Tables[0]; got.State != compare.Different || got.SourceRows != 2 || got.TargetRows != 3 {
		t.Errorf("%+v, want 2 and 3 rows", got)
	}
}

func TestNamesThatAreNowhere(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY, v int)")
	x := waybill.TableName{Schema: "public", Name: "x"}
	for want, o := range map[string]compare.Options{
		"no compared table has a column w":          {Without: []compare.ColumnName{{Column: "w"}}},
		"no compared table has a column public.x.v": {Columns: []compare.ColumnName{{Table: x, Column: "v"}}},
		"no compared table has a column z":          {Rules: []compare.ColumnRule{{Name: compare.ColumnName{Column: "z"}, Rule: compare.Number}}},
		"the source has no table public.x":          {As: map[waybill.TableName]waybill.TableName{x: x}},
	} {
		o.Source, o.Target = open(t, url), open(t, url)
		if _, err := compare.Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for _, name := range []string{"v", "public.a.v"} {
		if parsed, err := compare.ParseColumnName(name); err != nil || parsed.String() != name {
			t.Errorf("%q became %v, %v", name, parsed, err)
		}
	}
}
