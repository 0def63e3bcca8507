// Package bench is what the benchmarks share: a [Stage] of two throw-away servers with pgbench's tables at
// the source, the program under test as a [Child] with its peak memory, and a [Report] that goes to the
// screen and to a file. The benchmarks are the programs below it. Each puts Waybill beside a named peer on
// the same servers in the same run and ends with lines of "ratio=... goal=... pass|fail".
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/pgserver"
)

// Report writes to the screen and to a file, and remembers whether a goal was missed.
type Report struct {
	out    io.Writer
	file   *os.File
	missed bool
}

// OpenReport creates dir/name-<time>.txt and writes the facts of the machine into it.
func OpenReport(dir, name string) (*Report, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir, name+"-"+time.Now().UTC().Format("20060102-150405")+".txt"))
	if err != nil {
		return nil, err
	}
	r := &Report{out: io.MultiWriter(os.Stdout, file), file: file}
	r.Say("%s, %s", name, time.Now().UTC().Format(time.RFC3339))
	r.Say("machine: %s", machine())
	return r, nil
}

// Say writes a line.
func (r *Report) Say(format string, args ...any) {
	fmt.Fprintf(r.out, format+"\n", args...)
}

// Goal writes the line that a benchmark ends with: what was measured must be at least, or at most, the goal.
func (r *Report) Goal(name, measure string, got, goal float64, atLeast bool) {
	sign, met := "<=", got <= goal
	if atLeast {
		sign, met = ">=", got >= goal
	}
	verdict := "pass"
	if !met {
		verdict, r.missed = "fail", true
	}
	r.Say("%s: %s=%.2f goal%s%.2f %s", name, measure, got, sign, goal, verdict)
}

// Missed reports whether a goal was missed.
func (r *Report) Missed() bool { return r.missed }

// Close closes the file.
func (r *Report) Close() error { return r.file.Close() }

// machine says what the figures were measured on.
func machine() string {
	facts := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	for _, f := range []struct{ file, key string }{{"/proc/cpuinfo", "model name"}, {"/proc/meminfo", "MemTotal"}} {
		text, err := os.ReadFile(f.file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == f.key {
				facts = append(facts, strings.TrimSpace(value))
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		facts = append(facts, "Linux "+strings.TrimSpace(string(text)))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		facts = append(facts, "load "+strings.Join(strings.Fields(string(text))[:3], " "))
	}
	return strings.Join(append(facts, runtime.Version()), ", ")
}

// Stage is two servers; the source has the database "bench" with pgbench's tables.
type Stage struct {
	Dir            string
	Source, Target *pgserver.Server
	Program        string // the waybill binary
}

// Settings are those of both servers: durable, and large enough that both sides' tables stay in memory and no
// checkpoint falls into one side's time and not the other's.
var Settings = []string{"synchronous_commit=on", "fsync=on", "shared_buffers=4GB", "max_wal_size=16GB", "checkpoint_timeout=30min",
	"maintenance_work_mem=256MB", "autovacuum=off", "max_logical_replication_workers=8", "max_sync_workers_per_subscription=4"}

// OpenStage starts the servers under dir and loads pgbench's tables at a scale.
func OpenStage(ctx context.Context, r *Report, dir, program string, scale int) (_ *Stage, err error) {
	program, err = filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "waybill-bench-"); err != nil {
		return nil, err
	}
	s := &Stage{Dir: dir, Program: program}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// The servers run as an unprivileged user, who must be able to pass through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	o := pgserver.Options{Major: 15, Dir: dir, Settings: Settings}
	if s.Source, err = pgserver.Start(ctx, o); err != nil {
		return nil, err
	}
	if s.Target, err = pgserver.Start(ctx, o); err != nil {
		return nil, err
	}
	r.Say("servers: PostgreSQL %d, %s", s.Source.Major, strings.Join(Settings, " "))
	if err := Exec(ctx, s.Source.URL("postgres"), "CREATE DATABASE bench"); err != nil {
		return nil, err
	}
	r.Say("load: pgbench scale %d", scale)
	if err := s.Tool(ctx, s.Source, "pgbench", "-q", "-i", "-s", strconv.Itoa(scale), s.Source.URL("bench")); err != nil {
		return nil, err
	}
	// It has no key, and a published table without one refuses updates. It is only inserted into, so this adds
	// nothing to the log.
	return s, Exec(ctx, s.Source.URL("bench"), "ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
}

// Close stops the servers and removes everything.
func (s *Stage) Close() error {
	var errs []error
	for _, server := range []*pgserver.Server{s.Source, s.Target} {
		if server != nil {
			errs = append(errs, server.Stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.Dir))...)
}

// Tool runs one of the server's programs to its end.
func (s *Stage) Tool(ctx context.Context, server *pgserver.Server, program string, args ...string) error {
	path := server.Bin(program)
	if _, err := os.Stat(path); err != nil {
		path = program // client programs may be elsewhere
	}
	return Run(exec.CommandContext(ctx, path, args...))
}

// Run runs a command; the error holds the end of what it wrote.
func Run(cmd *exec.Cmd) error {
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tail(text))
	}
	return nil
}

func tail(text []byte) string { return string(text[max(0, len(text)-2000):]) }

// Checkpoint writes both servers' pages out, so that the next measurement starts clean.
func (s *Stage) Checkpoint(ctx context.Context) error {
	return errors.Join(Exec(ctx, s.Source.URL("postgres"), "CHECKPOINT"), Exec(ctx, s.Target.URL("postgres"), "CHECKPOINT"))
}

// Exec runs statements, each in its own transaction.
func Exec(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Text returns the first column of a query's first row, empty without a row.
func Text(ctx context.Context, url, query string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		return "", fmt.Errorf("%s: %w", query, err)
	}
	if len(results) == 0 || len(results[0].Rows) == 0 {
		return "", nil
	}
	return string(results[0].Rows[0][0]), nil
}

// Until asks again and again, every few milliseconds, until the query gives the wanted text.
func Until(ctx context.Context, url, query, want string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		results, err := conn.PgConn().Exec(ctx, query).ReadAll()
		if err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
		if len(results[0].Rows) > 0 && string(results[0].Rows[0][0]) == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Median returns the middle one, the mean of two.
func Median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Quantile returns the time that the given part of the times does not pass.
func Quantile(times []time.Duration, part float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// Shell runs a pipeline; it fails when any part of it does.
func (s *Stage) Shell(ctx context.Context, line string) error {
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(s.Source.Bin("psql"))+":"+os.Getenv("PATH"))
	return Run(cmd)
}
