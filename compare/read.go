package compare

import (
	"context"
	"fmt"

	"github.com/waybill-data/waybill"
)

// ahead is how many batches a side is read ahead of the merge.
const ahead = 2

// keepText is the largest text memory that is kept for the next batch; larger ones are rare and let go.
const keepText = 4 << 20

// chunk is a batch in memory of its own, cut down to the compared columns.
type chunk struct {
	rows   int
	width  int
	values []waybill.Value
	text   []byte
}

func (c *chunk) row(i int) waybill.Row { return c.values[i*c.width : (i+1)*c.width : (i+1)*c.width] }

// reader reads one side of a plan into chunks, which the merge gives back.
type reader struct {
	view waybill.View
	slice
	pace *pace
	out  chan *chunk
	free chan *chunk
}

func (r *run) newReader(v waybill.View, s slice, p *pace) *reader {
	in := &reader{view: v, slice: s, pace: p, out: make(chan *chunk, ahead), free: make(chan *chunk, ahead+2)}
	for range cap(in.free) {
		in.free <- new(chunk)
	}
	return in
}

// run closes out when the slice is read to its end, and only then: an interrupted reading must not look like
// a short table.
func (r *reader) run(ctx context.Context) error {
	if r.empty {
		close(r.out)
		return nil
	}
	for batch, err := range r.view.Read(ctx, r.Slice) {
		if err != nil {
			return err
		}
		if len(batch.Rows) == 0 {
			continue
		}
		var c *chunk
		select {
		case c = <-r.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.fill(c, batch); err != nil {
			return err
		}
		if err := r.pace.wait(ctx, int64(c.rows)); err != nil {
			return err
		}
		select {
		case r.out <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	close(r.out)
	return ctx.Err()
}

// fill copies the compared columns of a batch. The texts of all values go into one string.
func (r *reader) fill(c *chunk, b waybill.Batch) error {
	c.rows, c.width = len(b.Rows), len(r.columns)
	c.values, c.text = c.values[:0], c.text[:0]
	wide := len(r.Version.Columns)
	for _, row := range b.Rows {
		if len(row) != wide {
			return r.broken("a row has %d values for %d columns", len(row), wide)
		}
		for i, column := range r.columns {
			v := row[column]
			if v.IsAbsent() {
				return r.broken("column %s was not read", r.Version.Columns[column].Name)
			}
			if r.rules[i] != "" {
				v = r.rules[i].apply(v)
			}
			c.text = append(c.text, v.Text()...)
			c.values = append(c.values, v)
		}
	}
	text := string(c.text)
	for i, v := range c.values {
		n := len(v.Text())
		if n == 0 {
			continue
		}
		c.values[i] = v.WithText(text[:n])
		text = text[n:]
	}
	if cap(c.text) > keepText {
		c.text = nil
	}
	return nil
}

func (r *reader) broken(format string, args ...any) error {
	return &waybill.Error{Op: "read ", Table: r.Version.Table, Fault: waybill.Bug, Err: fmt.Errorf(format, args...)}
}

// cursor walks over the rows of one side.
type cursor struct {
	name  string
	in    <-chan *chunk
	free  chan<- *chunk
	chunk *chunk
	at    int // of the head in chunk
	rows  int64
	ended bool
	prev  waybill.Row // the row before the head, once the order is being checked
}

// head returns the current row; ok is false after the last.
func (c *cursor) head(ctx context.Context) (row waybill.Row, ok bool, err error) {
	for c.chunk == nil || c.at == c.chunk.rows {
		if c.ended {
			return nil, false, nil
		}
		if err := c.next(ctx); err != nil {
			return nil, false, err
		}
	}
	return c.chunk.row(c.at), true, nil
}

func (c *cursor) next(ctx context.Context) error {
	if c.chunk != nil {
		if c.prev != nil {
			c.prev = c.prev.Clone()
		}
		c.free <- c.chunk
		c.chunk = nil
	}
	select {
	case chunk, open := <-c.in:
		c.chunk, c.at, c.ended = chunk, 0, !open
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cursor) advance() {
	c.at++
	c.rows++
}
