package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill-data/waybill/bench"
)

const clients = 8

// catchUp lets both sides fall behind by the same transactions and measures each until the last is there.
func (m *meter) catchUp(ctx context.Context) error {
	var native, ours []time.Duration
	var peak float64
	for round := range m.rounds {
		if err := m.stage.Tool(ctx, m.stage.Source, "pgbench", "-n", "-c", strconv.Itoa(clients), "-j", "2",
			"-t", strconv.Itoa(m.transactions/clients), m.source()); err != nil {
			return err
		}
		mark, err := m.mark(ctx)
		if err != nil {
			return err
		}
		for _, isNative := range []bool{round%2 == 0, round%2 != 0} {
			// A checkpoint just before would make every page that is touched go whole into the log, at both sides.
			if m.checkpoint {
				if err := m.stage.Checkpoint(ctx); err != nil {
					return err
				}
			}
			switch {
			case isNative:
				took, err := m.runNative(ctx, mark)
				if err != nil {
					return err
				}
				native = append(native, took)
				m.report.Say("round %d: native  %s, %s; %s", round+1, took.Round(time.Millisecond), m.rowRate(took), m.used)
			case !m.nativeOnly:
				took, rss, err := m.runOurs(ctx, mark)
				if err != nil {
					return err
				}
				ours, peak = append(ours, took), max(peak, rss)
				m.report.Say("round %d: waybill %s, %s, peak memory %.0f MiB; %s", round+1, took.Round(time.Millisecond), m.rowRate(took), rss, m.used)
			}
		}
	}
	if m.nativeOnly {
		return nil
	}
	m.report.Goal("catch up", "ratio", bench.Median(native).Seconds()/bench.Median(ours).Seconds(), 3, true)
	m.report.Goal("catch up, peak memory", "MiB", peak, bench.PeakGoal, false)
	return nil
}

func (m *meter) rowRate(took time.Duration) string {
	return fmt.Sprintf("%.0f row changes/s", float64(4*(m.transactions/clients*clients))/took.Seconds())
}

// runNative measures from the moment the subscription is let go until the mark is at the target.
func (m *meter) runNative(ctx context.Context, mark string) (time.Duration, error) {
	before, started := m.stage.CPU(), time.Now()
	err := bench.Exec(ctx, m.native(), "ALTER SUBSCRIPTION bench_native ENABLE")
	if err == nil {
		err = bench.Until(ctx, m.native(), arrived(mark), "1")
	}
	took := time.Since(started)
	err = errors.Join(err, bench.Exec(ctx, m.native(), "ALTER SUBSCRIPTION bench_native DISABLE"), m.idle(ctx, "bench_native"))
	m.used = m.stage.CPU().Sub(before)
	return took, err
}

// runOurs measures from the start of the process until the mark is at the target.
func (m *meter) runOurs(ctx context.Context, mark string) (time.Duration, float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	before, started := m.stage.CPU(), time.Now()
	child, err := m.stage.Start(ctx, m.config, "ours")
	if err != nil {
		return 0, 0, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range child.Statuses {
		}
		cancel(errors.New("the link ended before the mark arrived"))
	}()
	err = bench.Until(ctx, m.ours(), arrived(mark), "1")
	took := time.Since(started)
	peak, stopErr := child.Stop()
	<-ended
	m.used = m.stage.CPU().Sub(before)
	m.used.Program = child.CPU()
	return took, peak, errors.Join(err, stopErr)
}

// idle waits until nobody reads a slot, so that a side that was stopped takes nothing from the other.
func (m *meter) idle(ctx context.Context, slot string) error {
	return bench.Until(ctx, m.source(), "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+slot+"' AND active", "0")
}
