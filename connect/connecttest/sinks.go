package connecttest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// mixed makes a table of every sort with some rows, and opens the pair after the copy.
func mixed(t *testing.T, s Suite) *pair {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("bag", false, "note"))
	p.fill("items", 0, 30)
	p.fill("bag", 0, 5)
	p.fill("bag", 0, 5)
	p.start()
	p.equal()
	return p
}

func repeatsChangeNothing(t *testing.T, s Suite) {
	p := mixed(t, s)
	p.write(insert("items", Int(100), Text("new")), insert("bag", Int(1), Text("row 1")), update("items", "note", Text("x"), Int(3)),
		update("items", "id", Int(300), Int(4)), remove("items", Int(5)), remove("bag", Int(2)))
	p.write(insert("bag", Int(1), Text("row 1")))
	p.each(p.now(), func(b waybill.ChangeBatch) {
		for range 3 {
			p.check(p.sink.Apply(p.ctx(), b))
			if b.Position == "" {
				break
			}
		}
	})
	p.equal()
	p.close()
}

// killBeforeConfirm loses the source's confirmation again and again: the target's own position decides.
func killBeforeConfirm(t *testing.T, s Suite) {
	p := mixed(t, s)
	for round := range 3 {
		p.write(insert("items", Int(100+round), Text("new")), insert("bag", Int(1), Text("row 1")))
		p.each(p.now(), func(b waybill.ChangeBatch) { p.check(p.sink.Apply(p.ctx(), b)) })
		applied := p.position
		p.close()
		progress := p.resume()
		if progress.Position != applied {
			t.Errorf("the target knows position %s, want %s", progress.Position, applied)
		}
		if len(progress.Copied) != 2 || len(progress.Versions) != 2 {
			t.Errorf("the target knows %d copied tables and %d structures, want 2 and 2", len(progress.Copied), len(progress.Versions))
		}
		p.write(remove("bag", Int(round)), update("items", "note", Text("later"), Int(100+round)))
		p.pump()
		p.equal()
	}
	p.close()
}

// copyAgain cuts a copy off after some slices and makes it again from another view.
func copyAgain(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("bag", false, "note"), p.table("changed", true, "note"))
	p.fill("items", 0, 50)
	p.fill("bag", 0, 10)
	p.openSink()
	view := p.openView(p.source)
	versions := p.versions(view)
	p.check(p.sink.Prepare(p.ctx(), versions, true))
	for _, v := range versions {
		cut, err := view.Slices(p.ctx(), v, 7)
		p.check(err)
		_, err = p.sink.Load(p.ctx(), cut[0], view.Read(p.ctx(), cut[0]))
		p.check(err)
	}
	p.check(view.Close())
	p.close()
	p.write(remove("items", Int(1)), insert("bag", Int(3), Text("more")),
		Statement{Verb: AddColumn, Table: named("changed"), Columns: []Column{{"extra", s.Text, false}}})
	p.openSink()
	view = p.openView(p.source)
	p.copyAll(view, 7)
	p.check(view.Close())
	p.equal()
	p.close()
}

func forgetCopies(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("bag", false, "note"))
	p.fill("items", 0, 20)
	p.fill("bag", 0, 20)
	p.openSink()
	view := p.openView(p.source)
	p.copyAll(view, 0)
	p.check(view.Close())
	p.write(insert("items", Int(100), Text("later")), remove("bag", Int(3)))
	for _, name := range []string{"items", "bag"} {
		p.check(p.sink.Forget(p.ctx(), named(name)))
	}
	progress, err := p.sink.Resume(p.ctx())
	p.check(err)
	if len(progress.Copied) != 0 {
		t.Errorf("forgotten tables are still copied: %v", progress.Copied)
	}
	view = p.openView(p.source)
	p.copyAll(view, 5)
	p.check(view.Close())
	p.equal()
	p.close()
}

// absentAndNull changes one column beside a value that is too large to travel when it is unchanged.
func absentAndNull(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "big", "note"))
	random := rand.New(rand.NewPCG(1, 2))
	big := func() Literal {
		var b strings.Builder
		for b.Len() < 50_000 {
			fmt.Fprintf(&b, "%016x", random.Uint64())
		}
		return Text(b.String())
	}
	for i := range 6 {
		p.write(insert("items", Int(i), big(), Text("before")))
	}
	p.start()
	p.write(update("items", "note", Text("beside"), Int(0)))
	p.write(update("items", "id", Int(100), Int(1)))
	p.write(update("items", "big", Null, Int(2)))
	p.write(update("items", "big", big(), Int(3)), update("items", "note", Text("after it"), Int(3)))
	p.write(insert("items", Int(10), big(), Text("new")), update("items", "note", Text("in one"), Int(10)))
	p.write(update("items", "note", Null, Int(4)), update("items", "id", Int(400), Int(4)), update("items", "note", Text("back"), Int(400)))
	absent := 0
	p.each(p.now(), func(b waybill.ChangeBatch) {
		for _, c := range b.Changes {
			for _, v := range c.After {
				if v.IsAbsent() {
					absent++
				}
			}
		}
		p.check(p.sink.Apply(p.ctx(), b))
	})
	t.Logf("%d values were not sent", absent)
	p.equal()
	p.close()
}

func keysChange(t *testing.T, s Suite) {
	p := mixed(t, s)
	// A swap, a chain, a key given up and taken again, all in one transaction and across batches.
	p.write(update("items", "id", Int(-1), Int(1)), update("items", "id", Int(1), Int(2)), update("items", "id", Int(2), Int(-1)))
	p.write(update("items", "id", Int(103), Int(3)), update("items", "id", Int(203), Int(103)), update("items", "id", Int(303), Int(203)))
	p.write(remove("items", Int(6)), insert("items", Int(6), Text("again")), update("items", "id", Int(106), Int(6)), insert("items", Int(6), Text("third")))
	p.pump()
	p.equal()
	p.write(update("items", "id", Int(3), Int(303)))
	p.write(remove("items", Int(3)))
	p.write(insert("items", Int(3), Text("new")), remove("items", Int(3)), insert("items", Int(303), Text("back")))
	p.pump()
	p.equal()
	p.close()
}

func bagsArrive(t *testing.T, s Suite) {
	p := mixed(t, s)
	var twins []Statement
	for range 4 {
		twins = append(twins, insert("bag", Int(7), Text("twin")), insert("bag", Int(7), Null))
	}
	p.write(twins...)
	p.pump()
	p.write(remove("bag", Int(7), Text("twin")))
	p.write(remove("bag", Int(7), Null), update("bag", "note", Text("one of four"), Int(7), Text("twin")))
	p.write(remove("bag", Int(7), Text("twin")), insert("bag", Int(7), Text("twin")), insert("bag", Int(7), Text("twin")))
	p.pump()
	p.equal()
	p.close()
}

func truncated(t *testing.T, s Suite) {
	p := mixed(t, s)
	p.write(insert("items", Int(100), Text("before")), Statement{Verb: Truncate, Table: named("items")}, insert("items", Int(1), Text("after")))
	p.pump()
	p.equal()
	p.write(Statement{Verb: Truncate, Table: named("items"), Others: []waybill.TableName{named("bag")}})
	p.write(insert("bag", Int(1), Text("after")))
	p.pump()
	p.equal()
	p.close()
}

// largeTransaction is one that may come in parts; the target must show all of it or nothing.
func largeTransaction(t *testing.T, s Suite) {
	p := mixed(t, s)
	p.write(update("items", "note", Text("first"), Int(1)),
		Statement{Verb: InsertMany, Table: named("items"), Values: []Literal{Int(1000), Int(999 + s.LargeRows), Text("large")}},
		update("items", "note", Text("last"), Int(1000)), remove("items", Int(1001)))
	p.write(insert("bag", Int(1), Text("after it")))
	parts := 0
	p.each(p.now(), func(b waybill.ChangeBatch) {
		p.check(p.sink.Apply(p.ctx(), b))
		if b.Position == "" {
			parts++
			view := p.openView(p.target)
			if v, err := view.Version(p.ctx(), named("items")); err != nil {
				t.Error(err)
			} else if rows := p.rows(view, v, 0); len(rows) != 30 {
				t.Errorf("within the transaction the target shows %d rows, want the 30 of before", len(rows))
			}
			p.check(view.Close())
		}
	})
	t.Logf("%d parts", parts)
	p.equal()
	p.close()
}

func reshapes(t *testing.T, s Suite) {
	p := mixed(t, s)
	text := func(name string) []Column { return []Column{{name, s.Text, false}} }
	p.write(insert("items", Int(100), Text("old")),
		Statement{Verb: AddColumn, Table: named("items"), Columns: text("extra"), Values: []Literal{Text("given")}},
		insert("items", Int(101), Text("new"), Text("x")), update("items", "extra", Text("set"), Int(100)))
	p.write(p.table("fresh", true, "note"), insert("fresh", Int(1), Text("first")))
	p.write(Statement{Verb: RenameColumn, Table: named("items"), Columns: text("note"), To: "remark"}, insert("items", Int(102), Text("a"), Text("b")))
	p.pump()
	p.equal()
	p.write(Statement{Verb: DropColumn, Table: named("items"), Columns: text("extra")}, insert("items", Int(103), Text("c")),
		Statement{Verb: AddColumn, Table: named("items"), Columns: text("extra")}, insert("items", Int(104), Text("d"), Null))
	p.write(Statement{Verb: RenameTable, Table: named("fresh"), To: "renamed"}, insert("renamed", Int(2), Text("second")))
	p.write(Statement{Verb: DropTable, Table: named("bag")}, p.table("bag", true, "note"), insert("bag", Int(1), Text("keyed now")))
	p.pump()
	p.equal()
	p.close()
	progress := p.resume()
	if len(progress.Versions) != 3 || progress.Versions[named("renamed")] == nil || progress.Versions[named("bag")] == nil {
		t.Errorf("the target knows the structures of %d tables, want items, renamed and bag", len(progress.Versions))
	}
	p.write(Statement{Verb: DropTable, Table: named("renamed")}, insert("items", Int(105), Text("e"), Text("f")))
	p.pump()
	p.equal()
	p.close()
}

func secondSink(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.openSink()
	second, err := s.Connector.OpenSink(p.ctx(), p.target, waybill.SinkOptions{Stream: streamName, Takeover: true})
	if err == nil {
		p.check(second.Close())
	}
	if waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("a second writer: %v, want fault setup", err)
	}
	other, err := s.Connector.OpenSink(p.ctx(), p.target, waybill.SinkOptions{Stream: streamName + "2"})
	p.check(err)
	p.check(other.Close())
	p.close()
	p.openSink()
	p.close()
	for range 2 {
		p.check(s.Connector.Release(p.ctx(), p.target, streamName))
	}
}

func fenced(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.openChanges(waybill.ChangeOptions{})
	first := p.openSink()
	s.Silence(t, p.target)
	second := p.openSink()
	b, err := p.src.Next(p.ctx())
	p.check(err)
	if err := first.Apply(p.ctx(), b); waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("a replaced writer applies: %v, want fault setup", err)
	}
	if err := first.Forget(p.ctx(), named("items")); waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("a replaced writer forgets: %v, want fault setup", err)
	}
	p.check(second.Apply(p.ctx(), b))
	p.check(first.Close())
	p.close()
}
