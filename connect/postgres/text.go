package postgres

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/waybill-data/waybill"
)

var errSyntax = errors.New("not the text of a value")

// aliased returns a string over the bytes: whoever keeps it must keep them unchanged.
func aliased(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// decodeText reads a value from the server's output text under the pinned settings (see connect). Strings in
// the value alias text. Copy and stream both come through here, so they agree.
func decodeText(kind waybill.Kind, text string) (waybill.Value, error) {
	switch kind {
	case waybill.KindText:
		return waybill.TextValue(text), nil
	case waybill.KindInt:
		n, ok := parseInt(text)
		if !ok {
			return badText(kind, text, nil)
		}
		return waybill.IntValue(n), nil
	case waybill.KindLiteral:
		return waybill.LiteralValue(text), nil
	case waybill.KindDecimal:
		return waybill.DecimalValue(text), nil
	case waybill.KindJSON:
		return waybill.JSONValue(text), nil
	case waybill.KindUUID:
		return waybill.UUIDValue(text), nil
	case waybill.KindInterval:
		return waybill.IntervalValue(text), nil
	case waybill.KindBool:
		return decodeBool(text)
	case waybill.KindFloat32, waybill.KindFloat64:
		return decodeFloat(kind, text)
	case waybill.KindBytes:
		return decodeBytes(text)
	}
	return decodeClock(kind, text)
}

func badText(kind waybill.Kind, text string, cause error) (waybill.Value, error) {
	if cause == nil {
		cause = errSyntax
	}
	if len(text) > 80 {
		text = text[:80] + "..."
	}
	return waybill.Value{}, &waybill.Error{Op: "read value", Fault: waybill.Data,
		Err: fmt.Errorf("%s %q: %w", kind, text, cause)}
}

func decodeBool(text string) (waybill.Value, error) {
	switch text {
	case "t":
		return waybill.BoolValue(true), nil
	case "f":
		return waybill.BoolValue(false), nil
	}
	return badText(waybill.KindBool, text, nil)
}

// parseInt reads a decimal integer of at most 64 bits.
func parseInt(s string) (int64, bool) {
	digits := s
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(digits); i++ {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + uint64(d)
	}
	if negative {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

func decodeFloat(kind waybill.Kind, text string) (waybill.Value, error) {
	bits := 64
	if kind == waybill.KindFloat32 {
		bits = 32
	}
	var f float64
	switch text {
	case "NaN":
		f = math.NaN()
	case "Infinity":
		f = math.Inf(1)
	case "-Infinity":
		f = math.Inf(-1)
	default:
		var err error
		if f, err = strconv.ParseFloat(text, bits); err != nil {
			return badText(kind, text, errors.Unwrap(err))
		}
	}
	if bits == 32 {
		return waybill.Float32Value(float32(f)), nil
	}
	return waybill.Float64Value(f), nil
}

// decodeBytes reads \x hex.
func decodeBytes(text string) (waybill.Value, error) {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
		return badText(waybill.KindBytes, text, nil)
	}
	raw := make([]byte, hex.DecodedLen(len(text)-2))
	if _, err := hex.Decode(raw, unsafe.Slice(unsafe.StringData(text), len(text))[2:]); err != nil {
		return badText(waybill.KindBytes, text, err)
	}
	return waybill.BytesValue(aliased(raw)), nil
}

// appendText writes a value as input text of the server. Null and Absent have no text: what to do with them
// is the caller's decision, and forgetting it is a bug that must not become an empty string.
func appendText(dst []byte, v waybill.Value) []byte {
	switch v.Kind() {
	case waybill.KindAbsent, waybill.KindNull:
		panic("postgres: text of a value that is " + v.Kind().String())
	case waybill.KindBool:
		if v.Bool() {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case waybill.KindInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case waybill.KindUint:
		return strconv.AppendUint(dst, v.Uint(), 10)
	case waybill.KindFloat32:
		return appendFloat(dst, v.Float(), 32)
	case waybill.KindFloat64:
		return appendFloat(dst, v.Float(), 64)
	case waybill.KindBytes:
		return hex.AppendEncode(append(dst, `\x`...), unsafe.Slice(unsafe.StringData(v.Text()), len(v.Text())))
	case waybill.KindDate, waybill.KindTime, waybill.KindTimeTZ, waybill.KindTimestamp, waybill.KindInstant:
		return appendClock(dst, v)
	}
	return append(dst, v.Text()...)
}

// appendFloat writes the shortest text that reads back as the same number, in the server's own layout: an
// exponent below 1e-4 and from 1e15 (single: 1e6) on.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	limit := 1e15
	if bits == 32 {
		limit = 1e6
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= limit) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}
