package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// What stands around the rows of a binary copy.
const (
	copyHeader    = 11 + 4 // signature and flags; the length of an extension follows
	fieldCount    = 2
	copyEndMarker = "\xff\xff"
)

// Encoding is that of the binary copy, for types whose bytes are the same in all versions. It leaves out oid,
// whose bytes are unsigned.
func (w *view) Encoding(v *waybill.TableVersion, columns []int) waybill.Format {
	if v.Dialect != kind || len(columns) == 0 {
		return ""
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		name, ok := binaryTypes[stripModifier(v.Columns[c].Type.Native)]
		if !ok || name == "oid" {
			return ""
		}
		names[i] = name
	}
	return waybill.Format(binaryPrefix + strings.Join(names, ","))
}

// ReadRaw gives the rows of a binary copy.
func (w *view) ReadRaw(ctx context.Context, s waybill.Slice, columns []int, row func(raw []byte) error) error {
	err := w.readRaw(ctx, s, columns, row)
	if err != nil {
		return classify("read", s.Version.Table, contextCause(ctx, err))
	}
	return nil
}

func (w *view) readRaw(ctx context.Context, s waybill.Slice, columns []int, row func(raw []byte) error) error {
	if err := w.pin(ctx, s.Version.Table); err != nil {
		return err
	}
	sql, err := rawStatement(s, columns)
	if err != nil {
		return err
	}
	return w.copyOut(ctx, sql, func(c *rawCopy) error { return c.eachRow(len(columns), row) })
}

// tidSize is how many bytes the place of a row takes: block and line.
const tidSize = 4 + 2

// ReadLocated reads the row's ctid too, as the last column.
func (w *view) ReadLocated(ctx context.Context, s waybill.Slice, columns []int, row func(raw, at []byte) error) error {
	err := w.readLocated(ctx, s, columns, row)
	if err != nil {
		return classify("read", s.Version.Table, contextCause(ctx, err))
	}
	return nil
}

func (w *view) readLocated(ctx context.Context, s waybill.Slice, columns []int, row func(raw, at []byte) error) error {
	if err := w.pin(ctx, s.Version.Table); err != nil {
		return err
	}
	sql, err := selectList(s, columnList(s.Version, columns)+", ctid")
	if err != nil {
		return err
	}
	return w.copyOut(ctx, "COPY ("+sql+") TO STDOUT (FORMAT binary)", func(c *rawCopy) error {
		return c.eachRow(len(columns)+1, func(raw []byte) error {
			end := len(raw) - tidSize - 4
			if end < 0 || binary.BigEndian.Uint32(raw[end:]) != tidSize {
				return fmt.Errorf("binary copy: a row has no place: %x", raw[max(end, 0):])
			}
			return row(raw[:end], raw[end+4:])
		})
	})
}

// Located reads by ctid, which is unique within one table but not over partitions.
func (w *view) Located(s waybill.Slice, at [][]byte) (waybill.Slice, bool) {
	c, err := parseRange(s.Range)
	if err != nil || s.Version.Partitions != nil {
		return s, false
	}
	places := make([]string, len(at))
	for i, tid := range at {
		places[i] = fmt.Sprintf(`"(%d,%d)"`, binary.BigEndian.Uint32(tid), binary.BigEndian.Uint16(tid[4:]))
	}
	where := "ctid = ANY ('{" + strings.Join(places, ",") + "}'::tid[])"
	if c.where != "" {
		where = c.where + " AND " + where
	}
	c.where = where
	s.Range, s.Rows = c.String(), int64(len(at))
	return s, true
}

func rawStatement(s waybill.Slice, columns []int) (string, error) {
	const end = " TO STDOUT (FORMAT binary)"
	computed := slices.ContainsFunc(columns, func(c int) bool { return !s.Version.Columns[c].Writable() })
	// The copy of a table by its name is a little faster than that of a query, but has no computed columns.
	if s.Range == "" && !s.Ordered && s.Version.Partitions == nil && !computed {
		return "COPY " + quoteTable(s.Version.Table) + " (" + columnList(s.Version, columns) + ")" + end, nil
	}
	sql, err := selectSlice(s, columns)
	return "COPY (" + sql + ")" + end, err
}

// eachRow takes the rows of a binary copy. The server sends each in a message of its own; the header comes
// with the first one.
func (c *rawCopy) eachRow(columns int, row func(raw []byte) error) error {
	first, marked := true, false
	for !c.ended {
		kind, message, ok, err := c.frame()
		switch {
		case err != nil:
			return err
		case !ok:
			err = c.fill()
		case kind == 'd':
			if first {
				first = false
				if message, err = skipHeader(message); err != nil {
					return err
				}
			}
			switch {
			case len(message) == 0:
			case string(message) == copyEndMarker:
				marked = true
			case len(message) < fieldCount || int(binary.BigEndian.Uint16(message)) != columns || marked:
				return fmt.Errorf("binary copy: a row of %d columns was expected, not %x", columns, message[:min(len(message), 20)])
			default:
				err = row(message[fieldCount:])
			}
		}
		if err != nil {
			return err
		}
	}
	if !marked {
		return fmt.Errorf("binary copy: it has no end")
	}
	return nil
}

func skipHeader(message []byte) ([]byte, error) {
	if len(message) < copyHeader+4 {
		return nil, fmt.Errorf("binary copy: header of %d bytes", len(message))
	}
	extension := int(binary.BigEndian.Uint32(message[copyHeader:]))
	if len(message) < copyHeader+4+extension {
		return nil, fmt.Errorf("binary copy: header of %d bytes", len(message))
	}
	return message[copyHeader+4+extension:], nil
}
