package postgres

import (
	"strings"

	"github.com/waybill-data/waybill"
)

// allColumns returns the indexes of every column.
func allColumns(v *waybill.TableVersion) []int {
	all := make([]int, len(v.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

func columnList(v *waybill.TableVersion, columns []int) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = quoteName(v.Columns[c].Name)
	}
	return strings.Join(names, ", ")
}

// selectSlice returns the query for the rows of a slice. Columns go by name: those of a partition may stand in
// another order than those of its root.
func selectSlice(s waybill.Slice, columns []int) (string, error) {
	return selectList(s, columnList(s.Version, columns))
}

func selectList(s waybill.Slice, list string) (string, error) {
	r, err := parseRange(s.Range)
	if err != nil {
		return "", err
	}
	from := " FROM " + r.source(s.Version)
	if where := r.condition(s.Version); where != "" {
		from += " WHERE " + where
	}
	if s.Ordered {
		from += orderBy(s.Version)
	}
	return "SELECT " + list + from, nil
}

// orderBy gives the order of waybill.CompareKeys: it is the server's own for what is held as number or time;
// text goes by bytes, whatever the collation.
func orderBy(v *waybill.TableVersion) string {
	var terms []string
	for _, c := range v.OrderColumns() {
		terms = append(terms, orderTerms(v.Columns[c])...)
	}
	if len(terms) == 0 {
		return ""
	}
	return " ORDER BY " + strings.Join(terms, ", ")
}

func orderTerms(c waybill.Column) []string {
	name := quoteName(c.Name)
	switch c.Type.Kind {
	case waybill.KindBool, waybill.KindInt, waybill.KindFloat32, waybill.KindFloat64, waybill.KindDecimal, waybill.KindBytes,
		waybill.KindDate, waybill.KindTime, waybill.KindTimestamp, waybill.KindInstant, waybill.KindUUID:
		return []string{name}
	case waybill.KindTimeTZ:
		return []string{name + "::time", "substring(" + name + `::text from '[-+].*$') COLLATE "C"`}
	case waybill.KindText:
		switch stripModifier(c.Type.Native) {
		case "text", "character varying", "name":
			return []string{name + `::text COLLATE "C"`}
		}
	}
	// A cast to text is not the same as the output for char(n), inet and others, and IS NULL is not the same
	// as being NULL for rows of NULLs.
	return []string{"(" + name + " IS NOT DISTINCT FROM NULL)", "concat(" + name + `) COLLATE "C"`}
}
