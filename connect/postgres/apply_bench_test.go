package postgres

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

// BenchmarkApply applies the changes of pgbench's TPC-B: per transaction one account, teller and branch are
// updated and one history row is inserted. WAYBILL_BENCH_SCALE sets the scale (100,000 accounts each).
func BenchmarkApply(b *testing.B) {
	scale := 10
	if text := os.Getenv("WAYBILL_BENCH_SCALE"); text != "" {
		var err error
		if scale, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for _, transactions := range []int{1, 100, 5000, 25000, 200000} {
		b.Run(fmt.Sprintf("transactions=%d", transactions), func(b *testing.B) { benchmarkApply(b, scale, transactions) })
	}
}

func benchmarkApply(b *testing.B, scale, transactions int) {
	r := newSinkRig(b, 15,
		"CREATE TABLE branches (bid int PRIMARY KEY, bbalance int, filler char(88))",
		"CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84))",
		"CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84))",
		"CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
		fmt.Sprintf("INSERT INTO branches SELECT n, 0, '' FROM generate_series(1, %d) n", scale),
		fmt.Sprintf("INSERT INTO tellers SELECT n, 1, 0, '' FROM generate_series(1, %d) n", 10*scale),
		fmt.Sprintf("INSERT INTO accounts SELECT n, 1, 0, '' FROM generate_series(1, %d) n", 100000*scale),
		"VACUUM ANALYZE", "CHECKPOINT")
	stream := newPgbench(r, scale)
	b.ResetTimer()
	var apply time.Duration
	for n := range b.N {
		batch := stream.batch(transactions, waybill.Position(strconv.Itoa(n+1)))
		start := time.Now()
		if err := r.sink.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		apply += time.Since(start)
	}
	b.ReportMetric(float64(4*transactions*b.N)/apply.Seconds(), "changes/s")
	b.ReportMetric(float64(apply.Microseconds())/float64(b.N), "µs/apply")
}

// pgbench makes batches of changes; rows alias one array that is used again.
type pgbench struct {
	scale                                int
	branches, tellers, accounts, history *waybill.TableVersion
	random                               *rand.Rand
	values                               []waybill.Value
	changes                              []waybill.Change
}

func newPgbench(r *sinkRig, scale int) *pgbench {
	return &pgbench{scale: scale, branches: r.version("branches"), tellers: r.version("tellers"), accounts: r.version("accounts"),
		history: r.version("history"), random: rand.New(rand.NewPCG(1, 2))}
}

func (p *pgbench) row(values ...waybill.Value) waybill.Row {
	start := len(p.values)
	p.values = append(p.values, values...)
	return p.values[start:len(p.values):len(p.values)]
}

func (p *pgbench) batch(transactions int, position waybill.Position) waybill.ChangeBatch {
	p.values, p.changes = p.values[:0], p.changes[:0]
	if need := 18 * transactions; cap(p.values) < need {
		p.values = make([]waybill.Value, 0, need)
	}
	filler := waybill.TextValue("                                                                                    ")
	for range transactions {
		aid := waybill.IntValue(1 + p.random.Int64N(int64(100000*p.scale)))
		tid := waybill.IntValue(1 + p.random.Int64N(int64(10*p.scale)))
		bid := waybill.IntValue(1 + p.random.Int64N(int64(p.scale)))
		delta := waybill.IntValue(p.random.Int64N(10000) - 5000)
		p.changes = append(p.changes,
			waybill.Change{Op: waybill.Update, Version: p.accounts, After: p.row(aid, waybill.IntValue(1), delta, filler)},
			waybill.Change{Op: waybill.Update, Version: p.tellers, After: p.row(tid, waybill.IntValue(1), delta, filler)},
			waybill.Change{Op: waybill.Update, Version: p.branches, After: p.row(bid, delta, waybill.TextValue(""))},
			waybill.Change{Op: waybill.Insert, Version: p.history, After: p.row(tid, bid, aid, delta, waybill.TimestampValue(1700000000000000), waybill.Null)})
	}
	return waybill.ChangeBatch{Changes: p.changes, Position: position, Transactions: transactions, Committed: time.Now()}
}
