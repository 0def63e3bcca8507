package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/waybill-data/waybill"
)

// sweep looks at what a catch-up of a killed process left. Where it had joined, or nothing is left but its
// stream, it is removed; else its knowledge of the target is taken over.
func (s *session) sweep(ctx context.Context) error {
	left, err := s.catchUpLeft(ctx)
	if err != nil {
		return err
	}
	joined := len(left) == 0
	there, err := s.atTarget(ctx, left)
	if err != nil {
		return err
	}
	for _, v := range left {
		t := s.known[identity(v)]
		joined = joined || t != nil && t.standing == following
	}
	if joined {
		return s.dropCatchUp(ctx)
	}
	for _, v := range left {
		t := s.known[identity(v)]
		if t == nil {
			t = &table{standing: pending, name: v.Table}
			s.known[identity(v)] = t
		}
		// Where it is not there, or the main stream has the name, the table made room for another one.
		if t.target = v; !there[v.Table] || s.claims.has(namesOf(v)...) {
			t.target = nil
		}
	}
	return nil
}

// atTarget looks which of the tables there are.
func (s *session) atTarget(ctx context.Context, tables map[waybill.TableName]*waybill.TableVersion) (map[waybill.TableName]bool, error) {
	there := map[waybill.TableName]bool{}
	if len(tables) == 0 {
		return there, nil
	}
	if s.o.Target.Connector.OpenView == nil {
		for name := range tables {
			there[name] = true
		}
		return there, nil
	}
	view, err := s.o.Target.Connector.OpenView(ctx, s.o.Target.Endpoint, waybill.ViewOptions{Log: s.log})
	if err != nil {
		return nil, fmt.Errorf("look at the target's tables: %w", err)
	}
	defer view.Close()
	names, err := view.Tables(ctx)
	for _, name := range names {
		there[name] = true
	}
	return there, err
}

// catchUpLeft returns the tables that an earlier catch-up has at the target, after clearing away those whose
// copy is not complete.
func (s *session) catchUpLeft(ctx context.Context) (map[waybill.TableName]*waybill.TableVersion, error) {
	sink, err := s.o.Target.Connector.OpenSink(ctx, s.o.Target.Endpoint, waybill.SinkOptions{Stream: CatchUp(s.o.Name), Takeover: true, Log: s.log})
	if err != nil {
		return nil, fmt.Errorf("look at an earlier catch-up: %w", err)
	}
	err = sink.Prepare(ctx, nil, true)
	var progress waybill.Progress
	if err == nil {
		progress, err = sink.Resume(ctx)
	}
	return progress.Versions, errors.Join(err, sink.Close())
}

func (s *session) dropCatchUp(ctx context.Context) error {
	if err := s.o.Source.Connector.Drop(ctx, s.o.Source.Endpoint, CatchUp(s.o.Name)); err != nil {
		return fmt.Errorf("drop the stream of the catch-up: %w", err)
	}
	s.o.FailPoint("catchup.dropped")
	if err := s.o.Target.Connector.Release(ctx, s.o.Target.Endpoint, CatchUp(s.o.Name)); err != nil {
		return fmt.Errorf("release the stream of the catch-up: %w", err)
	}
	return nil
}

// goesOn reports whether a catch-up that was cut off has copied all tables, so that only its stream is left.
func (c *catchup) goesOn(ctx context.Context, progress waybill.Progress) (bool, error) {
	if progress.Position == "" || c.anew {
		return false, nil
	}
	copied := map[string]bool{}
	for name, v := range progress.Versions {
		_, done := progress.Copied[name]
		copied[identity(v)] = done
	}
	for id := range c.tables {
		if !copied[id] {
			return false, nil
		}
	}
	state, err := c.o.Source.Connector.State(ctx, c.o.Source.Endpoint, CatchUp(c.o.Name))
	return state.Exists && len(copied) == len(c.tables), err
}

func (c *catchup) goOn(ctx context.Context, progress waybill.Progress) (err error) {
	o := c.options(slices.Collect(maps.Keys(progress.Versions)))
	o.Position, o.After, o.Versions = progress.Position, progress.Copied, progress.Versions
	copied, err := c.earliest(progress.Copied)
	if err != nil {
		return err
	}
	if c.reached(o.Position, copied) {
		o.Position = copied // what is left of an earlier attempt is before the stream that this copy joins
	}
	c.from = o.Position
	c.log.Info("a catch-up goes on where it was cut off", "position", c.from, "tables", len(progress.Copied))
	for name, v := range progress.Versions {
		c.tables[identity(v)] = &chase{target: v, version: v, name: name}
	}
	if c.src, err = c.o.Source.Connector.OpenChanges(ctx, c.o.Source.Endpoint, o); err != nil {
		return fmt.Errorf("open source for a catch-up: %w", err)
	}
	return c.carryNow(ctx, c.sink, slices.Collect(maps.Values(progress.Versions))) // which may be all that was missing
}
