package postgres

import (
	"context"
	"io"

	"github.com/waybill-data/waybill"
)

// Accepts lists the formats that the table can be loaded in as bytes. The binary one only where the target's
// columns are of the very types that the version names: the server takes its bytes on trust.
func (s *sink) Accepts(ctx context.Context, v *waybill.TableVersion) ([]waybill.Format, error) {
	formats := []waybill.Format{textFormat}
	if v.Dialect != kind {
		return nil, nil
	}
	binary, ok := binaryFormat(v)
	if !ok {
		return formats, nil
	}
	conn, err := s.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer s.giveBack(ctx, conn)
	existing, err := describe(ctx, conn, []waybill.TableName{v.Table})
	if err != nil {
		return nil, classify("look at", v.Table, err)
	}
	if existing[0] == nil || !sameTypes(existing[0], v) {
		return formats, nil
	}
	return append([]waybill.Format{binary}, formats...), nil
}

func sameTypes(existing, wanted *waybill.TableVersion) bool {
	for _, c := range copyColumns(wanted) {
		at := existing.Column(wanted.Columns[c].Name)
		if at < 0 || existing.Columns[at].Type.Native != wanted.Columns[c].Type.Native {
			return false
		}
	}
	return true
}

// Import passes bytes of a slice on to the server, like Load.
func (s *sink) Import(ctx context.Context, slice waybill.Slice, f waybill.Format, r io.Reader) (int64, error) {
	if binary, ok := binaryFormat(slice.Version); f != textFormat && (!ok || f != binary) {
		return 0, waybill.Errorf(waybill.Bug, "import", "format %q is none of table %s", f, slice.Version.Table)
	}
	sql := copyStatement(slice.Version, copyColumns(slice.Version), f)
	return s.load(ctx, slice, sql, func() io.Reader { return r })
}
