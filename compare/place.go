package compare

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/waybill-data/waybill"
)

// rangedBy returns the kind of a column that rows are ordered by, if its values have places in their own order,
// so that a span of places is a range of values; else 0, and the place is a hash.
func rangedBy(source, target waybill.Column) waybill.Kind {
	kind := source.Type.Kind
	if kind != target.Type.Kind || !source.NotNull || !target.NotNull || kind != waybill.KindInt && kind != waybill.KindUUID {
		return 0
	}
	return kind
}

// rawPlace returns the place of an undecoded row by its first column.
func rawPlace(kind waybill.Kind, row []byte) (uint64, bool) {
	if len(row) < 4 {
		return 0, false
	}
	size, value := int(binary.BigEndian.Uint32(row)), row[4:]
	if size > len(value) {
		return 0, false
	}
	switch {
	case kind == waybill.KindUUID && size == 16:
		return binary.BigEndian.Uint64(value), true
	case kind == waybill.KindInt && size == 4:
		return intPlace(int64(int32(binary.BigEndian.Uint32(value)))), true
	case kind == waybill.KindInt && size == 8:
		return intPlace(int64(binary.BigEndian.Uint64(value))), true
	case kind == waybill.KindInt && size == 2:
		return intPlace(int64(int16(binary.BigEndian.Uint16(value)))), true
	}
	return 0, false
}

// placeOf is rawPlace of a value.
func placeOf(v waybill.Value) uint64 {
	if v.Kind() == waybill.KindInt {
		return intPlace(v.Int())
	}
	var first [8]byte
	at := 0
	for i := 0; i+1 < len(v.Text()) && at < len(first); i += 2 {
		if v.Text()[i] == '-' {
			i++
		}
		_, _ = hex.Decode(first[at:at+1], []byte(v.Text()[i:i+2])) // a UUID has nothing but digits here
		at++
	}
	return binary.BigEndian.Uint64(first[:])
}

// intPlace keeps the order of signed numbers.
func intPlace(n int64) uint64 { return uint64(n) ^ 1<<63 }

// valueAt returns the first value at a place.
func valueAt(kind waybill.Kind, place uint64) waybill.Value {
	if kind == waybill.KindInt {
		return waybill.IntValue(int64(place ^ 1<<63))
	}
	return waybill.UUIDValue(fmt.Sprintf("%08x-%04x-%04x-0000-000000000000", place>>32, place>>16&0xffff, place&0xffff))
}

// rangeOf returns the values of a span.
func rangeOf(kind waybill.Kind, s span) waybill.Range {
	r := waybill.Range{From: valueAt(kind, s.first)}
	if s.last != ^uint64(0) {
		r.To = valueAt(kind, s.last+1)
	}
	return r
}
