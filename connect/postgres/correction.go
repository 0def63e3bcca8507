package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// statements writes repairs as SQL that psql runs.
func statements() *waybill.Statements {
	var begin strings.Builder
	begin.WriteString("BEGIN;\n")
	for _, s := range pinned {
		if strings.HasPrefix(s[0], "default_transaction") || strings.HasSuffix(s[0], "_timeout") {
			continue
		}
		begin.WriteString("SET LOCAL " + s[0] + " = " + quoteSetting(s[0], s[1]) + ";\n")
	}
	begin.WriteString("-- No trigger fires and no foreign key acts. It needs the right to set this.\n" +
		"SET LOCAL session_replication_role = replica;\n")
	return &waybill.Statements{Begin: begin.String(), End: "COMMIT;\n", Append: appendCorrection,
		Comment: func(dst []byte, text string) []byte {
			text = strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ").Replace(text)
			return append(append(append(dst, "-- "...), text...), '\n')
		}}
}

// quoteSetting writes a setting's value. Those that are lists stand without quotes around the whole.
func quoteSetting(name, value string) string {
	if name == "datestyle" {
		return value
	}
	return strings.TrimPrefix(quoteLiteral(value), " ")
}

var errNothing = errors.New("a correction that changes nothing")

// appendCorrection writes one correction. Every literal is assigned, never cast: an explicit cast would cut a
// text to the column's length without a word.
func appendCorrection(dst []byte, c waybill.Correction) ([]byte, error) {
	var sql string
	var err error
	switch columns := copyColumns(c.Version); {
	case len(columns) == 0:
		err = errNoColumns
	case len(c.Version.Key) == 0:
		sql, err = countSQL(c, columns)
	case c.Before == nil && c.After == nil:
		err = errNothing
	case c.Before == nil:
		sql = insertSQL(c.Version, c.After, columns) + " WHERE NOT EXISTS (SELECT FROM " + cut{}.source(c.Version) + " WHERE " +
			keyCondition(c.Version, c.After) + ")"
	case c.After == nil:
		sql = "DELETE FROM " + cut{}.source(c.Version) + " WHERE " + keyCondition(c.Version, c.Before) + guard(c.Version, c.Before, columns)
	default:
		sql, err = updateSQL(c, columns)
	}
	if err != nil {
		return dst, &waybill.Error{Op: "write statement for", Table: c.Version.Table, Fault: waybill.Bug, Err: err}
	}
	return append(append(dst, sql...), ";\n"...), nil
}

func updateSQL(c waybill.Correction, columns []int) (string, error) {
	var sets []string
	var changed []int
	for _, i := range columns {
		if c.After[i].IsAbsent() || c.After[i].Same(c.Before[i]) {
			continue
		}
		sets = append(sets, quoteName(c.Version.Columns[i].Name)+" = "+literal(c.After[i]))
		changed = append(changed, i)
	}
	if len(sets) == 0 {
		return "", errNothing
	}
	return "UPDATE " + cut{}.source(c.Version) + " SET " + strings.Join(sets, ", ") + " WHERE " +
		keyCondition(c.Version, c.Before) + guard(c.Version, c.Before, changed), nil
}

// countSQL brings the number of rows that equal the given one to what is wanted.
func countSQL(c waybill.Correction, columns []int) (string, error) {
	row := c.Before
	if row == nil {
		row = c.After
	}
	if row == nil || c.Was == c.Wanted {
		return "", errNothing
	}
	from := cut{}.source(c.Version)
	where := strings.TrimPrefix(match(c.Version, row, columns), " AND ")
	count := "(SELECT count(*) FROM " + from + " WHERE " + where + ")"
	if c.Wanted > c.Was {
		return fmt.Sprintf("%s FROM generate_series(1, %d - %s)", insertSQL(c.Version, row, columns), c.Wanted, count), nil
	}
	return fmt.Sprintf("DELETE FROM %s WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM %s WHERE %s LIMIT greatest(0, %s - %d))",
		from, from, where, count, c.Wanted), nil
}

func insertSQL(v *waybill.TableVersion, row waybill.Row, columns []int) string {
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = literal(row[c])
	}
	return "INSERT INTO " + quoteTable(v.Table) + " (" + columnList(v, columns) + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(values, ", ")
}

// keyCondition finds a row by its key, with an index where the type's own operator can be named.
func keyCondition(v *waybill.TableVersion, row waybill.Row) string {
	terms := make([]string, len(v.Key))
	for i, c := range v.Key {
		column := v.Columns[c]
		if row[c].IsNull() || column.Type.Kind == waybill.KindLiteral && strings.Contains(column.Type.Native, ".") {
			terms[i] = equals(column, row[c])
			continue
		}
		terms[i] = quoteName(column.Name) + " = " + literal(row[c])
	}
	return strings.Join(terms, " AND ")
}

// guard keeps a statement from touching a row that is no longer as it was.
func guard(v *waybill.TableVersion, row waybill.Row, columns []int) string {
	return match(v, row, slices.DeleteFunc(slices.Clone(columns), func(c int) bool { return slices.Contains(v.Key, c) }))
}

func match(v *waybill.TableVersion, row waybill.Row, columns []int) string {
	var b strings.Builder
	for _, c := range columns {
		b.WriteString(" AND " + equals(v.Columns[c], row[c]))
	}
	return b.String()
}

// equals tells a value from every other one: by = where that does, else by how the server prints or sends it.
func equals(c waybill.Column, v waybill.Value) string {
	name := quoteName(c.Name)
	if v.IsNull() {
		return name + " IS NOT DISTINCT FROM NULL"
	}
	text := literal(v)
	switch v.Kind() {
	case waybill.KindBool, waybill.KindInt, waybill.KindBytes, waybill.KindDate, waybill.KindTime, waybill.KindTimestamp,
		waybill.KindInstant, waybill.KindUUID:
		return name + " = " + text
	case waybill.KindFloat32, waybill.KindFloat64:
		send := "float8send("
		if v.Kind() == waybill.KindFloat32 {
			send = "float4send("
		}
		if v.Float() == 0 { // 0 and -0 are equal to the server
			return send + name + ") = " + send + text + ")"
		}
		return name + " = " + text
	}
	return "concat(" + name + `) COLLATE "C" = ` + text
}

// literal writes a value so that the server reads back the same one.
func literal(v waybill.Value) string {
	switch v.Kind() {
	case waybill.KindNull:
		return "NULL"
	case waybill.KindBool:
		return strconv.FormatBool(v.Bool())
	case waybill.KindInt:
		if n := v.Int(); n >= 0 {
			return strconv.FormatInt(n, 10)
		}
	}
	return strings.TrimPrefix(quoteLiteral(string(appendText(nil, v))), " ")
}
