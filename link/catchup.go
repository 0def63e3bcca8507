package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
)

// catchup copies tables beside the main stream: on a stream of its own, from a view of its own, until it is
// no longer behind the main stream and the two can join. There is one at a time under one constant name, so
// that whatever a killed process left is found.
type catchup struct {
	*session // for run, joins and the ends' configuration; the main loop's fields are not touched
	tables   map[string]*chase
	src      waybill.ChangeSource
	sink     waybill.Sink
	from     waybill.Position // where the copy was made
	inside   bool
	seen     []*waybill.TableVersion
	anew     bool             // an earlier copy is of no use
	yielded  bool             // it ended to let the main stream do something first
	yieldTo  waybill.Position // where the main stream must be before this is tried again
}

// chase is one table that is caught up. It keeps one name: where the table is called otherwise at the source
// than at the target, or gets another name, the main stream drops what is at the target and it is made anew.
type chase struct {
	target  *waybill.TableVersion // what the target holds; nil: nothing
	version *waybill.TableVersion // what the copy was made under, then as the stream changes it
	name    waybill.TableName
	gone    bool // it is not at the source any more
}

// joining asks the main loop to take tables over at a position. The answer is empty when it did, or the
// position that must be reached first.
type joining struct {
	position waybill.Position
	tables   map[string]*chase
	reply    chan waybill.Position
}

// errOutrun says that a copy must be made anew, because the table was changed in a way the stream cannot tell.
var errOutrun = errors.New("the table changed under its copy")

// errYield says that the main stream must do something first.
var errYield = errors.New("the main stream comes first")

// chaseMissing starts a catch-up for what is pending, unless one is running or must wait.
func (s *session) chaseMissing(ctx context.Context) {
	if s.catching || len(s.injected) > 0 || len(s.freed) > 0 || s.after != "" && !s.reached(s.after, s.position) {
		return
	}
	c := &catchup{session: s, tables: map[string]*chase{}, anew: s.untidy}
	for id, t := range s.known {
		if t.standing == pending {
			c.tables[id] = &chase{target: t.target, name: t.name}
		}
	}
	if len(c.tables) == 0 {
		return
	}
	for _, t := range c.tables {
		if t.target != nil {
			s.claims.free(namesOf(t.target)...)
			s.claims.catch(namesOf(t.target)...)
		}
	}
	s.catching = true
	s.group.Go(func() error {
		err := c.run(ctx)
		if err == nil {
			s.ended <- c
		}
		return err
	})
}

// run copies the tables, follows them until they have joined the main stream, and leaves nothing behind. What
// gives way to the main stream leaves its record, and its stream to the next one.
func (c *catchup) run(ctx context.Context) error {
	for {
		err := errors.Join(c.copyAndFollow(ctx), c.close())
		switch {
		case errors.Is(err, errYield):
			c.yielded = true
			return nil
		case !errors.Is(err, errOutrun):
			if err != nil {
				return err
			}
			return c.dropCatchUp(ctx)
		}
		c.anew = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.o.retry):
		}
	}
}

func (c *catchup) close() error {
	var errs []error
	if c.src != nil {
		errs = append(errs, c.src.Close())
	}
	if c.sink != nil {
		errs = append(errs, c.sink.Close())
	}
	c.src, c.sink, c.inside, c.seen = nil, nil, false, nil
	return errors.Join(errs...)
}

func (c *catchup) copyAndFollow(ctx context.Context) (err error) {
	c.sink, err = c.o.Target.Connector.OpenSink(ctx, c.o.Target.Endpoint, waybill.SinkOptions{
		Stream: CatchUp(c.o.Name), Takeover: true, Workers: c.o.Workers, Report: c.stats.building, Log: c.log})
	if err != nil {
		return fmt.Errorf("open target for a catch-up: %w", err)
	}
	progress, err := c.sink.Resume(ctx)
	if err != nil {
		return err
	}
	goesOn, err := c.goesOn(ctx, progress)
	if err != nil {
		return err
	}
	if goesOn {
		err = c.goOn(ctx, progress)
	} else {
		err = c.copy(ctx, progress)
	}
	if err != nil {
		return err
	}
	return c.follow(ctx)
}

func (c *catchup) options(names []waybill.TableName) waybill.ChangeOptions {
	return waybill.ChangeOptions{Stream: CatchUp(c.o.Name), Tables: exactly(names), SpillDir: c.o.SpillDir, Heartbeat: c.o.Heartbeat, Log: c.log}
}

// exactly returns the selection of the tables and no others.
func exactly(names []waybill.TableName) waybill.Selection {
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	chosen := make(waybill.Selection, 0, len(names))
	for _, n := range names {
		chosen = append(chosen, quote(n.Schema)+"."+quote(n.Name))
	}
	return chosen
}

// copy makes the copy from a new view on a new stream.
func (c *catchup) copy(ctx context.Context, progress waybill.Progress) error {
	if err := c.o.Source.Connector.Drop(ctx, c.o.Source.Endpoint, CatchUp(c.o.Name)); err != nil {
		return fmt.Errorf("drop the stream of an earlier catch-up: %w", err)
	}
	for name := range progress.Copied {
		if err := c.sink.Forget(ctx, name); err != nil {
			return err
		}
	}
	names, err := c.present(ctx)
	if err != nil {
		return err
	}
	for _, t := range c.tables {
		if t.gone || t.target != nil && t.target.Table != t.name {
			return errYield
		}
	}
	if c.src, err = c.o.Source.Connector.OpenChanges(ctx, c.o.Source.Endpoint, c.options(names)); err != nil {
		return fmt.Errorf("open source for a catch-up: %w", err)
	}
	view, err := c.src.View(ctx)
	if err != nil {
		return fmt.Errorf("open view for a catch-up: %w", err)
	}
	defer view.Close()
	versions, err := c.look(ctx, view, names)
	if err != nil {
		return err
	}
	c.from = view.Position()
	c.log.Info("tables are copied beside the stream", "position", c.from, "tables", len(versions))
	if !c.claims.catch(c.names()...) {
		c.yieldTo = c.from
		return errYield
	}
	if err := c.fit(ctx, progress); err != nil {
		return err
	}
	copier := &copying{run: c.session.run, view: view, sink: c.sink}
	if err := copier.tables(ctx, versions); err != nil {
		return err
	}
	for _, v := range versions {
		c.src.Follow(v, view.Position())
		c.tables[identity(v)].target = v
		c.stats.table(v.Table, func(t *waybill.TableStatus) { t.State = "catching up" })
	}
	c.o.FailPoint("catchup.copied")
	return nil
}

// present finds what the tables are called at the source now, and which of them are gone.
func (c *catchup) present(ctx context.Context) ([]waybill.TableName, error) {
	view, err := c.o.Source.Connector.OpenView(ctx, c.o.Source.Endpoint, waybill.ViewOptions{Log: c.log})
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	defer view.Close()
	all, err := view.Tables(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[waybill.TableName]bool{}
	for _, t := range c.tables {
		t.gone = true
		wanted[t.name] = true
	}
	// The tables that bear a wanted name come first: mostly they are the ones.
	slices.SortStableFunc(all, func(a, b waybill.TableName) int { return order(wanted[b]) - order(wanted[a]) })
	var found []waybill.TableName
	for _, name := range all {
		if len(found) == len(c.tables) {
			break
		}
		v, err := view.Version(ctx, name)
		if err != nil && wanted[name] {
			return nil, err
		}
		if err != nil {
			continue // a table that cannot be carried and is none of those wanted
		}
		if t := c.tables[identity(v)]; t != nil {
			t.name, t.gone = name, false
			found = append(found, name)
		}
	}
	slices.SortFunc(found, func(a, b waybill.TableName) int { return strings.Compare(a.String(), b.String()) })
	return found, nil
}

func order(first bool) int {
	if first {
		return 1
	}
	return 0
}

// look reads the structures that the copy is made under.
func (c *catchup) look(ctx context.Context, view waybill.View, names []waybill.TableName) ([]*waybill.TableVersion, error) {
	versions := make([]*waybill.TableVersion, 0, len(names))
	if len(names) == 0 {
		return nil, nil
	}
	there, err := view.Tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.Contains(there, name) {
			return nil, errOutrun
		}
		v, err := view.Version(ctx, name)
		if err != nil {
			return nil, err
		}
		t := c.tables[identity(v)]
		if t == nil {
			return nil, errOutrun
		}
		t.version = v
		versions = append(versions, v)
	}
	return versions, nil
}

// names returns all names that the tables have at the target or are to have.
func (c *catchup) names() []waybill.TableName {
	var all []waybill.TableName
	for _, t := range c.tables {
		if t.target != nil {
			all = append(all, namesOf(t.target)...)
		}
		all = append(all, namesOf(t.version)...)
	}
	return all
}

// fit gives the tables that the target has from before the structure that the copy is made under.
func (c *catchup) fit(ctx context.Context, progress waybill.Progress) error {
	var changes []waybill.Change
	var fitted []*chase
	for _, id := range slices.Sorted(maps.Keys(c.tables)) {
		t := c.tables[id]
		if t.target == nil {
			continue
		}
		shape := &waybill.Shape{Before: t.target, After: t.version, Reason: "the table is copied again"}
		if len(shape.Steps()) > 0 {
			shape.Reload = true // every row comes again: those that are there must not stand in the way
			changes = append(changes, waybill.Change{Op: waybill.Reshape, Version: t.target, Shape: shape})
			fitted = append(fitted, t)
		}
	}
	if len(fitted) == 0 {
		return nil
	}
	if c.reached(c.from, progress.Position) {
		return errOutrun // a batch at a position that the target has would be taken for a repetition
	}
	if err := c.sink.Apply(ctx, waybill.ChangeBatch{Changes: changes, Position: c.from, Transactions: 1}); err != nil {
		return fmt.Errorf("fit the target's tables: %w", err)
	}
	for _, t := range fitted {
		t.target = t.version
	}
	return nil
}
