package link

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// Action is what a policy says about a kind of structure change.
type Action string

// The actions.
const (
	Follow Action = "follow" // the target is changed in the same place of the stream
	Ask    Action = "ask"    // the link waits until somebody decides
	Ignore Action = "ignore" // the target stays as it is, and later rows are made to fit it
	Stop   Action = "stop"   // the link ends before the change
)

func (a Action) valid() bool { return a == Follow || a == Ask || a == Ignore || a == Stop }

// action returns the policy for a kind. What is storage only never stops a link.
func (o *Options) action(kind waybill.StepKind) Action {
	action, declared := o.Policy[kind]
	storage := kind == waybill.ChangeComment || kind == waybill.ChangeIndex
	if !declared || storage && action != Ignore {
		return Follow
	}
	return action
}

// plan is how changes under one structure go to the target.
type plan struct {
	drop bool
	fit  *fitting // nil: as they are
}

// admit returns the batch as the target is to see it: without the tables that are not followed, structure
// changes as the policy decides, rows made to fit where a change was ignored. Mostly that is the batch itself.
func (s *session) admit(ctx context.Context, b waybill.ChangeBatch) (waybill.ChangeBatch, error) {
	same := 0
	var last *waybill.TableVersion
	for ; same < len(b.Changes); same++ {
		c := &b.Changes[same]
		if c.Op == waybill.Reshape {
			break
		}
		if c.Version == last {
			continue
		}
		p, err := s.plan(ctx, c.Version)
		if err != nil {
			return b, err
		}
		if p.drop || p.fit != nil {
			break
		}
		last = c.Version
	}
	if same == len(b.Changes) {
		return s.inject(b), nil
	}
	admitted := slices.Clone(b.Changes[:same])
	for _, c := range b.Changes[same:] {
		passed, err := s.pass(ctx, c)
		if err != nil {
			return b, err
		}
		admitted = append(admitted, s.drops()...)
		if passed != nil {
			admitted = append(admitted, *passed)
		}
	}
	b.Changes = admitted
	return b, nil
}

// inject adds drops that wait to a batch that the target cannot take for a repetition.
func (s *session) inject(b waybill.ChangeBatch) waybill.ChangeBatch {
	if len(s.injected) > 0 && b.Position != s.position {
		b.Changes = slices.Concat(b.Changes, s.drops())
	}
	return b
}

// drops returns the drops that wait, to be part of the open transaction.
func (s *session) drops() []waybill.Change {
	drops := s.injected
	s.injected = nil
	for _, d := range drops {
		s.freed = append(s.freed, namesOf(d.Version)...)
	}
	return drops
}

// takeNames claims names at the target for a table of the stream. What a table that is still to be copied
// again has there under one of them makes room: it would be emptied anyway. While a catch-up is at work on one
// of them, the stream waits for it.
func (s *session) takeNames(taken ...waybill.TableName) error {
	if !s.claims.take(taken...) {
		s.patient = true
		return errAgain
	}
	for _, t := range s.known {
		if t.standing == pending && t.target != nil && slices.ContainsFunc(namesOf(t.target), func(n waybill.TableName) bool { return slices.Contains(taken, n) }) {
			s.injected = append(s.injected, dropping(t.target))
			t.target = nil
		}
	}
	return nil
}

// without returns the names that are not among the others.
func without(some, others []waybill.TableName) []waybill.TableName {
	return slices.DeleteFunc(slices.Clone(some), func(n waybill.TableName) bool { return slices.Contains(others, n) })
}

func dropping(v *waybill.TableVersion) waybill.Change {
	return waybill.Change{Op: waybill.Reshape, Version: v, Shape: &waybill.Shape{Before: v, Reason: "the table is gone at the source, or copied again"}}
}

// pass returns one change as the target is to see it, or nil.
func (s *session) pass(ctx context.Context, c waybill.Change) (*waybill.Change, error) {
	if c.Op == waybill.Reshape {
		shape, err := s.reshape(ctx, c.Shape)
		if err != nil || shape == nil {
			return nil, err
		}
		v := shape.Before
		if v == nil {
			v = shape.After
		}
		return &waybill.Change{Op: waybill.Reshape, Version: v, Shape: shape}, nil
	}
	p, err := s.plan(ctx, c.Version)
	switch {
	case err != nil || p.drop:
		return nil, err
	case p.fit != nil:
		return p.fit.change(c)
	}
	return &c, nil
}

// plan returns how changes under a structure go to the target.
func (s *session) plan(ctx context.Context, v *waybill.TableVersion) (plan, error) {
	if p, made := s.plans[v]; made {
		return p, nil
	}
	t := s.known[identity(v)]
	if t == nil {
		// Nobody told that the table was created, so it has rows that the stream does not bring.
		if err := s.meet(ctx, v); err != nil {
			return plan{}, err
		}
		t = s.known[identity(v)]
	}
	if t.standing != following {
		t.name = v.Table
	}
	p := plan{drop: t.standing != following}
	if !p.drop && !sameLayout(t.source, t.target) && !sameLayout(v, t.target) {
		fit, err := newFitting(v, t.target)
		if err != nil {
			return plan{}, err
		}
		p.fit = fit
	}
	s.plans[v] = p
	return p, nil
}

// reshape decides about a structure change and returns what the target is to do of it, or nil.
func (s *session) reshape(ctx context.Context, shape *waybill.Shape) (*waybill.Shape, error) {
	v := shape.Before
	if v == nil {
		v = shape.After
	}
	id := identity(v)
	t := s.known[id]
	if t != nil && t.standing == following && shape.Before == nil {
		// The source reports as new what the link has from another source of knowledge: its copy.
		known := *shape
		known.Before, shape = t.source, &known
	}
	if t != nil && t.standing != following {
		if shape.After != nil {
			s.stats.renamed(t.name, shape.After.Table)
			t.name = shape.After.Table
		}
		return nil, nil
	}
	if t == nil && shape.Before != nil && shape.After == nil {
		return nil, nil // a table that never was in the target was dropped
	}
	if t == nil && shape.Before != nil {
		_, err := s.plan(ctx, shape.After)
		return nil, err
	}
	actions, err := s.decide(ctx, shape)
	if err != nil {
		return nil, err
	}
	clear(s.plans)
	if shape.After != nil {
		s.seen = append(s.seen, shape.After)
	}
	if err := s.record(ctx, "link.reshape", shape.Table(), s.describe(shape, actions)); err != nil {
		return nil, err
	}
	s.stats.reshaped()
	s.log.Info("structure change", "table", shape.Table().String(), "steps", stepWords(shape), "after", s.position)
	switch {
	case shape.Before == nil:
		return s.create(shape, actions)
	case shape.After == nil:
		return s.drop(id, t, actions)
	}
	return s.alter(ctx, id, t, shape, actions)
}

func (s *session) create(shape *waybill.Shape, actions map[waybill.StepKind]Action) (*waybill.Shape, error) {
	v := shape.After
	t := &table{source: v, target: v, name: v.Table}
	s.known[identity(v)] = t
	switch {
	case actions[waybill.CreateTable] == Ignore:
		t.standing = ignored
		return nil, s.canIgnore()
	case shape.Reload && actions[waybill.ReloadTable] != Ignore:
		*t = table{standing: pending, name: v.Table}
		s.stats.waiting(v.Table)
		return nil, nil
	}
	s.stats.table(v.Table, func(t *waybill.TableStatus) { t.State = "streaming" })
	return shape, s.takeNames(namesOf(v)...)
}

func (s *session) drop(id string, t *table, actions map[waybill.StepKind]Action) (*waybill.Shape, error) {
	if actions[waybill.DropTable] == Ignore {
		s.known[id] = &table{standing: gone, name: t.name}
		return nil, nil
	}
	delete(s.known, id)
	s.freed = append(s.freed, namesOf(t.target)...)
	s.stats.dropped(t.target.Table)
	return &waybill.Shape{Before: t.target}, nil
}

func (s *session) alter(ctx context.Context, id string, t *table, shape *waybill.Shape, actions map[waybill.StepKind]Action) (*waybill.Shape, error) {
	if shape.Reload && actions[waybill.ReloadTable] != Ignore {
		// The table is forgotten before the change counts as seen: a crash cannot lose the reload.
		if s.inside {
			s.forget = append(s.forget, id)
			return nil, errAgain
		}
		t.name = shape.After.Table
		return nil, s.copyAgain(context.WithoutCancel(ctx), shape.Reason, id)
	}
	for _, action := range actions {
		if action == Ignore {
			if err := s.canIgnore(); err != nil {
				return nil, err
			}
		}
	}
	target, err := targetAfter(shape, t.target, func(kind waybill.StepKind) bool { return actions[kind] == Ignore })
	if err != nil {
		return nil, err
	}
	before := t.target
	if had, has := namesOf(before), namesOf(target); !slices.Equal(had, has) {
		if err := s.takeNames(without(has, had)...); err != nil {
			return nil, err
		}
		s.freed = append(s.freed, without(had, has)...)
	}
	s.known[id] = &table{source: shape.After, target: target, name: shape.After.Table}
	s.stats.renamed(before.Table, target.Table)
	seen := *shape
	seen.Before, seen.After, seen.Reload = before, target, false
	if len(seen.Steps()) == 0 {
		return nil, nil
	}
	return &seen, nil
}

// canIgnore refuses to ignore what would not be known after a restart.
func (s *session) canIgnore() error {
	if s.o.Recall != nil {
		return nil
	}
	return waybill.Errorf(waybill.Setup, "ignore a structure change", "the link was started without a way to recall the source's structures")
}

// decide returns the action for each kind of step of a shape: what the policy says, or who is asked.
func (s *session) decide(ctx context.Context, shape *waybill.Shape) (map[waybill.StepKind]Action, error) {
	actions := map[waybill.StepKind]Action{}
	var stops, asks []string
	for _, step := range shape.Steps() {
		actions[step.Kind] = s.o.action(step.Kind)
		word := string(step.Kind) + " " + step.Name
		switch actions[step.Kind] {
		case Stop:
			stops = append(stops, word)
		case Ask:
			asks = append(asks, word)
		}
	}
	if len(stops) > 0 {
		return nil, refused(shape, stops, "the policy says stop")
	}
	if len(asks) == 0 {
		return actions, nil
	}
	answer, err := s.ask(ctx, shape, asks)
	if err != nil {
		return nil, err
	}
	if answer == Stop {
		return nil, refused(shape, asks, "it was decided to stop")
	}
	for kind, action := range actions {
		if action == Ask {
			actions[kind] = answer
		}
	}
	return actions, nil
}

func stepWords(shape *waybill.Shape) string {
	var words []string
	for _, step := range shape.Steps() {
		words = append(words, string(step.Kind)+" "+step.Name)
	}
	return strings.Join(words, ", ")
}

func refused(shape *waybill.Shape, steps []string, why string) error {
	return &waybill.Error{Op: "follow the structure of", Table: shape.Table(), Fault: waybill.Drift,
		Hint: "allow these changes in the link's policy (follow, ask or ignore) and start it again; nothing is lost",
		Err:  fmt.Errorf("%s: %s", strings.Join(steps, ", "), why)}
}

// reshaping is what the ledger keeps of a structure change.
type reshaping struct {
	Steps     []waybill.Step              `json:"steps"`
	Actions   map[waybill.StepKind]Action `json:"actions"`
	Statement string                      `json:"statement,omitzero"`
	By        string                      `json:"by,omitzero"`
	Reload    bool                        `json:"reload,omitzero"`
	Reason    string                      `json:"reason,omitzero"`
	Inferred  bool                        `json:"inferred,omitzero"`
	After     waybill.Position            `json:"after,omitzero"` // the last position before it
}

func (s *session) describe(shape *waybill.Shape, actions map[waybill.StepKind]Action) reshaping {
	return reshaping{shape.Steps(), actions, shape.Statement, shape.By, shape.Reload, shape.Reason, shape.Inferred, s.position}
}
