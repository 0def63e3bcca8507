package repair_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/compare/repair"
	"github.com/waybill-data/waybill/connect/memory"
	"github.com/waybill-data/waybill/ledger"
)

var (
	keyed = waybill.TableName{Schema: "s", Name: "keyed"}
	bag   = waybill.TableName{Schema: "s", Name: "bag"}
)

// world is a source and a target in memory. The target's column u of the keyed table is unique, checked at the end
// of each transaction.
type world struct {
	source, target *memory.Store
	commits        int
	largest        int              // changes in one transaction
	before         func(commit int) // called before each transaction
}

func column(name string) waybill.Column {
	return waybill.Column{Name: name, Type: waybill.Type{Kind: waybill.KindInt, Native: "int"}}
}

func newWorld(t interface{ Fatal(...any) }) *world {
	w := &world{source: memory.NewStore("source"), target: memory.NewStore("target"), before: func(int) {}}
	for _, s := range []*memory.Store{w.source, w.target} {
		_, err := s.Write(func(tx *memory.Tx) error {
			return errors.Join(
				tx.Create(&waybill.TableVersion{Table: keyed, Key: []int{0}, Identity: waybill.IdentityKey, Columns: []waybill.Column{column("id"), column("u"), column("v")},
					Constraints: []waybill.Constraint{{Kind: waybill.Unique, Columns: []string{"u"}}}}),
				tx.Create(&waybill.TableVersion{Table: bag, Identity: waybill.IdentityFull, Columns: []waybill.Column{column("v")}}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func rowOf(values ...int) waybill.Row {
	row := make(waybill.Row, len(values))
	for i, v := range values {
		row[i] = waybill.IntValue(int64(v))
	}
	return row
}

func insert(t interface{ Fatal(...any) }, s *memory.Store, table waybill.TableName, rows ...waybill.Row) {
	_, err := s.Write(func(tx *memory.Tx) error {
		for _, r := range rows {
			if err := tx.Insert(table, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func rows(s *memory.Store, table waybill.TableName) []string {
	tx := s.Begin()
	defer tx.Rollback()
	all, err := tx.Rows(table)
	if err != nil {
		return []string{err.Error()}
	}
	var texts []string
	for _, r := range all {
		texts = append(texts, fmt.Sprint(r))
	}
	slices.Sort(texts)
	return texts
}

func (w *world) view(s *memory.Store) (waybill.View, error) {
	return memory.Connector(s).OpenView(context.Background(), waybill.Endpoint{Name: map[bool]string{true: "source", false: "target"}[s == w.source]}, waybill.ViewOptions{})
}

func (w *world) open(context.Context) (*repair.Moment, error) {
	m := &repair.Moment{}
	var err error
	if m.Source, err = w.view(w.source); err == nil {
		m.Target, err = w.view(w.target)
	}
	return m, err
}

// direct is a sink that writes into the target at once.
type direct struct {
	waybill.Sink
	w  *world
	tx *memory.Tx
	n  int
}

func (d *direct) Apply(_ context.Context, b waybill.ChangeBatch) error {
	if d.tx == nil {
		d.w.before(d.w.commits)
		d.tx, d.n = d.w.target.Begin(), 0
	}
	d.n += len(b.Changes)
	for _, c := range b.Changes {
		if err := d.change(c); err != nil {
			return d.end(err)
		}
	}
	if b.Position == "" {
		return nil
	}
	return d.end(d.unique())
}

func (d *direct) change(c waybill.Change) error {
	switch c.Op {
	case waybill.Insert:
		return d.tx.Insert(c.Version.Table, c.After.Clone())
	case waybill.Update:
		return d.tx.Update(c.Version.Table, c.Before.Clone(), c.After.Clone())
	}
	return d.tx.Delete(c.Version.Table, c.Before)
}

func (d *direct) end(err error) error {
	tx := d.tx
	d.tx = nil
	defer tx.Rollback()
	if err != nil {
		return &waybill.Error{Op: "apply", Fault: waybill.Drift, Err: err}
	}
	d.w.commits, d.w.largest = d.w.commits+1, max(d.w.largest, d.n)
	_, err = tx.Commit()
	return err
}

func (d *direct) unique() error {
	all, err := d.tx.Rows(keyed)
	if err != nil {
		return err
	}
	seen := map[int64]bool{}
	for _, r := range all {
		if u := r[1].Int(); u != 0 && seen[u] {
			return fmt.Errorf("%d is there twice", u)
		} else if u != 0 {
			seen[u] = true
		}
	}
	return nil
}

func (w *world) find(t interface{ Fatal(...any) }) *repair.Found {
	m, err := w.open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	f, err := repair.Find(context.Background(), repair.FindOptions{Source: m.Source, Target: m.Target, Tables: []waybill.TableName{keyed, bag}})
	if err = errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
	return f
}

func (w *world) repair(t interface{ Fatal(...any) }, f *repair.Found, o repair.Options) repair.Report {
	o.Open, o.Sink = w.open, &direct{w: w}
	r, err := repair.Run(context.Background(), f, o)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAnyTwoSidesBecomeEqual draws both sides at random, unique values that changed places in any way among them,
// and cuts the repair into transactions of any size.
func TestAnyTwoSidesBecomeEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, s := range []*memory.Store{w.source, w.target} {
			ids := rapid.SliceOfNDistinct(rapid.IntRange(1, 14), 0, 14, rapid.ID[int]).Draw(t, "ids")
			us := rapid.Permutation([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}).Draw(t, "u")
			for i, id := range ids {
				if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
					us[i] = 0
				}
				insert(t, s, keyed, rowOf(id, us[i], rapid.IntRange(0, 2).Draw(t, "v")))
			}
			for _, v := range rapid.SliceOfN(rapid.IntRange(0, 3), 0, 12).Draw(t, "bag") {
				insert(t, s, bag, rowOf(v))
			}
		}
		r := w.repair(t, w.find(t), repair.Options{Batch: rapid.IntRange(1, 6).Draw(t, "batch")})
		if !r.Clean() {
			t.Fatalf("not clean: %+v", r)
		}
		for _, table := range []waybill.TableName{keyed, bag} {
			if d := cmp.Diff(rows(w.source, table), rows(w.target, table)); d != "" {
				t.Fatalf("%s differs after the repair:\n%s", table, d)
			}
		}
	})
}

// TestWhatIsReadBeforeTheWriteCounts has the source change after the comparison: rows that came back are not
// deleted, rows that went are not inserted, and rows that changed get their newest values.
func TestWhatIsReadBeforeTheWriteCounts(t *testing.T) {
	w := newWorld(t)
	insert(t, w.source, keyed, rowOf(1, 0, 1), rowOf(2, 0, 2), rowOf(3, 0, 3))
	insert(t, w.target, keyed, rowOf(1, 0, 0), rowOf(4, 0, 4), rowOf(5, 0, 5))
	insert(t, w.source, bag, rowOf(1))
	insert(t, w.target, bag, rowOf(1), rowOf(1), rowOf(1))
	f := w.find(t)
	if f.Rows() != 7 {
		t.Fatalf("%d rows differ, want 7", f.Rows())
	}
	_, err := w.source.Write(func(tx *memory.Tx) error {
		return errors.Join(tx.Insert(keyed, rowOf(4, 0, 44)), tx.Delete(keyed, rowOf(2, 0, 2)), tx.Update(keyed, rowOf(1, 0, 1), rowOf(1, 0, 11)), tx.Insert(bag, rowOf(1)))
	})
	if err != nil {
		t.Fatal(err)
	}
	r := w.repair(t, f, repair.Options{})
	want := []string{fmt.Sprint(rowOf(1, 0, 11)), fmt.Sprint(rowOf(3, 0, 3)), fmt.Sprint(rowOf(4, 0, 44))}
	if d := cmp.Diff(want, rows(w.target, keyed)); d != "" || !r.Clean() {
		t.Errorf("%+v\n%s", r, d)
	}
	if d := cmp.Diff(rows(w.source, bag), rows(w.target, bag)); d != "" {
		t.Error(d)
	}
	deleted := r.Tables[0].Deleted + r.Tables[1].Deleted
	if deleted != 2 {
		t.Errorf("%d rows deleted, want one of the bag and one by key", deleted)
	}
}

// TestLargeCyclesWait has every row hold the unique value of the next one: no row goes alone.
func TestLargeCyclesWait(t *testing.T) {
	const n = 500
	w := newWorld(t)
	for i := 1; i <= n; i++ {
		insert(t, w.source, keyed, rowOf(i, i, 0))
		insert(t, w.target, keyed, rowOf(i, i%n+1, 0))
	}
	r := w.repair(t, w.find(t), repair.Options{Batch: 10})
	if d := cmp.Diff(rows(w.source, keyed), rows(w.target, keyed)); d != "" || !r.Clean() {
		t.Errorf("%+v\n%s", r.Tables, d)
	}
	if w.largest != n {
		t.Errorf("the largest transaction has %d changes, want all %d rows of the cycle", w.largest, n)
	}
}

// TestManyEqualRowsAreWrittenInParts keeps a transaction small however many equal rows there are.
func TestManyEqualRowsAreWrittenInParts(t *testing.T) {
	w := newWorld(t)
	var many []waybill.Row
	for range 25_000 {
		many = append(many, rowOf(7))
	}
	insert(t, w.target, bag, many...)
	insert(t, w.source, bag, rowOf(7))
	r := w.repair(t, w.find(t), repair.Options{})
	if got := rows(w.target, bag); len(got) != 1 || !r.Clean() {
		t.Errorf("%d rows, %+v", len(got), r)
	}
	if w.largest > 10_000 {
		t.Errorf("a transaction of %d changes", w.largest)
	}
}

// TestRefusedRowsAreReported leaves what the target never takes, and says why.
func TestRefusedRowsAreReported(t *testing.T) {
	w := newWorld(t)
	insert(t, w.source, keyed, rowOf(1, 5, 0), rowOf(2, 5, 0), rowOf(3, 6, 0)) // the source has no such rule
	r := w.repair(t, w.find(t), repair.Options{})
	if r.Clean() || r.Left() != 1 || len(rows(w.target, keyed)) != 2 {
		t.Errorf("%+v, target %v", r, rows(w.target, keyed))
	}
	if cause := r.Tables[0].Cause; !strings.Contains(cause, "5 is there twice") {
		t.Errorf("cause %q", cause)
	}
}

// TestUndoIsThereBeforeTheWrite: a file for each transaction is durable before it is written, and none is left of
// one that was refused.
func TestUndoIsThereBeforeTheWrite(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		insert(t, w.source, keyed, rowOf(i+1, i+1, 0))
	}
	insert(t, w.source, keyed, rowOf(9, 3, 0))
	dir := t.TempDir()
	files := func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	w.before = func(commits int) {
		if n := files(); n != commits+1 {
			t.Errorf("before transaction %d there are %d undo files", commits+1, n)
		}
	}
	text := &waybill.Statements{Begin: "begin\n", End: "end\n", Append: func(dst []byte, c waybill.Correction) ([]byte, error) {
		return fmt.Appendf(dst, "%v -> %v\n", c.Before, c.After), nil
	}}
	r := w.repair(t, w.find(t), repair.Options{Batch: 2, Undo: dir, Statements: text})
	if r.Left() != 1 || files() != w.commits {
		t.Errorf("%d undo files for %d transactions, %+v", files(), w.commits, r)
	}
}

// TestStructureIsBeyondRows says of tables that no row repairs what is wrong with them.
func TestStructureIsBeyondRows(t *testing.T) {
	w := newWorld(t)
	insert(t, w.source, keyed, rowOf(1, 1, 1))
	if _, err := w.target.Write(func(tx *memory.Tx) error { return tx.Drop(keyed) }); err != nil {
		t.Fatal(err)
	}
	f := w.find(t)
	r := w.repair(t, f, repair.Options{})
	if len(f.Beyond) != 1 || f.Beyond[0].State != compare.MissingAtTarget || r.Clean() {
		t.Errorf("%+v, %+v", f.Beyond, r)
	}
}

// TestStoppedRepairIsRunAgain stops between transactions, says so in the ledger, and needs nothing of it to go on.
func TestStoppedRepairIsRunAgain(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		insert(t, w.source, keyed, rowOf(i+1, 0, i))
		insert(t, w.target, keyed, rowOf(i+11, 0, 99))
	}
	l, err := ledger.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "waybill.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	w.before = func(commits int) {
		if commits == 3 {
			cancel()
		}
	}
	f := w.find(t)
	_, err = repair.Run(ctx, f, repair.Options{Open: w.open, Sink: &direct{w: w}, Batch: 2, Ledger: l, Name: "a and b", Of: 7})
	if err = errors.Join(err, f.Close()); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want it stopped", err)
	}
	if w.commits != 4 {
		t.Errorf("%d transactions, want the one under way to be the last", w.commits)
	}
	w.before = func(int) {}
	if r := w.repair(t, w.find(t), repair.Options{Ledger: l, Name: "a and b", Of: 7}); !r.Clean() || r.Run != 2 {
		t.Errorf("%+v", r)
	}
	runs, err := l.Runs(t.Context(), ledger.RunFilter{Kind: "repair"})
	if err != nil || len(runs) != 2 || runs[1].State != "stopped" || runs[0].State != "done" {
		t.Errorf("%v, %+v", err, runs)
	}
	closed, err := l.Entries(t.Context(), ledger.EntryFilter{Kind: repair.ClosedKind})
	if err != nil || len(closed) != 2 || closed[0].Table != keyed && closed[1].Table != keyed {
		t.Errorf("%v, closed %+v; want both tables closed, by the second repair", err, closed)
	}
}

// TestRateIsKept writes no more rows in a second than asked for.
func TestRateIsKept(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		insert(t, w.source, keyed, rowOf(i+1, 0, i))
	}
	started := time.Now()
	if r := w.repair(t, w.find(t), repair.Options{Batch: 5, Rate: 100}); !r.Clean() {
		t.Errorf("%+v", r)
	}
	if took := time.Since(started); took < 200*time.Millisecond {
		t.Errorf("20 rows at 100 a second took %s", took)
	}
}
