package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
)

const table = "pgbench_accounts"

// both runs one query in both servers at once, its rows going where the shell's redirection says.
func (m *meter) both(ctx context.Context, query, source, target string) error {
	return m.stage.Shell(ctx, fmt.Sprintf("psql -qAt -v ON_ERROR_STOP=1 %q -c %q %s & first=$!; psql -qAt -v ON_ERROR_STOP=1 %q -c %q %s && wait $first",
		m.source(), query, source, m.target(), query, target))
}

// floor reads both sides and looks at nothing.
func (m *meter) floor(ctx context.Context, _ int) error {
	return m.both(ctx, "COPY "+table+" TO STDOUT (FORMAT binary)", "> /dev/null", "> /dev/null")
}

// md5 is what a person would write: it says which thousand keys differ, not which rows.
func (m *meter) md5(ctx context.Context, differences int) error {
	a, b := m.stage.Dir+"/source.sums", m.stage.Dir+"/target.sums"
	query := "SELECT aid / 1000, count(*), sum(('x' || left(md5(t::text), 16))::bit(64)::bigint) FROM " + table + " t GROUP BY 1 ORDER BY 1"
	if err := m.both(ctx, query, "> "+a, "> "+b); err != nil {
		return err
	}
	err := exec.CommandContext(ctx, "cmp", "-s", a, b).Run()
	if different := err != nil; different != (differences > 0) {
		return fmt.Errorf("wrong verdict: %w", err)
	}
	return nil
}

func (m *meter) comparator(ctx context.Context, differences int) error {
	args := []string{"--asynchronous", "--report"}
	for _, side := range []string{m.source(), m.target()} {
		u, err := url.Parse(side)
		if err != nil {
			return err
		}
		args = append(args, fmt.Sprintf("pgsql://%s@%s%s/%s?aid:bid,abalance,filler", u.User.Username(), u.Host, u.Path, table))
	}
	text, err := exec.CommandContext(ctx, "pg_comparator", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		for _, verb := range []string{"UPDATE ", "INSERT ", "DELETE "} {
			if strings.HasPrefix(line, verb) {
				found++
			}
		}
	}
	if found != differences {
		return fmt.Errorf("%d differences found, want %d: %s", found, differences, text)
	}
	return nil
}

// waybill names the rows that differ and the columns. Like the others it looks once.
func (m *meter) waybill(ctx context.Context, differences int) error {
	return m.compare(ctx, differences, "0")
}

func (m *meter) compare(ctx context.Context, differences int, settle string) error {
	cmd := exec.CommandContext(ctx, m.stage.Program, "compare", "run", "--source", "source", "--target", "target",
		"--tables", "public."+table, "-o", "json", "--settle", settle, "-c", m.config)
	text, err := cmd.Output()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.peak = max(m.peak, float64(usage.Maxrss)/1024)
		m.report.Say("waybill used %.1f s of processor time", (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 4 && differences > 0 {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	var result struct {
		Tables []struct {
			Missing, Extra, Changed, SourceRows int
		}
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return err
	}
	if len(result.Tables) != 1 {
		return fmt.Errorf("%d tables compared", len(result.Tables))
	}
	if t := result.Tables[0]; t.Missing+t.Extra+t.Changed != differences {
		return fmt.Errorf("%d differences found, want %d", t.Missing+t.Extra+t.Changed, differences)
	}
	return nil
}
