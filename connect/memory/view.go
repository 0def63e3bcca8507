package memory

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/waybill-data/waybill"
)

// batchRows is how many rows Read gives at once.
const batchRows = 64

// view is the store at one moment.
type view struct {
	session  *session
	store    *Store
	position waybill.Position
	chosen   waybill.Selection
	tables   map[waybill.TableName]*table

	mu     sync.Mutex
	sorted map[waybill.TableName][]waybill.Row
}

// openView takes the sight. The caller holds the store's mu.
func (s *Store) openView(chosen waybill.Selection) *view {
	return &view{session: s.connect(), store: s, position: s.position(len(s.history)), chosen: chosen,
		tables: maps.Clone(s.tables), sorted: map[waybill.TableName][]waybill.Row{}}
}

func (v *view) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	return v.session.check()
}

func (v *view) Position() waybill.Position { return v.position }

func (v *view) Tables(ctx context.Context) ([]waybill.TableName, error) {
	if err := v.check(ctx); err != nil {
		return nil, err
	}
	return v.chosen.Pick(sortedNames(v.tables)), nil
}

func sortedNames(tables map[waybill.TableName]*table) []waybill.TableName {
	return slices.SortedFunc(maps.Keys(tables), func(a, b waybill.TableName) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
	})
}

func (v *view) table(ctx context.Context, name waybill.TableName) (*table, error) {
	if err := v.check(ctx); err != nil {
		return nil, err
	}
	t := v.tables[name]
	if t == nil || !v.chosen.Has(name) {
		return nil, &waybill.Error{Op: "read", Table: name, Fault: waybill.Drift, Err: fmt.Errorf("there is no such table")}
	}
	return t, nil
}

func (v *view) Version(ctx context.Context, name waybill.TableName) (*waybill.TableVersion, error) {
	t, err := v.table(ctx, name)
	if err != nil {
		return nil, err
	}
	return t.version, nil
}

func (v *view) rows(ctx context.Context, name waybill.TableName) ([]waybill.Row, error) {
	t, err := v.table(ctx, name)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	rows, done := v.sorted[name]
	if !done {
		rows = t.sorted()
		v.sorted[name] = rows
	}
	return rows, nil
}

func (v *view) Slices(ctx context.Context, version *waybill.TableVersion, rows int) ([]waybill.Slice, error) {
	all, err := v.rows(ctx, version.Table)
	if err != nil {
		return nil, err
	}
	if rows <= 0 {
		return []waybill.Slice{{Version: version, Rows: int64(len(all)), Ordered: true}}, nil
	}
	var cut []waybill.Slice
	for from := 0; from == 0 || from < len(all); from += rows {
		to := min(from+rows, len(all))
		cut = append(cut, waybill.Slice{Version: version, Number: len(cut), Range: fmt.Sprintf("%d-%d", from, to),
			Rows: int64(to - from), Ordered: true})
	}
	return cut, nil
}

// slice returns the rows of a slice. They belong to the store.
func (v *view) slice(ctx context.Context, s waybill.Slice) ([]waybill.Row, error) {
	all, err := v.rows(ctx, s.Version.Table)
	if err != nil || s.Range == "" {
		return all, err
	}
	first, last, _ := strings.Cut(s.Range, "-")
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || from < 0 || to < from || to > len(all) {
		return nil, waybill.Errorf(waybill.Bug, "read slice "+s.Range, "it is no slice of %s", s.Version.Table)
	}
	return all[from:to], nil
}

func (v *view) Read(ctx context.Context, s waybill.Slice) iter.Seq2[waybill.Batch, error] {
	return func(yield func(waybill.Batch, error) bool) {
		rows, err := v.slice(ctx, s)
		if err != nil {
			yield(waybill.Batch{}, err)
			return
		}
		for part := range slices.Chunk(rows, batchRows) {
			if err := v.check(ctx); err != nil {
				yield(waybill.Batch{}, err)
				return
			}
			lent := make([]waybill.Row, len(part))
			for i, row := range part {
				lent[i] = slices.Clone(row)
			}
			more := yield(waybill.Batch{Version: s.Version, Rows: lent}, nil)
			// Who kept a row in spite of the contract finds it empty.
			for _, row := range lent {
				clear(row)
			}
			if !more {
				return
			}
		}
	}
}

// Formats implements [waybill.Exporter].
func (v *view) Formats(*waybill.TableVersion) []waybill.Format { return []waybill.Format{Bytes} }

// Export implements [waybill.Exporter].
func (v *view) Export(ctx context.Context, s waybill.Slice, f waybill.Format, w io.Writer) (int64, error) {
	if f != Bytes {
		return 0, waybill.Errorf(waybill.Bug, "export "+s.Version.Table.String(), "unknown format %s", f)
	}
	rows, err := v.slice(ctx, s)
	if err != nil {
		return 0, err
	}
	var line []byte
	for _, row := range rows {
		if err := v.check(ctx); err != nil {
			return 0, err
		}
		line = appendRow(line[:0], row)
		if _, err := w.Write(line); err != nil {
			return 0, err
		}
	}
	return int64(len(rows)), nil
}

// Sequences implements [waybill.Sequencer].
func (v *view) Sequences(ctx context.Context, versions []*waybill.TableVersion) ([]waybill.SequenceState, error) {
	if err := v.check(ctx); err != nil {
		return nil, err
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	var states []waybill.SequenceState
	for _, version := range versions {
		for _, owned := range version.Sequences {
			if state, ok := v.store.sequences[owned.Name]; ok {
				states = append(states, state)
			}
		}
	}
	return states, nil
}

func (v *view) Close() error {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	v.session.close()
	return nil
}
