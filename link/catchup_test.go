package link

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
	"github.com/waybill-data/waybill/layer"
)

// TestCatchUpGoesOnFromItsLastCopy: a first attempt leaves a position, which the copy of the second is later than. The
// stream that is there then begins at the copy.
func TestCatchUpGoesOnFromItsLastCopy(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 20)
	n := r.start()
	n.equal()
	n.stop()
	var cut atomic.Bool
	once := func(c layer.Call) error {
		if c.Method != "Sink.Import" || cut.Swap(true) {
			return nil
		}
		r.write(func(tx *memory.Tx) error {
			return tx.Insert(named("orders"), row(100, "later", "than the first attempt"))
		})
		r.src.Disconnect()
		r.dst.Disconnect()
		return waybill.Errorf(waybill.Passing, "test", "cut")
	}
	r.inject.Store(&once)
	r.failAt("catchup.copied", 1, r.kill)
	r.write(func(tx *memory.Tx) error {
		return tx.Alter(named("orders"), keyed("orders", "note", "filled"), func(old waybill.Row) waybill.Row {
			return waybill.Row{old[0], old[1], waybill.TextValue("by the source")}
		})
	})
	if err := r.start().wait(); !errors.Is(err, errKilled) {
		t.Fatalf("the link ended with %v, not killed", err)
	}
	if !cut.Load() {
		t.Error("the first copy was not cut off")
	}
	n = r.start()
	n.equal()
	r.clean(n)
	n.stop()
}

// TestSequencesAreCarriedAfterAKill: a process that dies between making tables complete and carrying their sequences
// leaves the rest to the next one, which has no table to copy.
func TestSequencesAreCarriedAfterAKill(t *testing.T) {
	owning := func(columns ...string) *waybill.TableVersion {
		v := keyed("orders", columns...)
		v.Sequences = []waybill.OwnedSequence{{Name: named("orders_id_seq"), Column: "id"}}
		return v
	}
	again := func(tx *memory.Tx) error {
		return tx.Alter(named("orders"), owning("note", "filled"), func(old waybill.Row) waybill.Row {
			return waybill.Row{old[0], old[1], waybill.TextValue("by the source")}
		})
	}
	for name, copied := range map[string]bool{"in the first copy": false, "in a later copy": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			defer r.close()
			sequence := waybill.SequenceState{Name: named("orders_id_seq"), Last: 41, Called: true}
			r.src.SetSequence(sequence)
			r.write(func(tx *memory.Tx) error { return tx.Create(owning("note")) })
			if copied {
				n := r.start()
				n.equal()
				n.stop()
				sequence.Last = 50
				r.src.SetSequence(sequence)
				r.write(again)
			}
			r.failAt("copy.complete", 1, r.kill)
			if err := r.start().wait(); !errors.Is(err, errKilled) {
				t.Fatalf("the link ended with %v, not killed", err)
			}
			n := r.start()
			n.equal()
			r.clean(n)
			n.stop()
			if got, _ := r.dst.Sequence(sequence.Name); got != sequence {
				t.Errorf("the sequence is at %+v, want %+v", got, sequence)
			}
		})
	}
}

// TestForgottenTableIsRenamedBeforeTheStreamBegins: nothing tells the link of the rename but the source itself.
func TestForgottenTableIsRenamedBeforeTheStreamBegins(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 3)
	r.failAt("copy.complete", 1, r.kill)
	if err := r.start().wait(); !errors.Is(err, errKilled) {
		t.Fatalf("the link ended with %v, not killed", err)
	}
	r.dead.Store(false)
	sink, err := r.options.Target.Connector.OpenSink(t.Context(), r.options.Target.Endpoint, waybill.SinkOptions{Stream: linkName, Takeover: true})
	if err == nil {
		err = errors.Join(sink.Forget(t.Context(), named("orders")), sink.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.write(func(tx *memory.Tx) error { return tx.Alter(named("orders"), keyed("renamed", "note"), nil) })
	n := r.start()
	n.equal()
	r.write(func(tx *memory.Tx) error { return tx.Insert(named("renamed"), row(100, "later")) })
	n.equal()
	r.clean(n)
	n.stop()
}
