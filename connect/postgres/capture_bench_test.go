package postgres

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// BenchmarkCapture tells what capture adds to a command in a warm session: commands with and without it take
// turns, each in a transaction that is rolled back so that the disk is no part of it.
func BenchmarkCapture(b *testing.B) {
	ctx := context.Background()
	commands := []struct{ name, sql string }{
		{"alter", "ALTER TABLE public.t ALTER n SET DEFAULT 1"},
		{"create", "CREATE TABLE public.x (id int PRIMARY KEY, a text, b numeric(10,2))"},
		{"drop", "DROP TABLE public.t"},
		{"unrelated", "CREATE VIEW public.w AS SELECT 1 AS a"},
	}
	for _, major := range []int{15, 18} {
		conn := session(b, captured(b, major))
		run(b, conn, "CREATE PUBLICATION waybill_l FOR TABLE waybill.event",
			"CREATE TABLE public.t (id serial PRIMARY KEY, n int, a text DEFAULT 'x', b numeric(10,2), c timestamptz, d jsonb, e uuid, f text, g text, h bigint, CHECK (n > 0), UNIQUE (a, b))",
			"CREATE INDEX ON public.t (c)", "CREATE INDEX ON public.t (h, g)")
		if err := enlistPublication(ctx, conn, "waybill_l", waybill.Selection{"public.*"}); err != nil {
			b.Fatal(err)
		}
		for _, c := range commands {
			b.Run(fmt.Sprintf("%d/%s", major, c.name), func(b *testing.B) {
				var with, without []time.Duration
				for range max(b.N, 50) {
					run(b, conn, "ALTER EVENT TRIGGER waybill_command DISABLE; ALTER EVENT TRIGGER waybill_drop DISABLE")
					without = append(without, timeRolledBack(b, conn, c.sql))
					run(b, conn, "ALTER EVENT TRIGGER waybill_command ENABLE ALWAYS; ALTER EVENT TRIGGER waybill_drop ENABLE ALWAYS")
					with = append(with, timeRolledBack(b, conn, c.sql))
				}
				b.ReportMetric(float64(median(without).Microseconds()), "µs-without")
				b.ReportMetric(float64(median(with).Microseconds()), "µs-with")
				b.ReportMetric(float64((median(with) - median(without)).Microseconds()), "µs-added")
			})
		}
	}
}

// timeRolledBack times the second of two runs: the first warms the session after the triggers changed.
func timeRolledBack(b *testing.B, conn *pgconn.PgConn, sql string) time.Duration {
	var took time.Duration
	for range 2 {
		run(b, conn, "BEGIN")
		start := time.Now()
		run(b, conn, sql)
		took = time.Since(start)
		run(b, conn, "ROLLBACK")
	}
	return took
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
