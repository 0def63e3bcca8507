package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/waybill-data/waybill"
)

// Narrow adds a condition to a slice.
func (w *view) Narrow(s waybill.Slice, p waybill.Part) (waybill.Slice, error) {
	c, err := parseRange(s.Range)
	if err != nil {
		return s, err
	}
	var terms []string
	if c.where != "" {
		terms = append(terms, c.where)
	}
	if p.Column != "" {
		if s.Version.Column(p.Column) < 0 {
			return s, &waybill.Error{Op: "narrow", Table: s.Version.Table, Fault: waybill.Drift,
				Err: fmt.Errorf("there is no column %q", p.Column)}
		}
		terms = append(terms, rangesCondition(quoteName(p.Column), p.Ranges))
	}
	if p.Where != "" {
		// A comment at its end must not hide the bracket.
		terms = append(terms, "("+p.Where+"\n)")
	}
	c.where = strings.Join(terms, " AND ")
	s.Range, s.Rows = c.String(), 0
	return s, nil
}

func rangesCondition(name string, ranges []waybill.Range) string {
	if len(ranges) == 0 {
		return "false"
	}
	all := make([]string, len(ranges))
	for i, r := range ranges {
		var terms []string
		if !r.From.IsAbsent() {
			terms = append(terms, name+" >= "+constant(r.From))
		}
		if !r.To.IsAbsent() {
			terms = append(terms, name+" < "+constant(r.To))
		}
		if len(terms) == 0 {
			terms = []string{name + " IS NOT NULL"}
		}
		all[i] = strings.Join(terms, " AND ")
	}
	if len(all) == 1 {
		return all[0]
	}
	return "(" + strings.Join(all, " OR ") + ")"
}

// constant writes a value so that it takes the type of what it is compared with. A number does not need to:
// bare, one that is outside of the column's type is still a number.
func constant(v waybill.Value) string {
	text := string(appendText(nil, v))
	if v.Kind() == waybill.KindInt {
		return "'" + text + "'::bigint"
	}
	return quoteLiteral(text)
}

// Bounds asks the server for them; a UUID has no least one before version 18, so there they are in order.
func (w *view) Bounds(ctx context.Context, s waybill.Slice, column string) (low, high waybill.Value, err error) {
	if err := w.pin(ctx, s.Version.Table); err != nil {
		return low, high, err
	}
	at := s.Version.Column(column)
	if at < 0 {
		return low, high, &waybill.Error{Op: "find bounds of", Table: s.Version.Table, Fault: waybill.Drift, Err: fmt.Errorf("there is no column %q", column)}
	}
	s.Ordered = false
	sql, err := selectSlice(s, []int{at})
	if err != nil {
		return low, high, err
	}
	for order, to := range map[string]*waybill.Value{"": &low, " DESC": &high} {
		*to = waybill.Null
		rows, err := w.readers.query(ctx, "SELECT * FROM ("+sql+") AS bounded WHERE "+quoteName(column)+" IS NOT NULL ORDER BY 1"+order+" LIMIT 1")
		if err != nil {
			return low, high, classify("find bounds of", s.Version.Table, err)
		}
		if len(rows) == 0 {
			continue
		}
		if *to, err = decodeText(s.Version.Columns[at].Type.Kind, string(rows[0][0])); err != nil {
			return low, high, err
		}
	}
	return low, high, nil
}

// Count counts the rows of a slice.
func (w *view) Count(ctx context.Context, s waybill.Slice) (int64, error) {
	if err := w.pin(ctx, s.Version.Table); err != nil {
		return 0, err
	}
	s.Ordered = false
	sql, err := selectSlice(s, nil)
	if err != nil {
		return 0, err
	}
	rows, err := w.readers.query(ctx, "SELECT count(*) FROM ("+sql+") AS counted")
	if err != nil {
		return 0, classify("count", s.Version.Table, err)
	}
	n, ok := parseInt(string(rows[0][0]))
	if !ok {
		return 0, waybill.Errorf(waybill.Bug, "count "+s.Version.Table.String(), "count %q", rows[0][0])
	}
	return n, nil
}
