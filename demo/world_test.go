package demo

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// TestStatementsNeverFail runs writers and the changer together: statements made from the catalogue must never
// meet a structure that they do not know.
func TestStatementsNeverFail(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WAYBILL_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Log("WAYBILL_SEED=", seed)
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint("postgres", major), func(t *testing.T) { statementsNeverFail(t, dbtest.Database(t, major), seed) })
	}
}

func statementsNeverFail(t *testing.T, url string, seed uint64) {
	w := NewWorld(url, seed)
	rows, err := w.Load(t.Context(), 0.3)
	if err != nil {
		t.Fatal(err)
	}
	if rows < 5000 {
		t.Errorf("loaded %d rows, want at least 5000", rows)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.Write(ctx, WriteOptions{Writers: 4, Rate: 400}) })
	group.Go(func() error { return w.Reshape(ctx, ReshapeOptions{Every: 40 * time.Millisecond}) })
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("committed %d, rolled back %d, refused %d, rows %d, structure changes %d", w.Tally.Committed.Load(),
		w.Tally.RolledBack.Load(), w.Tally.Refused.Load(), w.Tally.Rows.Load(), w.Tally.Reshapes.Load())
	kinds := w.Tally.Kinds()
	for _, kind := range Kinds() {
		if kinds[kind] == 0 {
			t.Errorf("no structure change of kind %q was made", kind)
		}
	}
	if w.Tally.Refused.Load()*5 > w.Tally.Committed.Load() {
		t.Errorf("refused %d of %d transactions", w.Tally.Refused.Load(), w.Tally.Committed.Load())
	}
}
