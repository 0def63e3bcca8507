package postgres

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/waybill-data/waybill"
)

// appendCopy writes one line of COPY's text format, its newline included: the given columns of the row, in
// that order. An Absent value has no place in a copy: it panics.
func appendCopy(dst []byte, row waybill.Row, columns []int) []byte {
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, '\t')
		}
		dst = appendCopyField(dst, row[c])
	}
	return append(dst, '\n')
}

func appendCopyField(dst []byte, v waybill.Value) []byte {
	switch v.Kind() {
	case waybill.KindNull:
		return append(dst, `\N`...)
	case waybill.KindBytes:
		return appendText(append(dst, '\\'), v)
	case waybill.KindText, waybill.KindLiteral, waybill.KindJSON, waybill.KindDecimal, waybill.KindUUID, waybill.KindInterval:
		return appendEscaped(dst, v.Text())
	}
	return appendText(dst, v)
}

// escapes says what follows the backslash for the bytes that cannot stand for themselves.
var escapes = [256]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v', '\\': '\\'}

func appendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		if e := escapes[s[i]]; e != 0 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', e)
			start = i + 1
		}
	}
	return append(dst, s[start:]...)
}

// decodeCopy reads one line of COPY's text format, with or without its newline, into the given columns of
// the row; the others are left alone. It unescapes in place, and the row's strings alias the line: the line
// must stay unchanged for as long as the row is used.
func decodeCopy(line []byte, v *waybill.TableVersion, columns []int, row waybill.Row) error {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	for i, c := range columns {
		field := line
		if i < len(columns)-1 {
			tab := bytes.IndexByte(line, '\t')
			if tab < 0 {
				return copyError(fmt.Errorf("%d fields where %d were expected", i+1, len(columns)))
			}
			field, line = line[:tab], line[tab+1:]
		} else if bytes.IndexByte(line, '\t') >= 0 {
			return copyError(fmt.Errorf("more than %d fields", len(columns)))
		}
		if len(field) == 2 && field[0] == '\\' && field[1] == 'N' {
			row[c] = waybill.Null
			continue
		}
		if at := bytes.IndexByte(field, '\\'); at >= 0 {
			field = unescape(field, at)
		}
		value, err := decodeField(v.Columns[c].Type.Kind, field)
		if err != nil {
			return copyError(fmt.Errorf("column %s: %w", v.Columns[c].Name, err))
		}
		row[c] = value
	}
	return nil
}

// decodeField is decodeText where the text may be overwritten, so that bytes need no memory of their own.
func decodeField(kind waybill.Kind, field []byte) (waybill.Value, error) {
	if kind != waybill.KindBytes || !bytes.HasPrefix(field, []byte(`\x`)) {
		return decodeText(kind, aliased(field))
	}
	n, err := hex.Decode(field, field[2:])
	if err != nil {
		return badText(kind, string(field), err)
	}
	return waybill.BytesValue(aliased(field[:n])), nil
}

func copyError(err error) error {
	return &waybill.Error{Op: "decode row", Fault: waybill.Data, Err: err}
}

// unescape resolves backslashes in place, from the first one on. The server writes the escapes of the table
// above and no others.
func unescape(field []byte, at int) []byte {
	to := at
	for from := at; from < len(field); from++ {
		b := field[from]
		if b == '\\' && from+1 < len(field) {
			from++
			b = unescaped(field[from])
		}
		field[to] = b
		to++
	}
	return field[:to]
}

func unescaped(b byte) byte {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	}
	return b
}

// copyColumns returns the columns that are written by a copy, in order: all but the generated ones. Both ends
// of an export use it, so they agree.
func copyColumns(v *waybill.TableVersion) []int {
	var columns []int
	for i := range v.Columns {
		if v.Columns[i].Writable() {
			columns = append(columns, i)
		}
	}
	return columns
}
