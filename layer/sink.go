package layer

import (
	"context"
	"io"
	"iter"

	"github.com/waybill-data/waybill"
)

// sink keeps the optional roles of the one inside: without them it accepts no format and no sequence.
type sink struct {
	waybill.Sink
	faults *Faults
}

func (k *sink) Resume(ctx context.Context) (waybill.Progress, error) {
	return answer(k.faults, "Sink.Resume", func() (waybill.Progress, error) { return k.Sink.Resume(ctx) })
}

func (k *sink) Prepare(ctx context.Context, versions []*waybill.TableVersion, forCopy bool) error {
	return k.faults.do("Sink.Prepare", func() error { return k.Sink.Prepare(ctx, versions, forCopy) })
}

func (k *sink) Load(ctx context.Context, s waybill.Slice, rows iter.Seq2[waybill.Batch, error]) (int64, error) {
	return answer(k.faults, "Sink.Load", func() (int64, error) { return k.Sink.Load(ctx, s, rows) })
}

func (k *sink) Complete(ctx context.Context, versions []*waybill.TableVersion, asOf waybill.Position) error {
	return k.faults.do("Sink.Complete", func() error { return k.Sink.Complete(ctx, versions, asOf) })
}

func (k *sink) Forget(ctx context.Context, table waybill.TableName) error {
	return k.faults.do("Sink.Forget", func() error { return k.Sink.Forget(ctx, table) })
}

func (k *sink) Apply(ctx context.Context, b waybill.ChangeBatch) error {
	return k.faults.do("Sink.Apply", func() error { return k.Sink.Apply(ctx, b) })
}

// Accepts implements [waybill.Importer].
func (k *sink) Accepts(ctx context.Context, v *waybill.TableVersion) ([]waybill.Format, error) {
	importer, ok := k.Sink.(waybill.Importer)
	if !ok {
		return nil, nil
	}
	return answer(k.faults, "Sink.Accepts", func() ([]waybill.Format, error) { return importer.Accepts(ctx, v) })
}

// Import implements [waybill.Importer]; it is called for a format that Accepts gave only.
func (k *sink) Import(ctx context.Context, s waybill.Slice, format waybill.Format, r io.Reader) (int64, error) {
	return answer(k.faults, "Sink.Import", func() (int64, error) { return k.Sink.(waybill.Importer).Import(ctx, s, format, r) })
}

// SetSequences implements [waybill.SequenceSetter].
func (k *sink) SetSequences(ctx context.Context, states []waybill.SequenceState) error {
	setter, ok := k.Sink.(waybill.SequenceSetter)
	if !ok {
		return nil
	}
	return k.faults.do("Sink.SetSequences", func() error { return setter.SetSequences(ctx, states) })
}
