package postgres

import (
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// TestPartitionedTableTellsWhatOlderRowsHold: a root keeps no value for rows older than a column, its partitions
// do, at any depth. Without it the rows at the target would get NULL.
func TestPartitionedTableTellsWhatOlderRowsHold(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := dbtest.Database(t, major)
		dbtest.Exec(t, url,
			"CREATE TABLE p (day date) PARTITION BY RANGE (day)",
			"CREATE TABLE y PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (day)",
			"CREATE TABLE m PARTITION OF y FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
			"INSERT INTO p VALUES ('2026-01-02')",
			`ALTER TABLE p ADD COLUMN c jsonb DEFAULT '{"k": [1, null]}'`)
		conn, err := connect(t.Context(), waybill.Endpoint{Name: "source", URL: waybill.NewSecret(url)}, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		versions, err := describe(t.Context(), conn, []waybill.TableName{{Schema: "public", Name: "p"}})
		closeConn(conn)
		if err != nil {
			t.Fatal(err)
		}
		c := versions[0].Columns[versions[0].Column("c")]
		if c.Missing == nil || *c.Missing != `{"k": [1, null]}` {
			t.Errorf("postgres %d: missing = %v, want the default that the rows were given", major, c.Missing)
		}
	}
}
