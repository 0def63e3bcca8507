package waybill

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestZeroValueIsAbsent(t *testing.T) {
	var v Value
	if !v.IsAbsent() || v.IsNull() || v.Same(Null) {
		t.Errorf("zero Value: kind %s", v.Kind())
	}
}

func TestCivilIsTheInverseOfDays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.Int64Range(-2_500_000, 110_000_000).Draw(t, "days")
		y, m, d := Civil(days)
		if got := Days(y, m, d); got != days {
			t.Fatalf("Days(Civil(%d)) = %d", days, got)
		}
	})
	for _, day := range []time.Time{time.Unix(0, 0).UTC(), time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		want := day.Unix() / 86400
		if got := Days(int64(day.Year()), int(day.Month()), day.Day()); got != want {
			t.Errorf("Days(%s) = %d, want %d", day, got, want)
		}
	}
}

func TestValuePrintsForPeople(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want string
	}{
		{Value{}, "(absent)"}, {Null, "NULL"}, {BoolValue(true), "true"}, {IntValue(math.MinInt64), "-9223372036854775808"},
		{UintValue(math.MaxUint64), "18446744073709551615"}, {Float64Value(math.Copysign(0, -1)), "-0"},
		{Float32Value(0.1), "0.1"}, {BytesValue("\x00\xff"), "0x00ff"}, {DateValue(0), "1970-01-01"},
		{DateValue(Forever), "infinity"}, {TimeValue(86400 * 1e6), "24:00:00"}, {TimeValue(-1), "-00:00:00.000001"},
		{TimestampValue(-1), "1969-12-31 23:59:59.999999"}, {InstantValue(BeforeForever), "-infinity"},
		{InstantValue(1e6), "1970-01-01 00:00:01Z"}, {TimeTZValue(3600e6, "+02"), "01:00:00+02"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("String of %s = %q, want %q", c.v.Kind(), got, c.want)
		}
	}
}

func TestCompareKeysOrdersByValue(t *testing.T) {
	inOrder := [][]Value{
		{IntValue(-1), IntValue(0), IntValue(2), Null},
		{BoolValue(false), BoolValue(true)},
		{UintValue(1), UintValue(math.MaxUint64)},
		{Float64Value(math.Inf(-1)), Float64Value(-1), Float64Value(0), Float64Value(math.Inf(1)), Float64Value(math.NaN()), Null},
		{DecimalValue("-Infinity"), DecimalValue("-10"), DecimalValue("-9.5"), DecimalValue("1e-20"), DecimalValue("10"), DecimalValue("Infinity"), DecimalValue("NaN")},
		{TextValue(""), TextValue("A"), TextValue("a"), TextValue("é"), Null},
		{DateValue(BeforeForever), DateValue(-1), DateValue(Forever)},
	}
	for _, values := range inOrder {
		for i := range values {
			for j := range values {
				got := CompareKeys(Row{values[i]}, Row{values[j]}, []int{0})
				if want := sign(i - j); got != want {
					t.Errorf("compare %s %s with %s = %d, want %d", values[i].Kind(), values[i], values[j], got, want)
				}
			}
		}
	}
	if got := CompareKeys(Row{DecimalValue("1.0")}, Row{DecimalValue("1.00")}, []int{0}); got != 0 {
		t.Errorf("1.0 and 1.00 name different keys: %d", got)
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestTableNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := TableName{rapid.StringN(1, 8, -1).Draw(t, "schema"), rapid.StringN(1, 8, -1).Draw(t, "name")}
		got, err := ParseTableName(name.String())
		if err != nil || got != name {
			t.Fatalf("ParseTableName(%q) = %v, %v", name, got, err)
		}
	})
	for _, bad := range []string{"", "a.", ".b", `"a`, `"a"b.c`, "a.b.c"} {
		if got, err := ParseTableName(bad); err == nil {
			t.Errorf("ParseTableName(%q) = %v, want an error", bad, got)
		}
	}
}

func TestSelection(t *testing.T) {
	orders, audit := TableName{"public", "orders"}, TableName{"public", "audit_2024"}
	starred := TableName{"public", "a*b"}
	for _, c := range []struct {
		s    Selection
		t    TableName
		want bool
	}{
		{nil, orders, true},
		{Selection{"public.*"}, orders, true},
		{Selection{"public.*", "!public.audit_*"}, audit, false},
		{Selection{"!public.audit_*"}, orders, true},
		{Selection{"!public.audit_*"}, audit, false},
		{Selection{"sales.*"}, orders, false},
		{Selection{`public."a*b"`}, starred, true},
		{Selection{`public."a*b"`}, TableName{"public", "axb"}, false},
		{Selection{"*"}, audit, true},
	} {
		if got := c.s.Has(c.t); got != c.want {
			t.Errorf("%q has %s = %v, want %v", c.s, c.t, got, c.want)
		}
	}
	for _, bad := range []Selection{{"orders"}, {"public.[a"}, {`"public.x`}, {"a.b.c"}} {
		if bad.Check() == nil {
			t.Errorf("Check(%q) found nothing", bad)
		}
	}
}

func TestSecretNeverShows(t *testing.T) {
	s := struct{ Password Secret }{NewSecret("hunter2")}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%#v %+v %s", s, s, s), string(encoded)} {
		if want := "***"; !contains(shown, want) || contains(shown, "hunter2") {
			t.Errorf("shown as %q", shown)
		}
	}
}

func contains(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

func TestFaultAndHintComeFromTheChain(t *testing.T) {
	cause := errors.New("permission denied")
	inner := &Error{Op: "open slot", Fault: Setup, Hint: "grant it", Err: cause}
	err := fmt.Errorf("start link: %w", &Error{Op: "read", Table: TableName{"public", "t"}, Fault: Setup, Err: inner})
	if got := FaultOf(err); got != Setup {
		t.Errorf("FaultOf = %s", got)
	}
	if got := HintOf(err); got != "grant it" {
		t.Errorf("HintOf = %q", got)
	}
	if want := "start link: read public.t: open slot: permission denied"; err.Error() != want {
		t.Errorf("Error = %q, want %q", err, want)
	}
	if !errors.Is(err, cause) || FaultOf(cause) != Bug || HintOf(cause) != "" {
		t.Error("the cause is lost or classified")
	}
}

func TestValueOf(t *testing.T) {
	for _, v := range []Value{{}, Null, IntValue(-1), Float64Value(math.NaN()), TimeTZValue(5, "+02"),
		TextValue(""), BytesValue("\x00"), BoolValue(true)} {
		if got, ok := ValueOf(v.Kind(), v.Uint(), v.Text()); !ok || got != v {
			t.Errorf("%s became %s, %v", v, got, ok)
		}
	}
	if _, ok := ValueOf(200, 0, ""); ok {
		t.Error("a kind that does not exist was taken")
	}
}
