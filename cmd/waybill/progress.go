package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/waybill-data/waybill"
)

// progress shows people how far a link is while it runs. Its writer takes the logs, so that they do not run
// into what is shown.
type progress interface {
	report(s waybill.LinkStatus)
	writer() io.Writer
	close()
}

// newProgress chooses by where standard error goes: bars on a terminal, lines elsewhere, and JSON lines on
// standard output where those are asked for.
func (a *app) newProgress(name string) progress {
	file, isFile := a.err.(*os.File)
	lines := a.signals.guard(a.err)
	switch {
	case a.output == "jsonl":
		return &jsonLines{out: json.NewEncoder(a.out), err: lines}
	case a.output == "json":
		return &quiet{lines}
	case isFile && isatty.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb":
		return newBars(file, name)
	}
	return &plainLines{w: lines}
}

// logTo returns where a command logs while progress is shown.
func (a *app) logTo(p progress) *slog.Logger { return slog.New(a.handler(p.writer())) }

type quiet struct{ w io.Writer }

func (q *quiet) report(waybill.LinkStatus) {}
func (q *quiet) writer() io.Writer         { return q.w }
func (q *quiet) close()                    {}

type jsonLines struct {
	out    *json.Encoder
	err    io.Writer
	failed bool
}

func (j *jsonLines) report(s waybill.LinkStatus) {
	if err := j.out.Encode(s); err != nil && !j.failed {
		j.failed = true
		fmt.Fprintf(j.err, "write progress: %v\n", err)
	}
}
func (j *jsonLines) writer() io.Writer { return j.err }
func (j *jsonLines) close()            {}

// plainLines writes a line for every change of state, and every ten seconds.
type plainLines struct {
	w     io.Writer
	meter meter
	state string
	last  time.Time
}

func (p *plainLines) report(s waybill.LinkStatus) {
	rows, expected, _ := copied(s)
	p.meter.add(s.Updated, rows)
	if s.State == p.state && s.Updated.Sub(p.last) < 10*time.Second {
		return
	}
	p.state, p.last = s.State, s.Updated
	fmt.Fprintf(p.w, "%s %s %s\n", s.Updated.UTC().Format("15:04:05"), s.Link, line(s, &p.meter, expected))
}
func (p *plainLines) writer() io.Writer { return p.w }
func (p *plainLines) close()            {}

// line is what a link is at, in words.
func line(s waybill.LinkStatus, m *meter, expected int64) string {
	switch s.State {
	case "copying":
		rows, _, done := copied(s)
		text := fmt.Sprintf("copying: %d of %d tables, %s rows", done, len(s.Tables), grouped(rows))
		if expected > 0 {
			text += fmt.Sprintf(" of about %s (%d %%)", grouped(expected), min(100, 100*rows/expected))
		}
		text += fmt.Sprintf(", %s rows/s", grouped(int64(m.rate())))
		if end := m.end(expected); !end.IsZero() {
			text += ", ends about " + end.Local().Format("15:04:05")
		}
		return text
	case "waiting":
		return "waiting: " + s.Waiting
	}
	text := fmt.Sprintf("%s: %s changes, %s/s, delay %s (p99 %s)", s.State, grouped(s.Changes), grouped(int64(s.Rate)), seconds(s.Delay), seconds(s.DelayP99))
	for _, t := range s.Tables {
		if t.State != "streaming" && t.State != "" {
			text += fmt.Sprintf("; %s %s", t.Table, t.State)
		}
	}
	if s.Error != "" {
		text += "; " + oneLine(s.Error)
	}
	return text
}

// copied sums up the tables: rows copied, rows expected in all, tables that are copied.
func copied(s waybill.LinkStatus) (rows, expected int64, done int) {
	for _, t := range s.Tables {
		rows += t.Rows
		expected += max(t.Expected, t.Rows)
		if t.State == "streaming" || t.State == "catching up" || t.State == "building" {
			done++
		}
	}
	return rows, expected, done
}

// meter tells a rate over the last ten seconds or so, and from it when the rest is done.
type meter struct {
	times []time.Time
	rows  []int64
}

func (m *meter) add(at time.Time, rows int64) {
	m.times, m.rows = append(m.times, at), append(m.rows, rows)
	for len(m.times) > 2 && at.Sub(m.times[1]) > 10*time.Second {
		m.times, m.rows = m.times[1:], m.rows[1:]
	}
}

func (m *meter) rate() float64 {
	if len(m.times) < 2 {
		return 0
	}
	last := len(m.times) - 1
	passed := m.times[last].Sub(m.times[0]).Seconds()
	if passed <= 0 {
		return 0
	}
	return float64(m.rows[last]-m.rows[0]) / passed
}

// end is the time at which all expected rows are there; zero when that cannot be told.
func (m *meter) end(expected int64) time.Time {
	rate := m.rate()
	if rate <= 0 || expected <= 0 {
		return time.Time{}
	}
	last := len(m.times) - 1
	return m.times[last].Add(time.Duration(float64(max(0, expected-m.rows[last])) / rate * float64(time.Second)))
}

// grouped prints a number with a comma between thousands.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}
