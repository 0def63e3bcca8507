package link

import (
	"fmt"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
	"github.com/waybill-data/waybill/layer"
)

// TestTablesThatWaitAreShown: a table that has come into the selection while another one is copied is not at the target
// yet. Who asks whether the link follows all its tables must see it, under the name that it has.
func TestTablesThatWaitAreShown(t *testing.T) {
	r := newRig(t)
	defer r.close()
	r.options.Tables = waybill.Selection{"public.orders", "public.chosen*"}
	for _, name := range []string{"orders", "first", "second"} {
		r.fill(name, 3)
	}
	n := r.start()
	states := func(want string) {
		t.Helper()
		n.eventually(want, func() string {
			got := ""
			if s := r.last.Load(); s != nil {
				for _, table := range s.Tables {
					got += fmt.Sprintf("%s %s, ", table.Table.Name, table.State)
				}
			}
			if got != want {
				return "shown are: " + got
			}
			return ""
		})
	}
	rename := func(from, to string) {
		r.write(func(tx *memory.Tx) error { return tx.Alter(named(from), keyed(to, "note"), nil) })
	}
	states("orders streaming, ")
	gate := make(chan struct{})
	block := func(c layer.Call) error {
		if c.Method == "Sink.Import" && !c.Done {
			<-gate
		}
		return nil
	}
	r.inject.Store(&block)
	rename("first", "chosen1")
	states("chosen1 copying, orders streaming, ")
	rename("second", "chosen2")
	states("chosen1 copying, chosen2 waiting, orders streaming, ")
	rename("chosen2", "chosen3")
	states("chosen1 copying, chosen3 waiting, orders streaming, ")
	close(gate)
	states("chosen1 streaming, chosen3 streaming, orders streaming, ")
	n.stop()
}
