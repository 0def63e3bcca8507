package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/layer"
)

// TestSurvivesKills kills the link at random fail points and calls, lets connections break, and goes on under
// random transactions with structure changes. In the end the target must be the source, with nothing left.
func TestSurvivesKills(t *testing.T) {
	cases := uint64(60)
	if testing.Short() {
		cases = 10
	}
	var kills, cuts atomic.Int64
	for seed := range cases {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			survive(t, rand.New(rand.NewPCG(seed, 1)), &kills, &cuts)
		})
	}
	t.Logf("%d kills at named points, %d broken connections", kills.Load(), cuts.Load())
	if kills.Load() == 0 || cuts.Load() == 0 {
		t.Error("nothing was killed or cut")
	}
}

func survive(t *testing.T, random *rand.Rand, kills, cuts *atomic.Int64) {
	r := newRig(t)
	defer r.close()
	w := &workload{rig: r, random: random}
	for range 3 {
		w.transaction()
	}
	for range 1 + random.IntN(4) {
		r.failAt(FailPoints[random.IntN(len(FailPoints))], 1+random.Int64N(6), func() {
			kills.Add(1)
			r.kill()
		})
		r.cutAt(random.Int64N(80), random.IntN(2) == 0, cuts)
		n := r.start()
		for range random.IntN(12) {
			w.transaction()
		}
		if random.IntN(2) == 0 {
			r.ask(waybill.Request{Verb: "resync"})
		}
		if random.IntN(2) == 0 {
			n.settle()
		}
		r.kill()
		if err := n.wait(); !errors.Is(err, errKilled) {
			t.Fatalf("the link ended with %v, not killed", err)
		}
		r.kill() // what it opened while it was dying dies with it
	}
	r.fail.Store(nil)
	r.inject.Store(nil)
	n := r.start()
	for range random.IntN(6) {
		w.transaction()
	}
	n.equal()
	r.clean(n)
	n.stop()
	if d := r.difference(); d != "" {
		t.Fatal(d)
	}
}

// settle waits until the link is killed or the target equal to the source.
func (n *running) settle() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for n.rig.difference() != "" {
		select {
		case <-tick.C:
		case <-n.done:
			return
		case <-deadline:
			n.rig.t.Fatalf("%s; status %s", n.rig.difference(), n.rig.status())
		}
	}
}

// clean waits until nothing is left but the link's own stream at both ends.
func (r *rig) clean(n *running) {
	n.eventually("nothing left behind", func() string {
		if got := append(r.src.Streams(), r.dst.Records()...); !slices.Equal(got, []string{linkName, linkName}) {
			return "streams and records " + join(got)
		}
		return ""
	})
}

func join(words []string) (text string) {
	for _, w := range words {
		text += w + " "
	}
	return text
}

// cutAt breaks all connections around the n-th call from now; 0 never does.
func (r *rig) cutAt(n int64, after bool, cuts *atomic.Int64) {
	var calls atomic.Int64
	cut := func(c layer.Call) error {
		if c.Done != after || calls.Add(1) != n {
			return nil
		}
		cuts.Add(1)
		r.src.Disconnect()
		r.dst.Disconnect()
		return waybill.Errorf(waybill.Passing, "test", "cut at %s", c.Method)
	}
	r.inject.Store(&cut)
}
