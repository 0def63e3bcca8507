package compare

import (
	"strconv"
	"unicode/utf8"

	"github.com/waybill-data/waybill"
)

// shown is how many bytes of a value a difference holds.
const shown = 200

func (f Field) String() string {
	if f.Value == nil {
		return f.Column + "=NULL"
	}
	return f.Column + "=" + strconv.Quote(*f.Value)
}

// fields prints columns of a row, in the order of the plan's columns for a bag.
func fields(p *plan, row waybill.Row, columns []int) []Field {
	printed := make([]Field, len(columns))
	for i, c := range columns {
		printed[i] = Field{p.columns[c], excerpt(row[c], 0)}
	}
	return printed
}

// place returns the values that a row is ordered by. Rows of a merge's group have memory of their own already.
func place(p *plan, row waybill.Row) waybill.Row {
	at := make(waybill.Row, len(p.order))
	for i, c := range p.order {
		at[i] = row[c]
	}
	return at
}

// alone makes the difference of a row that one side has n times more than the other.
func alone(p *plan, row waybill.Row, n int64) Difference {
	d := Difference{Kind: Missing, Key: fields(p, row, p.order), Place: place(p, row), Count: n}
	if n < 0 {
		d.Kind, d.Count = Extra, -n
	}
	return d
}

func changed(p *plan, source, target waybill.Row) Difference {
	d := Difference{Kind: Changed, Key: fields(p, source, p.order), Place: place(p, source), Count: 1}
	for i := range source {
		if source[i].Same(target[i]) {
			continue
		}
		at := firstDifference(source[i], target[i])
		d.Columns = append(d.Columns, Cell{Column: p.columns[i], Source: excerpt(source[i], at), Target: excerpt(target[i], at), At: at})
	}
	return d
}

// firstDifference returns where the printed forms of two values part, 0 for short ones, which are shown whole.
func firstDifference(a, b waybill.Value) int {
	if a.IsNull() || b.IsNull() {
		return 0
	}
	x, y := a.String(), b.String()
	if len(x) <= shown && len(y) <= shown {
		return 0
	}
	at := 0
	for at < len(x) && at < len(y) && x[at] == y[at] {
		at++
	}
	return at
}

// excerpt prints a value, nil for NULL. Of a long one it gives the bytes around at.
func excerpt(v waybill.Value, at int) *string {
	if v.IsNull() {
		return nil
	}
	text := v.String()
	if len(text) <= shown {
		text = string(append([]byte(nil), text...))
		return &text
	}
	from := max(0, min(at-shown/2, len(text)-shown))
	to := min(len(text), from+shown)
	for from > 0 && !utf8.RuneStart(text[from]) {
		from--
	}
	for to < len(text) && !utf8.RuneStart(text[to]) {
		to++
	}
	cut := text[from:to]
	if from > 0 {
		cut = "…" + cut
	}
	if to < len(text) {
		cut += "…"
	}
	cut += " (" + strconv.Itoa(len(text)) + " bytes)"
	return &cut
}
