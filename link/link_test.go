package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
	"github.com/waybill-data/waybill/layer"
)

func TestCopyAndFollow(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 100)
	r.fill("empty", 0)
	n := r.start()
	n.equal()
	r.write(func(tx *memory.Tx) error {
		return errors.Join(tx.Insert(named("orders"), row(1000, "new")), tx.Update(named("orders"), row(5, ""), row(5000, "moved")),
			tx.Delete(named("orders"), row(7, "")), tx.Insert(named("empty"), row(1, "one")))
	})
	n.equal()
	n.stop()
	if got, want := r.dst.Records(), []string{linkName}; !slices.Equal(got, want) {
		t.Errorf("records at the target %v, want %v", got, want)
	}
	if got, want := r.src.Streams(), []string{linkName}; !slices.Equal(got, want) {
		t.Errorf("streams at the source %v, want %v", got, want)
	}
}

func TestBytesPassThrough(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 100)
	var exports, loads atomic.Int64
	count := func(c layer.Call) error {
		switch c.Method {
		case "View.Export":
			exports.Add(1)
		case "Sink.Load":
			loads.Add(1)
		}
		return nil
	}
	r.inject.Store(&count)
	n := r.start()
	n.equal()
	n.stop()
	if exports.Load() == 0 || loads.Load() > 0 {
		t.Errorf("%d exports, %d loads; want bytes to pass through", exports.Load(), loads.Load())
	}
}

func TestConfirmsOnlyWhatIsSaved(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 3)
	var calls []string
	note := func(c layer.Call) error {
		if c.Done && (c.Method == "Sink.Apply" || c.Method == "ChangeSource.Confirm") {
			calls = append(calls, c.Method)
		}
		return nil
	}
	r.inject.Store(&note)
	saved := func(name string) {
		if name == "position.saved" {
			calls = append(calls, "saved")
		}
	}
	r.fail.Store(&saved)
	n := r.start()
	for i := range 5 {
		r.write(func(tx *memory.Tx) error { return tx.Insert(named("orders"), row(100+i, "x")) })
		n.equal()
	}
	n.stop()
	want := []string{"Sink.Apply", "saved", "ChangeSource.Confirm"}
	for i, call := range calls {
		if call != want[i%3] {
			t.Fatalf("call %d is %s, want %s; all: %s", i, call, want[i%3], strings.Join(calls, " "))
		}
	}
	if len(calls) == 0 {
		t.Fatal("nothing was applied")
	}
}

// TestBatchesBecomeDurableTogether: while more batches wait, positions are neither saved nor confirmed, but not for
// ever.
func TestBatchesBecomeDurableTogether(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 3)
	n := r.start()
	n.equal()
	written := make(chan struct{})
	applied, most := 0, 0
	note := func(c layer.Call) error {
		switch {
		case c.Method == "Sink.Apply" && !c.Done:
			<-written
		case c.Method == "Sink.Apply":
			applied++
			most = max(most, applied)
		case c.Method == "ChangeSource.Confirm" && c.Done:
			applied = 0
		}
		return nil
	}
	r.inject.Store(&note)
	for i := range 40 {
		r.write(func(tx *memory.Tx) (err error) {
			for j := range 300 { // a batch of its own
				err = errors.Join(err, tx.Insert(named("orders"), row(100+300*i+j, "x")))
			}
			return err
		})
	}
	close(written)
	n.equal()
	n.stop()
	if most != mostUnsaved+1 || applied != 0 {
		t.Errorf("up to %d batches without a confirmation, %d at the end; want %d and none", most, applied, mostUnsaved+1)
	}
}

func TestLargeTransactionInParts(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 1)
	n := r.start()
	n.equal()
	r.write(func(tx *memory.Tx) error {
		for i := range 5000 {
			if err := tx.Insert(named("orders"), row(10+i, "part")); err != nil {
				return err
			}
		}
		return nil
	})
	n.equal()
	n.stop()
}

func TestPassingFaultsAreMetAgain(t *testing.T) {
	for _, method := range []string{"Connector.OpenSink", "Connector.OpenChanges", "Sink.Resume", "ChangeSource.View", "View.Slices", "View.Export",
		"Sink.Import", "Sink.Prepare", "Sink.Complete", "Sink.Apply", "ChangeSource.Next", "ChangeSource.Confirm"} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s done %t", method, done), func(t *testing.T) {
				r := newRig(t)
				defer r.close()
				r.fill("orders", 50)
				var hit atomic.Bool
				fail := func(c layer.Call) error {
					if c.Method != method || c.Done != done || hit.Swap(true) {
						return nil
					}
					r.src.Disconnect()
					r.dst.Disconnect()
					return waybill.Errorf(waybill.Passing, "test", "cut")
				}
				r.inject.Store(&fail)
				n := r.start()
				n.equal()
				r.write(func(tx *memory.Tx) error { return tx.Insert(named("orders"), row(100, "x")) })
				n.equal()
				n.stop()
				if !hit.Load() {
					t.Errorf("%s was never called", method)
				}
			})
		}
	}
}

func TestOtherFaultsEndTheRun(t *testing.T) {
	for _, fault := range []waybill.Fault{waybill.Bug, waybill.Setup, waybill.Data, waybill.Drift} {
		t.Run(fault.String(), func(t *testing.T) {
			r := newRig(t)
			defer r.close()
			r.fill("orders", 5)
			fail := func(c layer.Call) error {
				if c.Method == "Sink.Apply" {
					return &waybill.Error{Op: "test", Fault: fault, Hint: "mend it", Err: errors.New("broken")}
				}
				return nil
			}
			r.inject.Store(&fail)
			n := r.start()
			err := n.wait()
			if waybill.FaultOf(err) != fault || waybill.HintOf(err) != "mend it" {
				t.Errorf("link ended with %v (%s, %q), want fault %s and its hint", err, waybill.FaultOf(err), waybill.HintOf(err), fault)
			}
			if s := r.last.Load(); s.State != "failed" || s.Hint != "mend it" || s.Error == "" {
				t.Errorf("status %s, want failed with error and hint", r.status())
			}
		})
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 5)
	n := r.start()
	n.equal()
	if err := r.start().wait(); waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("second process ended with %v, want fault setup", err)
	}
	n.stop()
}

func TestPositionNeverGoesBack(t *testing.T) {
	r := newRig(t)
	s := &session{run: &run{o: r.options}, position: "src/7"}
	defer r.close()
	if err := s.inOrder("src/6"); waybill.FaultOf(err) != waybill.Drift {
		t.Errorf("position 6 after 7: %v, want fault drift", err)
	}
	if err := s.inOrder("other/8"); waybill.FaultOf(err) != waybill.Drift {
		t.Errorf("position of another history: %v, want fault drift", err)
	}
	for _, p := range []waybill.Position{"src/7", "src/8", ""} {
		if err := s.inOrder(p); err != nil {
			t.Errorf("position %q after 7: %v", p, err)
		}
	}
}
