package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/waybill-data/waybill"
)

// bars shows a link on a terminal: a line that says what it is at, and a bar for each table being copied.
type bars struct {
	w      io.Writer
	screen *mpb.Progress
	status *mpb.Bar
	text   atomic.Pointer[string]
	tables map[waybill.TableName]*tableBar
	meter  meter
}

type tableBar struct {
	bar   *mpb.Bar
	state atomic.Pointer[string]
}

func newBars(w io.Writer, name string) *bars {
	b := &bars{w: w, screen: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40)), tables: map[waybill.TableName]*tableBar{}}
	starting := "starting"
	b.text.Store(&starting)
	b.status = b.screen.New(0, mpb.NopStyle(), mpb.BarPriority(1<<20), mpb.PrependDecorators(
		decor.Any(func(decor.Statistics) string { return name + " " + *b.text.Load() })))
	return b
}

func (b *bars) report(s waybill.LinkStatus) {
	rows, expected, _ := copied(s)
	b.meter.add(s.Updated, rows)
	text := line(s, &b.meter, expected)
	b.text.Store(&text)
	for _, t := range s.Tables {
		b.table(t)
	}
}

func (b *bars) table(t waybill.TableStatus) {
	shown := b.tables[t.Table]
	busy := t.State == "copying" || t.State == "building" || t.State == "catching up"
	switch {
	case shown == nil && busy:
		shown = &tableBar{}
		b.tables[t.Table] = shown
		shown.state.Store(&t.State)
		shown.bar = b.screen.AddBar(max(t.Expected, 1), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(t.Table.String(), decor.WCSyncSpaceR),
				decor.Any(func(decor.Statistics) string { return *shown.state.Load() }, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
				return fmt.Sprintf("%s of about %s rows", grouped(s.Current), grouped(s.Total))
			})))
	case shown == nil:
		return
	case !busy:
		shown.bar.Abort(true)
		delete(b.tables, t.Table)
		return
	}
	shown.state.Store(&t.State)
	shown.bar.SetTotal(max(t.Expected, t.Rows, 1), false)
	shown.bar.SetCurrent(t.Rows)
}

func (b *bars) writer() io.Writer { return b.screen }

func (b *bars) close() {
	for _, t := range b.tables {
		t.bar.Abort(true)
	}
	b.status.Abort(true)
	b.screen.Wait()
	fmt.Fprintf(b.w, "%s\n", *b.text.Load())
}
