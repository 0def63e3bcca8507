package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare/repair"
	"github.com/waybill-data/waybill/ledger"
)

// The kinds of the entries that say that a repair has a link stand still, and that it let it go on.
const (
	repairHold    = "repair.hold"
	repairRelease = "repair.release"
)

// sides are the two ends of a recorded comparison, and the link that writes the target, if one does.
type sides struct {
	q                      *comparing
	l                      *ledger.Ledger
	source, target         waybill.Endpoint
	sourceKind, targetKind *waybill.Connector
	link                   *route // nil: none writes the target's tables
	running                string // the link's state; empty: it does not run
	paused                 bool   // it was paused before and stays so
}

// sidesOf finds out what a recorded comparison compared: a link, or two endpoints.
func (q *comparing) sidesOf(l *ledger.Ledger, name string) (*sides, error) {
	s := &sides{q: q, l: l}
	c, err := q.app.load()
	if err != nil {
		return nil, err
	}
	if _, known := c.Links[name]; known {
		r, err := q.app.route(name)
		s.link, s.source, s.target, s.sourceKind, s.targetKind = &r, r.source, r.target, r.sourceKind, r.targetKind
		return s, err
	}
	for _, source := range keys(c.Endpoints) {
		for _, target := range keys(c.Endpoints) {
			if endpointsName(source, target) == name {
				s.source, s.target = c.Endpoints[source], c.Endpoints[target]
				s.sourceKind, s.targetKind = q.app.kind(s.source), q.app.kind(s.target)
				return s, nil
			}
		}
	}
	return nil, usage(fmt.Errorf("%s has no link %q and no two endpoints of this name", c.File, name))
}

// endpointsName is what the ledger calls a comparison of two endpoints.
func endpointsName(source, target string) string { return source + " and " + target }

// findLink looks for a link that writes the target. Its changes and a repair's must not cross.
func (s *sides) findLink(ctx context.Context, tables []waybill.TableName) error {
	c, err := s.q.app.load()
	if err != nil {
		return err
	}
	for _, name := range keys(c.Links) {
		r, err := s.q.app.route(name)
		if err != nil {
			return err
		}
		if s.link != nil && r.Name != s.link.Name || !same(r.target, s.target) || len(r.Tables.Pick(tables)) == 0 {
			continue
		}
		if err := s.claim(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func same(a, b waybill.Endpoint) bool {
	return a.Name == b.Name || a.Kind == b.Kind && a.URL.Reveal() == b.URL.Reveal()
}

// claim decides about one link that writes the target.
func (s *sides) claim(ctx context.Context, r route) error {
	ran, err := s.everRan(ctx, r.Name)
	if err != nil || !ran && s.link == nil {
		return err
	}
	refuse := func(hint, format string, args ...any) error {
		return &waybill.Error{Op: "repair through link " + r.Name, Fault: waybill.Setup, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	running, err := s.q.app.settled(ctx, s.l, r.Name, s.q.wait)
	switch {
	case err != nil:
		return err
	case !same(r.source, s.source) && running != "":
		return refuse("stop that link, or leave its tables out with --tables", "it writes these tables from %s", r.source.Name)
	case !same(r.source, s.source):
		return nil
	case running == "":
		return refuse("start it (waybill run "+r.Name+"), then repair: it is held for a moment around each write",
			"it is not running, and when it starts it would write its changes over the repaired rows")
	}
	s.link, s.running = &r, running
	return s.wasPaused(ctx)
}

func (s *sides) everRan(ctx context.Context, link string) (bool, error) {
	positions, err := s.l.Positions(ctx)
	for _, p := range positions {
		if p.Stream == link {
			return true, err
		}
	}
	status, statusErr := statusOf(ctx, s.l, link)
	return !status.Updated.IsZero(), errors.Join(err, statusErr)
}

// wasPaused tells a link that a person paused from one that a repair left standing when it was killed.
func (s *sides) wasPaused(ctx context.Context) error {
	if s.running != "paused" && s.running != "held" {
		return nil
	}
	var last [2]int64
	for i, kind := range []string{repairHold, repairRelease} {
		entries, err := s.l.Entries(ctx, ledger.EntryFilter{Kind: kind, Subject: s.link.Name})
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			last[i] = entries[len(entries)-1].ID
		}
	}
	s.paused = last[0] <= last[1]
	return nil
}

// open opens both sides as they are, or at one moment of the link, which goes on at once.
func (s *sides) open(ctx context.Context) (*repair.Moment, error) {
	if s.link == nil {
		return s.plain(ctx)
	}
	both, err := s.q.openBoth(ctx, s.l, *s.link)
	if err != nil {
		return nil, err
	}
	return &repair.Moment{Source: both.source, Target: both.target, Words: both.moment}, nil
}

func (s *sides) plain(ctx context.Context) (*repair.Moment, error) {
	m := &repair.Moment{Words: "each side as it was when it was opened"}
	options := waybill.ViewOptions{Log: s.q.app.log()}
	var g errgroup.Group
	g.Go(func() (err error) {
		m.Source, err = openView(ctx, s.sourceKind, s.source, options)
		return err
	})
	g.Go(func() (err error) {
		m.Target, err = openView(ctx, s.targetKind, s.target, options)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// again opens both sides as they are now, for what differed and may have been in flight.
func (s *sides) again(ctx context.Context) (source, target waybill.View, err error) {
	m, err := s.plain(ctx)
	if err != nil {
		return nil, nil, err
	}
	return m.Source, m.Target, nil
}

// openHeld opens both sides at one position of the link, which stands there until the moment is released: what
// is written meanwhile is written at that place of the stream.
func (s *sides) openHeld(ctx context.Context) (*repair.Moment, error) {
	if s.link == nil {
		return s.plain(ctx)
	}
	m := &repair.Moment{Release: func() error { return s.letGo(ctx) }}
	if err := s.holdAt(ctx, m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (s *sides) holdAt(ctx context.Context, m *repair.Moment) error {
	name := s.link.Name
	var lease json.RawMessage
	if !s.paused {
		lease = s.q.lease()
	}
	if err := s.l.Record(ctx, waybill.Entry{Kind: repairHold, Subject: name}); err != nil {
		return err
	}
	if _, err := s.q.request(ctx, s.l, waybill.Request{Link: name, Verb: "pause", Args: lease}); err != nil {
		return err
	}
	both := &bothSides{}
	err := s.q.openSource(ctx, *s.link, both)
	m.Source = both.source
	if err != nil {
		return err
	}
	at := both.source.Position()
	if _, err := s.q.request(ctx, s.l, waybill.Request{Link: name, Verb: "hold", Position: at, Args: lease}); err != nil {
		return err
	}
	err = s.q.openTarget(ctx, *s.link, both)
	m.Target, m.Words = both.target, fmt.Sprintf("both sides read at %s", at)
	return err
}

func (s *sides) letGo(ctx context.Context) error {
	if !s.paused {
		if err := s.q.letGo(ctx, s.l, s.link.Name); err != nil {
			return err
		}
	}
	return s.l.Record(context.WithoutCancel(ctx), waybill.Entry{Kind: repairRelease, Subject: s.link.Name})
}
