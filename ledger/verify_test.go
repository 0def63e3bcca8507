package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
)

// fill records ten entries, of which three are for table versions.
func fill(t *testing.T, l *Ledger) {
	t.Helper()
	for i := range 7 {
		check(t, l.Record(t.Context(), waybill.Entry{Kind: "test", Subject: "s", Run: 1, Table: orders, Detail: i}))
	}
	for _, columns := range [][]string{{"id"}, {"id", "a"}, {"id", "a", "b"}} {
		_, err := l.SaveVersion(t.Context(), "s", version("1", orders, columns...), "p")
		check(t, err)
	}
}

func TestVerifyNamesWhatIsNotAsRecorded(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage []string
		want   []Problem
	}{
		{name: "nothing"},
		{"detail", []string{"UPDATE entry SET detail = '9' WHERE id = 4"},
			[]Problem{{4, "it was changed after it was recorded (test of s)"}}},
		{"kind of the first", []string{"UPDATE entry SET kind = 'x' WHERE id = 1"},
			[]Problem{{1, "it was changed after it was recorded (x of s)"}}},
		{"time of the last", []string{"UPDATE entry SET at = '2001-01-01T00:00:00.000000Z' WHERE id = 10"},
			[]Problem{{10, "it was changed after it was recorded (table.version of s)"}}},
		{"hash", []string{"UPDATE entry SET hash = 'x' WHERE id = 4"},
			[]Problem{{4, "it was changed after it was recorded (test of s)"}}},
		{"one replaced", []string{"UPDATE entry SET (detail, hash) = (SELECT '42', 'REPLACED') WHERE id = 4"},
			[]Problem{{5, "it does not follow entry 4: that one was replaced, or the two were joined by hand"}}},
		{"unreadable", []string{"UPDATE entry SET at = 'yesterday' WHERE id = 4"},
			[]Problem{{4, `cannot be read: entry 4: parsing time "yesterday" as "2006-01-02T15:04:05.000000Z": cannot parse "yesterday" as "2006"`}}},
		{"the first removed", []string{"DELETE FROM entry WHERE id = 1"}, []Problem{{1, "it was removed"}}},
		{"one removed", []string{"DELETE FROM entry WHERE id = 5"}, []Problem{{5, "it was removed"}}},
		{"two removed", []string{"DELETE FROM entry WHERE id IN (5, 6)"}, []Problem{{5, "entries 5 to 6 were removed"}}},
		{"the end removed", []string{"DELETE FROM entry WHERE id > 6", "DELETE FROM table_version"},
			[]Problem{{7, "entries 7 to 10 were removed from the end"}}},
		{"all removed", []string{"DELETE FROM entry", "DELETE FROM table_version"}, []Problem{{1, "entries 1 to 10 were removed from the end"}}},
		{"one removed, the rest closed up", []string{"DELETE FROM entry WHERE id = 3", "UPDATE entry SET id = id - 1 WHERE id > 3", "UPDATE head SET entries = 9"},
			[]Problem{{3, "it was moved: it was recorded as entry 4"}, {4, "it was moved: it was recorded as entry 5"}}},
		{"two swapped", []string{"UPDATE entry SET id = 99 WHERE id = 3", "UPDATE entry SET id = 3 WHERE id = 5", "UPDATE entry SET id = 5 WHERE id = 99"},
			[]Problem{{3, "it was moved: it was recorded as entry 5"}, {5, "it was moved: it was recorded as entry 3"}}},
		{"one added", []string{"INSERT INTO entry SELECT 11, at, kind, subject, run, table_schema, table_name, detail, hash, 'x' FROM entry WHERE id = 7"},
			[]Problem{{11, "it was changed after it was recorded (test of s)"}, {11, "the head says there are 10 entries, but there are 11"}}},
		{"the head's hash", []string{"UPDATE head SET hash = 'x'"}, []Problem{{10, "the head has another hash than the last entry"}}},
		{"a structure changed", []string{"UPDATE table_version SET structure = replace(structure, 'bigint', 'int') WHERE number = 2"},
			[]Problem{{0, "version 2 of public.orders in s was changed after it was recorded"}}},
		{"a structure removed", []string{"DELETE FROM table_version WHERE number = 1"},
			[]Problem{{0, "version 1 of public.orders in s was removed"}}},
		{"a structure added", []string{"INSERT INTO table_version SELECT 9, stream, table_schema, table_name, table_id, 9, as_of, at, structure FROM table_version WHERE number = 1"},
			[]Problem{{0, "version 9 of public.orders in s was never recorded"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			each(t, func(t *testing.T, dsn string) {
				l := mustOpen(t, dsn)
				fill(t, l)
				entries, err := l.Entries(t.Context(), EntryFilter{After: 3, Limit: 1})
				check(t, err)
				entries[0].Detail = []byte("42")
				for _, statement := range test.damage {
					_, err := l.store.write.Exec(strings.ReplaceAll(statement, "REPLACED", entries[0].digest()))
					check(t, err)
				}
				v, err := l.Verify(t.Context(), Head{})
				check(t, err)
				if len(v.Problems) > len(test.want) && len(test.want) == 2 {
					v.Problems = slices.Delete(v.Problems, 2, len(v.Problems)) // closing up moves all that follow
				}
				if diff := cmp.Diff(test.want, v.Problems); diff != "" {
					t.Error(diff)
				}
				if !strings.Contains(v.Limit, "--expect") {
					t.Errorf("limit = %q", v.Limit)
				}
			})
		})
	}
}

// TestVerifyAgainstAnEarlierHead shows what the chain alone cannot prove, and what a head kept elsewhere can.
func TestVerifyAgainstAnEarlierHead(t *testing.T) {
	ctx, l := t.Context(), mustOpen(t, "sqlite:"+t.TempDir()+"/l.db")
	fill(t, l)
	before, err := l.Verify(ctx, Head{})
	check(t, err)
	for _, statement := range []string{"DELETE FROM table_version", "DELETE FROM entry WHERE id > 6",
		"UPDATE head SET entries = 6, hash = (SELECT hash FROM entry WHERE id = 6)"} {
		_, err := l.store.write.Exec(statement)
		check(t, err)
	}
	if v, err := l.Verify(ctx, Head{}); err != nil || len(v.Problems) != 0 {
		t.Errorf("a cut chain with its head: %+v, %v; it cannot be told from a whole one", v.Problems, err)
	}
	v, err := l.Verify(ctx, before.Head)
	check(t, err)
	if diff := cmp.Diff([]Problem{{7, "entries up to 10 were expected: the end was removed together with its head"}}, v.Problems); diff != "" {
		t.Error(diff)
	}
	for range 4 {
		check(t, l.Record(ctx, waybill.Entry{Kind: "forged"}))
	}
	v, err = l.Verify(ctx, before.Head)
	check(t, err)
	if want := fmt.Sprintf("its hash is not the expected %s: the chain was computed anew", before.Head.Hash); len(v.Problems) != 1 || v.Problems[0] != (Problem{10, want}) {
		t.Errorf("problems = %+v, want %q", v.Problems, want)
	}
}
