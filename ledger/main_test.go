package ledger

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

var orders = waybill.TableName{Schema: "public", Name: "orders"}

// each runs a test on both kinds of store.
func each(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Run("file", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "a b?%.db")) })
	t.Run("server", func(t *testing.T) { test(t, dbtest.Database(t, 15)) })
}

func mustOpen(t *testing.T, dsn string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	l.now = ticking()
	return l
}

// ticking is a clock that moves one second with each look.
func ticking() func() time.Time {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456000, time.UTC)
	return func() time.Time {
		at = at.Add(time.Second)
		return at
	}
}

func version(id string, name waybill.TableName, columns ...string) *waybill.TableVersion {
	v := &waybill.TableVersion{Table: name, ID: id, Dialect: "postgres", Key: []int{0}, Identity: waybill.IdentityKey}
	for i, c := range columns {
		v.Columns = append(v.Columns, waybill.Column{ID: i + 1, Name: c, Type: waybill.Type{Kind: waybill.KindInt, Native: "bigint"}})
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
