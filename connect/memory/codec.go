package memory

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

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
	v, ok := waybill.ValueOf(waybill.Kind(kind), n, string(text))
	if !ok {
		return v, fmt.Errorf("unknown kind %d", kind)
	}
	return v, nil
}
