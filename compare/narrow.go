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

// compareRows finds the rows of a table that differ.
func (r *run) compareRows(ctx context.Context, p *plan) (err error) {
	switch {
	case r.Quick:
		return r.count(ctx, p)
	case r.PartRows > 0 && p.expected > r.PartRows && p.ranged != 0 && r.narrows():
		return r.inParts(ctx, p)
	}
	p.result.SourceRows, p.result.TargetRows, err = r.sides(ctx, p, p.source, p.target)
	return err
}

// sides compares two slices: by digests first, which prove the equal rows equal in any order, and then by
// merging what they leave in doubt. A row that differs makes its own cell differ, and a merge cancels out all
// rows of cells that are equal, so both ways find the same. It returns how many rows each has.
func (r *run) sides(ctx context.Context, p *plan, a, b slice) (sourceRows, targetRows int64, err error) {
	if p.expected <= r.Direct || len(p.columns) == 0 {
		return r.merge(ctx, p, a, b)
	}
	source, target, err := r.scan(ctx, p, a, b)
	if err != nil {
		return 0, 0, err
	}
	sourceRows, targetRows = source.rows(), target.rows()
	spans := suspects(source, target)
	var doubtful uint64
	for _, s := range spans {
		doubtful += s.rows
	}
	r.Log.Debug("digests compared", "table", p.result.Table.String(), "spans", len(spans), "rows", doubtful)
	done := len(spans) == 0
	few := doubtful <= uint64(max(sourceRows, targetRows))/partMost && len(spans) <= spansMost
	switch {
	case done || !few:
	case p.ranged != 0 && r.narrows():
		done, err = true, r.narrow(ctx, p, a, b, spans)
	case doubtful <= locateMost:
		done, err = r.locate(ctx, p, a, b, spans)
	}
	if !done && err == nil {
		_, _, err = r.merge(ctx, p, a, b)
	}
	return sourceRows, targetRows, err
}

// narrow merges the rows of the spans only.
func (r *run) narrow(ctx context.Context, p *plan, a, b slice, spans []span) error {
	for some := range slices.Chunk(spans, spansOnce) {
		part := waybill.Part{Column: p.columns[p.order[0]]}
		for _, s := range some {
			part.Ranges = append(part.Ranges, rangeOf(p.ranged, s))
		}
		source, target := a, b
		var err error
		if source.Slice, err = narrowed(r.Source, a.Slice, part); err != nil {
			return err
		}
		if target.Slice, err = narrowed(r.Target, b.Slice, part); err != nil {
			return err
		}
		if _, _, err := r.merge(ctx, p, source, target); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) narrows() bool {
	_, source := r.Source.(waybill.Narrower)
	_, target := r.Target.(waybill.Narrower)
	return source && target
}
