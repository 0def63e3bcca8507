package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-data/waybill"
)

// PeakGoal is the most memory that the program may take, in MiB.
const PeakGoal = 256

// Child is the program running a link. It is owned from Start to Stop.
type Child struct {
	Statuses chan waybill.LinkStatus // what it says of itself; closed when it has ended
	cmd      *exec.Cmd
	log      *os.File
	peak     int // KiB
	used     time.Duration
}

// CPU returns the processor time that the program has used, after Stop.
func (c *Child) CPU() time.Duration { return c.used }

// Configure writes a configuration with one link from the source's database "bench" to a database of the
// target, and returns its file.
func (s *Stage) Configure(link, database string, workers int) (string, error) {
	file := filepath.Join(s.Dir, link+".yaml")
	text := fmt.Sprintf("ledger: sqlite:%s.db\nendpoints:\n  source: {kind: postgres, url: %q}\n  target: {kind: postgres, url: %q}\n"+
		"links:\n  %s: {source: source, target: target, tables: [\"public.*\"], workers: %d}\n",
		link, s.Source.URL("bench"), s.Target.URL(database), link, workers)
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// Waybill runs the program to its end.
func (s *Stage) Waybill(ctx context.Context, config string, args ...string) error {
	return Run(exec.CommandContext(ctx, s.Program, append(args, "-c", config)...))
}

// Start starts the program with a link. WAYBILL_BENCH_PROFILE names a directory for CPU profiles.
func (s *Stage) Start(ctx context.Context, config, link string) (*Child, error) {
	args := []string{"run", link, "-c", config, "-o", "jsonl", "--log-level", "warn"}
	log, err := os.CreateTemp(s.Dir, link+"-*.log")
	if err != nil {
		return nil, err
	}
	if dir := os.Getenv("WAYBILL_BENCH_PROFILE"); dir != "" {
		args = append(args, "--pprof", filepath.Join(dir, strings.TrimSuffix(filepath.Base(log.Name()), ".log")+".pprof"))
	}
	c := &Child{cmd: exec.CommandContext(ctx, s.Program, args...), log: log, Statuses: make(chan waybill.LinkStatus, 1024)}
	c.cmd.Stderr = log
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		defer close(c.Statuses)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var status waybill.LinkStatus
			if json.Unmarshal(lines.Bytes(), &status) != nil {
				continue
			}
			select {
			case c.Statuses <- status:
			default: // nobody follows them now
			}
		}
	}()
	return c, nil
}

// Await waits for a status that pleases.
func (c *Child) Await(pleases func(waybill.LinkStatus) bool) error {
	for status := range c.Statuses {
		if pleases(status) {
			return nil
		}
		if status.State == "failed" {
			return fmt.Errorf("link failed: %s", status.Error)
		}
	}
	text, err := os.ReadFile(c.log.Name())
	return errors.Join(fmt.Errorf("link ended early: %s", tail(text)), err)
}

// Streaming reports whether a link follows all its tables.
func Streaming(s waybill.LinkStatus) bool {
	if s.State != "streaming" {
		return false
	}
	for _, t := range s.Tables {
		if t.State != "streaming" {
			return false
		}
	}
	return true
}

// Stop interrupts the program, waits for its end and returns its peak memory in MiB.
func (c *Child) Stop() (peak float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if value, found := strings.CutPrefix(line, "VmHWM:"); found {
				c.peak, err = strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			}
		}
	}
	err = errors.Join(err, c.cmd.Process.Signal(syscall.SIGTERM))
	for range c.Statuses { // until it has ended, so that Wait does not close the pipe under its reader
	}
	waited := c.cmd.Wait()
	c.used = c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
	if waited != nil && c.cmd.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) {
		text, readErr := os.ReadFile(c.log.Name())
		err = errors.Join(err, fmt.Errorf("link ended with %w: %s", waited, tail(text)), readErr)
	}
	return float64(c.peak) / 1024, errors.Join(err, c.log.Close())
}
