package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"github.com/waybill-data/waybill"
)

// wire is how a column's values travel to the server inside a binary array.
type wire uint8

// A wireText value is the text of a type, cast at the server; a wireRaw one is characters that need no cast.
const (
	wireText wire = iota
	wireRaw
	wireBool
	wireInt2
	wireInt4
	wireInt8
	wireFloat4
	wireFloat8
	wireDate
	wireTimestamp
	wireInstant
	wireTime
	wireUUID
	wireBytes
)

// wireType says what a wire's array is called and what its elements are.
type wireType struct {
	array string
	oid   uint32
	kind  waybill.Kind // the only kind of value it takes, NULL aside; wireText and wireRaw take others
}

var wireTypes = [...]wireType{
	wireText: {"text[]", 25, waybill.KindLiteral}, wireRaw: {"text[]", 25, waybill.KindText},
	wireBool: {"bool[]", 16, waybill.KindBool}, wireInt2: {"int2[]", 21, waybill.KindInt},
	wireInt4: {"int4[]", 23, waybill.KindInt}, wireInt8: {"int8[]", 20, waybill.KindInt},
	wireFloat4: {"float4[]", 700, waybill.KindFloat32}, wireFloat8: {"float8[]", 701, waybill.KindFloat64},
	wireDate: {"date[]", 1082, waybill.KindDate}, wireTimestamp: {"timestamp[]", 1114, waybill.KindTimestamp},
	wireInstant: {"timestamptz[]", 1184, waybill.KindInstant}, wireTime: {"time[]", 1083, waybill.KindTime}, wireUUID: {"uuid[]", 2950, waybill.KindUUID},
	wireBytes: {"bytea[]", 17, waybill.KindBytes},
}

// wireOf chooses the wire for values of a kind into a column of the target's type. What is not the plain
// pair of the two travels as text, which the server reads as it reads any input.
func wireOf(oid uint32, kind waybill.Kind) wire {
	isText := oid == 25 || oid == 1043 || oid == 1042 // text, varchar, bpchar
	if isText && kind == waybill.KindText {
		return wireRaw
	}
	for w := wireBool; w <= wireBytes; w++ {
		if t := wireTypes[w]; t.oid == oid && t.kind == kind {
			return w
		}
	}
	return wireText
}

const (
	daysTo2000   = 10957
	microsTo2000 = daysTo2000 * 86_400_000_000
)

// appendArray appends a binary one-dimensional array of n values to dst. Its header says that there may be
// NULLs, which costs nothing where there are none.
func appendArray(dst []byte, oid uint32, n int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, oid)
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	return binary.BigEndian.AppendUint32(dst, 1)
}

// appendElement appends one value with its length to a binary array.
func appendElement(dst []byte, w wire, v *waybill.Value) ([]byte, error) {
	if v.IsNull() {
		return binary.BigEndian.AppendUint32(dst, math.MaxUint32), nil
	}
	if w == wireText {
		return appendTextElement(dst, *v)
	}
	kind := v.Kind()
	if kind != wireTypes[w].kind {
		return nil, fmt.Errorf("a value of kind %s where %s was declared", kind, wireTypes[w].kind)
	}
	switch w {
	case wireRaw, wireBytes:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.Text())))
		return append(dst, v.Text()...), nil
	case wireBool:
		b := byte(0)
		if v.Bool() {
			b = 1
		}
		return append(dst, 0, 0, 0, 1, b), nil
	case wireUUID:
		return appendUUID(dst, v.Text())
	case wireFloat4:
		dst = binary.BigEndian.AppendUint32(dst, 4)
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v.Float()))), nil
	case wireFloat8:
		dst = binary.BigEndian.AppendUint32(dst, 8)
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	}
	return appendNumber(dst, w, v.Int())
}

func appendNumber(dst []byte, w wire, n int64) ([]byte, error) {
	switch w {
	case wireInt2:
		if n != int64(int16(n)) {
			return nil, fmt.Errorf("%d is out of range for type smallint", n)
		}
		dst = binary.BigEndian.AppendUint32(dst, 2)
		return binary.BigEndian.AppendUint16(dst, uint16(n)), nil
	case wireInt4:
		if n != int64(int32(n)) {
			return nil, fmt.Errorf("%d is out of range for type integer", n)
		}
		dst = binary.BigEndian.AppendUint32(dst, 4)
		return binary.BigEndian.AppendUint32(dst, uint32(n)), nil
	case wireDate:
		days, err := serverClock(n, daysTo2000, math.MaxInt32, math.MinInt32)
		if err != nil {
			return nil, err
		}
		dst = binary.BigEndian.AppendUint32(dst, 4)
		return binary.BigEndian.AppendUint32(dst, uint32(int32(days))), nil
	case wireTimestamp, wireInstant:
		micros, err := serverClock(n, microsTo2000, math.MaxInt64, math.MinInt64)
		if err != nil {
			return nil, err
		}
		n = micros
	}
	dst = binary.BigEndian.AppendUint32(dst, 8)
	return binary.BigEndian.AppendUint64(dst, uint64(n)), nil
}

// serverClock moves a clock value to the server's epoch and its infinities to the server's.
func serverClock(n, epoch, forever, beforeForever int64) (int64, error) {
	switch n {
	case waybill.Forever:
		return forever, nil
	case waybill.BeforeForever:
		return beforeForever, nil
	}
	moved := n - epoch
	if moved > n || moved <= beforeForever || moved >= forever {
		return 0, fmt.Errorf("date or time out of range")
	}
	return moved, nil
}

func appendUUID(dst []byte, text string) ([]byte, error) {
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 32 {
		return nil, fmt.Errorf("%q is not a uuid", text)
	}
	dst = binary.BigEndian.AppendUint32(dst, 16)
	return hex.AppendDecode(dst, []byte(digits))
}

func appendTextElement(dst []byte, v waybill.Value) ([]byte, error) {
	if v.IsAbsent() {
		return nil, fmt.Errorf("a value that did not travel")
	}
	at := len(dst)
	dst = appendText(append(dst, 0, 0, 0, 0), v)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst, nil
}
