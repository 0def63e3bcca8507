package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/internal/pgserver"
)

func testFindings(t *testing.T, url string, role waybill.Role, tables ...string) map[string]waybill.Finding {
	t.Helper()
	found, err := probe(context.Background(), testEndpoint(url), role, tables)
	if err != nil {
		t.Fatal(err)
	}
	byCode := map[string]waybill.Finding{}
	for _, f := range found {
		code := f.Code
		if f.Table != (waybill.TableName{}) {
			code += " " + f.Table.String()
		}
		byCode[code] = f
		if f.What == "" || f.Fix == "" && (f.Severity == waybill.Blocker || f.Severity == waybill.Warning) {
			t.Errorf("finding says too little: %+v", f)
		}
	}
	return byCode
}

func wantFinding(t *testing.T, found map[string]waybill.Finding, code string, severity waybill.Severity, fix string) {
	t.Helper()
	f, ok := found[code]
	if !ok || f.Severity != severity || !strings.Contains(f.Fix, fix) {
		t.Errorf("%s: got %+v, want severity %s with fix %q", code, f, severity, fix)
	}
}

func TestProbeOfASourceInOrder(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		dbtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE p (id int) PARTITION BY LIST (id)")
		found := testFindings(t, url, waybill.AsSource, "public.a")
		for _, code := range []string{"server.reached", "clock.skew", "wal.level", "wal.slots", "wal.senders", "right.replication", "right.publication", "tables.selected"} {
			wantFinding(t, found, code, waybill.Fine, "")
		}
		for code, f := range found {
			if f.Severity == waybill.Blocker {
				t.Errorf("%s: %+v", code, f)
			}
		}
	})
}

func TestProbeFindsWhatStopsASource(t *testing.T) {
	ctx := context.Background()
	s, err := pgserver.Start(ctx, pgserver.Options{Major: 15, Settings: []string{"wal_level=replica", "max_replication_slots=1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	admin := s.URL("postgres")
	dbtest.Exec(t, admin, "CREATE ROLE narrow LOGIN", "SELECT pg_create_physical_replication_slot('other')",
		"CREATE TABLE keyless (id int)", "CREATE UNLOGGED TABLE u (id int PRIMARY KEY)", "CREATE TABLE late (id int PRIMARY KEY DEFERRABLE)",
		"CREATE TABLE tree (id int PRIMARY KEY, n pg_node_tree)", "CREATE TABLE hidden (id int PRIMARY KEY)", "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "GRANT SELECT ON hidden TO narrow",
		"CREATE TABLE p (id int) PARTITION BY LIST (id)", "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)", "ALTER TABLE p REPLICA IDENTITY FULL")
	found := testFindings(t, strings.Replace(admin, "postgres@", "narrow@", 1), waybill.AsSource)
	wantFinding(t, found, "wal.level", waybill.Blocker, "ALTER SYSTEM SET wal_level")
	wantFinding(t, found, "wal.slots", waybill.Blocker, "max_replication_slots")
	wantFinding(t, found, "right.replication", waybill.Blocker, `ALTER ROLE "narrow" REPLICATION`)
	wantFinding(t, found, "right.publication", waybill.Blocker, `GRANT CREATE ON DATABASE "postgres" TO "narrow"`)
	wantFinding(t, found, "right.capture", waybill.Note, "superuser")
	wantFinding(t, found, "table.identity public.keyless", waybill.Blocker, "REPLICA IDENTITY FULL")
	wantFinding(t, found, "table.identity public.late", waybill.Blocker, "REPLICA IDENTITY FULL")
	wantFinding(t, found, "table.identity public.p", waybill.Blocker, "each partition")
	wantFinding(t, found, "table.unlogged public.u", waybill.Warning, "SET LOGGED")
	wantFinding(t, found, "table.type public.tree", waybill.Blocker, "drop the column")
	wantFinding(t, found, "table.select public.keyless", waybill.Blocker, `GRANT SELECT ON "public"."keyless" TO "narrow"`)
	wantFinding(t, found, "table.owner public.keyless", waybill.Blocker, `GRANT postgres TO "narrow"`)
	wantFinding(t, found, "table.rowsecurity public.hidden", waybill.Blocker, "BYPASSRLS")
	wantFinding(t, testFindings(t, admin, waybill.AsSource, "nowhere.*"), "tables.none", waybill.Blocker, "schema.table")
	dbtest.Exec(t, admin, "ALTER ROLE narrow SET default_transaction_read_only = on")
	wantFinding(t, testFindings(t, strings.Replace(admin, "postgres@", "narrow@", 1), waybill.AsTarget), "server.readonly", waybill.Blocker, "ALTER ROLE")
}

func TestProbeOfATarget(t *testing.T) {
	for _, major := range []int{13, 15} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			url := dbtest.Database(t, major)
			dbtest.Exec(t, url, "DROP ROLE IF EXISTS narrow", "CREATE ROLE narrow LOGIN", "CREATE TABLE a (id int)", "CREATE VIEW v AS SELECT 1",
				"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE PROCEDURE f()", "ALTER TABLE a ENABLE ALWAYS TRIGGER t")
			t.Cleanup(func() { dbtest.Exec(t, url, "DROP OWNED BY narrow", "DROP ROLE narrow") })
			found := testFindings(t, url, waybill.AsTarget)
			wantFinding(t, found, "right.create", waybill.Fine, "")
			wantFinding(t, found, "right.triggers", waybill.Fine, "")
			wantFinding(t, found, "table.trigger public.a", waybill.Warning, "ENABLE TRIGGER")
			wantFinding(t, found, "table.kind public.v", waybill.Note, "")
			found = testFindings(t, strings.Replace(url, "postgres@", "narrow@", 1), waybill.AsTarget)
			wantFinding(t, found, "right.create", waybill.Blocker, "GRANT CREATE ON DATABASE")
			wantFinding(t, found, "right.triggers", waybill.Warning, map[bool]string{true: "GRANT SET ON PARAMETER", false: "superuser"}[major >= 15])
			wantFinding(t, found, "table.owner public.a", waybill.Blocker, "GRANT postgres TO")
		})
	}
}

func TestProbeOfAnUnreachableServerIsAnError(t *testing.T) {
	port, err := pgserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	found, err := probe(context.Background(), testEndpoint(fmt.Sprintf("postgres://u@127.0.0.1:%d/d", port)), waybill.AsSource, nil)
	if len(found) != 0 || waybill.FaultOf(err) != waybill.Passing {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestMinorVersionsThatLoseRows(t *testing.T) {
	url := dbtest.Database(t, 15)
	conn := testSession(t, url)
	x := &examination{conn: conn}
	if err := x.minorVersion(context.Background()); err != nil {
		t.Fatal(err)
	}
	minor := serverVersion(conn) % 10000
	if old := minor < fixedMinors[15]; old != (len(x.findings) == 1 && x.findings[0].Severity == waybill.Warning) {
		t.Errorf("15.%d: %+v", minor, x.findings)
	}
}
