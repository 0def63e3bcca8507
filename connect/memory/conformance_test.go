package memory_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/connecttest"
	"github.com/waybill-data/waybill/connect/memory"
)

var (
	intType  = waybill.Type{Kind: waybill.KindInt, Native: "int"}
	textType = waybill.Type{Kind: waybill.KindText, Native: "text"}
)

func TestConformance(t *testing.T) {
	w := &world{}
	for i := range 100 {
		w.stores = append(w.stores, memory.NewStore(fmt.Sprint("store", i)))
	}
	connecttest.Run(t, connecttest.Suite{
		Connector: memory.Connector(w.stores...), Int: intType, Text: textType, Samples: samples(), LargeRows: 5000,
		Source: w.take, Target: w.take, Write: w.write,
		Silence: func(_ *testing.T, e waybill.Endpoint) { w.store(e).Silence() },
	})
}

// samples are extremes of every kind.
func samples() []connecttest.Sample {
	var all []connecttest.Sample
	for _, values := range [][]waybill.Value{
		{waybill.BoolValue(true), waybill.BoolValue(false)},
		{waybill.IntValue(math.MinInt64), waybill.IntValue(math.MaxInt64)},
		{waybill.UintValue(0), waybill.UintValue(math.MaxUint64)},
		{waybill.Float32Value(float32(math.Inf(-1))), waybill.Float32Value(float32(math.NaN()))},
		{waybill.Float64Value(math.Copysign(0, -1)), waybill.Float64Value(math.NaN()), waybill.Float64Value(math.SmallestNonzeroFloat64)},
		{waybill.DecimalValue("-12.340"), waybill.DecimalValue("NaN"), waybill.DecimalValue("-Infinity")},
		{waybill.TextValue(""), waybill.TextValue("😀\x00\n\\N")},
		{waybill.BytesValue(""), waybill.BytesValue("\x00\xff")},
		{waybill.DateValue(waybill.Forever), waybill.DateValue(-800000)},
		{waybill.TimeValue(86_400_000_000), waybill.TimeValue(-1)},
		{waybill.TimeTZValue(1, "-03:30")},
		{waybill.TimestampValue(waybill.BeforeForever), waybill.TimestampValue(1)},
		{waybill.InstantValue(waybill.Forever), waybill.InstantValue(-1)},
		{waybill.IntervalValue("P1Y2M3DT4H5M6.7S")},
		{waybill.JSONValue(`{"a": [1, 1.0]}`), waybill.JSONValue("null")},
		{waybill.UUIDValue("00000000-0000-0000-0000-000000000000")},
		{waybill.LiteralValue("[1,5)"), waybill.LiteralValue("")},
	} {
		sample := connecttest.Sample{Type: waybill.Type{Kind: values[0].Kind(), Native: values[0].Kind().String()}}
		for _, v := range values {
			sample.Literals = append(sample.Literals, connecttest.Literal{SQL: v.String(), Value: v})
		}
		all = append(all, sample)
	}
	return all
}

// world is stores, each given to a test once.
type world struct {
	stores []*memory.Store
	taken  int
}

func (w *world) take(*testing.T) waybill.Endpoint {
	w.taken++
	return waybill.Endpoint{Name: fmt.Sprint("store", w.taken-1), Kind: memory.Kind}
}

func (w *world) store(e waybill.Endpoint) *memory.Store {
	var n int
	if _, err := fmt.Sscanf(e.Name, "store%d", &n); err != nil {
		panic(err)
	}
	return w.stores[n]
}

func (w *world) write(t *testing.T, e waybill.Endpoint, statements ...connecttest.Statement) {
	t.Helper()
	_, err := w.store(e).Write(func(tx *memory.Tx) error {
		for _, s := range statements {
			if err := carryOut(tx, s); err != nil {
				return fmt.Errorf("%s %s: %w", s.Verb, s.Table, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func carryOut(tx *memory.Tx, s connecttest.Statement) error {
	switch s.Verb {
	case connecttest.Create:
		return tx.Create(created(s))
	case connecttest.Insert:
		return tx.Insert(s.Table, row(s.Values))
	case connecttest.InsertMany:
		for id := s.Values[0].Value.Int(); id <= s.Values[1].Value.Int(); id++ {
			if err := tx.Insert(s.Table, waybill.Row{waybill.IntValue(id), s.Values[2].Value}); err != nil {
				return err
			}
		}
		return nil
	case connecttest.Update:
		return update(tx, s)
	case connecttest.Delete:
		old, err := find(tx, s)
		if err != nil || old == nil {
			return err
		}
		return tx.Delete(s.Table, old)
	case connecttest.Truncate:
		return tx.Truncate(append(s.Others, s.Table)...)
	case connecttest.DropTable:
		return tx.Drop(s.Table)
	}
	return alter(tx, s)
}

func created(s connecttest.Statement) *waybill.TableVersion {
	v := &waybill.TableVersion{Table: s.Table, Identity: waybill.IdentityFull}
	for i, c := range s.Columns {
		v.Columns = append(v.Columns, waybill.Column{ID: i + 1, Name: c.Name, Type: c.Type, NotNull: c.Key})
		if c.Key {
			v.Key, v.Identity = append(v.Key, i), waybill.IdentityKey
		}
	}
	return v
}

func row(values []connecttest.Literal) waybill.Row {
	r := make(waybill.Row, len(values))
	for i, v := range values {
		r[i] = v.Value
	}
	return r
}

// find returns the first row that matches, nil for none.
func find(tx *memory.Tx, s connecttest.Statement) (waybill.Row, error) {
	v, err := tx.Version(s.Table)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Rows(s.Table)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		matches := true
		for i, name := range s.Match {
			matches = matches && r[v.Column(name)].Same(s.Where[i].Value)
		}
		if matches {
			return r, nil
		}
	}
	return nil, nil
}

// update leaves large values that do not change out of what travels, where the key tells the row.
func update(tx *memory.Tx, s connecttest.Statement) error {
	old, err := find(tx, s)
	if err != nil || old == nil {
		return err
	}
	v, err := tx.Version(s.Table)
	if err != nil {
		return err
	}
	now := slices.Clone(old)
	for i, value := range now {
		if len(value.Text()) > 1000 && len(v.Key) > 0 {
			now[i] = waybill.Value{}
		}
	}
	for i, c := range s.Columns {
		now[v.Column(c.Name)] = s.Values[i].Value
	}
	return tx.Update(s.Table, old, now)
}

func alter(tx *memory.Tx, s connecttest.Statement) error {
	v, err := tx.Version(s.Table)
	if err != nil {
		return err
	}
	after := *v
	after.Columns = slices.Clone(v.Columns)
	switch s.Verb {
	case connecttest.AddColumn:
		next := 1
		for _, c := range v.Columns {
			next = max(next, c.ID+10) // an ID of a dropped column is not given again
		}
		c := waybill.Column{ID: next, Name: s.Columns[0].Name, Type: s.Columns[0].Type}
		if len(s.Values) > 0 {
			text := s.Values[0].Value.Text()
			c.Missing = &text
		}
		after.Columns = append(after.Columns, c)
	case connecttest.DropColumn:
		at := v.Column(s.Columns[0].Name)
		after.Columns = slices.Delete(after.Columns, at, at+1)
	case connecttest.RenameColumn:
		after.Columns[v.Column(s.Columns[0].Name)].Name = s.To
	case connecttest.RenameTable:
		after.Table.Name = s.To
	default:
		return fmt.Errorf("unknown verb")
	}
	return tx.Alter(s.Table, &after, nil)
}
