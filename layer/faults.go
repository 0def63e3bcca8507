package layer

import (
	"context"
	"io"
	"iter"

	"github.com/waybill-data/waybill"
)

// Call is one call of a contract's method.
type Call struct {
	Method string // "Sink.Apply", "View.Read", "Connector.OpenSink", ...
	Done   bool   // the work is done and only its answer can still be lost
}

// Faults wraps a connector. Fail is asked twice about every call that has a context, Close excepted: before
// the work and after it. The error that it returns is the call's. Fail is called in parallel.
type Faults struct {
	Fail func(Call) error
}

// Connector returns the wrapped connector. It has all roles that c has.
func (f *Faults) Connector(c *waybill.Connector) *waybill.Connector {
	w := *c
	w.OpenView = open(f, "Connector.OpenView", c.OpenView, f.view)
	w.OpenChanges = open(f, "Connector.OpenChanges", c.OpenChanges, func(s waybill.ChangeSource) waybill.ChangeSource { return &source{s, f} })
	w.OpenSink = open(f, "Connector.OpenSink", c.OpenSink, func(s waybill.Sink) waybill.Sink { return &sink{s, f} })
	w.State = func(ctx context.Context, e waybill.Endpoint, stream string) (waybill.StreamState, error) {
		return answer(f, "Connector.State", func() (waybill.StreamState, error) { return c.State(ctx, e, stream) })
	}
	w.Drop = func(ctx context.Context, e waybill.Endpoint, stream string) error {
		return f.do("Connector.Drop", func() error { return c.Drop(ctx, e, stream) })
	}
	w.Release = func(ctx context.Context, e waybill.Endpoint, stream string) error {
		return f.do("Connector.Release", func() error { return c.Release(ctx, e, stream) })
	}
	return &w
}

func open[O any, T io.Closer](f *Faults, method string, inner func(context.Context, waybill.Endpoint, O) (T, error), wrap func(T) T) func(context.Context, waybill.Endpoint, O) (T, error) {
	if inner == nil {
		return nil
	}
	return func(ctx context.Context, e waybill.Endpoint, o O) (T, error) {
		var none, opened T
		err := f.do(method, func() (err error) {
			opened, err = inner(ctx, e, o)
			return err
		})
		if err != nil {
			return none, err // what was opened stays open, as with a lost answer
		}
		return wrap(opened), nil
	}
}

func (f *Faults) do(method string, work func() error) error {
	if err := f.Fail(Call{Method: method}); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	return f.Fail(Call{Method: method, Done: true})
}

func answer[T any](f *Faults, method string, work func() (T, error)) (T, error) {
	var result T
	err := f.do(method, func() (err error) {
		result, err = work()
		return err
	})
	return result, err
}

type view struct {
	waybill.View
	faults *Faults
}

// exporting is a view that keeps the optional roles of the one inside.
type exporting struct {
	*view
	waybill.Exporter
	waybill.Sequencer
}

func (f *Faults) view(v waybill.View) waybill.View {
	w := &view{v, f}
	exporter, exports := v.(waybill.Exporter)
	sequencer, counts := v.(waybill.Sequencer)
	if exports && counts {
		return &exporting{w, exporter, sequencer}
	}
	return w
}

func (v *view) Tables(ctx context.Context) ([]waybill.TableName, error) {
	return answer(v.faults, "View.Tables", func() ([]waybill.TableName, error) { return v.View.Tables(ctx) })
}

func (v *view) Version(ctx context.Context, table waybill.TableName) (*waybill.TableVersion, error) {
	return answer(v.faults, "View.Version", func() (*waybill.TableVersion, error) { return v.View.Version(ctx, table) })
}

func (v *view) Slices(ctx context.Context, version *waybill.TableVersion, rows int) ([]waybill.Slice, error) {
	return answer(v.faults, "View.Slices", func() ([]waybill.Slice, error) { return v.View.Slices(ctx, version, rows) })
}

// Read may fail before every batch and after the last one.
func (v *view) Read(ctx context.Context, s waybill.Slice) iter.Seq2[waybill.Batch, error] {
	return func(yield func(waybill.Batch, error) bool) {
		for b, err := range v.View.Read(ctx, s) {
			if err == nil {
				err = v.faults.Fail(Call{Method: "View.Read"})
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
		if err := v.faults.Fail(Call{Method: "View.Read", Done: true}); err != nil {
			yield(waybill.Batch{}, err)
		}
	}
}

func (v *exporting) Export(ctx context.Context, s waybill.Slice, format waybill.Format, w io.Writer) (int64, error) {
	return answer(v.faults, "View.Export", func() (int64, error) { return v.Exporter.Export(ctx, s, format, w) })
}

func (v *exporting) Sequences(ctx context.Context, versions []*waybill.TableVersion) ([]waybill.SequenceState, error) {
	return answer(v.faults, "View.Sequences", func() ([]waybill.SequenceState, error) { return v.Sequencer.Sequences(ctx, versions) })
}

type source struct {
	waybill.ChangeSource
	faults *Faults
}

func (s *source) View(ctx context.Context) (waybill.View, error) {
	v, err := answer(s.faults, "ChangeSource.View", func() (waybill.View, error) { return s.ChangeSource.View(ctx) })
	if err != nil {
		return nil, err
	}
	return s.faults.view(v), nil
}

func (s *source) Next(ctx context.Context) (waybill.ChangeBatch, error) {
	return answer(s.faults, "ChangeSource.Next", func() (waybill.ChangeBatch, error) { return s.ChangeSource.Next(ctx) })
}

func (s *source) Confirm(ctx context.Context, p waybill.Position) error {
	return s.faults.do("ChangeSource.Confirm", func() error { return s.ChangeSource.Confirm(ctx, p) })
}
