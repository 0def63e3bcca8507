package compare_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/ledger"
)

func newLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func resumed(t *testing.T, l *ledger.Ledger, run int64) *compare.Resumed {
	t.Helper()
	entries, err := l.Entries(context.Background(), ledger.EntryFilter{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	m := compare.Resume(run)
	for _, e := range entries {
		if err := m.Add(e.Kind, e.Table, e.Detail); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestResumeParts has a system that goes away again and again, a little later each time: in the end the verdict
// is that of one run, and no part is read twice that was proved.
func TestResumeParts(t *testing.T) {
	v := keyed(waybill.KindInt, waybill.KindText)
	v.Columns[0].NotNull = true
	var keys []int64
	for i := range int64(1000) {
		keys = append(keys, i*i-5000)
	}
	source, other := ints(keys...), ints(keys...)
	other[700][1] = waybill.TextValue("damaged")
	other = append(other[:300], other[301:]...)
	l := newLedger(t)
	o := compare.Options{Name: "x", Direct: -1, PartRows: 50, Ledger: l, Workers: 1}
	var result compare.Result
	var err error
	read, runs := 0, 0
	for err = errGone; err != nil && runs < 100; runs++ {
		a := &fake{version: v, rows: source, batch: 10, budget: 300}
		o.Source, o.Target = a, &fake{version: v, rows: other, batch: 10}
		if result, err = compare.Run(context.Background(), o); err != nil && !errors.Is(err, errGone) {
			t.Fatal(err)
		}
		read += a.read
		o.Resumed = resumed(t, l, result.Run)
	}
	if runs < 2 || runs > 20 {
		t.Errorf("%d runs, want several", runs)
	}
	got := result.Tables[0]
	if got.Missing != 1 || got.Changed != 1 || got.Extra != 0 || got.SourceRows != 1000 || got.TargetRows != 999 || got.PartsFromRun == 0 {
		t.Errorf("%+v, want one row missing and one changed", got)
	}
	one, err := compare.Run(context.Background(), compare.Options{Source: &fake{version: v, rows: source, batch: 10}, Target: &fake{version: v, rows: other, batch: 10}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one.Tables[0], got, untimed, cmpopts.IgnoreFields(compare.TableResult{}, "PartsFromRun")); diff != "" {
		t.Errorf("at once and resumed (-at once +resumed):\n%s", diff)
	}
}

// TestResumeTables takes over a table that was equal and compares one that was not again.
func TestResumeTables(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 18)
	for _, url := range []string{from, to} {
		dbtest.Exec(t, url, "CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1)", "CREATE TABLE bad (id int PRIMARY KEY)")
	}
	dbtest.Exec(t, to, "INSERT INTO bad VALUES (7)")
	l := newLedger(t)
	compared := func(o compare.Options) (compare.Result, error) {
		o.Name, o.Ledger, o.Source, o.Target = "x", l, open(t, from), open(t, to)
		result, err := compare.Run(context.Background(), o)
		return result, errors.Join(err, o.Source.Close(), o.Target.Close())
	}
	first, err := compared(compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dbtest.Exec(t, to, "DELETE FROM bad", "DROP TABLE good", "CREATE TABLE good (id int PRIMARY KEY)")
	for run := first.Run; run < first.Run+2; run++ {
		fromRun := int64(0) // of the table that was not equal in the first run
		if run > first.Run {
			fromRun = run
		}
		second, err := compared(compare.Options{Resumed: resumed(t, l, run)})
		if err != nil || !second.Equal() {
			t.Fatalf("%+v, %v; want all equal", second, err)
		}
		if bad, good := second.Tables[0], second.Tables[1]; good.FromRun != first.Run || good.SourceRows != 1 || bad.FromRun != fromRun {
			t.Errorf("%+v, want good from run %d", second.Tables, first.Run)
		}
	}
	_, err = compared(compare.Options{Resumed: resumed(t, l, first.Run), Where: "true"})
	if waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("error %v, want other terms refused", err)
	}
}

// TestRate reads no faster than it may.
func TestRate(t *testing.T) {
	for _, direct := range []int64{-1, 1 << 40} {
		source, target := pairOf(ints(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), ints(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
		started := time.Now()
		result, err := compare.Run(context.Background(), compare.Options{Source: source, Target: target, Direct: direct, Rate: 50})
		if err != nil || !result.Equal() {
			t.Fatal(result, err)
		}
		if took := time.Since(started); took < 190*time.Millisecond {
			t.Errorf("direct %d: ten rows in %s at 50 a second", direct, took)
		}
	}
}

// TestHold stops reading while it is told to.
func TestHold(t *testing.T) {
	full := errors.New("held for ever")
	for _, direct := range []int64{-1, 1 << 40} {
		source, target := pairOf(ints(1, 2, 3), ints(1, 2, 3))
		_, err := compare.Run(context.Background(), compare.Options{Source: source, Target: target, Direct: direct, Hold: func(context.Context) error { return full }})
		if !errors.Is(err, full) {
			t.Errorf("direct %d: error %v, want %v", direct, err, full)
		}
	}
}
