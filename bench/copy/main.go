// Command copy measures the first copy of a link beside psql's COPY through a pipe and beside pgcopydb, on the
// same two servers, tables and number of streams.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-data/waybill/bench"
)

type options struct {
	dir, out, program, streams, sides string
	scale, rounds                     int
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "/var/tmp", "directory for the servers' data, on a real disk")
	flag.StringVar(&o.out, "out", "bench/out", "directory for the results")
	flag.StringVar(&o.program, "program", "bin/waybill", "the program")
	flag.StringVar(&o.streams, "streams", "1,4", "numbers of streams")
	flag.StringVar(&o.sides, "sides", "pipe,pgcopydb,waybill", "what to measure")
	flag.IntVar(&o.scale, "scale", 100, "of pgbench; 100 is 10 million accounts")
	flag.IntVar(&o.rounds, "rounds", 3, "measured; who is first rotates")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := measure(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-copy:", err)
		os.Exit(1)
	}
	if missed {
		os.Exit(4)
	}
}

// figures are what one copy took.
type figures struct {
	data, all time.Duration // data: until the rows were there; all: with the keys built
	peak      float64       // MiB, of our process
}

type side struct {
	name string
	copy func(ctx context.Context, database string, streams int) (figures, error)
}

type meter struct {
	options
	report *bench.Report
	stage  *bench.Stage
	copies int
}

func measure(ctx context.Context, o options) (missed bool, err error) {
	r, err := bench.OpenReport(o.out, "bench-copy")
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
	size, err := bench.Text(ctx, m.source(), "SELECT pg_size_pretty(sum(pg_table_size(oid))) FROM pg_class WHERE relname LIKE 'pgbench_%' AND relkind = 'r'")
	if err != nil {
		return false, err
	}
	r.Say("tables: %s", size)
	// The first copy of all pays for what the others find warm: nobody's.
	r.Say("warming up")
	if _, err := m.once(ctx, side{"pipe", m.pipe}, 1); err != nil {
		return false, err
	}
	for _, text := range strings.Split(o.streams, ",") {
		streams, err := strconv.Atoi(text)
		if err != nil {
			return false, err
		}
		if err := m.streamsOf(ctx, streams); err != nil {
			return false, err
		}
	}
	return r.Missed(), nil
}

func (m *meter) source() string { return m.stage.Source.URL("bench") }

// streamsOf measures all sides with a number of streams and compares their medians.
func (m *meter) streamsOf(ctx context.Context, streams int) error {
	var sides []side
	for _, s := range []side{{"pipe", m.pipe}, {"pgcopydb", m.pgcopydb}, {"waybill", m.waybill}} {
		if !strings.Contains(m.options.sides, s.name) {
			continue
		}
		if _, err := exec.LookPath(s.name); s.name == "pgcopydb" && err != nil {
			m.report.Say("pgcopydb is not installed (apt-get install pgcopydb): skipped")
			continue
		}
		sides = append(sides, s)
	}
	data, all := map[string][]time.Duration{}, map[string][]time.Duration{}
	var peak float64
	for round := range m.rounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			f, err := m.once(ctx, s, streams)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			data[s.name], all[s.name], peak = append(data[s.name], f.data), append(all[s.name], f.all), max(peak, f.peak)
		}
	}
	if data["waybill"] == nil {
		return nil
	}
	ratio := func(of map[string][]time.Duration, peer string) float64 {
		return bench.Median(of["waybill"]).Seconds() / bench.Median(of[peer]).Seconds()
	}
	if data["pipe"] != nil {
		m.report.Goal(fmt.Sprintf("%d streams, rows against the pipe", streams), "ratio", ratio(data, "pipe"), 1.05, false)
		m.report.Goal(fmt.Sprintf("%d streams, with keys against the pipe", streams), "ratio", ratio(all, "pipe"), 1.05, false)
	}
	if data["pgcopydb"] != nil {
		m.report.Goal(fmt.Sprintf("%d streams, in all against pgcopydb", streams), "ratio", ratio(all, "pgcopydb"), 0.9, false)
	}
	m.report.Goal(fmt.Sprintf("%d streams, peak memory", streams), "MiB", peak, bench.PeakGoal, false)
	return nil
}

// once copies into a new database, checks what arrived and drops it.
func (m *meter) once(ctx context.Context, s side, streams int) (f figures, err error) {
	m.copies++
	database := fmt.Sprintf("copy%d", m.copies)
	admin := m.stage.Target.URL("postgres")
	if err := bench.Exec(ctx, admin, "CREATE DATABASE "+database); err != nil {
		return f, err
	}
	if err := m.stage.Checkpoint(ctx); err != nil {
		return f, err
	}
	if f, err = s.copy(ctx, database, streams); err != nil {
		return f, err
	}
	m.report.Say("%d streams: %-8s rows %6.1f s, in all %6.1f s%s", streams, s.name, f.data.Seconds(), f.all.Seconds(), peakText(f.peak))
	if err := m.check(ctx, m.stage.Target.URL(database)); err != nil {
		return f, err
	}
	return f, bench.Exec(ctx, admin, "DROP DATABASE "+database+" WITH (FORCE)")
}

func peakText(peak float64) string {
	if peak == 0 {
		return ""
	}
	return fmt.Sprintf(", peak memory %.0f MiB", peak)
}

// check compares rows and keys with the source's.
func (m *meter) check(ctx context.Context, target string) error {
	for what, query := range map[string]string{
		"accounts": "SELECT count(*) || ' ' || sum(aid::bigint) || ' ' || sum(bid::bigint) || ' ' || sum(abalance::bigint) || ' ' || sum(length(filler)) FROM pgbench_accounts",
		"branches": "SELECT count(*) || ' ' || sum(bbalance::bigint) FROM pgbench_branches",
		"tellers":  "SELECT count(*) || ' ' || sum(tid::bigint) FROM pgbench_tellers",
		"keys": `SELECT string_agg(conrelid::regclass || ' ' || pg_get_constraintdef(oid), ', ' ORDER BY conrelid::regclass::text)
			FROM pg_constraint WHERE contype = 'p' AND conrelid::regclass::text LIKE 'pgbench_%'`,
	} {
		want, err := bench.Text(ctx, m.source(), query)
		if err != nil {
			return err
		}
		got, err := bench.Text(ctx, target, query)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s at the target: %s, want %s", what, got, want)
		}
	}
	return nil
}
