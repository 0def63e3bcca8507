package connecttest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// handOff copies while rows are written, and then follows: no change may be missing and none come twice,
// which a table without a key shows.
func handOff(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("bag", false, "note"))
	p.fill("items", 0, 100)
	p.fill("bag", 0, 20)
	stop, warm := make(chan struct{}), make(chan struct{})
	var writer errgroup.Group
	writer.Go(func() error {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return nil
			default:
			}
			p.s.Write(t, p.source, insert("items", Int(1000+n), Text("new")), insert("bag", Int(n%5), Text("twin")),
				matched(update("items", "note", Text(fmt.Sprint("change ", n)), Int(n%100)), "id"), matched(remove("bag", Int(n%20)), "id"),
				insert("bag", Int(n%20), Text("back")))
			if n == 3 {
				close(warm)
			}
		}
	})
	<-warm
	p.openSink()
	p.openChanges(waybill.ChangeOptions{})
	// Between the beginning of the stream and the view there is something for sure.
	p.write(insert("bag", Int(50), Text("between")), insert("items", Int(-50), Text("between")))
	view, err := p.src.View(p.ctx())
	p.check(err)
	p.write(insert("bag", Int(51), Text("after")), remove("items", Int(-50)))
	for _, v := range p.copyAll(view, 3) {
		p.src.Follow(v, view.Position())
	}
	p.check(view.Close())
	p.pump()
	close(stop)
	p.check(writer.Wait())
	p.pump()
	p.equal()
	p.close()
}

func matched(s Statement, columns ...string) Statement {
	s.Match = columns
	return s
}

func positionsGrow(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.openChanges(waybill.ChangeOptions{})
	var seen []waybill.Position
	for i := range 5 {
		p.fill("items", 10*i, 10*i+10)
		p.each(p.now(), func(b waybill.ChangeBatch) {
			if b.Position != "" {
				seen = append(seen, b.Position)
			}
		})
	}
	if p.compare(seen[0], seen[len(seen)-1]) >= 0 {
		t.Errorf("after changes the stream is at %s, before them it was at %s", seen[len(seen)-1], seen[0])
	}
	if _, err := s.Connector.ComparePositions(seen[0], "no position"); err == nil {
		t.Error("a position of another history was ordered")
	}
	p.close()
}

func nextCancelled(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.openChanges(waybill.ChangeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	timer := time.AfterFunc(50*time.Millisecond, cancel)
	defer timer.Stop()
	for {
		_, err := p.src.Next(ctx)
		if err == nil && time.Since(began) < patience {
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("waiting with a cancelled context ends with %v, want context.Canceled", err)
		}
		break
	}
	if took := time.Since(began); took > time.Second+50*time.Millisecond {
		t.Errorf("it took %s to notice", took)
	}
	p.close()
}

// told counts the changes of rows by table up to now.
func (p *pair) told() map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	p.each(p.now(), func(b waybill.ChangeBatch) {
		for _, c := range b.Changes {
			if c.Op != waybill.Reshape {
				counts[c.Version.Table.Name]++
			}
		}
	})
	return counts
}

func (p *pair) expectTold(what string, want map[string]int) {
	p.t.Helper()
	got := p.told()
	for name, n := range want {
		if got[name] != n {
			p.t.Errorf("%s: %d changes of %s, want %d", what, got[name], name, n)
		}
	}
}

func holdAndFollow(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"), p.table("held", true, "note"))
	p.openChanges(waybill.ChangeOptions{})
	p.fill("items", 0, 10)
	p.fill("held", 0, 10)
	p.expectTold("without a hold", map[string]int{"items": 10, "held": 10})
	p.check(p.src.Confirm(p.ctx(), p.position))
	from := p.position
	versions := map[waybill.TableName]*waybill.TableVersion{}
	view := p.openView(p.source)
	for _, v := range p.versions(view) {
		versions[v.Table] = v
	}
	p.check(view.Close())
	p.close()

	p.openChanges(waybill.ChangeOptions{Position: from, Versions: versions, Hold: []waybill.TableName{named("held")}})
	p.fill("items", 10, 15)
	p.fill("held", 10, 15)
	p.expectTold("with a hold", map[string]int{"items": 5, "held": 0})
	p.fill("held", 20, 23)
	joined, err := p.src.View(p.ctx())
	p.check(err)
	at := joined.Position()
	rows := p.rows(joined, versions[named("held")], 0)
	p.check(joined.Close())
	if len(rows) != 18 {
		t.Errorf("the view that joins has %d rows of the held table, want 18", len(rows))
	}
	p.src.Follow(versions[named("held")], at)
	p.fill("held", 30, 34)
	p.expectTold("after the view", map[string]int{"items": 0, "held": 4})
	p.close()
}

func markEnds(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.openChanges(waybill.ChangeOptions{})
	p.fill("items", 0, 5)
	mark := p.now()
	for i := 10; i < 30; i++ {
		p.fill("items", i, i+1)
	}
	end := p.now()
	p.src.Mark(mark)
	before, after, reached := 0, 0, false
	p.each(end, func(b waybill.ChangeBatch) {
		if reached {
			after += len(b.Changes)
		} else {
			before += len(b.Changes)
		}
		if !reached && b.Position != "" && p.compare(b.Position, mark) >= 0 {
			reached = true
			if p.compare(b.Position, mark) > 0 {
				t.Errorf("a batch ends at %s, past the mark %s", b.Position, mark)
			}
		}
	})
	if before != 5 || after != 20 {
		t.Errorf("%d changes up to the mark and %d after it, want 5 and 20", before, after)
	}
	p.close()
}

func dropRepeated(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.check(s.Connector.Drop(p.ctx(), p.source, streamName))
	p.openChanges(waybill.ChangeOptions{})
	state, err := s.Connector.State(p.ctx(), p.source, streamName)
	p.check(err)
	if !state.Exists || !state.Active {
		t.Errorf("an open stream is %+v, want it to exist and be active", state)
	}
	p.close()
	for range 2 {
		p.check(s.Connector.Drop(p.ctx(), p.source, streamName))
		state, err := s.Connector.State(p.ctx(), p.source, streamName)
		p.check(err)
		if state.Exists {
			t.Errorf("a dropped stream is %+v", state)
		}
	}
	o := waybill.ChangeOptions{Stream: streamName, Tables: selection, Position: p.now(), SpillDir: t.TempDir()}
	src, err := s.Connector.OpenChanges(p.ctx(), p.source, o)
	if err == nil {
		p.check(src.Close())
	}
	if waybill.FaultOf(err) != waybill.Drift {
		t.Errorf("opening a dropped stream after a position: %v, want fault drift", err)
	}
}

// resumeTells opens a stream again at a position in the middle: what is later comes, nothing else.
func resumeTells(t *testing.T, s Suite) {
	p := newPair(t, s)
	p.write(p.table("items", true, "note"))
	p.openChanges(waybill.ChangeOptions{})
	view := p.openView(p.source)
	versions := map[waybill.TableName]*waybill.TableVersion{named("items"): p.versions(view)[0]}
	p.check(view.Close())
	p.fill("items", 0, 10)
	p.expectTold("first", map[string]int{"items": 10})
	at := p.position
	p.check(p.src.Confirm(p.ctx(), at))
	p.fill("items", 10, 17)
	p.expectTold("second, not confirmed", map[string]int{"items": 7})
	p.close()
	p.position = at
	p.openChanges(waybill.ChangeOptions{Position: at, Versions: versions})
	p.expectTold("again", map[string]int{"items": 7})
	p.close()
}
