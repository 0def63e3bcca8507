package waybill

import (
	"fmt"
	"math"
	"strconv"
)

// Kind says how a [Value] is to be read. The set is closed.
type Kind uint8

// The kinds of values. Absent is the zero value: "not sent", which is never the same as Null.
const (
	KindAbsent    Kind = iota // the source did not send the value (unchanged large value, minimal row image)
	KindNull                  // SQL NULL
	KindBool                  // true or false
	KindInt                   // signed 64-bit integer
	KindUint                  // unsigned 64-bit integer
	KindFloat32               // IEEE 754 single
	KindFloat64               // IEEE 754 double
	KindDecimal               // exact decimal as text: -12.340, NaN, Infinity, -Infinity; the scale is kept
	KindText                  // characters, valid UTF-8
	KindBytes                 // raw bytes
	KindDate                  // days since 1970-01-01, proleptic Gregorian
	KindTime                  // microseconds since midnight; may pass 24 h or be negative
	KindTimeTZ                // KindTime with the zone's offset as text
	KindTimestamp             // wall clock: microseconds since 1970-01-01 00:00:00 of no zone
	KindInstant               // a point in time: microseconds since 1970-01-01 00:00:00 UTC
	KindInterval              // ISO 8601 duration text, P1Y2M3DT4H5M6.7S
	KindJSON                  // JSON text as the source printed it
	KindUUID                  // 36 lower-case characters
	KindLiteral               // text in the source's own syntax for its column's type (range, inet, array, ...)
)

var kindNames = [...]string{"absent", "null", "bool", "int", "uint", "float32", "float64", "decimal", "text", "bytes",
	"date", "time", "timetz", "timestamp", "instant", "interval", "json", "uuid", "literal"}

// String returns the lower-case name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// MarshalText writes the kind's name; stored structures use names, never numbers.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("unknown kind %q", text)
}

// Forever and BeforeForever are the infinite dates, timestamps and instants ("infinity", "-infinity").
const (
	Forever       int64 = math.MaxInt64
	BeforeForever int64 = math.MinInt64
)

// Value is one field of a row: a closed union without boxing, 32 bytes. The zero Value is Absent.
// Its text may alias the memory of the batch it came in; see [Batch] for how long that is valid.
type Value struct {
	kind Kind
	n    uint64
	s    string
}

// Null is SQL NULL.
var Null = Value{kind: KindNull}

// BoolValue returns a boolean.
func BoolValue(b bool) Value {
	if b {
		return Value{kind: KindBool, n: 1}
	}
	return Value{kind: KindBool}
}

// IntValue returns a signed integer.
func IntValue(n int64) Value { return Value{kind: KindInt, n: uint64(n)} }

// UintValue returns an unsigned integer.
func UintValue(n uint64) Value { return Value{kind: KindUint, n: n} }

// Float32Value returns a single precision number.
func Float32Value(f float32) Value { return Value{kind: KindFloat32, n: uint64(math.Float32bits(f))} }

// Float64Value returns a double precision number.
func Float64Value(f float64) Value { return Value{kind: KindFloat64, n: math.Float64bits(f)} }

// DecimalValue returns an exact decimal given as text.
func DecimalValue(s string) Value { return Value{kind: KindDecimal, s: s} }

// TextValue returns characters.
func TextValue(s string) Value { return Value{kind: KindText, s: s} }

// BytesValue returns raw bytes, held in a string so that no copy is needed.
func BytesValue(s string) Value { return Value{kind: KindBytes, s: s} }

// DateValue returns a date in days since 1970-01-01, or [Forever] or [BeforeForever].
func DateValue(days int64) Value { return Value{kind: KindDate, n: uint64(days)} }

// TimeValue returns a time of day in microseconds since midnight.
func TimeValue(micros int64) Value { return Value{kind: KindTime, n: uint64(micros)} }

// TimeTZValue returns a time of day in microseconds with its offset as the source prints it ("+02", "-03:30").
func TimeTZValue(micros int64, offset string) Value {
	return Value{kind: KindTimeTZ, n: uint64(micros), s: offset}
}

// TimestampValue returns a wall clock in microseconds since 1970-01-01, or [Forever] or [BeforeForever].
func TimestampValue(micros int64) Value { return Value{kind: KindTimestamp, n: uint64(micros)} }

// InstantValue returns a point in time in microseconds since 1970-01-01 UTC, or [Forever] or [BeforeForever].
func InstantValue(micros int64) Value { return Value{kind: KindInstant, n: uint64(micros)} }

// IntervalValue returns an ISO 8601 duration.
func IntervalValue(s string) Value { return Value{kind: KindInterval, s: s} }

// JSONValue returns JSON text.
func JSONValue(s string) Value { return Value{kind: KindJSON, s: s} }

// UUIDValue returns a UUID as 36 lower-case characters.
func UUIDValue(s string) Value { return Value{kind: KindUUID, s: s} }

// LiteralValue returns text in the source's own syntax.
func LiteralValue(s string) Value { return Value{kind: KindLiteral, s: s} }

// ValueOf returns the value of which Kind, Uint and Text return these, for who has written them down; false
// where there is no such kind.
func ValueOf(kind Kind, n uint64, text string) (Value, bool) {
	return Value{kind: kind, n: n, s: text}, int(kind) < len(kindNames)
}

// Kind returns the value's kind.
func (v Value) Kind() Kind { return v.kind }

// IsAbsent reports whether the source did not send the value.
func (v Value) IsAbsent() bool { return v.kind == KindAbsent }

// IsNull reports whether the value is SQL NULL.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Bool returns the value of a KindBool.
func (v Value) Bool() bool { return v.n != 0 }

// Int returns the number of a KindInt, the days of a KindDate, or the microseconds of the other clock kinds.
func (v Value) Int() int64 { return int64(v.n) }

// Uint returns the number of a KindUint.
func (v Value) Uint() uint64 { return v.n }

// Float returns the number of a KindFloat32 or KindFloat64.
func (v Value) Float() float64 {
	if v.kind == KindFloat32 {
		return float64(math.Float32frombits(uint32(v.n)))
	}
	return math.Float64frombits(v.n)
}

// Text returns the text of the kinds that are held as text, the bytes of KindBytes, the offset of KindTimeTZ.
func (v Value) Text() string { return v.s }

// Clone returns a value that shares no memory with v.
func (v Value) Clone() Value {
	if v.s != "" {
		v.s = string(append([]byte(nil), v.s...))
	}
	return v
}

// WithText returns v with its text replaced by an equal one that lives elsewhere, for who keeps the values of
// a whole batch in memory of its own.
func (v Value) WithText(s string) Value {
	v.s = s
	return v
}

// Same reports whether two values are identical in kind and content. NaN is the same as NaN, -0 is not the
// same as 0, and decimals of different scale differ: it is identity, not a rule of comparison.
func (v Value) Same(w Value) bool { return v == w }

// Append appends a printable form for messages and reports to dst. It is not any system's syntax.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case KindAbsent:
		return append(dst, "(absent)"...)
	case KindNull:
		return append(dst, "NULL"...)
	case KindBool:
		return strconv.AppendBool(dst, v.n != 0)
	case KindInt, KindDate, KindTime, KindTimeTZ, KindTimestamp, KindInstant:
		return appendClock(dst, v)
	case KindUint:
		return strconv.AppendUint(dst, v.n, 10)
	case KindFloat32:
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 32)
	case KindFloat64:
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 64)
	case KindBytes:
		return fmt.Appendf(dst, "0x%x", v.s)
	default:
		return append(dst, v.s...)
	}
}

// String returns the printable form of [Value.Append].
func (v Value) String() string { return string(v.Append(nil)) }
