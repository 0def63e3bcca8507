package link

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-data/waybill"
)

// follow applies the catch-up's stream until the main loop has taken its tables over.
func (c *catchup) follow(ctx context.Context) error {
	goal := c.from // the stream may begin before the copy was made
	for {
		b, err := c.src.Next(ctx)
		if err != nil {
			return fmt.Errorf("read changes for a catch-up: %w", err)
		}
		if b, err = c.watch(b); err != nil {
			return err
		}
		if err := c.write(context.WithoutCancel(ctx), b); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.inside || !c.reached(goal, b.Position) {
			continue
		}
		if goal, err = c.join(ctx, b.Position); err != nil || goal == "" {
			return err
		}
	}
}

// watch notes the structure changes of a batch and takes drops out of it: those the main stream carries out,
// because it has the record of the table.
func (c *catchup) watch(b waybill.ChangeBatch) (waybill.ChangeBatch, error) {
	kept := b.Changes[:0:0]
	for _, change := range b.Changes {
		if change.Op == waybill.Reshape {
			dropped, err := c.reshape(change.Shape, b.Position)
			if err != nil {
				return b, err
			}
			if dropped {
				continue
			}
		}
		kept = append(kept, change)
	}
	b.Changes = kept
	return b, nil
}

func (c *catchup) reshape(s *waybill.Shape, p waybill.Position) (dropped bool, err error) {
	if s.Before == nil || s.Reload {
		return false, errOutrun
	}
	t := c.tables[identity(s.Before)]
	if t == nil {
		return false, waybill.Errorf(waybill.Bug, "catch up", "a change of %s, which is not caught up", s.Before.Table)
	}
	if t.version = s.After; s.After == nil {
		return true, nil
	}
	c.seen = append(c.seen, s.After)
	if t.name == s.After.Table {
		return false, nil
	}
	t.earlier = append(t.earlier, earlierName{p, t.name})
	t.name = s.After.Table
	if !c.claims.catch(t.name) {
		// The main stream still has a table of this name: it must get to where that one gives the name up.
		c.yieldTo = p
		return false, errYield
	}
	return false, nil
}

func (c *catchup) write(ctx context.Context, b waybill.ChangeBatch) error {
	if err := c.sink.Apply(ctx, b); err != nil {
		return fmt.Errorf("apply changes of a catch-up: %w", err)
	}
	if c.inside = b.Position == ""; c.inside {
		return nil
	}
	for _, v := range c.seen {
		c.tables[identity(v)].target = v
		if err := c.keepVersion(ctx, v, b.Position); err != nil {
			return err
		}
	}
	c.seen = nil
	if err := c.o.Ledger.SavePosition(ctx, CatchUp(c.o.Name), b.Position, time.Now()); err != nil {
		return err
	}
	return c.src.Confirm(ctx, b.Position) // invariant 1
}

// join hands the tables to the main loop at a position, or learns which position must be reached first.
func (c *catchup) join(ctx context.Context, p waybill.Position) (waybill.Position, error) {
	j := &joining{position: p, tables: c.tables, reply: make(chan waybill.Position, 1)}
	select {
	case c.joins <- j:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case goal := <-j.reply:
		return goal, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// takeOver answers a catch-up: it waits until the catch-up is not behind the main stream, and then follows
// its tables. The main stream stands meanwhile, so both sides of the join are known exactly.
func (s *session) takeOver(ctx context.Context, j *joining) error {
	for s.position != "" && !s.reached(s.position, j.position) {
		j.reply <- s.position
		select {
		case j = <-s.joins:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	work := context.WithoutCancel(ctx)
	var versions []*waybill.TableVersion
	for _, t := range j.tables {
		if t.version != nil {
			versions = append(versions, t.version)
		}
	}
	if len(versions) > 0 {
		if err := s.sink.Complete(work, versions, j.position); err != nil {
			return fmt.Errorf("take over tables: %w", err)
		}
	}
	s.o.FailPoint("catchup.joined")
	for id, t := range j.tables {
		if t.version == nil {
			s.known[id] = &table{standing: gone, name: t.name}
			if t.target != nil && s.o.action(waybill.DropTable) == Follow {
				s.injected = append(s.injected, dropping(t.target))
			}
			continue
		}
		s.src.Follow(s.called(t), j.position)
		s.known[id] = &table{source: t.version, target: t.version, name: t.name}
		s.stats.table(t.name, func(t *waybill.TableStatus) { t.State = "streaming" })
	}
	clear(s.plans)
	s.moved = time.Now()
	names := make([]waybill.TableName, 0, len(versions))
	for _, v := range versions {
		names = append(names, v.Table)
	}
	err := s.record(work, "link.joined", waybill.TableName{}, map[string]any{"position": j.position, "tables": names})
	j.reply <- ""
	if err != nil {
		return err
	}
	// Nothing may happen to these tables while the catch-up's own record of them still stands at the target.
	select {
	case c := <-s.ended:
		s.caughtUp(c)
		for _, v := range versions {
			s.claims.take(v.Table)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// caughtUp takes back the tables of a catch-up that has ended: it joined them, or gave way to the main stream.
func (s *session) caughtUp(c *catchup) {
	s.catching = false
	s.claims.release()
	s.after = c.yieldTo
	for id, t := range c.tables {
		if k := s.known[id]; k.standing == pending {
			k.target, k.name = t.target, t.name
		}
	}
}

// called returns what the main stream, where it is, calls a table that was caught up.
func (s *session) called(t *chase) waybill.TableName {
	for _, e := range t.earlier {
		if e.before != "" && !s.reached(e.before, s.position) {
			return e.name
		}
	}
	return t.name
}

// copyAgain marks tables, by identity, to be copied again. It is called between transactions.
func (s *session) copyAgain(ctx context.Context, why string, ids ...string) error {
	for _, id := range ids {
		t := s.known[id]
		if err := s.sink.Forget(ctx, t.name); err != nil {
			return fmt.Errorf("forget %s: %w", t.name, err)
		}
		again := *t
		again.standing, again.source = pending, nil
		s.known[id] = &again
		s.claims.free(t.target.Table)
		s.stats.table(t.name, func(t *waybill.TableStatus) { t.State = "waiting" })
		if err := s.record(ctx, "link.resync", t.name, map[string]string{"why": why, "position": string(s.position)}); err != nil {
			return err
		}
	}
	clear(s.plans)
	return nil
}
