package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/compare/report"
)

const hostile = "</script><script>alert(1)</script><!--\u2028'\"&\x00"

func text(s string) *string { return &s }

func hostileTable() waybill.TableName {
	return waybill.TableName{Schema: "public", Name: `<img src=x onerror="alert(1)">`}
}

func page(differences ...compare.Difference) report.Page {
	return report.Page{
		Run:    waybill.Run{Number: 7, Name: hostile, State: "done", Started: time.Unix(1700000000, 0), Ended: time.Unix(1700000012, 0)},
		Moment: hostile,
		Values: true,
		Tables: []report.Table{{TableResult: compare.TableResult{Table: hostileTable(), State: compare.Different, Key: []string{hostile},
			SourceRows: 1234567, Changed: int64(len(differences)), Structure: []string{hostile}, Cause: hostile}, Open: 1, Closed: []string{hostile}}},
		Differences: func(yield func(compare.Difference, error) bool) {
			for _, d := range differences {
				if !yield(d, nil) {
					return
				}
			}
		},
	}
}

func changed(key string) compare.Difference {
	return compare.Difference{Table: hostileTable(), Kind: compare.Changed, Count: 1, Key: []compare.Field{{Column: hostile, Value: text(key)}},
		Columns: []compare.Cell{{Column: hostile, Source: text(hostile), Target: nil}}}
}

// element returns what is inside the element with an id.
func element(t *testing.T, html, id string) string {
	t.Helper()
	_, rest, found := strings.Cut(html, `id="`+id+`">`)
	inside, _, closed := strings.Cut(rest, "</script>")
	if !found || !closed {
		t.Fatalf("no element %s", id)
	}
	return inside
}

func TestValuesStayValues(t *testing.T) {
	var out bytes.Buffer
	n, err := report.Write(&out, page(changed(hostile), changed("2")))
	if err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	html := out.String()
	for _, never := range []string{"<script>alert", "<img src", "http://", "https://", "url(", "import("} {
		if strings.Contains(html, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	if got := strings.Count(html, "<script"); got != 3 {
		t.Errorf("%d script elements, want the rows, what is said about them, and the page's own", got)
	}
	var row struct {
		Y []compare.Field
		C []compare.Cell
	}
	line, _, _ := strings.Cut(strings.TrimSpace(element(t, html, "rows")), "\n")
	if err := json.Unmarshal([]byte(line), &row); err != nil {
		t.Fatal(err)
	}
	want := changed(hostile)
	if d := cmp.Diff(want.Key, row.Y) + cmp.Diff(want.Columns, row.C); d != "" {
		t.Errorf("values are not what they were:\n%s", d)
	}
}

func TestLimitIsSaid(t *testing.T) {
	var all []compare.Difference
	for i := range 30 {
		all = append(all, changed(fmt.Sprint(i)))
	}
	p := page(all...)
	p.Limit = 10
	var out bytes.Buffer
	n, err := report.Write(&out, p)
	if err != nil || n != 10 {
		t.Fatalf("%d, %v", n, err)
	}
	about := element(t, out.String(), "about")
	if want := `{"written": 10, "given": 30, "values": true}`; about != want {
		t.Errorf("%s, want %s", about, want)
	}
	if lines := strings.Count(element(t, out.String(), "rows"), "\n"); lines != 11 {
		t.Errorf("%d lines, want ten rows and the first line's end", lines)
	}
}

func TestBrokenDifferencesEndThePage(t *testing.T) {
	p := page()
	broken := errors.New("broken")
	p.Differences = iter.Seq2[compare.Difference, error](func(yield func(compare.Difference, error) bool) { yield(compare.Difference{}, broken) })
	if _, err := report.Write(&bytes.Buffer{}, p); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}
