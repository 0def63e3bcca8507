package memory

import (
	"context"
	"slices"
	"time"

	"github.com/waybill-data/waybill"
)

const (
	batchChanges = 256  // a batch of several transactions ends with the one that reaches this
	partChanges  = 1024 // a transaction larger than this comes in parts of this size
)

// source is a stream of a store's history. Tables are told apart by ID, so that renames do not confuse it.
type source struct {
	session *session
	store   *Store
	stream  *stream
	o       waybill.ChangeOptions
	next    int              // commits up to here are delivered
	rest    []waybill.Change // what is still to come of the transaction being delivered in parts
	after   map[string]int   // by table: deliver what is later
	held    map[string]bool  // by table: deliver nothing
	follows map[string]bool  // by table: chosen once, followed through renames
	marks   []int            // positions that a batch must end at
	lent    []waybill.Change // the last batch, taken back by Next
	broken  error            // what Follow could not do; the next Next tells
	woken   <-chan struct{}  // closed when something happened since the last look
}

func (s *Store) openChanges(o waybill.ChangeOptions) (*source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &source{store: s, o: o, after: map[string]int{}, held: map[string]bool{}, follows: map[string]bool{}}
	mark := s.streams[o.Stream]
	if mark != nil && mark.reader.live() {
		return nil, waybill.Errorf(waybill.Passing, "open stream "+o.Stream, "another process reads it")
	}
	var err error
	switch {
	case o.Position == "":
		mark = &stream{confirmed: len(s.history)}
		c.next = len(s.history)
	case mark == nil:
		return nil, &waybill.Error{Op: "open stream " + o.Stream, Fault: waybill.Drift, Hint: "copy the tables again",
			Err: waybill.Errorf(waybill.Drift, "", "the store has no mark of it")}
	default:
		if c.next, err = s.parse(o.Position); err != nil {
			return nil, err
		}
		if c.next < mark.confirmed || c.next > len(s.history) {
			return nil, &waybill.Error{Op: "open stream " + o.Stream, Fault: waybill.Drift, Hint: "copy the tables again",
				Err: waybill.Errorf(waybill.Drift, "", "position %s is not between %s and %s", o.Position,
					s.position(mark.confirmed), s.position(len(s.history)))}
		}
	}
	for _, v := range o.Versions {
		c.follows[v.ID] = true
	}
	for _, name := range o.Hold {
		id := s.tableAt(name, c.next)
		if id == "" {
			id = s.tableAt(name, len(s.history))
		}
		c.held[id] = true
	}
	for name, p := range o.After {
		v := o.Versions[name]
		if v == nil {
			return nil, waybill.Errorf(waybill.Bug, "open stream "+o.Stream, "table %s is followed after a position without a version", name)
		}
		if err := c.follow(v, p); err != nil {
			return nil, err
		}
	}
	c.session, c.stream = s.connect(), mark
	mark.reader = c.session
	s.streams[o.Stream] = mark
	return c, nil
}

// View leaves a mark in the history, as systems do, so that every view has a position of its own.
func (c *source) View(ctx context.Context) (waybill.View, error) {
	c.beat()
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if err := c.session.check(); err != nil {
		return nil, err
	}
	return c.store.openView(c.o.Tables), ctx.Err()
}

func (c *source) Follow(v *waybill.TableVersion, after waybill.Position) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if err := c.follow(v, after); err != nil {
		c.broken = err
	}
}

// follow is Follow. The caller holds the store's mu.
func (c *source) follow(v *waybill.TableVersion, after waybill.Position) error {
	n, err := c.store.parse(after)
	if err != nil {
		return err
	}
	c.after[v.ID] = n
	c.follows[v.ID] = true
	delete(c.held, v.ID)
	return nil
}

func (c *source) Mark(p waybill.Position) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	n, err := c.store.parse(p)
	if err != nil {
		c.broken = err
		return
	}
	c.marks = append(c.marks, n)
}

func (c *source) Next(ctx context.Context) (waybill.ChangeBatch, error) {
	for _, change := range c.lent {
		clear(change.Before)
		clear(change.After)
	}
	c.lent = nil
	idle := c.o.Heartbeat
	if idle == 0 {
		idle = time.Second
	}
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return waybill.ChangeBatch{}, err
		}
		b, ok, err := c.look()
		if err != nil {
			return waybill.ChangeBatch{}, err
		}
		if ok {
			c.lent = b.Changes
			return b, nil
		}
		select {
		case <-ctx.Done():
		case <-c.woken:
		case <-timer.C:
			c.beat()
			timer.Reset(idle)
		}
	}
}

// beat leaves a sign of life in the history, so that an idle store moves on.
func (c *source) beat() {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if !c.session.dead {
		c.store.history = append(c.store.history, commit{at: time.Now()})
		c.store.wake()
	}
}

// look returns the next batch, if there is one.
func (c *source) look() (waybill.ChangeBatch, bool, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if err := c.session.check(); err != nil {
		return waybill.ChangeBatch{}, false, err
	}
	if c.broken != nil {
		return waybill.ChangeBatch{}, false, c.broken
	}
	c.woken = c.store.woken
	if c.rest != nil {
		return c.part(), true, nil
	}
	var b waybill.ChangeBatch
	for c.next < len(c.store.history) {
		changes := c.filter(c.store.history[c.next].changes, c.next+1)
		alone := len(changes) > partChanges || slices.ContainsFunc(changes, isReshape)
		if alone && b.Transactions > 0 {
			break
		}
		if alone {
			c.rest = changes
			return c.part(), true, nil
		}
		c.take(&b, changes)
		if len(b.Changes) >= batchChanges || slices.Contains(c.marks, c.next) {
			break
		}
	}
	return b, b.Transactions > 0, nil
}

func isReshape(c waybill.Change) bool { return c.Op == waybill.Reshape }

// part returns the next part of the transaction in rest; the last one ends the transaction.
func (c *source) part() waybill.ChangeBatch {
	var b waybill.ChangeBatch
	if len(c.rest) > partChanges {
		b.Changes = lend(c.rest[:partChanges])
		c.rest = c.rest[partChanges:]
		return b
	}
	c.take(&b, c.rest)
	c.rest = nil
	return b
}

// take adds the transaction after next to the batch.
func (c *source) take(b *waybill.ChangeBatch, changes []waybill.Change) {
	at := c.store.history[c.next].at
	b.Heartbeat = b.Heartbeat || len(c.store.history[c.next].changes) == 0
	c.next++
	b.Changes = append(b.Changes, lend(changes)...)
	b.Position = c.store.position(c.next)
	b.Committed = at
	b.Transactions++
	b.More = c.next < len(c.store.history)
	if b.Oldest.IsZero() {
		b.Oldest = at
	}
}

// lend returns changes whose rows can be taken back.
func lend(changes []waybill.Change) []waybill.Change {
	lent := slices.Clone(changes)
	for i := range lent {
		lent[i].Before = slices.Clone(lent[i].Before)
		lent[i].After = slices.Clone(lent[i].After)
	}
	return lent
}

// filter returns what the stream is to tell of a transaction.
func (c *source) filter(changes []waybill.Change, n int) []waybill.Change {
	var chosen []waybill.Change
	for _, change := range changes {
		id := change.Version.ID
		if !c.follows[id] && c.o.Tables.Has(change.Version.Table) {
			c.follows[id] = true
		}
		if !c.follows[id] && change.Op == waybill.Reshape && change.Shape.After != nil && c.o.Tables.Has(change.Shape.After.Table) {
			c.follows[id] = true
			change = enter(change.Shape)
		}
		if c.follows[id] && !c.held[id] && n > c.after[id] {
			chosen = append(chosen, change)
		}
	}
	return chosen
}

// enter returns the change by which a table that gets a chosen name is new to the stream.
func enter(s *waybill.Shape) waybill.Change {
	shape := &waybill.Shape{After: s.After, Statement: s.Statement, By: s.By, Reload: true, Reason: "the table's new name is chosen"}
	return waybill.Change{Op: waybill.Reshape, Version: s.After, Shape: shape}
}

func (c *source) Confirm(ctx context.Context, p waybill.Position) error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if err := c.session.check(); err != nil {
		return err
	}
	n, err := c.store.parse(p)
	if err != nil {
		return err
	}
	if n > c.next {
		return waybill.Errorf(waybill.Bug, "confirm "+string(p), "the stream has told up to %s only", c.store.position(c.next))
	}
	c.stream.confirmed = max(c.stream.confirmed, n)
	return ctx.Err()
}

func (c *source) Close() error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.session.close()
	return nil
}
