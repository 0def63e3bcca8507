package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/pgserver"
)

// Link is the name of the link on the stage.
const Link = "shop"

// StageOptions say what is put on a stage.
type StageOptions struct {
	Program  string   // the program under test
	Dir      string   // where everything is put; it must exist
	Source   int      // major versions; 0: the newest that is installed
	Target   int      // the same; a version that is not installed is replaced by the source's
	Settings []string // of both servers
	// Backlog is the source's setting backlog_mb; empty: its default.
	Backlog string
}

// Stage is two servers with an empty database each, a waybill.yaml between them, and the program under test.
// It owns them from OpenStage to Close.
type Stage struct {
	Dir       string
	Config    string
	Source    *pgserver.Server
	Target    *pgserver.Server
	SourceURL string
	TargetURL string
	program   string

	mu       sync.Mutex
	children int // started so far
}

const stageYAML = `# Two throw-away servers and the link between them.
ledger: sqlite:waybill.db
endpoints:
  shop: {kind: postgres, url: "%s"%s}
  copy: {kind: postgres, url: "%s"}
links:
  ` + Link + `:
    source: shop
    target: copy
    tables: ["shop.*", "archive.*"]
    on_reshape: follow
    heartbeat: 200ms
`

// OpenStage starts the servers and writes the configuration.
func OpenStage(ctx context.Context, o StageOptions) (_ *Stage, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Stage{Dir: dir, Config: filepath.Join(dir, "waybill.yaml"), program: o.Program}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// Servers run as an unprivileged user, who must be able to pass through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if s.Source, err = pgserver.Start(ctx, pgserver.Options{Major: o.Source, Dir: dir, Settings: o.Settings}); err != nil {
		return nil, err
	}
	s.Target, err = pgserver.Start(ctx, pgserver.Options{Major: o.Target, Dir: dir, Settings: o.Settings})
	if errors.Is(err, pgserver.ErrMissing) {
		s.Target, err = pgserver.Start(ctx, pgserver.Options{Major: s.Source.Major, Dir: dir, Settings: o.Settings})
	}
	if err != nil {
		return nil, err
	}
	for _, server := range []*pgserver.Server{s.Source, s.Target} {
		if _, err := Query(ctx, server.URL("postgres"), "CREATE DATABASE shop"); err != nil {
			return nil, err
		}
	}
	s.SourceURL, s.TargetURL = s.Source.URL("shop"), s.Target.URL("shop")
	settings := ""
	if o.Backlog != "" {
		settings = fmt.Sprintf(", settings: {backlog_mb: %q}", o.Backlog)
	}
	return s, os.WriteFile(s.Config, fmt.Appendf(nil, stageYAML, s.SourceURL, settings, s.TargetURL), 0o600)
}

// Close stops the servers and removes their data; what else is in the directory stays.
func (s *Stage) Close() error {
	var errs []error
	for _, server := range []*pgserver.Server{s.Source, s.Target} {
		if server != nil {
			errs = append(errs, server.Stop())
		}
	}
	return errors.Join(errs...)
}

func (s *Stage) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, append(args, "--config", s.Config)...)
	cmd.Dir = s.Dir
	// A Ctrl-C is for whoever holds the stage, not for the program on it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// Output runs the program to its end and returns what it wrote to stdout. The error holds what it wrote to
// stderr; an exit code is an *exec.ExitError in it.
func (s *Stage) Output(ctx context.Context, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("waybill %s: %w: %s", strings.Join(args, " "), err, tail(stderr.String(), 12))
	}
	return stdout.Bytes(), nil
}

// Child is the program running the link.
type Child struct {
	Log  string // the file its output goes to
	cmd  *exec.Cmd
	done chan struct{}
	err  error // after done
}

// Start runs the link as a child process with more environment, NAME=value each.
func (s *Stage) Start(environment ...string) (*Child, error) {
	s.mu.Lock()
	s.children++
	c := &Child{Log: filepath.Join(s.Dir, fmt.Sprintf("run-%03d.log", s.children)), done: make(chan struct{})}
	s.mu.Unlock()
	file, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	c.cmd = s.command(context.Background(), "run", Link)
	c.cmd.Stdout, c.cmd.Stderr = file, file
	c.cmd.Env = append(os.Environ(), environment...)
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	go func() { // ends with the child
		c.err = c.cmd.Wait()
		file.Close()
		close(c.done)
	}()
	return c, nil
}

// Done is closed when the child is gone.
func (c *Child) Done() <-chan struct{} { return c.done }

// Spills reports whether the child holds a file of a transaction that does not fit in its memory. It can tell
// only where a process's open files are in /proc.
func (c *Child) Spills() bool {
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.cmd.Process.Pid))
	return slices.ContainsFunc(open, func(fd string) bool {
		file, err := os.Readlink(fd)
		return err == nil && strings.Contains(file, "waybill-spill-")
	})
}

// Kill ends the child without a chance to clean up, and waits until it is gone.
func (c *Child) Kill() {
	// The process may be gone already, which is what is wanted.
	_ = c.cmd.Process.Kill()
	<-c.done
}

// Interrupt asks the child to stop at a safe point and waits for it.
func (c *Child) Interrupt(ctx context.Context) error {
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.Kill()
		return fmt.Errorf("stop the link: %w", ctx.Err())
	}
}

// Killed reports whether the child was ended by SIGKILL. Call it after Done.
func (c *Child) Killed() bool {
	var exit *exec.ExitError
	if !errors.As(c.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Err tells how a child that nobody killed ended, with the end of its log.
func (c *Child) Err() error {
	text, err := os.ReadFile(c.Log)
	if err != nil {
		text = []byte(err.Error())
	}
	if c.err == nil {
		return fmt.Errorf("the link ended by itself with exit code 0, see %s:\n%s", c.Log, tail(string(text), 15))
	}
	return fmt.Errorf("the link ended by itself (%w), see %s:\n%s", c.err, c.Log, tail(string(text), 15))
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Query runs statements on a connection of its own and returns the rows of the last one as text, NULL as "".
func Query(ctx context.Context, url, sql string) ([][]string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 {
		return nil, err
	}
	var rows [][]string
	for _, row := range results[len(results)-1].Rows {
		text := make([]string, len(row))
		for i, value := range row {
			text[i] = string(value)
		}
		rows = append(rows, text)
	}
	return rows, nil
}

// Arrived writes a mark at the source and waits until it is at the target, which then has everything that was
// committed before.
func (s *Stage) Arrived(ctx context.Context, child *Child) error {
	mark := fmt.Sprint("mark-", time.Now().UnixNano())
	if _, err := Query(ctx, s.SourceURL, "CREATE TABLE IF NOT EXISTS shop.mark (id text PRIMARY KEY); "+
		"INSERT INTO shop.mark VALUES ("+quote(mark)+")"); err != nil {
		return fmt.Errorf("write a mark: %w", err)
	}
	for {
		rows, err := Query(ctx, s.TargetURL, "SELECT 1 FROM shop.mark WHERE id = "+quote(mark))
		if err == nil && len(rows) == 1 {
			return nil
		}
		select {
		case <-child.Done():
			return child.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the mark at the target: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
