package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// importCopy writes exported bytes into a table of the same columns.
func importCopy(t *testing.T, conn *pgconn.PgConn, v *waybill.TableVersion, table string, f waybill.Format, content io.Reader) {
	t.Helper()
	sql := "COPY " + table + " (" + columnList(v, copyColumns(v)) + ") FROM STDIN"
	if f != textFormat {
		sql += " (FORMAT binary)"
	}
	if _, err := conn.CopyFrom(context.Background(), content, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestExportedSlicesMakeTheTable(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		to := dbtest.Database(t, 18)
		create := "CREATE TABLE a (id int PRIMARY KEY, t text, n numeric, d timestamptz, f float8, b bytea, j jsonb)"
		dbtest.Exec(t, to, create)
		dbtest.Exec(t, url, create, `INSERT INTO a SELECT i, repeat('x' || i, i % 50), i / 7.0, now() + i * interval '1 hour', random(), decode(md5(i::text), 'hex'), '{"a": 1}' FROM generate_series(1, 20000) i`,
			"INSERT INTO a VALUES (-1, NULL, 'NaN', 'infinity', 'NaN', '', 'null')", "INSERT INTO a VALUES (-2, repeat('big', 1000000))", "ANALYZE a")
		w := testView(t, url, waybill.ViewOptions{})
		v := testVersion(t, w, "a")
		formats := w.Formats(v)
		if want := "[pgcopy-binary/int4,text,numeric,timestamptz,float8,bytea,jsonb pgcopy-text]"; fmt.Sprint(formats) != want {
			t.Errorf("formats %v", formats)
		}
		parts, err := w.Slices(context.Background(), v, 5000)
		if err != nil {
			t.Fatal(err)
		}
		conn := testSession(t, to)
		for _, f := range formats {
			for _, set := range [][]waybill.Slice{parts, {{Version: v}}} {
				dbtest.Exec(t, to, "TRUNCATE a")
				var rows int64
				for _, s := range set {
					var content bytes.Buffer
					n, err := w.Export(context.Background(), s, f, &content)
					if err != nil {
						t.Fatal(err)
					}
					rows += n
					importCopy(t, conn, v, "public.a", f, &content)
				}
				if rows != 20002 {
					t.Errorf("%s: %d rows", f, rows)
				}
				for i, row := range dbtest.Rows(t, to, "SELECT a FROM a ORDER BY id") {
					if i == 0 && !strings.HasPrefix(row[0], "(-2,bigbig") {
						t.Errorf("%s: first row %.80s", f, row)
					}
				}
				sum := "SELECT count(*), sum(id), sum(length(t)), md5(string_agg(concat_ws(',', id, t, n, extract(epoch from d), b, j), ',' ORDER BY id)) FROM a"
				if got, want := dbtest.Rows(t, to, sum), dbtest.Rows(t, url, sum); !slices.Equal(got[0][:3], want[0][:3]) || major >= 15 && got[0][3] != want[0][3] {
					t.Errorf("%s: got %v, want %v", f, got, want)
				}
			}
		}
	})
}

func TestExportLeavesGeneratedColumnsOut(t *testing.T) {
	url := dbtest.Database(t, 18)
	dbtest.Exec(t, url, "CREATE TABLE a (id int, twice int GENERATED ALWAYS AS (id * 2) STORED, v int GENERATED ALWAYS AS (id * 3) VIRTUAL, t text, i int GENERATED ALWAYS AS IDENTITY)",
		"INSERT INTO a VALUES (4, DEFAULT, DEFAULT, 'x', DEFAULT)", "CREATE TABLE g (x int GENERATED ALWAYS AS (5) STORED)", "INSERT INTO g VALUES (DEFAULT), (DEFAULT)")
	w := testView(t, url, waybill.ViewOptions{})
	for table, want := range map[string]string{"a": "4\tx\t1\n", "g": "\n\n"} {
		v := testVersion(t, w, table)
		var content bytes.Buffer
		if n, err := w.Export(context.Background(), waybill.Slice{Version: v}, textFormat, &content); err != nil || content.String() != want {
			t.Errorf("%s: %d rows, %q, %v", table, n, content.String(), err)
		}
	}
}

func TestTypesWithoutSafeBinaryFormGoAsText(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE DOMAIN d AS int", "CREATE TYPE e AS ENUM ('x')", "CREATE TYPE integer AS (a int)")
	for _, native := range []string{"int[]", "d", "e", "public.integer", "interval", "money", "inet", "xml", "int4range", `"char"`} {
		dbtest.Exec(t, url, "DROP TABLE IF EXISTS a", "CREATE TABLE a (id int, c "+native+")")
		w := testView(t, url, waybill.ViewOptions{})
		if got := w.Formats(testVersion(t, w, "a")); fmt.Sprint(got) != "[pgcopy-text]" {
			t.Errorf("%s: %v", native, got)
		}
		if _, err := w.Export(context.Background(), waybill.Slice{Version: testVersion(t, w, "a")}, "pgcopy-binary/int4", io.Discard); err == nil {
			t.Errorf("%s: exported in a format that is none of the table's", native)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

type brokenWriter struct{ cause error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.cause }

func TestExportStopsWithItsWriterAndContext(t *testing.T) {
	url := dbtest.Database(t, 15)
	dbtest.Exec(t, url, "CREATE TABLE a (id int, t text)", "INSERT INTO a SELECT i, repeat('x', 500) FROM generate_series(1, 100000) i")
	w := testView(t, url, waybill.ViewOptions{})
	s := waybill.Slice{Version: testVersion(t, w, "a")}
	cause := errors.New("the reader is gone")
	if _, err := w.Export(context.Background(), s, textFormat, brokenWriter{cause}); !errors.Is(err, cause) {
		t.Errorf("broken writer: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	began := time.Now()
	if _, err := w.Export(ctx, s, textFormat, io.Discard); !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if n, err := w.Export(context.Background(), s, textFormat, io.Discard); err != nil || n != 100000 {
		t.Errorf("afterwards: %d rows, %v", n, err)
	}
}

func TestSequencesAsTheyAreNow(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		dbtest.Exec(t, url, "CREATE TABLE a (id serial, n bigint GENERATED ALWAYS AS IDENTITY)", "INSERT INTO a DEFAULT VALUES")
		w := testView(t, url, waybill.ViewOptions{})
		v := testVersion(t, w, "a")
		dbtest.Exec(t, url, "SELECT nextval('a_id_seq'), nextval('a_id_seq')", "ALTER SEQUENCE a_n_seq RESTART WITH 9223372036854775807")
		states, err := w.Sequences(context.Background(), []*waybill.TableVersion{v, v})
		if got := fmt.Sprint(states); err != nil || got != "[{public.a_id_seq 3 true} {public.a_n_seq 9223372036854775807 false}]" {
			t.Errorf("%v, %v", got, err)
		}
		dbtest.Exec(t, url, "SET lock_timeout = '5s'; ALTER SEQUENCE a_id_seq RESTART", "ALTER SEQUENCE a_id_seq RENAME TO renamed")
		states, err = w.Sequences(context.Background(), []*waybill.TableVersion{v})
		if got := fmt.Sprint(states); err != nil || got != "[{public.a_n_seq 9223372036854775807 false}]" {
			t.Errorf("when one has another name: %v, %v", got, err)
		}
	})
}
