package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// Rule says when two values of a column are equal. The zero Rule is identity, see the package's comment.
type Rule string

// The rules other than identity. Each maps a value to one that stands for all equal ones; a value that it
// does not know stays as it is.
const (
	Printed   Rule = "printed"    // what is printed alike; taken by itself where the kinds differ between the sides
	Number    Rule = "number"     // numbers of one value: 1, 1.0 and 1e0; -0 and 0; integer, decimal and float
	JSON      Rule = "json"       // one JSON value: spaces, order of keys and spelling of numbers do not count
	Trimmed   Rule = "trimmed"    // spaces at the end do not count
	EmptyNull Rule = "empty-null" // an empty text is NULL
	Millis    Rule = "millis"     // clocks to the millisecond, what is finer is cut off
	Seconds   Rule = "seconds"    // clocks to the second
)

// Rules lists those that can be chosen.
var Rules = []Rule{Number, JSON, Trimmed, EmptyNull, Millis, Seconds, Printed}

// ColumnName names a column of one table, or of every table that has it where Table is zero.
type ColumnName struct {
	Table  waybill.TableName // at the source
	Column string
}

// ParseColumnName reads column, or schema.table.column.
func ParseColumnName(s string) (ColumnName, error) {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return ColumnName{Column: s}, nil
	}
	table, err := waybill.ParseTableName(s[:dot])
	if err != nil {
		return ColumnName{}, err
	}
	return ColumnName{table, s[dot+1:]}, nil
}

func (n ColumnName) String() string {
	if n.Table == (waybill.TableName{}) {
		return n.Column
	}
	return n.Table.String() + "." + n.Column
}

func (n ColumnName) is(table waybill.TableName, column string) bool {
	return n.Column == column && (n.Table == table || n.Table == waybill.TableName{})
}

// ColumnRule is a rule for a column. Of several that name a column the last counts.
type ColumnRule struct {
	Name ColumnName
	Rule Rule
}

// apply returns the value that stands for v.
func (r Rule) apply(v waybill.Value) waybill.Value {
	if v.IsNull() {
		return v
	}
	switch r {
	case Printed:
		return waybill.TextValue(v.String())
	case Number:
		return number(v)
	case JSON:
		return waybill.JSONValue(canonicalJSON(v.String()))
	case Trimmed:
		return v.WithText(strings.TrimRight(v.Text(), " "))
	case EmptyNull:
		if v.Kind() == waybill.KindText && v.Text() == "" {
			return waybill.Null
		}
	case Millis:
		return coarser(v, 1000)
	case Seconds:
		return coarser(v, 1_000_000)
	}
	return v
}

func number(v waybill.Value) waybill.Value {
	switch v.Kind() {
	case waybill.KindFloat32, waybill.KindFloat64:
		f := v.Float()
		switch {
		case math.IsNaN(f):
			return waybill.DecimalValue("NaN")
		case math.IsInf(f, 1):
			return waybill.DecimalValue("Infinity")
		case math.IsInf(f, -1):
			return waybill.DecimalValue("-Infinity")
		}
	case waybill.KindInt, waybill.KindUint, waybill.KindDecimal, waybill.KindText:
	default:
		return v
	}
	text, ok := canonicalNumber(v.String())
	if !ok {
		return v
	}
	return waybill.DecimalValue(text)
}

// canonicalNumber writes a decimal number without what its value does not need: as digits where they are few
// enough to be read, as digits and exponent otherwise.
func canonicalNumber(s string) (string, bool) {
	sign, rest := "", s
	switch {
	case strings.HasPrefix(s, "-"):
		sign, rest = "-", s[1:]
	case strings.HasPrefix(s, "+"):
		rest = s[1:]
	}
	mantissa, power, hasPower := strings.Cut(strings.ToLower(rest), "e")
	exponent := 0
	if hasPower {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return s, false
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return s, false
	}
	exponent -= len(fraction)
	digits = strings.TrimLeft(digits, "0")
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short)
	switch {
	case short == "":
		return "0", true
	case exponent >= 0 && exponent <= 40:
		return sign + short + strings.Repeat("0", exponent), true
	case exponent < 0 && exponent >= -40-len(short):
		if missing := 1 - exponent - len(short); missing > 0 {
			short = strings.Repeat("0", missing) + short
		}
		at := len(short) + exponent
		return sign + short[:at] + "." + short[at:], true
	}
	return fmt.Sprintf("%s%se%d", sign, short, exponent), true
}

// canonicalJSON writes a JSON value with sorted keys, without spaces, numbers by value. Of equal keys the last
// counts. What is no JSON stays as it is.
func canonicalJSON(s string) string {
	in := json.NewDecoder(strings.NewReader(s))
	in.UseNumber()
	var value any
	if err := in.Decode(&value); err != nil || in.More() {
		return s
	}
	var b bytes.Buffer
	writeJSON(&b, value)
	return b.String()
}

func writeJSON(b *bytes.Buffer, value any) {
	switch v := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			b.WriteString([]string{"{", ","}[min(i, 1)])
			b.WriteString(strconv.Quote(k) + ":")
			writeJSON(b, v[k])
		}
		if len(keys) == 0 {
			b.WriteByte('{')
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, e)
		}
		b.WriteByte(']')
	case json.Number:
		text, _ := canonicalNumber(v.String())
		b.WriteString(text)
	case string:
		b.WriteString(strconv.Quote(v))
	default:
		fmt.Fprint(b, v) // true, false, <nil>
	}
}

// coarser cuts a clock to a unit of so many microseconds, towards the past.
func coarser(v waybill.Value, unit int64) waybill.Value {
	n := v.Int()
	if n == waybill.Forever || n == waybill.BeforeForever {
		return v
	}
	n -= ((n % unit) + unit) % unit
	switch v.Kind() {
	case waybill.KindTime:
		return waybill.TimeValue(n)
	case waybill.KindTimeTZ:
		return waybill.TimeTZValue(n, v.Text())
	case waybill.KindTimestamp:
		return waybill.TimestampValue(n)
	case waybill.KindInstant:
		return waybill.InstantValue(n)
	}
	return v
}
