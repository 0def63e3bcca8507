package ledger

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
)

var update = flag.Bool("update", false, "write what is got to the golden files")

// old is a ledger of structure 1. It is never written again: every later program must read it.
const old = "testdata/structure1.ledger"

// tell records one of everything.
func tell(t *testing.T, l *Ledger) {
	t.Helper()
	ctx := t.Context()
	run, err := l.BeginRun(ctx, waybill.Run{Kind: "link", Name: "shop-to-lake", Version: "v1", Host: "h", Process: 7})
	check(t, err)
	missing := "7"
	v := version("16384", orders, "id", "note")
	v.Columns[1].Missing = &missing
	v.Constraints = []waybill.Constraint{{Name: "orders_pkey", Kind: waybill.PrimaryKey, Definition: "PRIMARY KEY (id)", Columns: []string{"id"}}}
	_, err = l.SaveVersion(ctx, "shop-to-lake", v, "1/0/1")
	check(t, err)
	check(t, l.SavePosition(ctx, "shop-to-lake", "1/0/2", l.now()))
	check(t, l.SetPosition(ctx, "shop-to-lake", "1/0/3", "ann@h", "restored"))
	check(t, l.Record(ctx, waybill.Entry{Kind: "link.copied", Subject: "shop-to-lake", Run: run, Detail: map[string]any{"rows": 5, "tables": []string{"a"}}}))
	check(t, l.SaveStatus(ctx, waybill.LinkStatus{Link: "shop-to-lake", Run: run, State: "streaming", Position: "1/0/3", Delay: 0.5, RowsCopied: 5, Updated: l.now(),
		Tables: []waybill.TableStatus{{Table: orders, State: "streaming", Rows: 5, Expected: 6, Version: 1}}}))
	id, err := l.AddRequest(ctx, waybill.Request{Link: "shop-to-lake", Verb: "hold", Table: orders, Position: "1/0/9", Args: json.RawMessage(`{"a":1}`), By: "ann@h"})
	check(t, err)
	check(t, l.Answer(ctx, id, "held", ""))
	_, err = l.AddRequest(ctx, waybill.Request{Link: "shop-to-lake", Verb: "resume", By: "ann@h"})
	check(t, err)
	check(t, l.EndRun(ctx, run, "failed", "disk", map[string]int64{"rows copied": 5}))
}

// shapes reads everything back as the JSON that people and programs get.
func shapes(t *testing.T, l *Ledger) string {
	t.Helper()
	ctx := t.Context()
	var text strings.Builder
	add := func(name string, value any, err error) {
		check(t, err)
		shown, err := json.MarshalIndent(value, "", "  ")
		check(t, err)
		text.WriteString(name + " " + string(shown) + "\n")
	}
	runs, err := l.Runs(ctx, RunFilter{})
	add("runs", runs, err)
	entries, err := l.Entries(ctx, EntryFilter{})
	add("entries", entries, err)
	positions, err := l.Positions(ctx)
	add("positions", positions, err)
	versions, err := l.Versions(ctx, "shop-to-lake", orders)
	add("versions", versions, err)
	statuses, err := l.Statuses(ctx)
	add("statuses", statuses, err)
	open, err := l.Requests(ctx, "shop-to-lake")
	add("open requests", open, err)
	answered, err := l.Request(ctx, 1)
	add("answered request", answered, err)
	verified, err := l.Verify(ctx, Head{})
	add("verification", verified, err)
	return text.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", file, diff)
	}
}

func TestShapesAreAsBefore(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		l := mustOpen(t, dsn)
		tell(t, l)
		golden(t, "testdata/shapes.golden", shapes(t, l))
		if l.store.kind == postgres {
			return
		}
		rows, err := l.store.read.Query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
		check(t, err)
		tables, err := scanAll(rows, scanText)
		check(t, err)
		golden(t, "testdata/tables.golden", strings.Join(tables, ";\n\n")+";\n")
	})
}

// TestOldFilesStayReadable opens a file that an earlier program wrote.
func TestOldFilesStayReadable(t *testing.T) {
	if _, err := os.Stat(old); err != nil && *update {
		writeOld(t)
	}
	content, err := os.ReadFile(old)
	check(t, err)
	path := filepath.Join(t.TempDir(), "l.db")
	check(t, os.WriteFile(path, content, 0o600))
	l := mustOpen(t, "sqlite:"+path)
	golden(t, "testdata/shapes.golden", shapes(t, l))
	_, err = l.BeginRun(t.Context(), waybill.Run{Kind: "link", Name: "later"})
	check(t, err)
	if v, err := l.Verify(t.Context(), Head{}); err != nil || len(v.Problems) != 0 {
		t.Errorf("after going on with an old file: %+v, %v", v, err)
	}
}

func writeOld(t *testing.T) {
	l, err := Open(t.Context(), "sqlite:"+old)
	check(t, err)
	l.now = ticking()
	tell(t, l)
	_, err = l.store.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	check(t, err)
	check(t, l.Close())
}

// TestMigration goes through the step that a later structure will need, and through one that breaks off.
func TestMigration(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx, l := context.Background(), mustOpen(t, dsn)
		tell(t, l)
		before := shapes(t, l)
		steps, err := migrations()
		check(t, err)
		broken := append(steps, "CREATE TABLE more (a TEXT);\nINSERT INTO nowhere VALUES (1);\n")
		if err := l.migrate(ctx, broken, false); err == nil {
			t.Fatal("a broken migration went through")
		}
		further := append(steps, "CREATE TABLE more (a TEXT);\nINSERT INTO more VALUES ('x');\n", "ALTER TABLE more ADD COLUMN b TEXT;\n")
		for range 2 {
			check(t, l.migrate(ctx, further, false))
		}
		var rows, number int
		check(t, l.store.read.QueryRow("SELECT count(*) FROM more WHERE b IS NULL").Scan(&rows))
		check(t, l.store.read.QueryRow("SELECT max(number) FROM migration").Scan(&number))
		if rows != 1 || number != len(further) {
			t.Errorf("%d rows, structure %d, want 1 and %d", rows, number, len(further))
		}
		if diff := cmp.Diff(before, shapes(t, l)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTogether(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		// Several that make the same new ledger at once.
		errs := make(chan error)
		for range 6 {
			go func() {
				l, err := Open(t.Context(), dsn)
				if err == nil {
					err = l.Close()
				}
				errs <- err
			}()
		}
		for range 6 {
			check(t, <-errs)
		}
	})
}
