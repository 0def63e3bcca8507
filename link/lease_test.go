package link

import (
	"encoding/json"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
)

func leased(seconds float64) json.RawMessage {
	text, err := json.Marshal(Lease{seconds})
	if err != nil {
		panic(err)
	}
	return text
}

func (n *running) reaches(state string) {
	n.rig.t.Helper()
	n.eventually("link "+state, func() string {
		if s := n.rig.last.Load(); s == nil || s.State != state {
			return "it is not"
		}
		return ""
	})
}

// TestLeases has whoever paused the link, or had it hold, go away.
func TestLeases(t *testing.T) {
	for verb, position := range map[string]waybill.Position{"pause": "", "hold": "", "hold for ever": "src/999999"} {
		t.Run(verb, func(t *testing.T) {
			r := newRig(t)
			defer r.close()
			r.fill("orders", 3)
			n := r.start()
			n.equal()
			request := waybill.Request{Verb: "hold", Position: position, Args: leased(0.3)}
			switch verb {
			case "pause":
				request.Verb = "pause"
			case "hold":
				request.Position = r.src.Position()
			}
			id := r.ask(request)
			n.eventually("answer", func() string {
				for _, open := range must(r.ledger.Requests(t.Context(), linkName)) {
					if open.ID == id {
						return "not yet"
					}
				}
				return ""
			})
			r.write(func(tx *memory.Tx) error { return tx.Insert(named("orders"), row(100, "later")) })
			n.equal()
			n.reaches("streaming")
			n.stop()
		})
	}
}

// TestPauseReplacesLease has a person pause the link while somebody else's lease runs.
func TestPauseReplacesLease(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.fill("orders", 3)
	n := r.start()
	n.equal()
	r.ask(waybill.Request{Verb: "pause", Args: leased(0.2)})
	r.ask(waybill.Request{Verb: "pause"})
	n.reaches("paused")
	r.write(func(tx *memory.Tx) error { return tx.Insert(named("orders"), row(100, "later")) })
	// The second lease ends after the first one would have.
	id := r.ask(waybill.Request{Verb: "pause", Args: json.RawMessage(`"nonsense"`)})
	n.eventually("answer", func() string {
		for _, open := range must(r.ledger.Requests(t.Context(), linkName)) {
			if open.ID == id {
				return "not yet"
			}
		}
		return ""
	})
	if r.difference() == "" {
		t.Error("the link went on though a person had paused it")
	}
	r.ask(waybill.Request{Verb: "resume"})
	n.equal()
	n.stop()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
