package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
)

// printDifferences lists what is kept of a table's differences.
func printDifferences(w io.Writer, t *compare.TableResult) {
	terms := termsOf(t)
	if (t.State == compare.Equal || t.State == compare.SameCount) && len(terms) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s: %s\n", t.Table, t.State)
	for _, line := range terms {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if t.Cause != "" {
		fmt.Fprintf(w, "  %s\n", t.Cause)
	}
	for _, line := range t.Structure {
		fmt.Fprintf(w, "  %s\n", line)
	}
	for _, d := range t.Differences {
		fmt.Fprintf(w, "  %s\n", differenceLine(d))
	}
	if more := t.Rows() - counted(t.Differences); more > 0 {
		fmt.Fprintf(w, "  and %s more rows (--keep or --differences shows them)\n", grouped(more))
	}
}

// termsOf says what the verdict is about, where that is not every value of every row by identity.
func termsOf(t *compare.TableResult) []string {
	var lines []string
	if t.InFlight > 0 {
		lines = append(lines, grouped(t.InFlight)+" places did not stand still: compare again, or give more --looks")
	}
	if t.Gone > 0 {
		lines = append(lines, grouped(t.Gone)+" places differed at first and are equal now: changes were in flight")
	}
	if t.FromRun != 0 {
		lines = append(lines, fmt.Sprintf("proved by run %d, as of then", t.FromRun))
	}
	if t.PartsFromRun != 0 {
		lines = append(lines, fmt.Sprintf("%d parts were proved by the run that was resumed, as of then", t.PartsFromRun))
	}
	if t.Part != "" {
		lines = append(lines, "only "+t.Part)
	}
	if len(t.LeftOut) > 0 {
		lines = append(lines, "without "+strings.Join(t.LeftOut, ", "))
	}
	for _, r := range t.Rules {
		lines = append(lines, "rule "+r)
	}
	for _, n := range t.Notes {
		lines = append(lines, "note: "+n)
	}
	return lines
}

func counted(all []compare.Difference) int64 {
	var n int64
	for _, d := range all {
		n += d.Count
	}
	return n
}

func differenceLine(d compare.Difference) string {
	parts := []string{string(d.Kind)}
	if d.Count > 1 {
		parts = append(parts, fmt.Sprintf("%d times", d.Count))
	}
	for _, f := range d.Key {
		parts = append(parts, f.Column+"="+visible(f.Value))
	}
	line := strings.Join(parts, " ")
	for _, c := range d.Columns {
		line += fmt.Sprintf("\n    %s: %s at the source, %s at the target", c.Column, visible(c.Source), visible(c.Target))
		if c.At > 0 {
			line += fmt.Sprintf(" (they part at byte %d)", c.At)
		}
	}
	return line
}

// visible prints a value so that two different ones never look alike: quoted, and in ASCII.
func visible(value *string) string {
	if value == nil {
		return "NULL"
	}
	return strconv.QuoteToASCII(*value)
}

// compareProgress shows how far a comparison is: a bar on a terminal, a line every ten seconds elsewhere.
type compareProgress struct {
	w      io.Writer
	tables map[waybill.TableName]compare.Progress
	meter  meter
	last   time.Time
	screen *mpb.Progress // nil without a terminal
	bar    *mpb.Bar
}

func (a *app) newCompareProgress() *compareProgress {
	p := &compareProgress{w: a.signals.guard(a.err), tables: map[waybill.TableName]compare.Progress{}, last: time.Now()}
	file, isFile := a.err.(*os.File)
	if a.output == "table" && isFile && isatty.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb" {
		p.screen = mpb.New(mpb.WithOutput(file), mpb.WithWidth(40))
		p.bar = p.screen.AddBar(1, mpb.PrependDecorators(decor.Name("comparing")),
			mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
				return fmt.Sprintf("%s of about %s rows", grouped(s.Current), grouped(s.Total))
			}), decor.AverageSpeed(0, " %.0f/s"), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 8})))
		p.w = p.screen
	}
	return p
}

// report takes word of one table. It is never called in parallel.
func (p *compareProgress) report(t compare.Progress) {
	p.tables[t.Table] = t
	now := time.Now()
	if p.bar == nil && now.Sub(p.last) < 10*time.Second || p.bar != nil && now.Sub(p.last) < 100*time.Millisecond && !t.Done {
		return
	}
	p.last = now
	var rows, expected, differences int64
	done := 0
	for _, t := range p.tables {
		rows, differences = rows+t.Rows, differences+t.Differences
		if t.Done {
			expected, done = expected+t.Rows, done+1
		} else {
			expected += max(t.Expected, t.Rows)
		}
	}
	if p.bar != nil {
		p.bar.SetTotal(max(expected, 1), false)
		p.bar.SetCurrent(rows)
		return
	}
	p.meter.add(now, rows)
	line := fmt.Sprintf("comparing: %s of about %s rows, %s rows/s, %s differences, %d tables done", grouped(rows), grouped(expected),
		grouped(int64(p.meter.rate())), grouped(differences), done)
	if end := p.meter.end(expected); !end.IsZero() {
		line += ", ends about " + end.Local().Format("15:04:05")
	}
	fmt.Fprintln(p.w, line)
}

func (p *compareProgress) writer() io.Writer { return p.w }

func (p *compareProgress) close() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.screen.Wait()
	}
}
