package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// firstCopy copies every chosen table that the target does not have complete, while the stream waits.
func (s *session) firstCopy(ctx context.Context) error {
	view, err := s.src.View(ctx)
	if err != nil {
		return fmt.Errorf("open view: %w", err)
	}
	defer view.Close()
	names, err := view.Tables(ctx)
	if err != nil {
		return err
	}
	var missing []*waybill.TableVersion
	for _, name := range names {
		v, err := view.Version(ctx, name)
		if err != nil {
			return err
		}
		t := s.known[identity(v)]
		if t == nil || t.standing != following {
			missing = append(missing, v)
		}
	}
	s.stats.setState("copying", "")
	c := &copying{run: s.run, view: view, sink: s.sink}
	if err := c.tables(ctx, missing); err != nil {
		return err
	}
	for _, v := range missing {
		s.src.Follow(v, view.Position())
		s.known[identity(v)] = &table{source: v, target: v, name: v.Table}
		s.claims.take(namesOf(v)...)
		s.stats.table(v.Table, func(t *waybill.TableStatus) { t.State = "streaming" })
	}
	s.stats.resumed(view.Position())
	return s.record(ctx, "link.copied", waybill.TableName{}, map[string]any{"position": view.Position(), "tables": len(missing), "rows": s.stats.counts()["rows copied"]})
}

// copying is the copy of tables out of one view.
type copying struct {
	*run
	view waybill.View
	sink waybill.Sink
}

// tables copies tables and makes them complete, the largest first. An unfinished copy leaves nothing that
// counts: what is not complete is emptied and copied again.
func (c *copying) tables(ctx context.Context, versions []*waybill.TableVersion) error {
	// Without any table this still clears away what an unfinished copy left.
	if err := c.sink.Prepare(ctx, versions, true); err != nil {
		return fmt.Errorf("prepare target: %w", err)
	}
	piles := make([]*pile, 0, len(versions))
	for _, v := range versions {
		if err := c.keepVersion(ctx, v, c.view.Position()); err != nil {
			return err
		}
		p, err := c.cut(ctx, v)
		if err != nil {
			return fmt.Errorf("cut %s into slices: %w", v.Table, err)
		}
		piles = append(piles, p)
		c.stats.table(v.Table, func(t *waybill.TableStatus) { t.State, t.Rows, t.Expected = "waiting", 0, p.rows })
	}
	slices.SortStableFunc(piles, func(a, b *pile) int { return cmp.Compare(b.rows, a.rows) })
	loaded := make(chan *waybill.TableVersion, len(piles))
	g, within := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(loaded)
		return c.load(within, piles, loaded)
	})
	g.Go(func() error { return c.complete(within, loaded) })
	if err := g.Wait(); err != nil {
		return err
	}
	return c.carrySequences(ctx, c.view, c.sink, versions)
}

// complete makes tables complete as they are loaded, while others are still being loaded, so that a crash
// late in a long copy does not cost what is done.
func (c *copying) complete(ctx context.Context, loaded <-chan *waybill.TableVersion) error {
	for v := range loaded {
		ready := []*waybill.TableVersion{v}
		for more := true; more; {
			select {
			case v, more = <-loaded:
				if more {
					ready = append(ready, v)
				}
			default:
				more = false
			}
		}
		for _, v := range ready {
			c.stats.table(v.Table, func(t *waybill.TableStatus) { t.State = "building" })
		}
		if err := c.sink.Complete(ctx, ready, c.view.Position()); err != nil {
			return fmt.Errorf("complete tables: %w", err)
		}
		for _, v := range ready {
			c.stats.table(v.Table, func(t *waybill.TableStatus) { t.State = "copied" })
		}
		c.o.FailPoint("copy.complete")
	}
	return ctx.Err()
}

// pile is one table's slices.
type pile struct {
	version *waybill.TableVersion
	slices  []waybill.Slice
	rows    int64
	left    atomic.Int64 // slices that are not loaded
}

// A slice has sliceRows rows at least, and a worker about slicesEach slices of a large table: enough to share the
// work evenly, few enough to seldom wait for the end of one.
const (
	sliceRows  = 500_000
	slicesEach = 4
)

func (c *copying) cut(ctx context.Context, v *waybill.TableVersion) (*pile, error) {
	p, err := c.pile(ctx, v, cmp.Or(c.o.SliceRows, sliceRows))
	if most := c.o.Workers * slicesEach; err == nil && c.o.SliceRows == 0 && len(p.slices) > most {
		return c.pile(ctx, v, int(p.rows)/most)
	}
	return p, err
}

func (c *copying) pile(ctx context.Context, v *waybill.TableVersion, rows int) (*pile, error) {
	slices, err := c.view.Slices(ctx, v, rows)
	if err != nil {
		return nil, err
	}
	p := &pile{version: v, slices: slices}
	p.left.Store(int64(len(slices)))
	for _, slice := range slices {
		p.rows += slice.Rows
	}
	return p, nil
}

// load moves all slices, so many at once as there are workers, and tells which tables are loaded.
func (c *copying) load(ctx context.Context, piles []*pile, loaded chan<- *waybill.TableVersion) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Workers)
	for _, p := range piles {
		formats, err := c.formats(ctx, p.version)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		c.stats.table(p.version.Table, func(t *waybill.TableStatus) { t.State = "copying" })
		if len(p.slices) == 0 {
			loaded <- p.version
		}
		for _, slice := range p.slices {
			g.Go(func() error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				rows, err := c.move(ctx, slice, formats)
				if err != nil {
					return fmt.Errorf("copy slice %d of %s: %w", slice.Number, slice.Version.Table, err)
				}
				c.stats.copied(slice.Version.Table, rows)
				c.o.FailPoint("copy.slice")
				if p.left.Add(-1) == 0 {
					loaded <- p.version
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// formats returns the wire formats that both ends know for the table, best first.
func (c *copying) formats(ctx context.Context, v *waybill.TableVersion) ([]waybill.Format, error) {
	exporter, ok := c.view.(waybill.Exporter)
	if !ok {
		return nil, nil
	}
	importer, ok := c.sink.(waybill.Importer)
	if !ok {
		return nil, nil
	}
	accepted, err := importer.Accepts(ctx, v)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(exporter.Formats(v), func(f waybill.Format) bool { return !slices.Contains(accepted, f) }), nil
}

// move carries one slice, as bytes where both ends know a common format.
func (c *copying) move(ctx context.Context, slice waybill.Slice, formats []waybill.Format) (int64, error) {
	if len(formats) == 0 {
		return c.sink.Load(ctx, slice, c.view.Read(ctx, slice))
	}
	g, ctx := errgroup.WithContext(ctx)
	in, out := io.Pipe()
	var sent, taken int64
	g.Go(func() (err error) {
		sent, err = c.view.(waybill.Exporter).Export(ctx, slice, formats[0], out)
		out.CloseWithError(err)
		return err
	})
	g.Go(func() (err error) {
		taken, err = c.sink.(waybill.Importer).Import(ctx, slice, formats[0], in)
		in.CloseWithError(err)
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	if sent != taken {
		return 0, waybill.Errorf(waybill.Bug, "", "%d rows were sent and %d taken", sent, taken)
	}
	return taken, nil
}

// carrySequences brings the sequences of tables to where they are at the source now.
func (r *run) carrySequences(ctx context.Context, view waybill.View, sink waybill.Sink, versions []*waybill.TableVersion) error {
	sequencer, ok := view.(waybill.Sequencer)
	if !ok {
		return nil
	}
	setter, ok := sink.(waybill.SequenceSetter)
	if !ok {
		return nil
	}
	states, err := sequencer.Sequences(ctx, versions)
	if err != nil {
		return fmt.Errorf("read sequences: %w", err)
	}
	if len(states) == 0 {
		return nil
	}
	if err := setter.SetSequences(ctx, states); err != nil {
		return fmt.Errorf("set sequences: %w", err)
	}
	return nil
}
