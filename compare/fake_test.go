package compare_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/waybill-data/waybill"
)

var errGone = errors.New("the system is gone")

// fake is a view of one table in memory.
type fake struct {
	version *waybill.TableVersion
	rows    []waybill.Row
	batch   int   // rows per batch
	fail    error // after the rows
	at      waybill.Position
	rules   waybill.Format // how it encodes rows undecoded; empty: not at all
	mu      sync.Mutex     // guards what follows
	parts   map[string]waybill.Part
	read    int // rows given, in all
	budget  int // after so many of them the system is gone; 0: never
}

func (f *fake) Position() waybill.Position { return f.at }
func (f *fake) Tables(context.Context) ([]waybill.TableName, error) {
	return []waybill.TableName{f.version.Table}, nil
}
func (f *fake) Close() error { return nil }
func (f *fake) Version(context.Context, waybill.TableName) (*waybill.TableVersion, error) {
	return f.version, nil
}
func (f *fake) Slices(_ context.Context, v *waybill.TableVersion, rows int) ([]waybill.Slice, error) {
	if rows == 0 {
		return []waybill.Slice{{Version: v, Rows: int64(len(f.rows))}}, nil
	}
	var cut []waybill.Slice
	for i := range 3 {
		cut = append(cut, waybill.Slice{Version: v, Number: i, Range: fmt.Sprint(i)})
	}
	return cut, nil
}

// of returns the rows of a slice: a third of them in the order they lie in, or all, or those of a part.
func (f *fake) of(s waybill.Slice) []waybill.Row {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rows []waybill.Row
	for i, r := range f.rows {
		part, narrowed := f.parts[s.Range]
		if third, err := strconv.Atoi(s.Range); err == nil && i%3 != third || narrowed && !within(part, s.Version, r) {
			continue
		}
		rows = append(rows, r)
	}
	if s.Ordered {
		slices.SortStableFunc(rows, func(a, b waybill.Row) int { return waybill.CompareKeys(a, b, s.Version.OrderColumns()) })
	}
	f.read += len(rows)
	return rows
}

func within(p waybill.Part, v *waybill.TableVersion, row waybill.Row) bool {
	value := row[v.Column(p.Column)].Int()
	return slices.ContainsFunc(p.Ranges, func(r waybill.Range) bool {
		return (r.From.IsAbsent() || r.From.Int() <= value) && (r.To.IsAbsent() || value < r.To.Int())
	})
}

func (f *fake) gone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.budget > 0 && f.read > f.budget
}

func (f *fake) Narrow(s waybill.Slice, p waybill.Part) (waybill.Slice, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts == nil {
		f.parts = map[string]waybill.Part{}
	}
	s.Range = fmt.Sprint("part ", len(f.parts))
	f.parts[s.Range] = p
	return s, nil
}

func (f *fake) Bounds(_ context.Context, s waybill.Slice, column string) (low, high waybill.Value, err error) {
	low, high = waybill.Null, waybill.Null
	for _, r := range f.rows {
		v := r[s.Version.Column(column)]
		if low.IsNull() || v.Int() < low.Int() {
			low = v
		}
		if high.IsNull() || v.Int() > high.Int() {
			high = v
		}
	}
	return low, high, nil
}

func (f *fake) Encoding(*waybill.TableVersion, []int) waybill.Format { return f.rules }

func (f *fake) ReadRaw(_ context.Context, s waybill.Slice, columns []int, row func([]byte) error) error {
	if f.gone() {
		return errGone
	}
	for _, r := range f.of(s) {
		var raw []byte
		for _, c := range columns {
			switch v := r[c]; v.Kind() {
			case waybill.KindNull:
				raw = binary.BigEndian.AppendUint32(raw, math.MaxUint32)
			case waybill.KindInt:
				raw = binary.BigEndian.AppendUint64(append(raw, 0, 0, 0, 8), v.Uint())
			default:
				raw = append(binary.BigEndian.AppendUint32(raw, uint32(len(v.Text())+1)), byte(v.Kind()))
				raw = append(raw, v.Text()...)
			}
		}
		if err := row(raw); err != nil {
			return err
		}
	}
	return f.fail
}

// Read uses its memory again for every batch, as a connector does.
func (f *fake) Read(ctx context.Context, s waybill.Slice) iter.Seq2[waybill.Batch, error] {
	return func(yield func(waybill.Batch, error) bool) {
		if f.gone() {
			yield(waybill.Batch{}, errGone)
			return
		}
		rows := f.rows
		if s.Range != "" {
			rows = f.of(s)
		}
		memory := make([]waybill.Row, 0, f.batch)
		for chunk := range slices.Chunk(rows, f.batch) {
			memory = memory[:0]
			for _, r := range chunk {
				memory = append(memory, slices.Clone(r))
			}
			if !yield(waybill.Batch{Version: s.Version, Rows: memory}, nil) {
				return
			}
			for _, r := range memory {
				clear(r)
			}
		}
		if f.fail != nil {
			yield(waybill.Batch{}, f.fail)
		}
	}
}
