package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/link"
)

var start = time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC)

func TestMeterTellsRateAndEnd(t *testing.T) {
	var m meter
	if m.rate() != 0 || !m.end(10).IsZero() {
		t.Error("a meter without readings tells something")
	}
	for i := range 60 {
		rows := int64(100 * i)
		if i > 40 {
			rows = 4000 + int64(10*(i-40)) // it became slow twenty seconds ago
		}
		m.add(start.Add(time.Duration(i)*time.Second), rows)
	}
	if got := m.rate(); got != 10 {
		t.Errorf("rate %v, want 10", got)
	}
	if got, want := m.end(4290), start.Add(69*time.Second); !got.Equal(want) {
		t.Errorf("end %v, want %v", got, want)
	}
	if got := m.end(100); !got.Equal(start.Add(59 * time.Second)) {
		t.Errorf("end %v of what is done already", got)
	}
}

// statuses are a copy of two tables, and then the stream.
func statuses() []waybill.LinkStatus {
	a, b := waybill.TableName{Schema: "s", Name: "a"}, waybill.TableName{Schema: "s", Name: "b"}
	var all []waybill.LinkStatus
	for i := range 30 {
		s := waybill.LinkStatus{Link: "l", State: "copying", Updated: start.Add(time.Duration(i) * time.Second), Tables: []waybill.TableStatus{
			{Table: a, State: "streaming", Rows: 1000, Expected: 900}, {Table: b, State: "copying", Rows: int64(1000 * i), Expected: 29000}}}
		if i == 29 {
			s.State, s.Changes, s.Rate, s.Delay = "streaming", 12345, 10, 0.012
			s.Tables[1].State = "streaming"
		}
		all = append(all, s)
	}
	return all
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	p := &plainLines{w: &out}
	for _, s := range statuses() {
		p.report(s)
	}
	end := start.Add(29 * time.Second).Local().Format("15:04:05")
	want := "07:08:00 l copying: 1 of 2 tables, 1,000 rows of about 30,000 (3 %), 0 rows/s\n" +
		"07:08:10 l copying: 1 of 2 tables, 11,000 rows of about 30,000 (36 %), 1,000 rows/s, ends about " + end + "\n" +
		"07:08:20 l copying: 1 of 2 tables, 21,000 rows of about 30,000 (70 %), 1,000 rows/s, ends about " + end + "\n" +
		"07:08:29 l streaming: 12,345 changes, 10/s, delay 12ms (p99 0s)\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestBarsEnd(t *testing.T) {
	var out bytes.Buffer
	b := newBars(&out, "l")
	for _, s := range statuses() {
		b.report(s)
	}
	if _, err := b.writer().Write([]byte("a line of the log\n")); err != nil {
		t.Error(err)
	}
	b.close()
	if len(b.tables) != 0 {
		t.Errorf("%d bars are left", len(b.tables))
	}
	if got := *b.text.Load(); !strings.HasPrefix(got, "streaming: 12,345 changes") {
		t.Errorf("last line %q", got)
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestFailPointKills runs itself in a process that kills itself the second time it passes a point.
func TestFailPointKills(t *testing.T) {
	const hook = "WAYBILL_TEST_HOOK"
	if os.Getenv(hook) != "" {
		fail, err := failPoint(os.Getenv(hook))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"apply.before", "confirmed", "apply.before", "never"} {
			os.Stdout.WriteString(name + "\n")
			fail(name)
		}
		return
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFailPointKills$")
	c.Env = append(os.Environ(), hook+"=apply.before:2")
	out, err := c.Output()
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", err)
	}
	if got := string(out); got != "apply.before\nconfirmed\napply.before\n" {
		t.Errorf("passed %q", got)
	}
}

func TestFailPointsAreKnown(t *testing.T) {
	for _, name := range link.FailPoints {
		if fail, err := failPoint(name); err != nil || fail == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if fail, err := failPoint(""); fail != nil || err != nil {
		t.Errorf("without a hook: %v", err)
	}
}

func TestSettle(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, test := range []struct {
		name string
		s    waybill.LinkStatus
		want string
	}{
		{"here and there", waybill.LinkStatus{State: "paused", Host: host, Process: os.Getpid(), Updated: now.Add(-time.Minute)}, "paused"},
		{"here, its number taken by another", waybill.LinkStatus{State: "streaming", Host: host, Process: os.Getpid(), Updated: now.Add(-time.Hour)}, "stopped"},
		{"here and gone", waybill.LinkStatus{State: "streaming", Host: host, Process: 1 << 30, Updated: now}, "stopped"},
		{"elsewhere", waybill.LinkStatus{State: "streaming", Host: "elsewhere", Process: 1 << 30, Updated: now.Add(-10 * time.Second)}, "streaming"},
		{"elsewhere and silent", waybill.LinkStatus{State: "streaming", Host: "elsewhere", Process: 1, Updated: now.Add(-time.Minute)}, "stopped"},
		{"failed", waybill.LinkStatus{State: "failed", Host: host, Process: 1 << 30}, "failed"},
	} {
		if got := settle(test.s, now).State; got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
