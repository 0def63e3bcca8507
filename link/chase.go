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

// watch notes the structure changes of a batch, and takes out what is of other tables, which may have got a
// name that the stream was opened with.
func (c *catchup) watch(b waybill.ChangeBatch) (waybill.ChangeBatch, error) {
	kept := b.Changes[:0:0]
	for _, change := range b.Changes {
		if c.tables[identity(change.Version)] == nil {
			continue
		}
		if change.Op == waybill.Reshape {
			if err := c.reshape(change.Shape); err != nil {
				return b, err
			}
		}
		kept = append(kept, change)
	}
	b.Changes = kept
	return b, nil
}

func (c *catchup) reshape(s *waybill.Shape) error {
	if s.Before == nil || s.After == nil || s.Reload {
		return errOutrun
	}
	if s.Before.Table != s.After.Table {
		return errYield
	}
	c.tables[identity(s.Before)].version = s.After
	c.seen = append(c.seen, s.After)
	return nil
}

func (c *catchup) write(ctx context.Context, b waybill.ChangeBatch) error {
	b.More = false
	if err := c.sink.Apply(ctx, b); err != nil {
		return fmt.Errorf("apply changes of a catch-up: %w", err)
	}
	if c.inside = b.Position == ""; c.inside {
		return nil
	}
	c.o.FailPoint("catchup.applied")
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
		case c := <-s.ended: // it gave way instead
			s.caughtUp(c)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	work := context.WithoutCancel(ctx)
	var versions []*waybill.TableVersion
	for _, t := range j.tables {
		versions = append(versions, t.version)
	}
	if err := s.sink.Complete(work, versions, j.position); err != nil {
		return fmt.Errorf("take over tables: %w", err)
	}
	s.o.FailPoint("catchup.joined")
	for id, t := range j.tables {
		s.src.Follow(t.version, j.position)
		s.known[id] = &table{source: t.version, target: t.version, name: t.name}
		s.stats.table(t.name, func(t *waybill.TableStatus) { t.State = "streaming" })
	}
	clear(s.plans)
	s.log.Info("tables were caught up and joined the stream", "position", j.position, "tables", len(versions))
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
	s.untidy = c.yielded
	for id, t := range c.tables {
		if t.target != nil {
			s.claims.take(namesOf(t.target)...)
		}
		k := s.known[id]
		if k.standing != pending {
			continue
		}
		k.target = t.target
		if t.gone {
			k.standing = gone
			s.stats.dropped(t.name)
		}
		if t.target == nil || !t.gone && t.target.Table == t.name || t.gone && s.o.action(waybill.DropTable) != Follow {
			continue
		}
		s.injected = append(s.injected, dropping(t.target))
		k.target = nil
	}
	clear(s.plans)
}

// tidy removes what catch-ups left whose tables all are gone, once the target has dropped them.
func (s *session) tidy(ctx context.Context) error {
	if !s.untidy || s.catching || len(s.injected) > 0 || len(s.freed) > 0 || s.anyPending() {
		return nil
	}
	s.untidy = false
	return s.dropCatchUp(ctx)
}

// copyAgain marks tables, by identity, to be copied again. It is called between transactions.
func (s *session) copyAgain(ctx context.Context, why string, ids ...string) error {
	for _, id := range ids {
		t := s.known[id]
		if err := s.sink.Forget(ctx, t.target.Table); err != nil {
			return fmt.Errorf("forget %s: %w", t.name, err)
		}
		again := *t
		again.standing, again.source = pending, nil
		s.known[id] = &again
		s.log.Info("the table is copied again", "table", t.name.String(), "why", why, "position", s.position)
		s.stats.waiting(t.name)
		if err := s.record(ctx, "link.resync", t.name, map[string]string{"why": why, "position": string(s.position)}); err != nil {
			return err
		}
	}
	clear(s.plans)
	return nil
}
