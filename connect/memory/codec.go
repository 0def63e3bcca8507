package memory

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/waybill-data/waybill"
)

// Bytes is the wire format of rows: per row the number of values, per value its kind, number and text.
const Bytes waybill.Format = "memory/1"

// readRow reads one row in the format [Bytes]. It returns io.EOF at the end of the rows.
func readRow(r *bufio.Reader) (waybill.Row, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	row := make(waybill.Row, n)
	for i := range row {
		if row[i], err = readValue(r); err != nil {
			return nil, fmt.Errorf("value %d: %w", i, err)
		}
	}
	return row, nil
}

func appendRow(dst []byte, row waybill.Row) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(row)))
	for _, v := range row {
		dst = appendValue(dst, v)
	}
	return dst
}

func readValue(r *bufio.Reader) (waybill.Value, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return waybill.Value{}, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return waybill.Value{}, err
	}
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return waybill.Value{}, err
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return waybill.Value{}, err
	}
	return makeValue(waybill.Kind(kind), n, string(text))
}

func makeValue(kind waybill.Kind, n uint64, s string) (waybill.Value, error) {
	switch kind {
	case waybill.KindAbsent:
		return waybill.Value{}, nil
	case waybill.KindNull:
		return waybill.Null, nil
	case waybill.KindBool:
		return waybill.BoolValue(n != 0), nil
	case waybill.KindInt:
		return waybill.IntValue(int64(n)), nil
	case waybill.KindUint:
		return waybill.UintValue(n), nil
	case waybill.KindFloat32:
		return waybill.Float32Value(math.Float32frombits(uint32(n))), nil
	case waybill.KindFloat64:
		return waybill.Float64Value(math.Float64frombits(n)), nil
	}
	if kind >= waybill.KindDate && kind <= waybill.KindInstant {
		return makeClock(kind, int64(n), s), nil
	}
	return makeText(kind, s)
}

func makeClock(kind waybill.Kind, n int64, s string) waybill.Value {
	switch kind {
	case waybill.KindDate:
		return waybill.DateValue(n)
	case waybill.KindTime:
		return waybill.TimeValue(n)
	case waybill.KindTimeTZ:
		return waybill.TimeTZValue(n, s)
	case waybill.KindTimestamp:
		return waybill.TimestampValue(n)
	}
	return waybill.InstantValue(n)
}

func makeText(kind waybill.Kind, s string) (waybill.Value, error) {
	switch kind {
	case waybill.KindDecimal:
		return waybill.DecimalValue(s), nil
	case waybill.KindText:
		return waybill.TextValue(s), nil
	case waybill.KindBytes:
		return waybill.BytesValue(s), nil
	case waybill.KindInterval:
		return waybill.IntervalValue(s), nil
	case waybill.KindJSON:
		return waybill.JSONValue(s), nil
	case waybill.KindUUID:
		return waybill.UUIDValue(s), nil
	case waybill.KindLiteral:
		return waybill.LiteralValue(s), nil
	}
	return waybill.Value{}, fmt.Errorf("unknown kind %d", kind)
}
