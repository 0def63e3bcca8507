package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// streaming makes the server stream open transactions as early as it can.
func streaming(t *testing.T, r *rig) {
	dbtest.Exec(t, r.url, "ALTER DATABASE "+dbtest.Rows(t, r.url, "SELECT current_database()")[0][0]+" SET logical_decoding_work_mem = '64kB'")
}

func TestStreamedTransactionWithRolledBackParts(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := capturedRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)", "CREATE TABLE b (id int PRIMARY KEY)")
		streaming(t, r)
		r.open()
		r.exec(`BEGIN;
			INSERT INTO a SELECT i, repeat('a', 100) FROM generate_series(1, 2000) i;
			SAVEPOINT s;
			ALTER TABLE b ADD gone int;
			INSERT INTO b SELECT i, i FROM generate_series(1, 2000) i;
			SAVEPOINT s2;
			INSERT INTO a SELECT i, repeat('b', 100) FROM generate_series(5001, 7000) i;
			ROLLBACK TO s;
			ALTER TABLE a ADD n int;
			INSERT INTO a SELECT i, 'c', i FROM generate_series(2001, 4000) i;
			INSERT INTO b VALUES (1);
			COMMIT`)
		r.barrier()
		counts := map[string]int{}
		for _, line := range r.lines {
			counts[firstWords(line)]++
		}
		if counts["insert a"] != 4000 || counts["insert b"] != 1 || counts["reshape a"] != 1 || len(counts) != 3 {
			t.Errorf("changes: %v", counts)
		}
		if got := r.lines[2001]; got != "insert a (2001, c, 2001)" {
			t.Errorf("change 2001 is %s", got)
		}
	})
}

func firstWords(line string) string {
	var op, table string
	if _, err := fmt.Sscan(line, &op, &table); err != nil {
		return line
	}
	return op + " " + table
}

// Two open transactions are streamed in turns; the stream is ended and begun again while they are open.
func TestStreamedTransactionsAcrossAReconnect(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newRig(t, major, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)")
		streaming(t, r)
		r.open()
		first, second := testSession(t, r.url), testSession(t, r.url)
		run(t, first, "BEGIN", "INSERT INTO public.a SELECT i, repeat('a', 100) FROM generate_series(1, 2000) i")
		run(t, second, "BEGIN", "INSERT INTO public.a SELECT i, repeat('b', 100) FROM generate_series(10001, 12000) i")
		r.barrier()
		r.close()
		run(t, first, "INSERT INTO public.a SELECT i, repeat('a', 100) FROM generate_series(2001, 4000) i")
		r.open()
		r.barrier()
		run(t, second, "COMMIT")
		run(t, first, "COMMIT")
		r.barrier()
		if len(r.lines) != 6000 {
			t.Fatalf("%d changes, want 6000", len(r.lines))
		}
		if r.lines[0] != "insert a (10001, bbbbbbbbbb..100)" || r.lines[2000] != "insert a (1, aaaaaaaaaa..100)" {
			t.Errorf("not in commit order: %s, %s", r.lines[0], r.lines[2000])
		}
	})
}

func TestFullDiskAtSpillStopsAndLosesNothing(t *testing.T) {
	r := newRig(t, 15, barrierTable, "CREATE TABLE a (id int PRIMARY KEY, t text)")
	streaming(t, r)
	good := r.options.SpillDir
	r.open()
	r.barrier()
	r.close()
	r.options.SpillDir = filepath.Join(good, "missing")
	r.open()
	r.exec("INSERT INTO a SELECT i, repeat('a', 100) FROM generate_series(1, 3000) i")
	if err := r.tryUntil("never"); waybill.FaultOf(err) != waybill.Setup || waybill.HintOf(err) == "" {
		t.Fatalf("error %v (%s), want setup", err, waybill.HintOf(err))
	}
	r.close()
	r.options.SpillDir = good
	leftover := filepath.Join(good, "waybill-spill-"+streamName(r.options.Stream)+"-123")
	if err := os.WriteFile(leftover, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.barrier()
	if len(r.lines) != 3000 {
		t.Errorf("%d changes after the repair, want 3000", len(r.lines))
	}
	if _, err := os.Stat(leftover); !os.IsNotExist(err) {
		t.Errorf("leftover of a killed process is still there: %v", err)
	}
}

func TestLargeTransactionInBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a million rows")
	}
	for _, major := range []int{13, 15} { // without and with streaming
		t.Run(dbMajor(major), func(t *testing.T) {
			r := newRig(t, major, "CREATE TABLE a (id int PRIMARY KEY, t text)")
			r.open()
			const rows = 1_000_000
			r.exec(fmt.Sprintf("INSERT INTO a SELECT i, repeat('a', 50) FROM generate_series(1, %d) i", rows))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			var peak uint64
			got, parts := 0, 0
			for got < rows {
				b, err := r.source.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if b.Position == "" {
					parts++
				}
				got += len(b.Changes)
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse+m.StackInuse)
			}
			if got != rows || parts < 5 {
				t.Errorf("%d changes in %d parts", got, parts)
			}
			if peak > 128<<20 {
				t.Errorf("peak memory %d MB", peak>>20)
			}
			t.Logf("peak heap %d MB, %d parts", peak>>20, parts)
		})
	}
}
