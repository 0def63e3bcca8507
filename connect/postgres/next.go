package postgres

import (
	"context"
	"time"

	"github.com/waybill-data/waybill"
)

// Next returns the next batch. What is kept back by Hold and Follow is left out here and not at decoding, so that
// structures are followed all the same and a call takes effect from the very next batch.
func (c *changes) Next(ctx context.Context) (waybill.ChangeBatch, error) {
	if c.export != nil {
		// From here on the snapshot of the slot's making no longer joins the stream.
		_ = c.export.close()
		c.export = nil
	}
	if c.outdated != nil {
		return waybill.ChangeBatch{}, c.outdated
	}
	for {
		if c.slab == nil {
			slab, err := c.slabs.take(ctx)
			if err != nil {
				return waybill.ChangeBatch{}, err
			}
			c.slab, c.from, c.commit = slab, 0, 0
		}
		if b, ok := c.batch(); ok {
			b.More = c.commit < len(c.slab.commits) || c.slabs.waiting()
			return b, nil
		}
		c.slabs.release(c.slab)
		c.slab = nil
	}
}

// batch cuts the next batch off the slab: whole transactions up to the next mark or reshape, or what the slab has of a
// transaction that does not end in it. It returns false at the end of the slab.
func (c *changes) batch() (waybill.ChangeBatch, bool) {
	s := c.slab
	for c.commit < len(s.commits) && s.commits[c.commit].lsn <= c.delivered {
		c.from = s.commits[c.commit].to // sent again by a server that forgot
		c.commit++
	}
	switch mark := c.unmet(); {
	case c.commit < len(s.commits):
		return c.transactions(mark), true
	case c.from < len(s.changes) && mark != 0 && s.opens > mark:
		return waybill.ChangeBatch{Position: c.reach(mark, mark)}, true
	case c.from < len(s.changes):
		kept := c.filter(s.changes[c.from:c.from], s.changes[c.from:], s.opens)
		part := len(kept) > 0 && s.opens > c.delivered
		c.from, c.inside = len(s.changes), c.inside || part
		return waybill.ChangeBatch{Changes: kept}, part
	case s.opens == 0 && s.advance > c.delivered:
		return waybill.ChangeBatch{Position: c.reach(s.advance, mark)}, true
	}
	return waybill.ChangeBatch{}, false
}

// transactions returns a batch of whole transactions, or of the rest of one.
func (c *changes) transactions(mark uint64) waybill.ChangeBatch {
	s, first := c.slab, c.slab.commits[c.commit]
	if mark != 0 && first.lsn > mark {
		return waybill.ChangeBatch{Position: c.reach(mark, mark)}
	}
	b := waybill.ChangeBatch{Changes: s.changes[c.from:c.from], Oldest: time.UnixMicro(first.time)}
	last := first
	c.inside = false
	for {
		b.Changes = c.filter(b.Changes, s.changes[c.from:last.to], last.lsn)
		b.Heartbeat = b.Heartbeat || last.heartbeat
		b.Transactions++
		c.from, c.commit = last.to, c.commit+1
		if last.reshaped || last.parted || c.commit == len(s.commits) {
			break
		}
		if next := s.commits[c.commit]; next.reshaped || mark != 0 && next.lsn > mark {
			break
		}
		last = s.commits[c.commit]
	}
	b.Committed, b.Position = time.UnixMicro(last.time), c.reach(c.reached(last.lsn, mark), mark)
	return b
}

// reached returns how far the batch that ends with the commit gets: further than the commit where the server had
// nothing for us after it.
func (c *changes) reached(lsn, mark uint64) uint64 {
	s := c.slab
	switch {
	case c.commit < len(s.commits) && mark != 0 && s.commits[c.commit].lsn > mark:
		return mark
	case c.commit == len(s.commits) && s.opens == 0:
		return max(lsn, s.advance)
	}
	return lsn
}

// reach moves what is delivered forward, to the mark at the most.
func (c *changes) reach(lsn, mark uint64) waybill.Position {
	if mark != 0 {
		lsn = min(lsn, mark)
	}
	c.delivered = max(c.delivered, lsn)
	return c.server.at(c.delivered)
}

// unmet returns the mark that the next batch must not straddle, 0 for none. A mark that was set when a part of the
// transaction after it was delivered comes too late: a position there would cut the transaction in two.
func (c *changes) unmet() uint64 {
	if c.inside {
		return 0
	}
	return c.nextMark()
}

// nextMark returns the first mark that is not delivered, 0 for none.
func (c *changes) nextMark() uint64 {
	for len(c.marks) > 0 && c.marks[0] <= c.delivered {
		c.marks = c.marks[1:]
	}
	if len(c.marks) == 0 {
		return 0
	}
	return c.marks[0]
}

// filter appends the changes of one transaction that are to be delivered to kept, which precedes them in the slab.
func (c *changes) filter(kept, run []waybill.Change, lsn uint64) []waybill.Change {
	if len(c.held) == 0 && len(c.after) == 0 && len(c.joined) == 0 && len(kept) == cap(kept)-cap(run) {
		return kept[:len(kept)+len(run)]
	}
	for i := range run {
		if c.wanted(&run[i], lsn) {
			kept = append(kept, run[i])
		}
	}
	return kept
}

func (c *changes) wanted(change *waybill.Change, lsn uint64) bool {
	table, id := change.Version.Table, change.Version.ID
	held := c.held[table]
	if s := change.Shape; s != nil && s.Before == nil && s.Inferred && c.joined[id] {
		return false
	}
	if held && change.Op == waybill.Reshape && change.Shape.After != nil && change.Shape.After.Table != table {
		delete(c.held, table)
		c.held[change.Shape.After.Table] = true
	}
	return !held && lsn > c.after[id]
}
