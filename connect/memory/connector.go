package memory

import (
	"context"
	"fmt"

	"github.com/waybill-data/waybill"
)

// Kind is the connector's kind and the dialect of its table versions.
const Kind = "memory"

// Connector returns a connector whose endpoints are the given stores, found by the endpoint's name.
func Connector(stores ...*Store) *waybill.Connector {
	byName := map[string]*Store{}
	for _, s := range stores {
		byName[s.name] = s
	}
	find := func(e waybill.Endpoint) (*Store, error) {
		if s := byName[e.Name]; s != nil {
			return s, nil
		}
		return nil, waybill.Errorf(waybill.Setup, "open endpoint "+e.Name, "there is no such store")
	}
	return &waybill.Connector{
		Kind:             Kind,
		OpenView:         opener(find, (*Store).view),
		OpenChanges:      opener(find, (*Store).changes),
		OpenSink:         opener(find, (*Store).sink),
		ComparePositions: comparePositions,
		State: func(ctx context.Context, e waybill.Endpoint, stream string) (waybill.StreamState, error) {
			s, err := find(e)
			if err != nil {
				return waybill.StreamState{}, err
			}
			return s.state(stream), ctx.Err()
		},
		Drop:    remover(find, (*Store).dropStream),
		Release: remover(find, (*Store).release),
		Probe:   probe(find),
	}
}

// opener makes one of the connector's functions out of a method of the store.
func opener[O, T any](find func(waybill.Endpoint) (*Store, error), open func(*Store, O) (T, error)) func(context.Context, waybill.Endpoint, O) (T, error) {
	return func(ctx context.Context, e waybill.Endpoint, o O) (T, error) {
		var none T
		if err := ctx.Err(); err != nil {
			return none, err
		}
		s, err := find(e)
		if err != nil {
			return none, err
		}
		return open(s, o)
	}
}

func remover(find func(waybill.Endpoint) (*Store, error), remove func(*Store, string) error) func(context.Context, waybill.Endpoint, string) error {
	return func(ctx context.Context, e waybill.Endpoint, stream string) error {
		s, err := find(e)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return remove(s, stream)
	}
}

func (s *Store) view(o waybill.ViewOptions) (waybill.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openView(o.Tables), nil
}

func (s *Store) changes(o waybill.ChangeOptions) (waybill.ChangeSource, error) {
	c, err := s.openChanges(o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *Store) sink(o waybill.SinkOptions) (waybill.Sink, error) {
	k, err := s.openSink(o)
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (s *Store) state(name string) waybill.StreamState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := waybill.StreamState{Stream: name, Current: s.position(len(s.history))}
	if mark := s.streams[name]; mark != nil {
		state.Exists, state.Active, state.Position = true, mark.reader.live(), s.position(mark.confirmed)
		state.Behind = int64(len(s.history) - mark.confirmed)
		state.Retained = state.Behind
	}
	return state
}

func (s *Store) dropStream(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mark := s.streams[name]; mark != nil && mark.reader.live() {
		return waybill.Errorf(waybill.Passing, "drop stream "+name, "a process reads it")
	}
	delete(s.streams, name)
	return nil
}

func (s *Store) release(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.records[name]; r != nil && r.writer.live() {
		return waybill.Errorf(waybill.Passing, "release stream "+name, "a process writes it")
	}
	delete(s.records, name)
	return nil
}

func probe(find func(waybill.Endpoint) (*Store, error)) func(context.Context, waybill.Endpoint, waybill.Role, waybill.Selection) ([]waybill.Finding, error) {
	return func(ctx context.Context, e waybill.Endpoint, role waybill.Role, _ waybill.Selection) ([]waybill.Finding, error) {
		if _, err := find(e); err != nil {
			return nil, err
		}
		what := fmt.Sprintf("store %s can be a %s", e.Name, role)
		return []waybill.Finding{{Code: "memory.store", Severity: waybill.Fine, What: what}}, ctx.Err()
	}
}
