package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill/bench"
)

// delay measures how long after its commit at the source a row is seen at the target, at a rate both sides
// keep up with. The probe is the same for both: a row every 20 ms, looked for every millisecond.
func (m *meter) delay(ctx context.Context) error {
	mark, err := m.mark(ctx)
	if err != nil {
		return err
	}
	if err := bench.Exec(ctx, m.native(), "ALTER SUBSCRIPTION bench_native ENABLE"); err != nil {
		return err
	}
	if err := bench.Until(ctx, m.native(), arrived(mark), "1"); err != nil {
		return err
	}
	native, err := m.probe(ctx, m.native())
	err = errors.Join(err, bench.Exec(ctx, m.native(), "ALTER SUBSCRIPTION bench_native DISABLE"), m.idle(ctx, "bench_native"))
	if err != nil {
		return err
	}
	m.say("native ", native)
	if m.nativeOnly {
		return nil
	}
	child, err := m.stage.Start(ctx, m.config, "ours")
	if err != nil {
		return err
	}
	if mark, err = m.mark(ctx); err == nil {
		if err = bench.Until(ctx, m.ours(), arrived(mark), "1"); err == nil {
			var ours []time.Duration
			ours, err = m.probe(ctx, m.ours())
			m.say("waybill", ours)
			difference := bench.Quantile(ours, 0.99) - bench.Quantile(native, 0.99)
			m.report.Goal("delay at p99", "ms_over_native", difference.Seconds()*1000, 10, false)
		}
	}
	peak, stopErr := child.Stop()
	m.report.Goal("delay, peak memory", "MiB", peak, bench.PeakGoal, false)
	return errors.Join(err, stopErr)
}

func (m *meter) say(who string, delays []time.Duration) {
	m.report.Say("delay at %d transactions/s: %s p50 %s p99 %s max %s of %d", m.rate, who, bench.Quantile(delays, 0.5).Round(10*time.Microsecond),
		bench.Quantile(delays, 0.99).Round(10*time.Microsecond), bench.Quantile(delays, 1).Round(10*time.Microsecond), len(delays))
}

// probe runs pgbench at the rate and returns the delays.
func (m *meter) probe(ctx context.Context, target string) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.seconds+120)*time.Second)
	defer cancel()
	var mu sync.Mutex
	committed := map[int]time.Time{}
	first, last := m.marks+1, m.marks+m.seconds*50
	m.marks = last
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return m.stage.Tool(ctx, m.stage.Source, "pgbench", "-n", "-c", "4", "-j", "2", "-R", strconv.Itoa(m.rate), "-T", strconv.Itoa(m.seconds), m.source())
	})
	g.Go(func() error {
		return every(ctx, 20*time.Millisecond, m.source(), func(conn *pgx.Conn, i int) (bool, error) {
			_, err := conn.Exec(ctx, "INSERT INTO mark VALUES ($1)", first+i)
			mu.Lock()
			defer mu.Unlock()
			committed[first+i] = time.Now()
			return first+i == last, err
		})
	})
	var delays []time.Duration
	seen := first - 1
	g.Go(func() error {
		return every(ctx, time.Millisecond, target, func(conn *pgx.Conn, _ int) (bool, error) {
			var highest int
			if err := conn.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM mark").Scan(&highest); err != nil {
				return false, err
			}
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			for ; seen < highest; seen++ {
				at, known := committed[seen+1]
				if !known {
					break // it was here before its commit had been answered there: looked at again
				}
				delays = append(delays, max(now.Sub(at), 0))
			}
			return seen >= last, nil
		})
	})
	return delays, g.Wait()
}

// every calls f at an interval on a connection of its own until it says that it is done.
func every(ctx context.Context, interval time.Duration, url string, f func(conn *pgx.Conn, i int) (bool, error)) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := 0; ; i++ {
		done, err := f(conn, i)
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// largeTransaction carries one transaction of many rows. The peer is put aside: what counts is our memory.
func (m *meter) largeTransaction(ctx context.Context) error {
	if m.nativeOnly {
		return nil
	}
	if err := bench.Exec(ctx, m.native(), "DROP SUBSCRIPTION bench_native"); err != nil {
		return err
	}
	child, err := m.stage.Start(ctx, m.config, "ours")
	if err != nil {
		return err
	}
	started := time.Now()
	err = bench.Exec(ctx, m.source(), fmt.Sprintf("INSERT INTO large SELECT g, g %% 1000, md5(g::text) FROM generate_series(1, %d) g", m.large))
	committed := time.Now()
	if err == nil {
		err = bench.Until(ctx, m.ours(), fmt.Sprintf("SELECT 1 FROM large WHERE id = %d", m.large), "1")
	}
	arrivedAt := time.Now()
	var rows string
	if err == nil {
		rows, err = bench.Text(ctx, m.ours(), "SELECT count(*) FROM large")
	}
	peak, stopErr := child.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	if rows != strconv.Itoa(m.large) {
		return fmt.Errorf("%s rows arrived of %d", rows, m.large)
	}
	m.report.Say("one transaction of %d rows: %s at the source, %s more until it was at the target", m.large,
		committed.Sub(started).Round(time.Millisecond), arrivedAt.Sub(committed).Round(time.Millisecond))
	m.report.Goal("large transaction, peak memory", "MiB", peak, bench.PeakGoal, false)
	return nil
}
