package connecttest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

const (
	streamName = "conformance"
	patience   = 60 * time.Second
)

var selection = waybill.Selection{"public.*"}

// pair is a source and a target with the stream between them.
type pair struct {
	t              *testing.T
	s              Suite
	source, target waybill.Endpoint
	columns        map[waybill.TableName][]Column
	src            waybill.ChangeSource
	sink           waybill.Sink
	position       waybill.Position // the target is here
}

func newPair(t *testing.T, s Suite) *pair {
	t.Helper()
	p := &pair{t: t, s: s, source: s.Source(t), columns: map[waybill.TableName][]Column{}}
	if s.Connector.OpenSink != nil {
		p.target = s.Target(t)
	}
	if s.Connector.Capture != nil {
		p.check(s.Connector.Capture.Install(t.Context(), p.source))
	}
	t.Cleanup(p.close)
	return p
}

// close closes what is open; tests call it to leave no goroutine.
func (p *pair) close() {
	p.t.Helper()
	if p.src != nil {
		p.check(p.src.Close())
		p.src = nil
	}
	if p.sink != nil {
		p.check(p.sink.Close())
		p.sink = nil
	}
}

func (p *pair) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func named(name string) waybill.TableName { return waybill.TableName{Schema: "public", Name: name} }

// ctx is the test's context with an end, so that nothing hangs.
func (p *pair) ctx() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// write runs a transaction at the source.
func (p *pair) write(statements ...Statement) {
	p.t.Helper()
	for i, s := range statements {
		if s.Verb == Create {
			p.columns[s.Table] = s.Columns
		}
		for n := range s.Where {
			statements[i].Match = append(statements[i].Match, p.columns[s.Table][n].Name)
		}
	}
	p.s.Write(p.t, p.source, statements...)
}

// table makes a table of an integer id and texts; with key the id is the key.
func (p *pair) table(name string, key bool, texts ...string) Statement {
	columns := []Column{{"id", p.s.Int, key}}
	for _, c := range texts {
		columns = append(columns, Column{c, p.s.Text, false})
	}
	return Statement{Verb: Create, Table: named(name), Columns: columns}
}

func insert(name string, values ...Literal) Statement {
	return Statement{Verb: Insert, Table: named(name), Values: values}
}

func remove(name string, where ...Literal) Statement {
	return Statement{Verb: Delete, Table: named(name), Where: where}
}

// update sets one column of the row found by its first columns.
func update(name, column string, value Literal, where ...Literal) Statement {
	return Statement{Verb: Update, Table: named(name), Columns: []Column{{Name: column}}, Values: []Literal{value}, Where: where}
}

// fill inserts rows with ids from..to-1.
func (p *pair) fill(name string, from, to int) {
	p.t.Helper()
	var statements []Statement
	for i := from; i < to; i++ {
		statements = append(statements, insert(name, Int(i), Text(fmt.Sprint("row ", i))))
	}
	p.write(statements...)
}

func (p *pair) openChanges(o waybill.ChangeOptions) waybill.ChangeSource {
	p.t.Helper()
	o.Stream, o.Tables, o.Heartbeat, o.SpillDir = streamName, selection, 100*time.Millisecond, p.t.TempDir()
	src, err := p.s.Connector.OpenChanges(p.ctx(), p.source, o)
	p.check(err)
	p.src = src
	return src
}

func (p *pair) openSink() waybill.Sink {
	p.t.Helper()
	sink, err := p.s.Connector.OpenSink(p.ctx(), p.target, waybill.SinkOptions{Stream: streamName, Takeover: true})
	p.check(err)
	p.sink = sink
	return sink
}

func (p *pair) openView(e waybill.Endpoint) waybill.View {
	p.t.Helper()
	view, err := p.s.Connector.OpenView(p.ctx(), e, waybill.ViewOptions{Tables: selection})
	p.check(err)
	return view
}

// versions returns the structures of all tables of a view.
func (p *pair) versions(view waybill.View) []*waybill.TableVersion {
	p.t.Helper()
	names, err := view.Tables(p.ctx())
	p.check(err)
	var all []*waybill.TableVersion
	for _, name := range names {
		v, err := view.Version(p.ctx(), name)
		p.check(err)
		all = append(all, v)
	}
	return all
}

// start copies everything and leaves source and sink open, where the stream begins.
func (p *pair) start() {
	p.t.Helper()
	p.openSink()
	p.openChanges(waybill.ChangeOptions{})
	view, err := p.src.View(p.ctx())
	p.check(err)
	versions := p.copyAll(view, 3)
	for _, v := range versions {
		p.src.Follow(v, view.Position())
	}
	p.check(view.Close())
}

// copyAll copies all tables of a view in slices of so many rows.
func (p *pair) copyAll(view waybill.View, rows int) []*waybill.TableVersion {
	p.t.Helper()
	versions := p.versions(view)
	p.check(p.sink.Prepare(p.ctx(), versions, true))
	for _, v := range versions {
		slices, err := view.Slices(p.ctx(), v, rows)
		p.check(err)
		for _, slice := range slices {
			_, err := p.sink.Load(p.ctx(), slice, view.Read(p.ctx(), slice))
			p.check(err)
		}
	}
	p.check(p.sink.Complete(p.ctx(), versions, view.Position()))
	return versions
}

// resume opens both ends again where the target is.
func (p *pair) resume() waybill.Progress {
	p.t.Helper()
	progress, err := p.openSink().Resume(p.ctx())
	p.check(err)
	o := waybill.ChangeOptions{Position: progress.Position, Versions: progress.Versions, After: progress.Copied}
	if o.Position == "" {
		for _, copied := range progress.Copied {
			o.Position = copied
		}
	}
	p.openChanges(o)
	p.position = progress.Position
	return progress
}

// now returns the end of the source's history.
func (p *pair) now() waybill.Position {
	p.t.Helper()
	state, err := p.s.Connector.State(p.ctx(), p.source, streamName)
	p.check(err)
	return state.Current
}

func (p *pair) compare(a, b waybill.Position) int {
	p.t.Helper()
	order, err := p.s.Connector.ComparePositions(a, b)
	p.check(err)
	return order
}

// each gives every batch up to a position to do, and checks what holds for all batches.
func (p *pair) each(until waybill.Position, do func(waybill.ChangeBatch)) {
	p.t.Helper()
	ctx := p.ctx()
	for {
		b, err := p.src.Next(ctx)
		p.check(err)
		if b.Position != "" && p.position != "" && p.compare(b.Position, p.position) < 0 {
			p.t.Fatalf("position %s came after %s", b.Position, p.position)
		}
		for _, c := range b.Changes {
			checkChange(p.t, c)
		}
		do(b)
		if b.Position == "" {
			continue
		}
		p.position = b.Position
		if p.compare(b.Position, until) >= 0 {
			return
		}
	}
}

// pump carries everything that has happened at the source to the target.
func (p *pair) pump() {
	p.t.Helper()
	p.each(p.now(), func(b waybill.ChangeBatch) {
		p.check(p.sink.Apply(p.ctx(), b))
		if b.Position != "" {
			p.check(p.src.Confirm(p.ctx(), b.Position))
		}
	})
}

// checkChange checks that a change is what the contract says of its operation.
func checkChange(t *testing.T, c waybill.Change) {
	t.Helper()
	if c.Version == nil {
		t.Fatalf("%s without a version", c.Op)
	}
	width := len(c.Version.Columns)
	bad := false
	switch c.Op {
	case waybill.Insert:
		bad = len(c.After) != width || c.Before != nil
	case waybill.Update:
		bad = len(c.After) != width || c.Before != nil && len(c.Before) != width
	case waybill.Delete:
		bad = len(c.Before) != width || c.After != nil
	case waybill.Truncate:
		bad = c.Cut == nil || c.Before != nil || c.After != nil
	case waybill.Reshape:
		bad = c.Shape == nil
	default:
		bad = true
	}
	if bad {
		t.Fatalf("malformed change: %s of %s: before %v, after %v", c.Op, c.Version.Table, c.Before, c.After)
	}
}

// equal fails unless the target is what the source is.
func (p *pair) equal() {
	p.t.Helper()
	want, got := p.contents(p.source), p.contents(p.target)
	for name, lines := range want {
		if !slices.Equal(lines, got[name]) {
			p.t.Errorf("table %s\n source %s\n target %s", name, short(lines), short(got[name]))
		}
		delete(got, name)
	}
	for name := range got {
		p.t.Errorf("table %s is at the target only", name)
	}
}

func short(lines []string) string {
	text := strings.Join(lines[:min(20, len(lines))], "; ")
	return fmt.Sprintf("(%d lines) %.2000s", len(lines), text)
}

// contents prints every table of a system: its columns, then its rows as a sorted bag.
func (p *pair) contents(e waybill.Endpoint) map[waybill.TableName][]string {
	p.t.Helper()
	view := p.openView(e)
	all := map[waybill.TableName][]string{}
	for _, v := range p.versions(view) {
		line := ""
		for i, c := range v.Columns {
			line += fmt.Sprintf("%s %s key %t, ", c.Name, c.Type.Native, slices.Contains(v.Key, i))
		}
		all[v.Table] = append([]string{line}, p.rows(view, v, 0)...)
	}
	p.check(view.Close())
	return all
}

// rows reads a table and prints its rows, sorted.
func (p *pair) rows(view waybill.View, v *waybill.TableVersion, size int) []string {
	p.t.Helper()
	cut, err := view.Slices(p.ctx(), v, size)
	p.check(err)
	var lines []string
	for _, slice := range cut {
		lines = append(lines, p.slice(view, slice)...)
	}
	slices.SortFunc(lines, cmp.Compare[string])
	return lines
}

// slice reads one slice and prints its rows.
func (p *pair) slice(view waybill.View, slice waybill.Slice) []string {
	p.t.Helper()
	var lines []string
	for b, err := range view.Read(p.ctx(), slice) {
		p.check(err)
		if b.Version == nil || b.Version.Table != slice.Version.Table {
			p.t.Fatalf("a batch of a slice of %s has version %v", slice.Version.Table, b.Version)
		}
		for _, row := range b.Rows {
			lines = append(lines, printRow(row))
		}
	}
	return lines
}

// printRow tells kinds apart, so that equal lines are the same values.
func printRow(row waybill.Row) string {
	var b strings.Builder
	for _, v := range row {
		fmt.Fprintf(&b, "%s:%s|", v.Kind(), v)
	}
	return b.String()
}
