package compare_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
)

func keyed(kinds ...waybill.Kind) *waybill.TableVersion {
	v := &waybill.TableVersion{Table: waybill.TableName{Schema: "s", Name: "t"}, Key: []int{0}}
	for i, k := range kinds {
		v.Columns = append(v.Columns, waybill.Column{Name: fmt.Sprint("c", i), Type: waybill.Type{Kind: k, Native: k.String()}})
	}
	return v
}

func ints(keys ...int64) []waybill.Row {
	var rows []waybill.Row
	for _, k := range keys {
		rows = append(rows, waybill.Row{waybill.IntValue(k), waybill.TextValue(fmt.Sprint("v", k))})
	}
	return rows
}

func pairOf(source, target []waybill.Row) (*fake, *fake) {
	v := keyed(waybill.KindInt, waybill.KindText)
	return &fake{version: v, rows: source, batch: 3}, &fake{version: v, rows: target, batch: 2}
}

func TestBrokenReadsEndTheRun(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cases := map[string]struct {
		source, target []waybill.Row
		fail           error
		want           string
	}{
		"source out of order":       {ints(1, 3, 2, 4), ints(1, 2, 3, 4), nil, "out of order"},
		"target out of order":       {ints(1, 2, 3, 4, 5, 6), ints(1, 3, 5, 6, 4, 2), nil, "out of order"},
		"out of order over a batch": {ints(5, 6, 7, 1), ints(1, 5, 6, 7), nil, "out of order"},
		"connection lost":           {ints(1, 2, 3), ints(1, 2, 3), errors.New("connection lost"), "target: connection lost"},
		"absent value":              {[]waybill.Row{{waybill.IntValue(1), {}}}, []waybill.Row{{waybill.IntValue(1), {}}}, nil, "was not read"},
		"short row":                 {[]waybill.Row{{waybill.IntValue(1)}}, []waybill.Row{{waybill.IntValue(1)}}, nil, "1 values for 2 columns"},
	}
	for name, c := range cases {
		source, target := pairOf(c.source, c.target)
		target.fail = c.fail
		found := 0
		result, err := compare.Run(context.Background(), compare.Options{Source: source, Target: target,
			Found: func(compare.Difference) error { found++; return nil }})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if len(result.Tables) != 0 || c.fail != nil && found != 0 {
			t.Errorf("%s: %d tables and %d differences, want none of an interrupted comparison", name, len(result.Tables), found)
		}
	}
}

// TestRefusedTable goes on after an error that is about one table's rows.
func TestRefusedTable(t *testing.T) {
	source, target := pairOf(ints(1, 2), ints(1, 2))
	target.fail = &waybill.Error{Op: "read", Fault: waybill.Data, Err: errors.New("no such value")}
	result, err := compare.Run(context.Background(), compare.Options{Source: source, Target: target})
	if err != nil || len(result.Tables) != 1 || result.Tables[0].State != compare.Refused || result.Equal() {
		t.Errorf("%+v, %v; want one table refused and nothing proved", result, err)
	}
}

func TestFoundEndsTheRun(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	source, target := pairOf(ints(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20), nil)
	full := errors.New("disk full")
	_, err := compare.Run(context.Background(), compare.Options{Source: source, Target: target, Found: func(compare.Difference) error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

func TestCancel(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(context.Background())
	many := make([]int64, 1000)
	for i := range many {
		many[i] = int64(i)
	}
	source, target := pairOf(ints(many...), ints(2))
	_, err := compare.Run(ctx, compare.Options{Source: source, Target: target, Found: func(compare.Difference) error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

// TestStructure has tables that are not the same table.
func TestStructure(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 18)
	dbtest.Exec(t, from,
		"CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1)",
		"CREATE TABLE less (id int PRIMARY KEY, a int, b int); INSERT INTO less VALUES (1, 2, 3)",
		"CREATE TABLE moved (id int PRIMARY KEY, a int, b int); INSERT INTO moved VALUES (1, 2, 3)",
		"CREATE TABLE wider (id int PRIMARY KEY, a int NOT NULL); INSERT INTO wider VALUES (1, 2), (2, 3)",
		"CREATE TABLE keytype (id int PRIMARY KEY); INSERT INTO keytype VALUES (1)",
		"CREATE TABLE nokey (id int PRIMARY KEY, a int); INSERT INTO nokey VALUES (1, 1), (2, 2)",
		"CREATE TABLE empty (); INSERT INTO empty DEFAULT VALUES; INSERT INTO empty DEFAULT VALUES",
		"CREATE TABLE parted (id int, a text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (0) TO (10); INSERT INTO parted VALUES (1, 'x')")
	dbtest.Exec(t, to,
		"CREATE TABLE more (id int PRIMARY KEY)",
		"CREATE TABLE less (id int PRIMARY KEY, b int); INSERT INTO less VALUES (1, 3)",
		"CREATE TABLE moved (b int, id int PRIMARY KEY, a int); INSERT INTO moved VALUES (3, 1, 2)",
		"CREATE TABLE wider (id int PRIMARY KEY, a numeric); INSERT INTO wider VALUES (1, 2), (2, 3.0)",
		"CREATE TABLE keytype (id text PRIMARY KEY); INSERT INTO keytype VALUES ('1')",
		"CREATE TABLE nokey (id int, a int); INSERT INTO nokey VALUES (1, 1), (1, 1), (2, 2), (2, 9)",
		"CREATE TABLE empty (); INSERT INTO empty DEFAULT VALUES",
		"CREATE TABLE parted (id int, a text); INSERT INTO parted VALUES (1, 'y')")
	type verdict struct {
		State                   compare.State
		Missing, Extra, Changed int64
		Structure               string
	}
	want := map[string]verdict{
		"gone":    {compare.MissingAtTarget, 0, 0, 0, ""},
		"more":    {compare.MissingAtSource, 0, 0, 0, ""},
		"less":    {compare.Different, 0, 0, 0, "column a is missing at the target"},
		"moved":   {compare.Equal, 0, 0, 0, ""},
		"wider":   {compare.Different, 0, 0, 1, "column a is integer at the source, numeric at the target; column a is not null at the source, nullable at the target"},
		"keytype": {compare.Refused, 0, 0, 0, "column id is integer at the source, text at the target"},
		"nokey":   {compare.Different, 0, 2, 0, "column id is not null at the source, nullable at the target; key is (id) at the source, () at the target"},
		"empty":   {compare.Different, 1, 0, 0, ""},
		"parted":  {compare.Different, 1, 1, 0, ""},
	}
	got := map[string]verdict{}
	for _, r := range run(t, from, to, compare.Options{Owned: func(waybill.TableName) bool { return true }}).Tables {
		got[r.Table.Name] = verdict{r.State, r.Missing, r.Extra, r.Changed, strings.Join(r.Structure, "; ")}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// TestShown checks what is told of a changed row.
func TestShown(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 15)
	create := "CREATE TABLE a (id int, part text, v text, w text, PRIMARY KEY (part, id)); "
	dbtest.Exec(t, from, create+"INSERT INTO a VALUES (1, 'x', NULL, repeat('ä', 1000) || 'b')")
	dbtest.Exec(t, to, create+"INSERT INTO a VALUES (1, 'x', '', repeat('ä', 1000) || 'c')")
	got := run(t, from, to, compare.Options{}).Tables[0]
	if len(got.Differences) != 1 || len(got.Differences[0].Columns) != 2 {
		t.Fatalf("%+v, want one row with two columns", got)
	}
	d := got.Differences[0]
	if d.Key[0].Column != "part" || *d.Key[0].Value != "x" || *d.Key[1].Value != "1" {
		t.Errorf("key %v, want part x, id 1", d.Key)
	}
	if v := d.Columns[0]; v.Source != nil || v.Target == nil || *v.Target != "" {
		t.Errorf("%+v, want NULL and empty", v)
	}
	w := d.Columns[1]
	if w.At != 2000 || !strings.Contains(*w.Source, "äb") || !strings.Contains(*w.Target, "äc") || len(*w.Source) > 300 {
		t.Errorf("%+v, want the end of both values", w)
	}
}
