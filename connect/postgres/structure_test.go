package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// session opens a pinned session for a test.
func session(t testing.TB, url string) *pgconn.PgConn {
	t.Helper()
	conn, err := connect(context.Background(), waybill.Endpoint{Name: "test", Kind: kind, URL: waybill.NewSecret(url)}, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	return conn
}

func TestDescribe(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := dbtest.Database(t, major)
		dbtest.Exec(t, url, "CREATE TYPE mood AS ENUM ('sad', 'glad')",
			`CREATE TABLE "Odd t" (id bigint GENERATED ALWAYS AS IDENTITY, "Name" varchar(40) NOT NULL DEFAULT 'x', price numeric(10,2),
			  twice numeric GENERATED ALWAYS AS (price * 2) STORED, feeling mood, gone int, PRIMARY KEY (id), CHECK (price > 0))`,
			`ALTER TABLE "Odd t" DROP COLUMN gone`, `CREATE UNIQUE INDEX odd_name ON "Odd t" ("Name")`,
			`COMMENT ON TABLE "Odd t" IS 'it''s odd'`)
		name := waybill.TableName{Schema: "public", Name: "Odd t"}
		versions, err := describe(t.Context(), session(t, url), []waybill.TableName{{Schema: "public", Name: "none"}, name})
		if err != nil {
			t.Fatal(err)
		}
		if versions[0] != nil {
			t.Errorf("%d: a table that is not there: %v", major, versions[0])
		}
		v := versions[1]
		var columns []string
		for _, c := range v.Columns {
			columns = append(columns, fmt.Sprintf("%d %s %s %s %t %q %q", c.ID, c.Name, c.Type.Native, c.Type.Kind, c.NotNull, c.Default, c.Generated))
		}
		want := []string{`1 id bigint int true "" "identity always"`, `2 Name character varying(40) text true "'x'::character varying" ""`,
			`3 price numeric(10,2) decimal false "" ""`, `4 twice numeric decimal false "(price * (2)::numeric)" "stored"`,
			`5 feeling public.mood text false "" ""`}
		if diff := cmp.Diff(want, columns); diff != "" {
			t.Errorf("%d: columns (-want +got):\n%s", major, diff)
		}
		if len(v.Key) != 1 || v.Key[0] != 0 || v.Identity != waybill.IdentityKey || v.Comment != "it's odd" ||
			len(v.Constraints) != 2 || v.Constraints[0].Kind != waybill.PrimaryKey || len(v.Indexes) != 1 || len(v.Types) != 1 {
			t.Errorf("%d: %+v", major, v)
		}
	}
}
