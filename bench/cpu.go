package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-data/waybill/internal/pgserver"
)

// CPU is processor time. Unlike the clock it does not depend on what else the machine is doing.
type CPU struct{ Source, Target, Program time.Duration }

// Sub returns what was used between two moments.
func (c CPU) Sub(earlier CPU) CPU {
	return CPU{c.Source - earlier.Source, c.Target - earlier.Target, c.Program - earlier.Program}
}

// String returns the three in seconds.
func (c CPU) String() string {
	text := fmt.Sprintf("processor time: source %.1f s, target %.1f s", c.Source.Seconds(), c.Target.Seconds())
	if c.Program > 0 {
		text += fmt.Sprintf(", program %.1f s", c.Program.Seconds())
	}
	return text
}

// CPU returns the processor time that both servers have used since their start; zero where /proc is not known.
func (s *Stage) CPU() CPU { return CPU{Source: serverCPU(s.Source), Target: serverCPU(s.Target)} }

// serverCPU adds up a server's first process, the children that have ended, and those that live.
func serverCPU(server *pgserver.Server) time.Duration {
	text, err := os.ReadFile(filepath.Join(server.DataDir(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	var sum time.Duration
	for _, file := range stats {
		pid, parent, own, ended := readStat(file)
		switch first {
		case pid:
			sum += own + ended
		case parent:
			sum += own
		}
	}
	return sum
}

// readStat reads a process's number, its parent's, and the time that it and its ended children have used, after
// proc(5). Time is in ticks of 10 ms on every Linux that Go runs on.
func readStat(file string) (pid, parent string, own, ended time.Duration) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", 0, 0 // it has ended
	}
	pid, _, _ = strings.Cut(string(text), " ")
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return "", "", 0, 0
	}
	ticks := func(i int) time.Duration {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return 0
		}
		return time.Duration(n) * 10 * time.Millisecond
	}
	return pid, fields[1], ticks(11) + ticks(12), ticks(13) + ticks(14)
}
