package postgres

import (
	"sync"
	"testing"

	"github.com/waybill-data/waybill"
)

// TestTablesRenamedWhileAStreamOpens: what a stream reads of the catalogue in several statements must not be taken for
// a table that somebody took out of the publication.
func TestTablesRenamedWhileAStreamOpens(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE SCHEMA other")
	if err := capture().Install(t.Context(), r.endpoint); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.barrier()
	r.close()
	conn, err := connect(t.Context(), r.endpoint, "renamer", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	var renamer sync.WaitGroup
	stop := make(chan struct{})
	renamer.Go(func() {
		for {
			for _, sql := range []string{"ALTER TABLE public.a RENAME TO b", "ALTER TABLE public.b SET SCHEMA other",
				"ALTER TABLE other.b SET SCHEMA public", "ALTER TABLE public.b RENAME TO a"} {
				if err := exec(t.Context(), conn, sql); err != nil {
					t.Error(err)
					return
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	opened := 0
	for range 30 {
		err := r.tryOpen()
		switch {
		case err == nil:
			opened++
			r.close()
		case waybill.FaultOf(err) != waybill.Passing:
			t.Errorf("the stream does not open: %v", err)
		}
	}
	close(stop)
	renamer.Wait()
	if opened == 0 {
		t.Error("the stream never opened")
	}
	r.open()
	r.exec("INSERT INTO a VALUES (1)")
	r.until("insert a (1)")
}
