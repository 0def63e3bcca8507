package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed shop.sql
var shopSQL string

//go:embed world.sql
var worldSQL string

// World is the shop's tables as the catalogue tells them. Writers hold a table's gate shared while a
// transaction of theirs uses it, the changer of structures holds it alone; both enter gates in the order of
// the tables' oids, so they never wait for each other in a circle.
type World struct {
	url    string
	seed   uint64
	mu     sync.Mutex
	tables map[uint64]*table
	Tally  Tally
}

// Tally counts what was done to the source.
type Tally struct {
	Committed  atomic.Int64 // transactions
	RolledBack atomic.Int64 // on purpose
	Refused    atomic.Int64 // by a rule of the database: deadlock, key taken, referenced row gone
	Rows       atomic.Int64 // touched by committed statements, as the server counted them
	Reshapes   atomic.Int64 // committed changes of structure
	mu         sync.Mutex
	kinds      map[string]int64
}

// Kinds returns how often each kind of structure change was made.
func (t *Tally) Kinds() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	kinds := make(map[string]int64, len(t.kinds))
	for kind, n := range t.kinds {
		kinds[kind] = n
	}
	return kinds
}

func (t *Tally) reshaped(kind string) {
	if kind != kindRolledBack {
		t.Reshapes.Add(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kinds == nil {
		t.kinds = map[string]int64{}
	}
	t.kinds[kind]++
}

type table struct {
	OID         uint64 `json:"oid,string"`
	Schema      string
	Name        string
	Partitioned bool
	Referenced  bool
	Key         []int
	KeyName     string   `json:"key_name"`
	Checks      []string // constraints that the changer added
	Indexes     []string // indexes that the changer added
	Parts       []part
	Columns     []column

	gate sync.RWMutex
	gone bool         // dropped; under the gate
	size atomic.Int64 // estimate of rows
}

type part struct{ Name, Bound string }

type column struct {
	Number     int
	Name, Type string
	Enum       string
	Labels     []string
	NotNull    bool `json:"not_null"`
	HasDefault bool `json:"has_default"`
	Identity   bool
	Generated  bool
	Unique     bool
	Used       bool // an index, constraint, default or generated column depends on it
	Refers     *reference
}

type reference struct {
	OID    uint64 `json:"oid,string"`
	Number int
}

func (t *table) quoted() string { return quoteName(t.Schema) + "." + quoteName(t.Name) }

func (t *table) column(number int) *column {
	for i := range t.Columns {
		if t.Columns[i].Number == number {
			return &t.Columns[i]
		}
	}
	return nil
}

func (t *table) isKey(number int) bool { return slices.Contains(t.Key, number) }

func (t *table) keyNames() []string {
	names := make([]string, len(t.Key))
	for i, number := range t.Key {
		names[i] = quoteName(t.column(number).Name)
	}
	return names
}

// NewWorld returns the world of a database. Everything random in it follows from the seed.
func NewWorld(url string, seed uint64) *World {
	return &World{url: url, seed: seed, tables: map[uint64]*table{}}
}

func (w *World) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, stream)) }

// Load creates the shop and fills it; scale 1 is about 25,000 rows.
func (w *World) Load(ctx context.Context, scale float64) (rows int64, err error) {
	conn, err := w.connect(ctx, "load")
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := execute(ctx, conn, shopSQL); err != nil {
		return 0, fmt.Errorf("create the shop: %w", err)
	}
	if err := w.refresh(ctx, conn); err != nil {
		return 0, err
	}
	r := w.random(0)
	for _, t := range w.list() {
		total := int(scale * float64(startRows(t.Name)))
		for done := 0; done < total; done += 500 {
			n, err := w.insert(ctx, conn, r, t, min(500, total-done))
			if err != nil {
				return rows, fmt.Errorf("load %s.%s: %w", t.Schema, t.Name, err)
			}
			rows += n
		}
	}
	return rows, execute(ctx, conn, "ANALYZE")
}

func startRows(name string) int {
	switch name {
	case "category":
		return 200
	case "document":
		return 400
	case "visit", "order_line":
		return 5000
	}
	return 2500
}

// Tables returns the names of the tables there are now, sorted.
func (w *World) Tables() []string {
	var names []string
	for _, t := range w.list() {
		t.gate.RLock()
		names = append(names, t.Schema+"."+t.Name)
		t.gate.RUnlock()
	}
	sort.Strings(names)
	return names
}

// list returns the tables in the order of their oids.
func (w *World) list() []*table {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*table, 0, len(w.tables))
	for _, t := range w.tables {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *table) int { return int(int64(a.OID) - int64(b.OID)) })
	return all
}

func (w *World) find(oid uint64) *table {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tables[oid]
}

func (w *World) named(name string) *table {
	for _, t := range w.list() {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// refresh reads the catalogue. The caller holds alone the gates of every table whose structure may differ
// from what is known; a table that is seen for the first time has no users yet. With a table given, only that
// one is refreshed: inside a transaction, what is new must not be seen by others.
func (w *World) refresh(ctx context.Context, conn *pgx.Conn, only ...*table) error {
	results, err := conn.PgConn().Exec(ctx, worldSQL).ReadAll()
	if err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	var seen []*table
	if err := json.Unmarshal(results[0].Rows[0][0], &seen); err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	alive := map[uint64]bool{}
	for _, t := range seen {
		alive[t.OID] = true
		known := w.tables[t.OID]
		if len(only) > 0 && known != only[0] {
			continue
		}
		if known == nil {
			w.tables[t.OID] = t
			continue
		}
		if !known.equal(t) {
			known.Schema, known.Name, known.Referenced = t.Schema, t.Name, t.Referenced
			known.Key, known.KeyName, known.Parts, known.Columns = t.Key, t.KeyName, t.Parts, t.Columns
			known.Checks, known.Indexes = t.Checks, t.Indexes
		}
	}
	if len(only) > 0 {
		return nil
	}
	for oid, t := range w.tables {
		if !alive[oid] {
			t.gone = true
			delete(w.tables, oid)
		}
	}
	return nil
}

func (t *table) equal(u *table) bool {
	a, errA := json.Marshal(t)
	b, errB := json.Marshal(u)
	return errA == nil && errB == nil && string(a) == string(b)
}

func (w *World) connect(ctx context.Context, purpose string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(w.url)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = "shop " + purpose
	config.RuntimeParams["deadlock_timeout"] = "100ms"
	config.RuntimeParams["lock_timeout"] = "5s"
	return pgx.ConnectConfig(ctx, config)
}

func execute(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := count(ctx, conn, sql)
	return err
}

// count runs statements and returns how many rows they touched in all.
func count(ctx context.Context, conn *pgx.Conn, sql string) (int64, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		if len(sql) > 400 {
			sql = sql[:400] + "..."
		}
		return 0, fmt.Errorf("%w in %s", err, sql)
	}
	var n int64
	for _, result := range results {
		if tag := result.CommandTag; tag.Insert() || tag.Update() || tag.Delete() || strings.HasPrefix(tag.String(), "COPY") {
			n += tag.RowsAffected()
		}
	}
	return n, nil
}

// refused reports whether a statement met a rule of the database that a shop of real people meets too.
func refused(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pgErr.Code {
	case "40001", "40P01", "55P03", "23503", "23505":
		return true
	}
	return false
}
