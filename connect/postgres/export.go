package postgres

import (
	"context"
	"io"
	"strings"

	"github.com/waybill-data/waybill"
)

// binaryTypes are the built-in types whose binary form is the same in all versions and does not name other
// types by number. Arrays and rows do; an interval's infinity is new in 17; money depends on the locale.
var binaryTypes = map[string]string{
	"boolean": "bool", "smallint": "int2", "integer": "int4", "bigint": "int8", "oid": "oid", "real": "float4",
	"double precision": "float8", "numeric": "numeric", "text": "text", "character varying": "varchar", "character": "bpchar",
	"bpchar": "bpchar", "name": "name", "bytea": "bytea", "uuid": "uuid", "date": "date", "time without time zone": "time",
	"time with time zone": "timetz", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
	"json": "json", "jsonb": "jsonb",
}

// The formats that two servers can exchange rows in. The binary one names the types of the columns, because
// the receiver takes bytes for whatever its own column is.
const (
	textFormat   waybill.Format = "pgcopy-text"
	binaryPrefix                = "pgcopy-binary/"
)

// binaryFormat returns the binary format of the version's copyColumns, if all of them have one. A receiver
// must also make sure that its own columns are of the types that the version says.
func binaryFormat(v *waybill.TableVersion) (waybill.Format, bool) {
	if v.Dialect != kind {
		return "", false
	}
	var names []string
	for _, c := range copyColumns(v) {
		name, ok := binaryTypes[stripModifier(v.Columns[c].Type.Native)]
		if !ok {
			return "", false
		}
		names = append(names, name)
	}
	return waybill.Format(binaryPrefix + strings.Join(names, ",")), true
}

// Formats lists the binary format where every column has one, then text.
func (w *view) Formats(v *waybill.TableVersion) []waybill.Format {
	if f, ok := binaryFormat(v); ok {
		return []waybill.Format{f, textFormat}
	}
	return []waybill.Format{textFormat}
}

// Export sends the copyColumns of a slice as the server sends them.
func (w *view) Export(ctx context.Context, s waybill.Slice, f waybill.Format, to io.Writer) (int64, error) {
	rows, err := w.export(ctx, s, f, to)
	if err != nil {
		return rows, classify("export", s.Version.Table, contextCause(ctx, err))
	}
	return rows, nil
}

func (w *view) export(ctx context.Context, s waybill.Slice, f waybill.Format, to io.Writer) (int64, error) {
	if err := w.pin(ctx, s.Version.Table); err != nil {
		return 0, err
	}
	sql, err := exportStatement(s, f)
	if err != nil {
		return 0, err
	}
	var rows int64
	err = w.copyOut(ctx, sql, func(c *rawCopy) error {
		err := c.writeTo(to)
		rows = c.rows
		return err
	})
	return rows, err
}

func exportStatement(s waybill.Slice, f waybill.Format) (string, error) {
	end := " TO STDOUT"
	switch binary, ok := binaryFormat(s.Version); {
	case ok && f == binary:
		end += " (FORMAT binary)"
	case f != textFormat:
		return "", waybill.Errorf(waybill.Bug, "export", "format %q is none of the table's", f)
	}
	columns := copyColumns(s.Version)
	// The copy of a table by its name is a little faster than that of a query.
	if s.Range == "" && !s.Ordered && s.Version.Partitions == nil && len(columns) > 0 {
		return "COPY " + quoteTable(s.Version.Table) + " (" + columnList(s.Version, columns) + ")" + end, nil
	}
	sql, err := selectSlice(s, columns)
	return "COPY (" + sql + ")" + end, err
}

// exportChunk is about how many bytes are passed on at once: fewer, larger pieces mean fewer switches between
// the two ends of a pipe.
const exportChunk = 128 << 10

// writeTo passes the content on in large pieces: the headers of the messages are squeezed out in place.
func (c *rawCopy) writeTo(to io.Writer) error {
	begin, size := c.start, 0
	flush := func() error {
		if size > 0 {
			if _, err := to.Write(c.buf[begin : begin+size]); err != nil {
				return err
			}
		}
		c.compact()
		begin, size = c.start, 0
		return nil
	}
	for !c.ended {
		kind, payload, ok, err := c.frame()
		switch {
		case err != nil:
			return err
		case ok && kind == 'd':
			size += copy(c.buf[begin+size:], payload)
		case !ok:
			if size >= exportChunk || c.full() {
				err = flush()
			}
			if err == nil {
				err = c.fill()
			}
			if err != nil {
				return err
			}
		}
	}
	return flush()
}
