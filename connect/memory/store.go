package memory

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybill-data/waybill"
)

// Store is one system in memory. It is safe for parallel use.
type Store struct {
	name   string
	writer sync.Mutex // held by the one open transaction

	mu        sync.Mutex
	woken     chan struct{} // closed and replaced whenever something happens
	tables    map[waybill.TableName]*table
	sequences map[waybill.TableName]waybill.SequenceState
	history   []commit // the commit at index n has position n+1
	streams   map[string]*stream
	records   map[string]*record
	sessions  map[*session]struct{}
	tableIDs  int
	cuts      int // truncate statements so far, for Cut.Group
}

// commit is one committed transaction.
type commit struct {
	changes []waybill.Change
	at      time.Time
}

// stream is the mark that a ChangeSource leaves.
type stream struct {
	confirmed int
	reader    *session
}

// record is what the store, as a target, knows of a stream.
type record struct {
	position waybill.Position
	copied   map[waybill.TableName]waybill.Position
	versions map[waybill.TableName]*waybill.TableVersion
	prepared map[waybill.TableName]bool // tables that a copy made which is not complete
	writer   *session
}

// session is one open View, ChangeSource or Sink; its fields are guarded by the store.
type session struct {
	store  *Store
	dead   bool
	silent bool
	open   *Tx // of a sink, a transaction whose end has not come yet
}

// NewStore returns an empty store. Its name is the identity of its history.
func NewStore(name string) *Store {
	return &Store{
		name: name, woken: make(chan struct{}),
		tables:    map[waybill.TableName]*table{},
		sequences: map[waybill.TableName]waybill.SequenceState{},
		streams:   map[string]*stream{}, records: map[string]*record{},
		sessions: map[*session]struct{}{},
	}
}

// Disconnect ends every session, as a restart of a server does. What was open is rolled back.
func (s *Store) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		c.close()
	}
	s.wake()
}

// Silence makes the sessions of now look dead to others, as a frozen process does, while they still run.
func (s *Store) Silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		c.silent = true
	}
}

// Streams lists the marks that are left in the store, sorted.
func (s *Store) Streams() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.streams))
}

// Records lists the streams that the store as a target knows, sorted.
func (s *Store) Records() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.records))
}

// Recorded returns how far a stream has come in the store as its target.
func (s *Store) Recorded(stream string) waybill.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.records[stream]; r != nil {
		return r.position
	}
	return ""
}

// Position returns the end of the history.
func (s *Store) Position() waybill.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position(len(s.history))
}

// SetSequence sets a sequence as nextval and setval do.
func (s *Store) SetSequence(state waybill.SequenceState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequences[state.Name] = state
}

// Sequence returns the state of a sequence.
func (s *Store) Sequence(name waybill.TableName) (waybill.SequenceState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, ok := s.sequences[name]
	return state, ok
}

// wake tells those who wait that something happened. The caller holds mu.
func (s *Store) wake() {
	close(s.woken)
	s.woken = make(chan struct{})
}

// connect opens a session. The caller holds mu.
func (s *Store) connect() *session {
	c := &session{store: s}
	s.sessions[c] = struct{}{}
	return c
}

// check reports whether the session is still connected. The caller holds mu.
func (c *session) check() error {
	if c.dead {
		return waybill.Errorf(waybill.Passing, "store "+c.store.name, "the connection is lost")
	}
	return nil
}

// close ends the session and rolls back what it has open. The caller holds mu.
func (c *session) close() {
	c.dead = true
	if c.open != nil {
		c.open.Rollback()
		c.open = nil
	}
	delete(c.store.sessions, c)
}

// live reports whether the session would be found alive by another one. The caller holds mu.
func (c *session) live() bool { return c != nil && !c.dead && !c.silent }

// position prints a place in the history of the store.
func (s *Store) position(n int) waybill.Position {
	return waybill.Position(s.name + "/" + strconv.Itoa(n))
}

// parse returns the number in a position of this store.
func (s *Store) parse(p waybill.Position) (int, error) {
	name, n, err := split(p)
	if err != nil {
		return 0, err
	}
	if name != s.name {
		return 0, waybill.Errorf(waybill.Drift, "position "+string(p), "it is of another history than store %s", s.name)
	}
	return n, nil
}

func split(p waybill.Position) (string, int, error) {
	cut := strings.LastIndexByte(string(p), '/')
	if cut < 0 {
		return "", 0, waybill.Errorf(waybill.Drift, "position "+strconv.Quote(string(p)), "want store/number")
	}
	n, err := strconv.Atoi(string(p[cut+1:]))
	if err != nil || n < 0 {
		return "", 0, waybill.Errorf(waybill.Drift, "position "+strconv.Quote(string(p)), "want store/number")
	}
	return string(p[:cut]), n, nil
}

func comparePositions(a, b waybill.Position) (int, error) {
	nameA, x, err := split(a)
	if err != nil {
		return 0, err
	}
	nameB, y, err := split(b)
	if err != nil {
		return 0, err
	}
	if nameA != nameB {
		return 0, waybill.Errorf(waybill.Drift, "compare positions", "%s and %s are of different histories", a, b)
	}
	return x - y, nil
}

// tableAt returns the identity of the table that had the name at a place in the history. The caller holds mu.
func (s *Store) tableAt(name waybill.TableName, n int) string {
	var id string
	for _, c := range s.history[:min(n, len(s.history))] {
		for _, change := range c.changes {
			if change.Op != waybill.Reshape {
				continue
			}
			before, after := change.Shape.Before, change.Shape.After
			switch {
			case after != nil && after.Table == name:
				id = after.ID
			case before != nil && before.Table == name && before.ID == id:
				id = ""
			}
		}
	}
	return id
}

// newID returns an identity for a table. The caller holds mu.
func (s *Store) newID() string {
	s.tableIDs++
	return fmt.Sprintf("%s.%d", s.name, s.tableIDs)
}
