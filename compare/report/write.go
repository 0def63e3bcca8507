package report

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
)

//go:embed page.html
var page string

//go:embed page.css
var style string

//go:embed page.js
var script string

// Page is what a report is made of.
type Page struct {
	Run     waybill.Run
	Moment  string
	Tables  []Table
	Written time.Time
	// Differences gives the rows, those of one table together or not; an error ends the page.
	Differences iter.Seq2[compare.Difference, error]
	// Values says whether the differences hold the values of both sides, or keys and columns only.
	Values bool
	Limit  int // differences in the page; 0: 100,000
}

// Table is the verdict on one table.
type Table struct {
	compare.TableResult
	Open   int64
	Closed []string // what closed differences, in words
}

// defaultLimit is how many differences a page holds. A browser shows them a hundred at a time.
const defaultLimit = 100_000

// Write writes the page and returns how many differences are in it.
func Write(out io.Writer, p Page) (int, error) {
	if p.Limit <= 0 {
		p.Limit = defaultLimit
	}
	t, err := template.New("page").Funcs(template.FuncMap{"grouped": grouped, "stamp": stamp, "class": class,
		"style": func() template.CSS { return template.CSS(style) }}).Parse(page)
	if err != nil {
		return 0, fmt.Errorf("parse the page: %w", err)
	}
	w := bufio.NewWriterSize(out, 1<<20)
	if err := t.Execute(w, view(&p)); err != nil {
		return 0, fmt.Errorf("write report: %w", err)
	}
	written, err := p.rows(w)
	if err != nil {
		return written, fmt.Errorf("write report: %w", err)
	}
	fmt.Fprintf(w, "<script>\n%s</script>\n</body>\n</html>\n", script)
	if err := w.Flush(); err != nil {
		return written, fmt.Errorf("write report: %w", err)
	}
	return written, nil
}

// shown is what the page's template sees.
type shown struct {
	*Page
	Differences, Open, SourceRows int64
	NotEqual                      int
	Took                          time.Duration
	Verdict                       string
}

func view(p *Page) shown {
	s := shown{Page: p, Verdict: "equal"}
	for _, t := range p.Tables {
		s.Differences += t.Rows()
		s.Open += t.Open
		s.SourceRows += t.SourceRows
		if t.State != compare.Equal {
			s.NotEqual++
		}
	}
	if s.NotEqual > 0 {
		s.Verdict = "different"
	}
	if !p.Run.Ended.IsZero() {
		s.Took = p.Run.Ended.Sub(p.Run.Started).Round(time.Millisecond)
	}
	return s
}

// row is a difference in the page: table number, kind, count, key, cells. Short names: there may be many.
type row struct {
	Table int             `json:"t"`
	Kind  string          `json:"k"`
	Count int64           `json:"n,omitzero"`
	Key   []compare.Field `json:"y"`
	Cells []compare.Cell  `json:"c,omitzero"`
}

// rows writes the differences as JSON lines into an inert element. The encoder escapes <, > and &, so nothing in
// a value can end it.
func (p *Page) rows(w *bufio.Writer) (written int, err error) {
	number := map[waybill.TableName]int{}
	for i, t := range p.Tables {
		number[t.Table] = i
	}
	fmt.Fprintln(w, `<script type="application/json" id="rows">`)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(true)
	all := 0
	if p.Differences != nil {
		for d, err := range p.Differences {
			if err != nil {
				return written, err
			}
			at, known := number[d.Table]
			if all++; !known || written == p.Limit {
				continue
			}
			r := row{Table: at, Kind: string(d.Kind), Key: d.Key, Cells: d.Columns}
			if d.Count > 1 {
				r.Count = d.Count
			}
			if err := lines.Encode(r); err != nil {
				return written, err
			}
			written++
		}
	}
	fmt.Fprintln(w, "</script>")
	fmt.Fprintf(w, "<script type=\"application/json\" id=\"about\">{\"written\": %d, \"given\": %d, \"values\": %t}</script>\n", written, all, p.Values)
	return written, nil
}

func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func class(s compare.State) string { return strings.ReplaceAll(string(s), " ", "-") }
