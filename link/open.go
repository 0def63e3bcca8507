package link

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/waybill-data/waybill"
)

// standing is where a table is in the link.
type standing uint8

const (
	following standing = iota // its changes go to the target
	pending                   // it is to be copied, or being copied, beside the stream
	gone                      // it was dropped at the source while it was pending
	ignored                   // its creation was ignored
)

// table is what the link knows of one table of the source.
type table struct {
	standing standing
	source   *waybill.TableVersion // its structure in the stream; nil: not known yet
	target   *waybill.TableVersion // its structure in the target, with the source's identities; nil: not there
	name     waybill.TableName     // as it was last called
}

// identity is what tells a table apart through renames.
func identity(v *waybill.TableVersion) string {
	if v.ID != "" {
		return v.ID
	}
	return "name " + v.Table.String()
}

// listing is what tables there were at a position. It is looked at once the stream has got there, because
// only then every table that was created or renamed before is known.
type listing struct {
	at     waybill.Position
	tables []*waybill.TableVersion
}

// open opens the target, then the source where the target is. It reports whether tables must be copied
// before the stream may go on.
func (s *session) open(ctx context.Context) (missing bool, err error) {
	s.sink, err = s.o.Target.Connector.OpenSink(ctx, s.o.Target.Endpoint, waybill.SinkOptions{
		Stream: s.o.Name, Takeover: true, Workers: s.o.Workers, Report: s.stats.building, Log: s.log})
	if err != nil {
		return false, fmt.Errorf("open target: %w", err)
	}
	progress, err := s.resume(ctx)
	if err != nil {
		return false, err
	}
	o := waybill.ChangeOptions{Stream: s.o.Name, Tables: s.o.Tables, Position: progress.Position, Versions: map[waybill.TableName]*waybill.TableVersion{},
		SpillDir: s.o.SpillDir, Heartbeat: s.o.Heartbeat, Log: s.log}
	for _, t := range s.known {
		if t.standing == following {
			o.Versions[t.source.Table] = t.source
		}
	}
	if progress.Position == "" {
		// Tables that an unfinished first copy completed hold the stream at their position.
		if o.Position, err = s.earliest(progress.Copied); err != nil {
			return false, err
		}
		// What is left of a copy that was cut off is copied beside the stream, like later tables: a new view would
		// be ahead of the tables that are at the target already, and a name or partition of theirs may be another's
		// there. Tables that were forgotten before the stream began must be made to fit first, too.
		if missing = len(progress.Copied) == 0 && !s.anyPending(); !missing {
			if err := s.sink.Prepare(ctx, nil, true); err != nil {
				return false, fmt.Errorf("clear away an unfinished copy: %w", err)
			}
		}
	}
	o.After = maps.Clone(progress.Copied)
	maps.DeleteFunc(o.After, func(_ waybill.TableName, p waybill.Position) bool { return s.reached(p, o.Position) })
	if s.src, err = s.o.Source.Connector.OpenChanges(ctx, s.o.Source.Endpoint, o); err != nil {
		return false, fmt.Errorf("open source: %w", err)
	}
	s.position = progress.Position
	s.stats.resumed(progress.Position)
	s.log.Info("both ends are open", "position", o.Position, "tables", len(o.Versions), "to copy", len(s.known)-len(o.Versions))
	if missing {
		return true, nil
	}
	if progress.Position == "" {
		// The first copy may have been cut off when tables were complete but their sequences not carried.
		if err := s.carryNow(ctx, s.sink, s.versions()); err != nil {
			return false, err
		}
	}
	return false, s.list(ctx)
}

// resume takes over what the target knows; it beats every other memory (invariant 3).
func (s *session) resume(ctx context.Context) (waybill.Progress, error) {
	progress, err := s.sink.Resume(ctx)
	if err != nil {
		return progress, fmt.Errorf("read the target's progress: %w", err)
	}
	s.known, s.plans = map[string]*table{}, map[*waybill.TableVersion]plan{}
	for name, v := range progress.Versions {
		if _, copied := progress.Copied[name]; copied {
			s.known[identity(v)] = &table{source: v, target: v, name: name}
			s.claims.take(namesOf(v)...)
			s.stats.table(name, func(t *waybill.TableStatus) { t.State = "streaming" })
		} else {
			s.known[identity(v)] = &table{standing: pending, target: v, name: name}
			s.stats.waiting(name)
		}
	}
	if err := s.sweep(ctx); err != nil {
		return progress, err
	}
	s.stats.only(s.known)
	for _, t := range s.known {
		if t.standing == pending && t.target != nil {
			s.claims.take(namesOf(t.target)...)
		}
	}
	for _, id := range s.forget {
		if t := s.known[id]; t != nil && t.standing == following {
			delete(progress.Copied, t.name)
			if err := s.copyAgain(ctx, "its rows were changed with its structure", id); err != nil {
				return progress, err
			}
		}
	}
	s.forget = nil
	return progress, s.recall(ctx, progress)
}

// recall finds the source's structure of the tables that differ from it at the target because a change was
// ignored.
func (s *session) recall(ctx context.Context, progress waybill.Progress) error {
	if s.o.Recall == nil || progress.Position == "" {
		return nil
	}
	structures, err := s.o.Recall(ctx)
	if err != nil {
		return fmt.Errorf("recall structures: %w", err)
	}
	for _, structure := range structures {
		t := s.known[identity(structure.Version)]
		if t == nil || t.standing != following || structure.AsOf == "" {
			continue
		}
		// A table that was copied later than the stream has come is in the stream from its copy on.
		if s.reached(structure.AsOf, progress.Position) || s.reached(structure.AsOf, progress.Copied[t.name]) {
			t.source = structure.Version
		}
	}
	return nil
}

// reached reports whether p is known to be at or before the other position.
func (s *session) reached(p, other waybill.Position) bool {
	if other == "" {
		return false
	}
	order, err := s.o.Source.Connector.ComparePositions(p, other)
	return err == nil && order <= 0
}

func (s *session) earliest(copied map[waybill.TableName]waybill.Position) (waybill.Position, error) {
	var first waybill.Position
	for _, p := range copied {
		if first == "" {
			first = p
			continue
		}
		order, err := s.o.Source.Connector.ComparePositions(p, first)
		if err != nil {
			return "", err
		}
		if order < 0 {
			first = p
		}
	}
	return first, nil
}

// list notes the tables that the source has now and the link does not know.
func (s *session) list(ctx context.Context) error {
	view, err := s.o.Source.Connector.OpenView(ctx, s.o.Source.Endpoint, waybill.ViewOptions{Tables: s.o.Tables, Log: s.log})
	if err != nil {
		return fmt.Errorf("list the source's tables: %w", err)
	}
	defer view.Close()
	names, err := view.Tables(ctx)
	if err != nil {
		return err
	}
	current := map[waybill.TableName]bool{}
	for _, t := range s.known {
		current[t.name] = t.standing == following
	}
	s.listed = &listing{}
	for _, name := range names {
		// A table of a known name is the known one, or its creation is still to come in the stream.
		if current[name] {
			continue
		}
		v, err := view.Version(ctx, name)
		if err != nil {
			return err
		}
		s.listed.tables = append(s.listed.tables, v)
	}
	state, err := s.o.Source.Connector.State(ctx, s.o.Source.Endpoint, s.o.Name)
	s.listed.at = state.Current
	return err
}

// examine looks at the listing once the stream is where it was made.
func (s *session) examine(ctx context.Context) error {
	if s.listed == nil || s.position == "" {
		return nil
	}
	if order, err := s.o.Source.Connector.ComparePositions(s.position, s.listed.at); err != nil || order < 0 {
		return err
	}
	tables := s.listed.tables
	s.listed = nil
	for _, v := range tables {
		if s.known[identity(v)] == nil {
			if err := s.meet(ctx, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// meet decides about a table that the link has no copy of and nobody told of.
func (s *session) meet(ctx context.Context, v *waybill.TableVersion) error {
	actions, err := s.decide(ctx, &waybill.Shape{After: v, Reason: "the table is new to the link"})
	if err != nil {
		return err
	}
	t := &table{standing: pending, name: v.Table}
	if actions[waybill.CreateTable] == Ignore {
		t.standing = ignored
	} else {
		s.stats.waiting(v.Table)
	}
	s.known[identity(v)] = t
	clear(s.plans)
	return nil
}

func (s *session) anyPending() bool {
	for _, t := range s.known {
		if t.standing == pending {
			return true
		}
	}
	return false
}

// versions returns the structures of all followed tables, in a fixed order.
func (s *session) versions() []*waybill.TableVersion {
	var all []*waybill.TableVersion
	for _, id := range slices.Sorted(maps.Keys(s.known)) {
		if t := s.known[id]; t.standing == following {
			all = append(all, t.source)
		}
	}
	return all
}
