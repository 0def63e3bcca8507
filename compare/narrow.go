package compare

import (
	"context"
	"slices"

	"github.com/waybill-data/waybill"
)

// What is read again where digests differ. More spans than spansMost, or more than a part of all rows, are
// no longer worth finding one by one: the whole table is merged.
const (
	spansMost = 4096
	spansOnce = 128 // in one pair of reads
	partMost  = 4   // one in so many rows
)

// compareRows finds the rows that differ: by digests first, which prove the equal ones equal in any order, and then by
// merging what they leave in doubt. A row that differs makes its own cell differ, and a merge cancels out all
// rows of cells that are equal, so both ways find the same.
func (r *run) compareRows(ctx context.Context, p *plan) error {
	if r.Quick {
		return r.count(ctx, p)
	}
	if p.expected <= r.Direct || len(p.columns) == 0 {
		return r.merge(ctx, p, p.source, p.target)
	}
	source, target, err := r.scan(ctx, p)
	if err != nil {
		return err
	}
	p.result.SourceRows, p.result.TargetRows = source.rows(), target.rows()
	spans := suspects(source, target)
	var doubtful uint64
	for _, s := range spans {
		doubtful += s.rows
	}
	r.Log.Debug("digests compared", "table", p.result.Table.String(), "spans", len(spans), "rows", doubtful)
	switch {
	case len(spans) == 0:
		return nil
	case !p.ints || !r.narrows() || len(spans) > spansMost || doubtful > uint64(max(p.result.SourceRows, p.result.TargetRows))/partMost:
		return r.merge(ctx, p, p.source, p.target)
	}
	return r.narrow(ctx, p, spans)
}

// narrow merges the rows of the spans only.
func (r *run) narrow(ctx context.Context, p *plan, spans []span) error {
	sourceRows, targetRows := p.result.SourceRows, p.result.TargetRows
	for some := range slices.Chunk(spans, spansOnce) {
		part := waybill.Part{Column: p.columns[p.order[0]]}
		for _, s := range some {
			part.Ranges = append(part.Ranges, rangeOf(s))
		}
		a, b := p.source, p.target
		var err error
		if a.Slice, err = narrowed(r.Source, a.Slice, part); err != nil {
			return err
		}
		if b.Slice, err = narrowed(r.Target, b.Slice, part); err != nil {
			return err
		}
		if err := r.merge(ctx, p, a, b); err != nil {
			return err
		}
	}
	p.result.SourceRows, p.result.TargetRows = sourceRows, targetRows
	return nil
}

func (r *run) narrows() bool {
	_, source := r.Source.(waybill.Narrower)
	_, target := r.Target.(waybill.Narrower)
	return source && target
}

func rangeOf(s span) waybill.Range {
	r := waybill.Range{From: waybill.IntValue(intAt(s.first))}
	if s.last != ^uint64(0) {
		r.To = waybill.IntValue(intAt(s.last + 1))
	}
	return r
}
