package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const unreachable = `
endpoints:
  shop: {kind: postgres, url: "postgres://a@127.0.0.1:1/b"}
  lake: {kind: postgres, url: "postgres://a@127.0.0.1:1/c"}
links:
  a: {source: shop, target: lake, tables: "*"}
`

// process starts this test binary as the program, running a link whose ends are not there, and returns once
// its first line is out.
func process(t *testing.T) (c *exec.Cmd, text *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "waybill.yaml"), []byte(unreachable), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text = &bytes.Buffer{}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c = &exec.Cmd{Path: self, Args: []string{"waybill", "run", "a"}, Dir: dir, Stdout: text, Stderr: write}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() { read.Close() })
	first := make([]byte, 1)
	if _, err := read.Read(first); err != nil {
		t.Fatal(err)
	}
	go func() {
		rest := make([]byte, 4096)
		for {
			if _, err := read.Read(rest); err != nil {
				return
			}
		}
	}()
	return c, text
}

func TestSignalStopsAtASafePoint(t *testing.T) {
	for _, test := range []struct {
		name    string
		signals []syscall.Signal
		want    int
	}{
		{"interrupt", []syscall.Signal{syscall.SIGINT}, 130},
		{"terminate", []syscall.Signal{syscall.SIGTERM}, 143},
		{"delivered twice", []syscall.Signal{syscall.SIGINT, syscall.SIGINT, syscall.SIGINT}, 130},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, text := process(t)
			for _, s := range test.signals {
				if err := c.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
			}
			err := c.Wait()
			if got := c.ProcessState.ExitCode(); got != test.want {
				t.Errorf("exit code %d (%v), want %d", got, err, test.want)
			}
			if !strings.Contains(text.String(), "stopped") {
				t.Errorf("it did not stop at a safe point: %q", text)
			}
		})
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	var s signals
	if !s.first(2, time.Unix(0, 0)) || s.first(2, time.Unix(1, 0)) {
		t.Error("the first signal is not told from the second")
	}
	if s.atOnce(time.Unix(0, 0).Add(echo/2)) || !s.atOnce(time.Unix(0, 0).Add(2*echo)) {
		t.Error("an echo of the first signal is not told from a second one")
	}
	if s.received() != 2 {
		t.Errorf("received %d, want 2", s.received())
	}
}
