package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/memory"
	"github.com/waybill-data/waybill/ledger"
)

// rig is a link between two systems in memory, driven by the command line.
type rig struct {
	shop, lake *memory.Store
	t          *testing.T
}

var items = waybill.TableName{Schema: "public", Name: "items"}

func newRig(t *testing.T, onReshape string) *rig {
	t.Helper()
	r := &rig{shop: memory.NewStore("shop"), lake: memory.NewStore("lake"), t: t}
	conf := `
endpoints:
  shop: {kind: memory, url: x}
  lake: {kind: memory, url: x}
links:
  a: {source: shop, target: lake, tables: "public.*", on_reshape: ` + onReshape + `, heartbeat: 50ms}
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "waybill.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	v := &waybill.TableVersion{Table: items, Dialect: memory.Kind, Key: []int{0}, Identity: waybill.IdentityKey,
		Columns:     []waybill.Column{{ID: 1, Name: "id", NotNull: true, Type: waybill.Type{Kind: waybill.KindInt, Native: "int"}}},
		Constraints: []waybill.Constraint{{Name: "items_pkey", Kind: waybill.PrimaryKey, Definition: "PRIMARY KEY (id)", Columns: []string{"id"}}}}
	r.write(func(tx *memory.Tx) error { return tx.Create(v) })
	r.insert(1, 2, 3)
	return r
}

func (r *rig) write(do func(*memory.Tx) error) {
	r.t.Helper()
	if _, err := r.shop.Write(do); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) insert(ids ...int64) {
	r.t.Helper()
	r.write(func(tx *memory.Tx) error {
		for _, id := range ids {
			if err := tx.Insert(items, waybill.Row{waybill.IntValue(id)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *rig) waybill(args ...string) (code int, out, err string) {
	var stdout, stderr bytes.Buffer
	code = run([]*waybill.Connector{memory.Connector(r.shop, r.lake)}, args, strings.NewReader("a\n"), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// must runs a command that has to exit with a code and say something on either stream.
func (r *rig) must(want int, says string, args ...string) string {
	r.t.Helper()
	code, out, err := r.waybill(args...)
	if code != want || !strings.Contains(out+err, says) {
		r.t.Fatalf("waybill %v: exit code %d, want %d and %q\n%s%s", args, code, want, says, out, err)
	}
	return out
}

// start runs the link in the background and returns what waits for its end.
func (r *rig) start() (ended func() (int, string)) {
	type result struct {
		code int
		text string
	}
	done := make(chan result, 1)
	go func() {
		code, out, err := r.waybill("run", "a")
		done <- result{code, out + err}
	}()
	return func() (int, string) {
		select {
		case end := <-done:
			return end.code, end.text
		case <-time.After(time.Minute):
			r.t.Fatal("the link does not end")
		}
		return 0, ""
	}
}

// arrive waits until the target has so many rows.
func (r *rig) arrive(want int) {
	r.t.Helper()
	r.until("rows", func() bool {
		tx := r.lake.Begin()
		defer tx.Rollback()
		rows, err := tx.Rows(items)
		return err == nil && len(rows) == want
	})
}

// state waits until link status shows a state.
func (r *rig) state(want string) {
	r.t.Helper()
	r.until("state "+want, func() bool {
		_, out, _ := r.waybill("link", "status", "a", "-o", "json")
		var shown []shownStatus
		return json.Unmarshal([]byte(out), &shown) == nil && len(shown) == 1 && shown[0].State == want
	})
}

func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("%s: waited in vain", what)
		}
	}
}

func TestLinkFromStartToDrop(t *testing.T) {
	r := newRig(t, "follow")
	r.must(exitOK, "never run", "link", "status")
	r.must(exitRuntime, "its first copy is not complete", "link", "position", "a", "--set", "1", "--yes")
	ended := r.start()
	r.arrive(3)
	r.insert(4)
	r.arrive(4)
	r.state("streaming")
	r.must(exitOK, "streaming", "link", "status", "--tables")
	r.must(exitOK, "the target is not asked", "link", "position", "a")
	r.must(exitRuntime, "it is running as process", "link", "position", "a", "--set", "9", "--yes")
	r.must(exitRuntime, "waybill link stop a", "link", "drop", "a", "--yes")
	r.must(exitOK, "paused at", "link", "pause", "a")
	r.insert(5)
	r.state("paused")
	r.must(exitOK, "resumed at", "link", "resume", "a")
	r.arrive(5)
	r.must(exitOK, "paused at", "link", "pause", "a") // or a heartbeat would carry it past the position
	at := r.shop.Position()
	r.must(exitOK, "held at", "link", "pause", "a", "--at", string(at))
	r.must(exitOK, `"state": "done"`, "link", "resume", "a", "-o", "json")
	r.must(exitOK, "copied again", "link", "resync", "a", "public.items")
	r.must(exitRuntime, "does not follow table", "link", "resync", "a", "public.none")
	r.must(exitOK, "carried", "link", "sequences", "a")
	r.must(exitRuntime, "nothing waits", "link", "decide", "a", "follow")
	r.state("streaming")
	r.must(exitOK, "stopped", "link", "stop", "a")
	if code, text := ended(); code != exitOK || !strings.Contains(text, "go on with `waybill run a`") {
		t.Errorf("run: exit code %d\n%s", code, text)
	}
	r.must(exitOK, "stopped", "ledger", "runs")
	r.must(exitOK, "create table public.items", "schema", "history", "a")
	r.must(exitOK, "as they were recorded", "ledger", "verify")
	r.must(exitOK, "target:", "link", "position", "a")
	r.must(exitOK, "dropped a at source shop", "link", "drop", "a")
	if streams, records := r.shop.Streams(), r.lake.Records(); len(streams)+len(records) != 0 {
		t.Errorf("left: streams %v, records %v", streams, records)
	}
	r.arrive(5)
	r.must(exitOK, "never run", "link", "status")
	r.must(exitOK, "forgot", "link", "drop", "a", "--yes")
}

func TestPositionIsSetForwardOnly(t *testing.T) {
	r := newRig(t, "follow")
	ended := r.start()
	r.arrive(3)
	r.state("streaming")
	r.must(exitOK, "stopped", "link", "stop", "a")
	ended()
	r.insert(4)
	skipped := string(r.shop.Position())
	r.insert(5)
	r.must(exitRuntime, "would be repeated", "link", "position", "a", "--set", "shop/1", "--yes")
	r.must(exitRuntime, "cannot be compared", "link", "position", "a", "--set", "nonsense", "--yes")
	code, _, text := r.waybill("link", "position", "a", "--set", skipped, "--why", "a test")
	if code != exitOK || !strings.Contains(text, "will never reach the target") {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	l, err := ledger.Open(t.Context(), "sqlite:waybill.db")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if entries, err := l.Entries(t.Context(), ledger.EntryFilter{Kind: "position.set"}); err != nil || len(entries) != 1 || !strings.Contains(string(entries[0].Detail), `"why":"a test"`) {
		t.Errorf("recorded %+v, %v", entries, err)
	}
	ended = r.start()
	r.arrive(4) // 1, 2, 3 and 5
	r.must(exitOK, "stopped", "link", "stop", "a")
	ended()
}

func TestDecisionIsAskedFor(t *testing.T) {
	r := newRig(t, "ask")
	ended := r.start()
	r.arrive(3)
	r.state("streaming")
	r.write(func(tx *memory.Tx) error {
		v, err := tx.Version(items)
		if err != nil {
			return err
		}
		after := *v
		after.Columns = append(after.Columns[:1:1], waybill.Column{ID: 2, Name: "note", Type: waybill.Type{Kind: waybill.KindText, Native: "text"}})
		return tx.Alter(items, &after, func(row waybill.Row) waybill.Row { return append(row[:1:1], waybill.Null) })
	})
	r.state("waiting")
	r.must(exitOK, "add column note", "link", "status")
	r.must(exitOK, "done as decided", "link", "decide", "a", "follow")
	r.must(exitOK, "add column note", "schema", "diff", "a", "public.items")
	r.must(exitOK, "stopped", "link", "stop", "a")
	ended()
}

func TestJSONLinesOfARun(t *testing.T) {
	r := newRig(t, "follow")
	done := make(chan string, 1)
	go func() {
		_, out, _ := r.waybill("run", "a", "-o", "jsonl")
		done <- out
	}()
	r.arrive(3)
	r.state("streaming")
	r.must(exitOK, "stopped", "link", "stop", "a")
	out := strings.TrimSpace(<-done)
	var last waybill.LinkStatus
	for line := range strings.Lines(out) {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	if last.State != "stopped" || last.RowsCopied != 3 {
		t.Errorf("last line: %+v", last)
	}
}
