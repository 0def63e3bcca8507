package postgres

import (
	"context"
	"testing"

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

func describeOne(t testing.TB, conn *pgconn.PgConn, name waybill.TableName) *waybill.TableVersion {
	t.Helper()
	versions, err := describe(context.Background(), conn, []waybill.TableName{name})
	if err != nil {
		t.Fatal(err)
	}
	return versions[0]
}

func TestDescribe(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := dbtest.Database(t, major)
		conn := session(t, url)
		_ = conn
	}
}
