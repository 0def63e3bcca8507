package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

var update = flag.Bool("update", false, "write golden files")

// session opens a pinned session for a test.
func session(t testing.TB, url string) *pgconn.PgConn {
	t.Helper()
	conn, err := connect(context.Background(), endpoint(url), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	return conn
}

// TestDescribe compares structures with a golden file that is the same for every version of the server, and
// with what the capture's own function says.
func TestDescribe(t *testing.T) {
	const golden = "testdata/describe.json"
	for _, major := range testMajors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			conn := session(t, captured(t, major))
			run(t, conn, reshapeSetup, "CREATE UNIQUE INDEX t_key ON public.r (z)", "ALTER TABLE public.r ALTER z SET NOT NULL, REPLICA IDENTITY USING INDEX t_key",
				"CREATE TABLE public.full (a char(3), b timestamptz(3) DEFAULT '2020-01-01 00:00:00+02', c varbit(5), d interval day to second(2), e text[])", "ALTER TABLE public.full REPLICA IDENTITY FULL",
				"CREATE TYPE public.span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi)", "CREATE TABLE public.late (id int UNIQUE DEFERRABLE, PRIMARY KEY (id) DEFERRABLE)")
			found := structures(t, conn)
			for name, v := range found {
				rows, err := query(context.Background(), conn, "SELECT waybill.structure("+v.ID+")")
				if err != nil {
					t.Fatal(err)
				}
				told, err := parseStructure(rows[0][0])
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(v, told); diff != "" {
					t.Errorf("%s: describe (-) and waybill.structure (+):\n%s", name, diff)
				}
			}
			got := structuresText(t, found)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("structures differ from %s:\n%s", golden, diff)
			}
		})
	}
}

// structuresText prints structures without what differs from run to run.
func structuresText(t *testing.T, found map[waybill.TableName]*waybill.TableVersion) []byte {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	for _, name := range slices.SortedFunc(maps.Keys(found), func(a, b waybill.TableName) int { return strings.Compare(a.String(), b.String()) }) {
		v := *found[name]
		v.ID, v.Partitions = "", plainParts(v.Partitions)
		if err := encoder.Encode(&v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestDescribeTellsWhatOldRowsHold(t *testing.T) {
	for _, major := range []int{13, 15, 18} {
		conn := session(t, captured(t, major))
		run(t, conn, "CREATE TABLE public.t (id int)", "INSERT INTO public.t VALUES (1)",
			`ALTER TABLE public.t ADD a text DEFAULT 'it''s, {"q"}\', ADD b int[] DEFAULT '{1,2}', ADD c box DEFAULT '(1,1),(0,0)', ADD d int, ADD e timestamptz DEFAULT '2020-01-01 00:00:00+02', ADD f text DEFAULT ''`)
		v := structures(t, conn)[waybill.TableName{Schema: "public", Name: "t"}]
		var got []string
		for _, c := range v.Columns[1:] {
			text := "nothing"
			if c.Missing != nil {
				text = *c.Missing
			}
			got = append(got, text)
		}
		want := []string{`it's, {"q"}\`, "{1,2}", "(1,1),(0,0)", "nothing", "2019-12-31 22:00:00+00", ""}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("postgres %d: old rows hold\n%s", major, diff)
		}
	}
}

func TestDescribeRefusesForeignPartitions(t *testing.T) {
	conn := session(t, captured(t, 15))
	run(t, conn, "CREATE EXTENSION IF NOT EXISTS postgres_fdw", "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", "CREATE TABLE public.p (a int) PARTITION BY RANGE (a)",
		"CREATE FOREIGN TABLE public.f PARTITION OF public.p FOR VALUES FROM (0) TO (1) SERVER s")
	_, err := describe(context.Background(), conn, []waybill.TableName{{Schema: "public", Name: "p"}})
	if waybill.FaultOf(err) != waybill.Data || !strings.Contains(err.Error(), "public.f") {
		t.Errorf("describe: %v, want a refusal that names public.f", err)
	}
}
