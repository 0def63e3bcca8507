package repair

import (
	"encoding/binary"
	"errors"

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
		v, ok := waybill.ValueOf(kind, n, rest[:size])
		if !ok || v.IsAbsent() {
			return nil, errRecord
		}
		row, rest = append(row, v), rest[size:]
	}
	return row, nil
}
