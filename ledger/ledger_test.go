package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
)

func TestRuns(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx, l := t.Context(), mustOpen(t, dsn)
		first, err := l.BeginRun(ctx, waybill.Run{Kind: "link", Name: "a", Version: "v1", Host: "h", Process: 7})
		check(t, err)
		second, err := l.BeginRun(ctx, waybill.Run{Kind: "compare", Name: "b"})
		check(t, err)
		check(t, l.EndRun(ctx, first, "failed", "disk", map[string]int64{"rows": 3}))
		if err := l.EndRun(ctx, first, "done", "", nil); err == nil {
			t.Error("a run ended twice")
		}
		if err := l.EndRun(ctx, 99, "done", "", nil); err == nil {
			t.Error("a run that never began ended")
		}
		runs, err := l.Runs(ctx, RunFilter{})
		check(t, err)
		if len(runs) != 2 || runs[0].Number != second || runs[1].Number != first {
			t.Fatalf("runs = %+v, want %d then %d", runs, second, first)
		}
		got, err := l.Run(ctx, first)
		check(t, err)
		want := waybill.Run{Number: 1, Kind: "link", Name: "a", State: "failed", Cause: "disk", Version: "v1", Host: "h", Process: 7,
			Counts: map[string]int64{"rows": 3}, Started: got.Started, Ended: got.Ended}
		if diff := cmp.Diff(want, got); diff != "" || got.Started.IsZero() || !got.Ended.After(got.Started) {
			t.Errorf("run: %s, started %v, ended %v", diff, got.Started, got.Ended)
		}
		if only, err := l.Runs(ctx, RunFilter{Kind: "link", Limit: 1}); err != nil || len(only) != 1 || only[0].Name != "a" {
			t.Errorf("runs of links = %+v, %v", only, err)
		}
		if _, err := l.Run(ctx, 99); waybill.FaultOf(err) != waybill.Setup {
			t.Errorf("an unknown run: %v", err)
		}
	})
}

func TestPositionsNeverMoveBackwards(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx, plain := t.Context(), mustOpen(t, dsn)
		foreign := errors.New("another history")
		l := plain.Ordered(func(a, b waybill.Position) (int, error) {
			if a[0] != b[0] {
				return 0, foreign
			}
			return strings.Compare(string(a), string(b)), nil
		})
		at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
		for _, p := range []waybill.Position{"a1", "a3", "a2"} {
			check(t, l.SavePosition(ctx, "s", p, at))
		}
		if err := l.SavePosition(ctx, "s", "b9", at); !errors.Is(err, foreign) {
			t.Errorf("a position of another history: %v", err)
		}
		want := []StreamPosition{{"s", "a3", at}}
		got, err := l.Positions(ctx)
		check(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		check(t, l.SetPosition(ctx, "s", "a1", "ann", "restored"))
		check(t, l.SavePosition(ctx, "s", "a2", at))
		if got, err = l.Positions(ctx); err != nil || got[0].Position != "a2" {
			t.Errorf("after setting by hand: %v, %v", got, err)
		}
		entries, err := l.Entries(ctx, EntryFilter{Kind: "position.set"})
		check(t, err)
		if len(entries) != 1 || string(entries[0].Detail) != `{"by":"ann","new":"a1","old":"a3","why":"restored"}` {
			t.Errorf("entries = %+v", entries)
		}
	})
}

func TestVersionsGoThroughRenames(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx, l := t.Context(), mustOpen(t, dsn)
		sales := waybill.TableName{Schema: "public", Name: "sales"}
		for i, step := range []struct {
			v    *waybill.TableVersion
			want int
		}{
			{version("10", orders, "id"), 1},
			{version("10", orders, "id"), 1},
			{version("10", orders, "id", "note"), 2},
			{version("10", sales, "id", "note"), 3},
			{version("11", orders, "id"), 3}, // a new table under the old name goes on counting that name
			{version("10", sales, "id"), 4},
			{version("10", sales, "id", "note"), 5}, // a structure that was there before is a new version again
		} {
			got, err := l.SaveVersion(ctx, "s", step.v, waybill.Position(fmt.Sprint(i)))
			check(t, err)
			if got != step.want {
				t.Errorf("step %d: version %d, want %d", i, got, step.want)
			}
		}
		var numbers []string
		versions, err := l.Versions(ctx, "s", sales)
		check(t, err)
		for _, v := range versions {
			numbers = append(numbers, fmt.Sprint(v.Table.Name, v.Number, "@", v.AsOf))
		}
		if diff := cmp.Diff([]string{"orders1@0", "orders2@2", "sales3@3", "sales4@5", "sales5@6"}, numbers); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(version("10", orders, "id", "note"), versions[1].Structure); diff != "" {
			t.Error(diff)
		}
		all, err := l.Versions(ctx, "s", waybill.TableName{})
		check(t, err)
		if len(all) != 6 {
			t.Errorf("all versions: %d", len(all))
		}
		if other, err := l.Versions(ctx, "other", orders); err != nil || len(other) != 0 {
			t.Errorf("versions of another stream: %v, %v", other, err)
		}
	})
}

// A name that was swapped to and fro must never have two structures under one number.
func TestVersionsKeepTheirNumbersApart(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx, l := t.Context(), mustOpen(t, dsn)
		sales := waybill.TableName{Schema: "public", Name: "sales"}
		for i, v := range []*waybill.TableVersion{
			version("10", orders, "id"), version("10", orders, "id", "a"), version("10", orders, "id", "b"), version("10", orders, "id", "c"),
			version("11", sales, "id"), version("11", orders, "id"), version("10", sales, "id", "c"), version("10", orders, "id", "d"),
		} {
			_, err := l.SaveVersion(ctx, "s", v, waybill.Position(fmt.Sprint(i)))
			check(t, err)
		}
		all, err := l.Versions(ctx, "s", waybill.TableName{})
		check(t, err)
		seen := map[string]bool{}
		for _, v := range all {
			if name := fmt.Sprint(v.Table, " ", v.Number); seen[name] {
				t.Errorf("%s was given twice", name)
			} else {
				seen[name] = true
			}
		}
		report, err := l.Verify(ctx, Head{})
		check(t, err)
		if len(report.Problems) > 0 {
			t.Error(report.Problems)
		}
	})
}

func TestStatusesAndRequests(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx, l := t.Context(), mustOpen(t, dsn)
		check(t, l.SaveStatus(ctx, waybill.LinkStatus{Link: "b", State: "copying"}))
		check(t, l.SaveStatus(ctx, waybill.LinkStatus{Link: "a", State: "streaming"}))
		check(t, l.SaveStatus(ctx, waybill.LinkStatus{Link: "b", State: "paused", Tables: []waybill.TableStatus{{Table: orders, Rows: 5}}}))
		statuses, err := l.Statuses(ctx)
		check(t, err)
		if len(statuses) != 2 || statuses[0].Link != "a" || statuses[1].State != "paused" || statuses[1].Tables[0].Table != orders {
			t.Errorf("statuses = %+v", statuses)
		}
		one, err := l.AddRequest(ctx, waybill.Request{Link: "a", Verb: "resync", Table: orders, By: "ann", Args: json.RawMessage(`{"range":"1"}`)})
		check(t, err)
		two, err := l.AddRequest(ctx, waybill.Request{Link: "a", Verb: "hold", Position: "p9", By: "ann"})
		check(t, err)
		open, err := l.Requests(ctx, "a")
		check(t, err)
		if len(open) != 2 || open[0].ID != one || open[0].Table != orders || string(open[0].Args) != `{"range":"1"}` || open[1].Position != "p9" {
			t.Errorf("open = %+v", open)
		}
		check(t, l.Answer(ctx, one, "5 rows", ""))
		check(t, l.Answer(ctx, two, "", "not running"))
		if err := l.Answer(ctx, one, "again", ""); err == nil {
			t.Error("a request was answered twice")
		}
		if open, err = l.Requests(ctx, "a"); err != nil || len(open) != 0 {
			t.Errorf("still open = %+v, %v", open, err)
		}
		three, err := l.AddRequest(ctx, waybill.Request{Link: "a", Verb: "stop"})
		check(t, err)
		check(t, l.Withdraw(ctx, three))
		check(t, l.Withdraw(ctx, three))
		check(t, l.Withdraw(ctx, one))
		if got, err := l.Request(ctx, three); err != nil || got.Error != Withdrawn {
			t.Errorf("withdrawn = %+v, %v", got, err)
		}
		check(t, l.Answer(ctx, three, "stopped all the same", ""))
		if err := l.Answer(ctx, three, "again", ""); err == nil {
			t.Error("a request was answered twice")
		}
		if open, err = l.Requests(ctx, "a"); err != nil || len(open) != 0 {
			t.Errorf("still open = %+v, %v", open, err)
		}
		if got, err := l.Request(ctx, one); err != nil || got.Outcome != "5 rows" {
			t.Errorf("an answered request that was withdrawn = %+v, %v", got, err)
		}
		if got, err := l.Request(ctx, two); err != nil || got.Error != "not running" || got.Answered.IsZero() {
			t.Errorf("answer = %+v, %v", got, err)
		}
	})
}

// TestProcessesShareOneChain starts other processes of this test that all write to one ledger.
func TestProcessesShareOneChain(t *testing.T) {
	const workers, each1 = 3, 40
	if dsn := os.Getenv("LEDGER_WRITER"); dsn != "" {
		writeMany(t, dsn, each1)
		return
	}
	each(t, func(t *testing.T, dsn string) {
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcessesShareOneChain$", "-test.count=1")
				c.Env = append(os.Environ(), "LEDGER_WRITER="+dsn)
				if out, err := c.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		group.Wait()
		l := mustOpen(t, dsn)
		v, err := l.Verify(t.Context(), Head{})
		check(t, err)
		if v.Head.Entries != workers*each1 || len(v.Problems) != 0 {
			t.Errorf("verify = %+v, want %d entries", v, workers*each1)
		}
	})
}

func writeMany(t *testing.T, dsn string, n int) {
	l, err := Open(context.Background(), dsn)
	check(t, err)
	for i := range n {
		check(t, l.Record(context.Background(), waybill.Entry{Kind: "test", Subject: fmt.Sprint(os.Getpid()), Detail: i}))
		check(t, l.SavePosition(context.Background(), "s", waybill.Position(fmt.Sprint(i)), time.Now()))
	}
	check(t, l.Close())
}

func TestSecretsAreNotStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.db")
	l := mustOpen(t, "sqlite:"+path)
	check(t, l.Record(t.Context(), waybill.Entry{Kind: "test", Detail: waybill.Endpoint{URL: waybill.NewSecret("hunter2")}}))
	for _, name := range []string{path, path + "-wal"} {
		content, err := os.ReadFile(name)
		check(t, err)
		if strings.Contains(string(content), "hunter2") {
			t.Errorf("%s holds the secret", name)
		}
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v", stat.Mode(), err)
	}
}
