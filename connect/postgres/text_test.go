package postgres

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
)

func TestTextOfValuesIsKept(t *testing.T) {
	cases := []struct {
		kind waybill.Kind
		text string
	}{
		{waybill.KindBool, "t"}, {waybill.KindBool, "f"},
		{waybill.KindInt, "0"}, {waybill.KindInt, "-9223372036854775808"}, {waybill.KindInt, "9223372036854775807"}, {waybill.KindInt, "4294967295"},
		{waybill.KindFloat64, "NaN"}, {waybill.KindFloat64, "-Infinity"}, {waybill.KindFloat64, "-0"}, {waybill.KindFloat64, "1e+15"},
		{waybill.KindFloat64, "123456789012345"}, {waybill.KindFloat64, "0.0001"}, {waybill.KindFloat64, "1e-05"}, {waybill.KindFloat64, "1.7976931348623157e+308"},
		{waybill.KindFloat32, "1e+06"}, {waybill.KindFloat32, "123456"}, {waybill.KindFloat32, "0.1"}, {waybill.KindFloat32, "3.4028235e+38"},
		{waybill.KindDecimal, "-0.00010"}, {waybill.KindDecimal, "NaN"}, {waybill.KindDecimal, strings.Repeat("9", 200) + ".50"},
		{waybill.KindText, ""}, {waybill.KindText, "a\tb\\\n\x00ü"}, {waybill.KindBytes, `\x`}, {waybill.KindBytes, `\x00ff5c0a`},
		{waybill.KindDate, "2024-02-29"}, {waybill.KindDate, "4714-11-24 BC"}, {waybill.KindDate, "5874897-12-31"}, {waybill.KindDate, "infinity"},
		{waybill.KindDate, "0001-01-01"}, {waybill.KindDate, "0001-12-31 BC"}, {waybill.KindTime, "24:00:00"}, {waybill.KindTime, "00:00:00.000001"},
		{waybill.KindTimeTZ, "24:00:00-15:59:59"}, {waybill.KindTimeTZ, "12:34:56.7+02"}, {waybill.KindTimeTZ, "00:00:00-03:30"},
		{waybill.KindTimestamp, "294276-12-31 23:59:59.999999"}, {waybill.KindTimestamp, "294247-01-09 23:59:59.999999"},
		{waybill.KindTimestamp, "4714-11-24 00:00:00 BC"}, {waybill.KindTimestamp, "1969-12-31 23:59:59.5"}, {waybill.KindTimestamp, "-infinity"},
		{waybill.KindInstant, "2024-02-29 12:00:00.123456+00"}, {waybill.KindInstant, "0044-03-15 12:00:00+00 BC"}, {waybill.KindInstant, "infinity"},
		{waybill.KindInterval, "P-1Y2DT-3H4.5S"}, {waybill.KindJSON, `{"a": 1.0}`}, {waybill.KindUUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{waybill.KindLiteral, `[0:1]={"a b",NULL}`},
	}
	for _, c := range cases {
		v, err := decodeText(c.kind, c.text)
		if err != nil {
			t.Errorf("%s %q: %v", c.kind, c.text, err)
			continue
		}
		if got := string(appendText(nil, v)); got != c.text {
			t.Errorf("%s %q: written back as %q", c.kind, c.text, got)
		}
	}
}

func TestForeignTextIsRefused(t *testing.T) {
	cases := []struct {
		kind waybill.Kind
		text string
	}{
		{waybill.KindBool, "true"}, {waybill.KindBool, ""}, {waybill.KindInt, ""}, {waybill.KindInt, "-"}, {waybill.KindInt, "1.0"},
		{waybill.KindInt, "9223372036854775808"}, {waybill.KindInt, "-9223372036854775809"}, {waybill.KindInt, "99999999999999999999"},
		{waybill.KindFloat64, "x"}, {waybill.KindFloat64, "1e999"}, {waybill.KindBytes, "abc"}, {waybill.KindBytes, `\x0`}, {waybill.KindBytes, `\xgg`},
		{waybill.KindDate, "2024-2-29"}, {waybill.KindDate, "02/29/2024"}, {waybill.KindDate, "2024-13-01"}, {waybill.KindDate, "2024-02-29 "},
		{waybill.KindTime, "1:2:3"}, {waybill.KindTime, "12:34:56.1234567"}, {waybill.KindTime, "12:34:56."}, {waybill.KindTimeTZ, "12:34:56"},
		{waybill.KindTimestamp, "2024-02-29"}, {waybill.KindTimestamp, "2024-02-29 12:00:00+00"}, {waybill.KindInstant, "2024-02-29 12:00:00+02"},
		{waybill.KindInstant, "2024-02-29 12:00:00"},
	}
	for _, c := range cases {
		if v, err := decodeText(c.kind, c.text); err == nil {
			t.Errorf("%s %q was read as %v", c.kind, c.text, v)
		} else if got := waybill.FaultOf(err); got != waybill.Data {
			t.Errorf("%s %q: fault %v, want data", c.kind, c.text, got)
		}
	}
}

// anyValue draws values of every kind that a copy can carry.
func anyValue(t *rapid.T) (waybill.Kind, waybill.Value) {
	text := func() string { return rapid.String().Draw(t, "text") }
	micros := rapid.Int64Range(-210_000_000_000_000_000, 9_223_371_331_199_999_999)
	switch kind := waybill.Kind(rapid.IntRange(int(waybill.KindBool), int(waybill.KindLiteral)).Draw(t, "kind")); kind {
	case waybill.KindBool:
		return kind, waybill.BoolValue(rapid.Bool().Draw(t, "bool"))
	case waybill.KindFloat32:
		return kind, waybill.Float32Value(rapid.Float32().Draw(t, "float"))
	case waybill.KindFloat64:
		return kind, waybill.Float64Value(rapid.Float64().Draw(t, "float"))
	case waybill.KindText:
		return kind, waybill.TextValue(text())
	case waybill.KindBytes:
		return kind, waybill.BytesValue(string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
	case waybill.KindDate:
		return kind, waybill.DateValue(rapid.Int64Range(-2_440_588, 2_145_031_948).Draw(t, "days"))
	case waybill.KindTime:
		return kind, waybill.TimeValue(rapid.Int64Range(0, 86_400_000_000).Draw(t, "time"))
	case waybill.KindTimeTZ:
		return kind, waybill.TimeTZValue(rapid.Int64Range(0, 86_400_000_000).Draw(t, "time"), rapid.SampledFrom([]string{"+00", "-03:30", "+15:59:59"}).Draw(t, "zone"))
	case waybill.KindTimestamp:
		return kind, waybill.TimestampValue(micros.Draw(t, "micros"))
	case waybill.KindInstant:
		return kind, waybill.InstantValue(micros.Draw(t, "micros"))
	case waybill.KindJSON:
		return kind, waybill.JSONValue(text())
	case waybill.KindLiteral:
		return kind, waybill.LiteralValue(text())
	case waybill.KindDecimal:
		return kind, waybill.DecimalValue(rapid.StringMatching(`-?[0-9]{1,40}(\.[0-9]{1,20})?`).Draw(t, "decimal"))
	}
	return waybill.KindInt, waybill.IntValue(rapid.Int64().Draw(t, "int"))
}

func TestValuesSurviveACopyLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := &waybill.TableVersion{}
		var row waybill.Row
		var columns []int
		for i := range rapid.IntRange(1, 8).Draw(t, "columns") {
			kind, value := anyValue(t)
			if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				value = waybill.Null
			}
			v.Columns = append(v.Columns, waybill.Column{Name: "c", Type: waybill.Type{Kind: kind}})
			row, columns = append(row, value), append(columns, i)
		}
		line := appendCopy(nil, row, columns)
		got := make(waybill.Row, len(row))
		if err := decodeCopy(append([]byte(nil), line...), v, columns, got); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		for i := range row {
			if !got[i].Same(row[i]) {
				t.Fatalf("column %d: got %v %q, want %v %q; line %q", i, got[i].Kind(), got[i], row[i].Kind(), row[i], line)
			}
		}
	})
}

func TestCopyLineWithWrongFieldsIsRefused(t *testing.T) {
	v := &waybill.TableVersion{Columns: []waybill.Column{{Name: "a", Type: waybill.Type{Kind: waybill.KindText}}, {Name: "b", Type: waybill.Type{Kind: waybill.KindText}}}}
	row := make(waybill.Row, 2)
	for _, line := range []string{"a\n", "a\tb\tc\n", ""} {
		if err := decodeCopy([]byte(line), v, []int{0, 1}, row); err == nil {
			t.Errorf("line %q was read as %v", line, row)
		}
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	v := &waybill.TableVersion{}
	for _, kind := range []waybill.Kind{waybill.KindInt, waybill.KindText, waybill.KindInstant, waybill.KindDecimal, waybill.KindFloat64, waybill.KindBytes} {
		v.Columns = append(v.Columns, waybill.Column{Name: "c", Type: waybill.Type{Kind: kind}})
	}
	const text = "42\ta\\tb\t2024-02-29 12:00:00.5+00\t12.50\t1.5\t\\\\x00ff\n"
	columns, row, line := []int{0, 1, 2, 3, 4, 5}, make(waybill.Row, 6), make([]byte, len(text))
	allocations := testing.AllocsPerRun(100, func() {
		copy(line, text)
		if err := decodeCopy(line, v, columns, row); err != nil {
			t.Fatal(err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations per row", allocations)
	}
	if got := row[5].Text(); got != "\x00\xff" {
		t.Errorf("bytes = %q", got)
	}
}

func TestAbsentHasNoText(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an absent value was written")
		}
	}()
	appendCopy(nil, make(waybill.Row, 1), []int{0})
}

func TestNegativeZeroIsKept(t *testing.T) {
	v, err := decodeText(waybill.KindFloat64, "-0")
	if err != nil || !math.Signbit(v.Float()) {
		t.Errorf("-0 became %v, %v", v, err)
	}
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]waybill.Kind{
		"integer": waybill.KindInt, "numeric(10,2)": waybill.KindDecimal, "character varying(20)": waybill.KindText,
		"timestamp(3) with time zone": waybill.KindInstant, "time(0) without time zone": waybill.KindTime, "interval day to second(2)": waybill.KindInterval,
		"integer[]": waybill.KindLiteral, "numeric(10,2)[]": waybill.KindLiteral, "interval[]": waybill.KindLiteral, `"char"`: waybill.KindLiteral,
		"public.citext": waybill.KindText, "inet": waybill.KindLiteral, "public.integer": waybill.KindLiteral, `public."text"`: waybill.KindLiteral,
		"bit varying(3)": waybill.KindLiteral, "money": waybill.KindLiteral,
	} {
		if got := kindOf(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}
