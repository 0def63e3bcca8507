package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
	"github.com/waybill-data/waybill/layer"
	"github.com/waybill-data/waybill/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const linkName = "shop"

// rig is two stores, a ledger, and what is injected between them and the link.
type rig struct {
	t        testing.TB
	src, dst *memory.Store
	ledger   *ledger.Ledger
	options  Options
	log      lockedBuffer
	inject   atomic.Pointer[func(layer.Call) error]
	fail     atomic.Pointer[func(string)]
	dead     atomic.Bool
	last     atomic.Pointer[waybill.LinkStatus]
}

func newRig(t testing.TB) *rig {
	return newRigAt(t, t.TempDir())
}

func newRigAt(t testing.TB, dir string) *rig {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, src: memory.NewStore("src"), dst: memory.NewStore("dst")}
	l, err := ledger.Open(context.Background(), "sqlite:"+filepath.Join(dir, "waybill.db"))
	if err != nil {
		t.Fatal(err)
	}
	r.ledger = l
	faults := &layer.Faults{Fail: func(c layer.Call) error {
		if r.dead.Load() {
			return errKilled
		}
		if f := r.inject.Load(); f != nil {
			return (*f)(c)
		}
		return nil
	}}
	connector := faults.Connector(memory.Connector(r.src, r.dst))
	r.options = Options{
		Name:      linkName,
		Source:    Side{connector, waybill.Endpoint{Name: "src"}},
		Target:    Side{connector, waybill.Endpoint{Name: "dst"}},
		Ledger:    &mortal{l.Ordered(connector.ComparePositions), &r.dead},
		Recall:    r.recall,
		Heartbeat: 5 * time.Millisecond,
		SliceRows: 7,
		Report:    func(s waybill.LinkStatus) { r.last.Store(&s) },
		FailPoint: func(name string) {
			if f := r.fail.Load(); f != nil && !r.dead.Load() {
				(*f)(name)
			}
		},
		retry: time.Millisecond,
	}
	r.options.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// lockedBuffer keeps the log for the case that the test fails.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (r *rig) close() {
	if err := r.ledger.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) recall(ctx context.Context) ([]Structure, error) {
	stored, err := r.ledger.Versions(ctx, linkName, waybill.TableName{})
	structures := make([]Structure, len(stored))
	for i, v := range stored {
		structures[i] = Structure{v.Structure, v.AsOf}
	}
	return structures, err
}

var errKilled = errors.New("the process was killed")

// kill makes everything that the link still does fail, as if its process were gone.
func (r *rig) kill() {
	r.dead.Store(true)
	r.src.Disconnect()
	r.dst.Disconnect()
}

// mortal is a ledger that a dead process cannot write.
type mortal struct {
	waybill.Ledger
	dead *atomic.Bool
}

func (m *mortal) alive() error {
	if m.dead.Load() {
		return errKilled
	}
	return nil
}

func (m *mortal) Record(ctx context.Context, e waybill.Entry) error {
	return errors.Join(m.alive(), m.Ledger.Record(ctx, e))
}

func (m *mortal) SavePosition(ctx context.Context, stream string, p waybill.Position, at time.Time) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Ledger.SavePosition(ctx, stream, p, at)
}

func (m *mortal) SaveVersion(ctx context.Context, stream string, v *waybill.TableVersion, asOf waybill.Position) (int, error) {
	if err := m.alive(); err != nil {
		return 0, err
	}
	return m.Ledger.SaveVersion(ctx, stream, v, asOf)
}

func (m *mortal) Answer(ctx context.Context, request int64, outcome, failure string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Ledger.Answer(ctx, request, outcome, failure)
}

// running is a link in the background.
type running struct {
	rig    *rig
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (r *rig) start() *running {
	r.dead.Store(false)
	ctx, cancel := context.WithCancel(context.Background())
	n := &running{rig: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		n.err = Run(ctx, r.options)
	}()
	return n
}

// wait waits for the end of the link and returns its error.
func (n *running) wait() error {
	n.rig.t.Helper()
	select {
	case <-n.done:
	case <-time.After(30 * time.Second):
		n.rig.t.Fatalf("the link did not end; status %s", n.rig.status())
	}
	return n.err
}

func (n *running) stop() {
	n.rig.t.Helper()
	n.cancel()
	if err := n.wait(); err != nil {
		n.rig.t.Fatalf("link: %v", err)
	}
}

func (r *rig) status() string {
	text, err := json.Marshal(r.last.Load())
	return fmt.Sprint(string(text), err)
}

// eventually waits until the condition holds and fails with its last word otherwise.
func (n *running) eventually(what string, holds func() string) {
	n.rig.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	var why string
	for {
		if why = holds(); why == "" {
			return
		}
		select {
		case <-tick.C:
		case <-n.done:
			if why = holds(); why != "" {
				n.rig.t.Fatalf("%s: the link ended with %v; %s", what, n.err, why)
			}
			return
		case <-deadline:
			n.rig.t.Fatalf("%s: %s; status %s", what, why, n.rig.status())
		}
	}
}

// equal waits until the target is what the source is.
func (n *running) equal() {
	n.rig.t.Helper()
	goal := n.rig.src.Position()
	n.eventually("target equal to source", func() string {
		at := n.rig.dst.Recorded(linkName)
		if at == "" {
			return "nothing was applied"
		}
		if order, err := n.rig.options.Source.Connector.ComparePositions(at, goal); err != nil || order < 0 {
			return fmt.Sprintf("target at %s, source at %s: %v", at, goal, err)
		}
		return n.rig.difference()
	})
}

// difference tells the first difference between the stores.
func (r *rig) difference() string {
	want, got := contents(r.t, r.src), contents(r.t, r.dst)
	for name := range got {
		if _, there := want[name]; !there {
			return fmt.Sprintf("table %s is at the target only", name)
		}
	}
	for name, rows := range want {
		other, there := got[name]
		if !there {
			return fmt.Sprintf("table %s is not at the target", name)
		}
		if !slices.Equal(rows, other) {
			return fmt.Sprintf("table %s: source %d lines, target %d\n source %v\n target %v", name, len(rows), len(other), short(rows), short(other))
		}
	}
	return ""
}

func short(lines []string) []string { return lines[:min(len(lines), 30)] }

// contents prints all tables: a line for the structure, one for every row.
func contents(t testing.TB, s *memory.Store) map[waybill.TableName][]string {
	t.Helper()
	tx := s.Begin()
	defer tx.Rollback()
	all := map[waybill.TableName][]string{}
	for _, name := range tx.Tables() {
		v, err := tx.Version(name)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprint("key ", v.Key)
		for _, c := range v.Columns {
			line += fmt.Sprintf(" %d:%s:%s", c.ID, c.Name, c.Type.Kind)
		}
		rows, err := tx.Rows(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{line}
		for _, row := range rows {
			lines = append(lines, fmt.Sprint([]waybill.Value(row)))
		}
		all[name] = lines
	}
	return all
}

// ask puts a request into the ledger.
func (r *rig) ask(request waybill.Request) int64 {
	r.t.Helper()
	request.Link, request.By = linkName, "test"
	id, err := r.ledger.AddRequest(context.Background(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// failAt calls f at the n-th pass of a fail point.
func (r *rig) failAt(point string, n int64, f func()) {
	var passed atomic.Int64
	var once sync.Once
	hook := func(name string) {
		if name == point && passed.Add(1) == n {
			once.Do(f)
		}
	}
	r.fail.Store(&hook)
}

func named(name string) waybill.TableName { return waybill.TableName{Schema: "public", Name: name} }

// keyed returns a structure with an integer key and the given text columns.
func keyed(name string, columns ...string) *waybill.TableVersion {
	v := &waybill.TableVersion{Table: named(name), Key: []int{0}, Identity: waybill.IdentityKey,
		Constraints: []waybill.Constraint{{Name: name + "_pkey", Kind: waybill.PrimaryKey, Definition: "PRIMARY KEY (id)", Columns: []string{"id"}}},
		Columns:     []waybill.Column{{ID: 1, Name: "id", Type: waybill.Type{Kind: waybill.KindInt, Native: "int"}, NotNull: true}}}
	for i, c := range columns {
		v.Columns = append(v.Columns, textColumn(i+2, c))
	}
	return v
}

func textColumn(id int, name string) waybill.Column {
	return waybill.Column{ID: id, Name: name, Type: waybill.Type{Kind: waybill.KindText, Native: "text"}}
}

func keyless(name string, columns ...string) *waybill.TableVersion {
	v := &waybill.TableVersion{Table: named(name), Identity: waybill.IdentityFull}
	for i, c := range columns {
		v.Columns = append(v.Columns, textColumn(i+1, c))
	}
	return v
}

func row(id int, texts ...string) waybill.Row {
	r := waybill.Row{waybill.IntValue(int64(id))}
	for _, s := range texts {
		r = append(r, waybill.TextValue(s))
	}
	return r
}

// write runs one transaction at the source.
func (r *rig) write(do func(tx *memory.Tx) error) waybill.Position {
	r.t.Helper()
	p, err := r.src.Write(do)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// fill creates a keyed table with n rows.
func (r *rig) fill(name string, n int) {
	r.t.Helper()
	r.write(func(tx *memory.Tx) error {
		if err := tx.Create(keyed(name, "note")); err != nil {
			return err
		}
		for i := range n {
			if err := tx.Insert(named(name), row(i, fmt.Sprint("row ", i))); err != nil {
				return err
			}
		}
		return nil
	})
}
