package compare

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
)

// TestTermsComeBack reads what a run writes of itself.
func TestTermsComeBack(t *testing.T) {
	at := time.Date(2026, 11, 20, 15, 4, 5, 123456789, time.FixedZone("here", 7200))
	name := func(schema, table string) waybill.TableName { return waybill.TableName{Schema: schema, Name: table} }
	cases := []Options{
		{},
		{Where: "a = b", Window: Window{Column: "at", From: at}},
		{Window: Window{Column: "at", From: at, To: at.Add(time.Hour)}},
		{As: map[waybill.TableName]waybill.TableName{name("s", `a.b"c`): name("t", "=")}, Columns: []ColumnName{{Column: "x"}, {name("s", "a.b"), "y"}},
			Without: []ColumnName{{Column: "z"}}, Rules: []ColumnRule{{ColumnName{Column: "p=q"}, Number}, {ColumnName{name("s", "t"), "r"}, Millis}}},
	}
	for _, want := range cases {
		text, err := json.Marshal(termsOf(&want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := StoredTerms(text)
		if err != nil {
			t.Fatal(err)
		}
		read := func(o *Options) []any {
			return []any{o.As, o.Columns, o.Without, o.Rules, o.Where, o.Window.Column, o.Window.From.UnixNano(), o.Window.To.UnixNano(), o.Window.To.IsZero()}
		}
		if d := cmp.Diff(read(&want), read(&got)); d != "" {
			t.Errorf("%s:\n%s", text, d)
		}
	}
	if _, err := StoredTerms(json.RawMessage(`{"window": ["at", "yesterday", "today"]}`)); err == nil {
		t.Error("a window of no time is read")
	}
}
