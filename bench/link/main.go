// Command link measures a link beside PostgreSQL's own logical replication, on the same two servers and the
// same changes: the time to catch up with pgbench's transactions, the delay when not behind, and the memory
// that one large transaction takes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-data/waybill/bench"
)

type options struct {
	dir, out, program, parts    string
	scale, transactions, rounds int
	rate                        int
	seconds                     int
	large                       int
	nativeOnly, checkpoint      bool
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "/var/tmp", "directory for the servers' data, on a real disk")
	flag.StringVar(&o.out, "out", "bench/out", "directory for the results")
	flag.StringVar(&o.program, "program", "bin/waybill", "the program")
	flag.StringVar(&o.parts, "parts", "catchup,delay,large", "what to measure")
	flag.IntVar(&o.scale, "scale", 100, "of pgbench; 100 is 10 million accounts")
	flag.IntVar(&o.transactions, "transactions", 200_000, "to catch up with, four row changes each")
	flag.IntVar(&o.rounds, "rounds", 2, "of catching up; who is first alternates")
	flag.IntVar(&o.rate, "rate", 500, "transactions a second while the delay is measured")
	flag.IntVar(&o.seconds, "seconds", 30, "of measuring the delay")
	flag.IntVar(&o.large, "large", 5_000_000, "rows of the large transaction")
	flag.BoolVar(&o.checkpoint, "checkpoint", false, "make a checkpoint before each catching up")
	flag.BoolVar(&o.nativeOnly, "native-only", false, "measure the peer alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := measure(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-link:", err)
		os.Exit(1)
	}
	if missed {
		os.Exit(4)
	}
}

func measure(ctx context.Context, o options) (missed bool, err error) {
	r, err := bench.OpenReport(o.out, "bench-link")
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
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"catchup", m.catchUp}, {"delay", m.delay}, {"check", m.check}, {"large", m.largeTransaction}} {
		if part.name != "check" && !strings.Contains(o.parts, part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return false, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return r.Missed(), nil
}

// meter holds the two sides: the subscription into the target's database "native", and the link into "ours".
type meter struct {
	options
	report *bench.Report
	stage  *bench.Stage
	config string
	marks  int
	used   bench.CPU // by the last catching up
}

func (m *meter) source() string { return m.stage.Source.URL("bench") }
func (m *meter) native() string { return m.stage.Target.URL("native") }
func (m *meter) ours() string   { return m.stage.Target.URL("ours") }

// prepare gives both sides the same tables: the peer by its own first copy, the link by its own.
func (m *meter) prepare(ctx context.Context) error {
	if err := bench.Exec(ctx, m.source(), "CREATE TABLE mark (id bigint PRIMARY KEY)", "CREATE TABLE large (id bigint PRIMARY KEY, n int, t text)",
		"CREATE PUBLICATION bench_native FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history, mark, large"); err != nil {
		return err
	}
	if err := bench.Exec(ctx, m.stage.Target.URL("postgres"), "CREATE DATABASE native", "CREATE DATABASE ours"); err != nil {
		return err
	}
	if err := m.prepareNative(ctx); err != nil {
		return err
	}
	if m.nativeOnly {
		return m.warm(ctx)
	}
	var err error
	if m.config, err = m.stage.Configure("ours", "ours", 4); err != nil {
		return err
	}
	// As a user would set it up: structure changes travel in order with the rows, which costs what it costs.
	if err := m.stage.Waybill(ctx, m.config, "schema", "install", "source", "--apply"); err != nil {
		return err
	}
	started := time.Now()
	child, err := m.stage.Start(ctx, m.config, "ours")
	if err != nil {
		return err
	}
	err = child.Await(bench.Streaming)
	took := time.Since(started)
	peak, stopErr := child.Stop()
	m.report.Say("first copy: waybill %s, peak memory %.0f MiB", took.Round(time.Millisecond), peak)
	return errors.Join(err, stopErr, m.warm(ctx))
}

// warm reads both sides' tables into memory, where those of a replica in use are. Without it whoever comes first
// to a page pays for reading it.
func (m *meter) warm(ctx context.Context) error {
	for _, url := range []string{m.native(), m.ours()} {
		if err := bench.Exec(ctx, url, "CREATE EXTENSION IF NOT EXISTS pg_prewarm",
			"SELECT pg_prewarm(oid::regclass) FROM pg_class WHERE relname LIKE 'pgbench_%' AND relkind IN ('r', 'i')"); err != nil {
			return err
		}
	}
	return nil
}

func (m *meter) prepareNative(ctx context.Context) error {
	dump := fmt.Sprintf("pg_dump --schema-only --no-publications %q | psql -q -v ON_ERROR_STOP=1 %q", m.source(), m.native())
	if err := m.stage.Shell(ctx, dump); err != nil {
		return err
	}
	started := time.Now()
	if err := bench.Exec(ctx, m.native(), fmt.Sprintf("CREATE SUBSCRIPTION bench_native CONNECTION '%s' PUBLICATION bench_native", m.source())); err != nil {
		return err
	}
	if err := bench.Until(ctx, m.native(), "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'", "0"); err != nil {
		return err
	}
	m.report.Say("first copy: native %s (into tables with keys)", time.Since(started).Round(time.Millisecond))
	return bench.Exec(ctx, m.native(), "ALTER SUBSCRIPTION bench_native DISABLE")
}

// mark commits a row at the source that both sides will see last.
func (m *meter) mark(ctx context.Context) (string, error) {
	m.marks++
	id := fmt.Sprint(m.marks)
	return id, bench.Exec(ctx, m.source(), "INSERT INTO mark VALUES ("+id+")")
}

func arrived(id string) string { return "SELECT 1 FROM mark WHERE id = " + id }

// check proves that what was fast was right.
func (m *meter) check(ctx context.Context) error {
	if m.nativeOnly {
		return nil
	}
	mark, err := m.mark(ctx)
	if err != nil {
		return err
	}
	if _, _, err := m.runOurs(ctx, mark); err != nil {
		return err
	}
	started := time.Now()
	if err := m.stage.Waybill(ctx, m.config, "compare", "run", "--source", "source", "--target", "target", "--tables", "public.*"); err != nil {
		return err
	}
	m.report.Say("check: source and target are equal, compared in %s", time.Since(started).Round(time.Millisecond))
	return nil
}
