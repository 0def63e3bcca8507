// Command compare measures the comparison of pgbench's largest table in two servers: beside the floor, which
// is a COPY of both sides to nowhere at the same time, beside checksums by buckets in both servers, and beside
// pg_comparator. Everybody meets equal tables first and then three rows that differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-data/waybill/bench"
)

type options struct {
	dir, out, program, sides string
	scale, rounds            int
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "/var/tmp", "directory for the servers' data, on a real disk")
	flag.StringVar(&o.out, "out", "bench/out", "directory for the results")
	flag.StringVar(&o.program, "program", "bin/waybill", "the program")
	flag.StringVar(&o.sides, "sides", "floor,md5,pg_comparator,waybill", "what to measure")
	flag.IntVar(&o.scale, "scale", 100, "of pgbench; 100 is 10 million accounts")
	flag.IntVar(&o.rounds, "rounds", 3, "who is first rotates")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := measure(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-compare:", err)
		os.Exit(1)
	}
	if missed {
		os.Exit(4)
	}
}

type meter struct {
	options
	report *bench.Report
	stage  *bench.Stage
	config string
	peak   float64 // MiB
}

func measure(ctx context.Context, o options) (missed bool, err error) {
	r, err := bench.OpenReport(o.out, "bench-compare")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	s, err := bench.OpenStage(ctx, r, o.dir, o.program, o.scale)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m := &meter{options: o, report: r, stage: s}
	if err := m.prepare(ctx); err != nil {
		return false, err
	}
	equal, err := m.round(ctx, "equal", 0)
	if err != nil {
		return false, err
	}
	m.goals("equal", equal)
	// A changed value, a row less and a row more.
	if err := bench.Exec(ctx, m.target(), "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 77777",
		"DELETE FROM pgbench_accounts WHERE aid = 5", fmt.Sprintf("INSERT INTO pgbench_accounts VALUES (%d, 1, 0, '')", 100_000*o.scale+1)); err != nil {
		return false, err
	}
	few, err := m.round(ctx, "three rows differ", 3)
	if err != nil {
		return false, err
	}
	m.goals("three rows differ", few)
	if err := m.many(ctx); err != nil {
		return false, err
	}
	r.Goal("peak memory", "MiB", m.peak, bench.PeakGoal, false)
	return r.Missed(), nil
}

// many has every tenth row differ, so that no range is equal. It has no goal but memory: peers give up long before.
func (m *meter) many(ctx context.Context) error {
	if !strings.Contains(m.sides, "waybill") {
		return nil
	}
	if err := bench.Exec(ctx, m.target(), "UPDATE pgbench_accounts SET bid = bid + 1 WHERE aid % 10 = 3", "VACUUM pgbench_accounts"); err != nil {
		return err
	}
	started := time.Now()
	if err := m.compare(ctx, m.scale*10_000+3, "1s"); err != nil {
		return err
	}
	m.report.Say("every tenth row differs: %.1f s, told after they were read twice", time.Since(started).Seconds())
	return nil
}

func (m *meter) source() string { return m.stage.Source.URL("bench") }
func (m *meter) target() string { return m.stage.Target.URL("bench") }

// prepare loads the same rows into the target, and both into memory.
func (m *meter) prepare(ctx context.Context) (err error) {
	if err := bench.Exec(ctx, m.stage.Target.URL("postgres"), "CREATE DATABASE bench"); err != nil {
		return err
	}
	if err := m.stage.Tool(ctx, m.stage.Target, "pgbench", "-q", "-i", "-s", fmt.Sprint(m.scale), m.target()); err != nil {
		return err
	}
	if m.config, err = m.stage.Configure("compared", "bench", 4); err != nil {
		return err
	}
	for _, url := range []string{m.source(), m.target()} {
		if err := bench.Exec(ctx, url, "CREATE EXTENSION pg_prewarm", "SELECT pg_prewarm('pgbench_accounts')"); err != nil {
			return err
		}
	}
	if strings.Contains(m.sides, "pg_comparator") {
		if _, err := exec.LookPath("pg_comparator"); err != nil {
			m.report.Say("pg_comparator is not installed (apt-get install postgresql-comparator): skipped")
			m.sides = strings.ReplaceAll(m.sides, "pg_comparator", "")
			return m.stage.Checkpoint(ctx)
		}
		for _, url := range []string{m.source(), m.target()} {
			if err := bench.Exec(ctx, url, "CREATE EXTENSION pgcmp"); err != nil {
				return err
			}
		}
	}
	return m.stage.Checkpoint(ctx)
}

// round measures all sides on what is in the tables now.
func (m *meter) round(ctx context.Context, what string, differences int) (map[string][]time.Duration, error) {
	sides := []struct {
		name string
		run  func(ctx context.Context, differences int) error
	}{{"floor", m.floor}, {"md5", m.md5}, {"pg_comparator", m.comparator}, {"waybill", m.waybill}}
	times := map[string][]time.Duration{}
	for round := range m.rounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			// The slow peer once: the rest of the time is better spent on the others.
			if !strings.Contains(m.sides, s.name) || s.name == "pg_comparator" && round > 0 {
				continue
			}
			before, started := m.stage.CPU(), time.Now()
			if err := s.run(ctx, differences); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			took := time.Since(started)
			times[s.name] = append(times[s.name], took)
			m.report.Say("%s: %-13s %6.2f s, %s", what, s.name, took.Seconds(), m.stage.CPU().Sub(before))
		}
	}
	return times, nil
}

func (m *meter) goals(what string, times map[string][]time.Duration) {
	ours := bench.Median(times["waybill"]).Seconds()
	if floor := bench.Median(times["floor"]).Seconds(); floor > 0 && ours > 0 {
		m.report.Goal(what+", against the floor", "ratio", ours/floor, 1.25, false)
	}
	for _, peer := range []string{"md5", "pg_comparator"} {
		if theirs := bench.Median(times[peer]).Seconds(); theirs > 0 && ours > 0 {
			m.report.Goal(what+", times faster than "+peer, "ratio", theirs/ours, 2, true)
		}
	}
}
