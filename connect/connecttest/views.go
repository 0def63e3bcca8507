package connecttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

func slicesCover(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("bag", false, "note"), p.table("empty", true, "note"))
	p.fill("items", 0, 500)
	p.write(remove("items", Int(3)), remove("items", Int(250)))
	p.fill("bag", 0, 40)
	p.fill("bag", 0, 40)
	view := p.openView(p.source)
	versions := p.versions(view)
	if len(versions) != 3 {
		t.Fatalf("%d tables, want 3", len(versions))
	}
	for _, v := range versions {
		whole := p.rows(view, v, 0)
		if want := map[string]int{"items": 498, "bag": 80, "empty": 0}[v.Table.Name]; len(whole) != want {
			t.Errorf("%s as one slice has %d rows, want %d", v.Table, len(whole), want)
		}
		for _, size := range []int{1, 7, 100, 1000} {
			if rows := p.rows(view, v, size); !slices.Equal(rows, whole) {
				t.Errorf("%s in slices of about %d has %d rows, as one slice %d, or others", v.Table, size, len(rows), len(whole))
			}
		}
	}
	p.check(view.Close())
}

func slicesOrdered(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"),
		Statement{Verb: Create, Table: named("words"), Columns: []Column{{"word", s.Text, true}, {"n", s.Int, false}}})
	for _, n := range []int{5, -3, 100, 20, 0, 7} {
		p.write(insert("items", Int(n), Text("x")))
	}
	for i, word := range []string{"b", "B", "a", "é", "z", "aa", "_", "Z", "0", "ab c", "ab-c", "abc"} {
		p.write(insert("words", Text(word), Int(i)))
	}
	view := p.openView(p.source)
	ordered := 0
	for _, v := range p.versions(view) {
		for _, size := range []int{0, 3} {
			cut, err := view.Slices(p.ctx(), v, size)
			p.check(err)
			for _, slice := range cut {
				if slice.Ordered {
					ordered++
					p.inOrder(view, slice)
				}
			}
		}
	}
	if ordered == 0 {
		t.Log("no slice is ordered")
	}
	p.check(view.Close())
}

func (p *pair) inOrder(view waybill.View, slice waybill.Slice) {
	p.t.Helper()
	var last waybill.Row
	for b, err := range view.Read(p.ctx(), slice) {
		p.check(err)
		for _, row := range b.Rows {
			if last != nil && waybill.CompareKeys(last, row, slice.Version.OrderColumns()) > 0 {
				p.t.Errorf("%s: %v comes before %v", slice.Version.Table, last, row)
			}
			last = row.Clone()
		}
	}
}

func viewStands(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.fill("items", 0, 50)
	view := p.openView(p.source)
	v := p.versions(view)[0]
	p.write(update("items", "note", Text("later"), Int(1)), remove("items", Int(2)), insert("items", Int(100), Text("later")))
	rows := p.rows(view, v, 10)
	if len(rows) != 50 || strings.Contains(strings.Join(rows, ""), "later") {
		t.Errorf("the view has %d rows, want the 50 of its moment: %s", len(rows), short(rows))
	}
	p.check(view.Close())
}

func readCancelled(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.fill("items", 0, 2000)
	view := p.openView(p.source)
	v := p.versions(view)[0]
	cut, err := view.Slices(p.ctx(), v, 0)
	p.check(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	var met error
	for _, err := range view.Read(ctx, cut[0]) {
		met = err
	}
	if !errors.Is(met, context.Canceled) {
		t.Errorf("reading with a cancelled context ends with %v, want context.Canceled", met)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s to notice", took)
	}
	p.check(view.Close())
}

func bytesCarry(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("bag", false, "note"))
	p.fill("items", 0, 300)
	p.write(insert("items", Int(1000), Null), insert("bag", Int(1), Text("tab\tline\nback\\slash")), insert("bag", Int(1), Text("")))
	p.writeSamples()
	view := p.openView(p.source)
	exporter, exports := view.(waybill.Exporter)
	importer, imports := p.openSink().(waybill.Importer)
	if !exports || !imports {
		p.check(view.Close())
		t.Skip("the connector does not export and import bytes")
	}
	versions := p.versions(view)
	p.check(p.sink.Prepare(p.ctx(), versions, true))
	for _, v := range versions {
		accepted, err := importer.Accepts(p.ctx(), v)
		p.check(err)
		formats := slices.DeleteFunc(exporter.Formats(v), func(f waybill.Format) bool { return !slices.Contains(accepted, f) })
		if len(formats) == 0 {
			t.Errorf("%s: no format that is exported is imported", v.Table)
		}
		cut, err := view.Slices(p.ctx(), v, 50)
		p.check(err)
		for i, slice := range cut {
			p.exportImport(exporter, importer, slice, formats[i%len(formats)])
		}
	}
	p.check(p.sink.Complete(p.ctx(), versions, view.Position()))
	p.check(view.Close())
	p.equal()
}

func (p *pair) exportImport(from waybill.Exporter, to waybill.Importer, slice waybill.Slice, f waybill.Format) {
	p.t.Helper()
	var wire bytes.Buffer
	sent, err := from.Export(p.ctx(), slice, f, &wire)
	p.check(err)
	taken, err := to.Import(p.ctx(), slice, f, &wire)
	p.check(err)
	if sent != taken {
		p.t.Errorf("%s: %d rows were sent and %d taken", slice.Version.Table, sent, taken)
	}
}

// kindsArrive sends every sample by a copy and by the stream, and compares what is read with what was
// written, where that is known, and the target with the source.
func kindsArrive(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.writeSamples()
	p.start()
	p.equal()
	for i, sample := range s.Samples {
		p.expect(i, sample)
		name := sampleName(i)
		var statements []Statement
		for n, literal := range withNull(sample) {
			statements = append(statements, insert(name, Int(1000+n), literal), update(name, "c", Null, Int(n)), update(name, "c", literal, Int(n)))
		}
		p.write(append(statements, update(name, "c", Null, Int(0)))...)
	}
	p.pump()
	p.equal()
	p.opensAgain()
	p.close()
}

// writeSamples makes a table for every sample, with its literals and NULL.
func (p *pair) writeSamples() {
	p.t.Helper()
	for i, sample := range p.s.Samples {
		var statements []Statement
		for _, sql := range sample.Before {
			statements = append(statements, Statement{Verb: Prepare, Native: sql})
		}
		statements = append(statements, p.sampleTable(i, sample))
		for n, literal := range withNull(sample) {
			statements = append(statements, insert(sampleName(i), Int(n), literal))
		}
		p.write(statements...)
	}
}

func withNull(s Sample) []Literal { return append(slices.Clone(s.Literals), Null) }

// opensAgain checks that a stream that is opened again still tells values as before.
func (p *pair) opensAgain() {
	p.t.Helper()
	p.close()
	p.resume()
	for i, sample := range p.s.Samples {
		p.write(insert(sampleName(i), Int(5000), sample.Literals[0]))
	}
	p.pump()
	p.equal()
}

func sampleName(i int) string { return fmt.Sprint("sample_", i) }

func (p *pair) sampleTable(i int, sample Sample) Statement {
	return Statement{Verb: Create, Table: named(sampleName(i)), Columns: []Column{{"id", p.s.Int, true}, {"c", sample.Type, false}}}
}

// expect compares what both sides read with the literals.
func (p *pair) expect(i int, sample Sample) {
	p.t.Helper()
	for _, e := range []waybill.Endpoint{p.source, p.target} {
		view := p.openView(e)
		v, err := view.Version(p.ctx(), named(sampleName(i)))
		p.check(err)
		if got := v.Columns[1].Type.Kind; sample.Type.Kind != waybill.KindAbsent && got != sample.Type.Kind {
			p.t.Errorf("type %s is of kind %s, want %s", sample.Type.Native, got, sample.Type.Kind)
		}
		cut, err := view.Slices(p.ctx(), v, 0)
		p.check(err)
		for b, err := range view.Read(p.ctx(), cut[0]) {
			p.check(err)
			for _, row := range b.Rows {
				n := int(row[0].Int())
				if n >= len(sample.Literals) {
					continue
				}
				if want := sample.Literals[n].Value; !want.IsAbsent() && !row[1].Same(want) {
					p.t.Errorf("type %s, %s at %s: got %s %s, want %s %s", sample.Type.Native, sample.Literals[n].SQL, e.Name,
						row[1].Kind(), row[1], want.Kind(), want)
				}
			}
		}
		p.check(view.Close())
	}
}
