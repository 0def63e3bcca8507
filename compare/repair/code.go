package repair

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/waybill-data/waybill"
)

// encode appends a form of the row that no other row has.
func encode(dst []byte, row waybill.Row) []byte {
	for _, v := range row {
		dst = append(dst, byte(v.Kind()))
		dst = binary.BigEndian.AppendUint64(dst, v.Uint())
		dst = binary.AppendUvarint(dst, uint64(len(v.Text())))
		dst = append(dst, v.Text()...)
	}
	return dst
}

var errRecord = errors.New("a kept place cannot be read back")

// decode reads what encode wrote. The row shares no memory with the record.
func decode(record []byte) (waybill.Row, error) {
	var row waybill.Row
	for rest := string(record); rest != ""; {
		if len(rest) < 10 {
			return nil, errRecord
		}
		kind, n := waybill.Kind(rest[0]), binary.BigEndian.Uint64([]byte(rest[1:9]))
		size, width := binary.Uvarint([]byte(rest[9:min(len(rest), 9+binary.MaxVarintLen64)]))
		if width <= 0 || uint64(len(rest)-9-width) < size {
			return nil, errRecord
		}
		rest = rest[9+width:]
		v, err := value(kind, n, rest[:size])
		if err != nil {
			return nil, err
		}
		row, rest = append(row, v), rest[size:]
	}
	return row, nil
}

// value makes a value of what is inside it.
func value(kind waybill.Kind, n uint64, text string) (waybill.Value, error) {
	switch kind {
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
	case waybill.KindDate:
		return waybill.DateValue(int64(n)), nil
	case waybill.KindTime:
		return waybill.TimeValue(int64(n)), nil
	case waybill.KindTimeTZ:
		return waybill.TimeTZValue(int64(n), text), nil
	case waybill.KindTimestamp:
		return waybill.TimestampValue(int64(n)), nil
	case waybill.KindInstant:
		return waybill.InstantValue(int64(n)), nil
	}
	return textual(kind, text)
}

func textual(kind waybill.Kind, text string) (waybill.Value, error) {
	switch kind {
	case waybill.KindDecimal:
		return waybill.DecimalValue(text), nil
	case waybill.KindText:
		return waybill.TextValue(text), nil
	case waybill.KindBytes:
		return waybill.BytesValue(text), nil
	case waybill.KindInterval:
		return waybill.IntervalValue(text), nil
	case waybill.KindJSON:
		return waybill.JSONValue(text), nil
	case waybill.KindUUID:
		return waybill.UUIDValue(text), nil
	case waybill.KindLiteral:
		return waybill.LiteralValue(text), nil
	}
	return waybill.Value{}, errRecord
}
