package postgres

import (
	"net/url"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// asRole returns the URL with another user.
func asRole(text, role string) string {
	u, err := url.Parse(text)
	if err != nil {
		return err.Error()
	}
	u.User = url.User(role)
	return u.String()
}

// plainRig is a target whose role may not switch triggers off, so foreign keys act on what is applied.
func plainRig(t *testing.T, major int, statements ...string) *sinkRig {
	t.Helper()
	r := newSinkRig(t, major, statements...)
	name := "plain" + dbtest.Rows(t, r.url, "SELECT current_database()")[0][0]
	dbtest.Exec(t, r.url, "CREATE ROLE "+name+" LOGIN", "DO $$ DECLARE n name; BEGIN "+
		"FOR n IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') LOOP "+
		"EXECUTE format('ALTER TABLE public.%I OWNER TO "+name+"', n); END LOOP; END $$",
		"GRANT CREATE ON DATABASE "+dbtest.Rows(t, r.url, "SELECT current_database()")[0][0]+" TO "+name, "DROP SCHEMA waybill CASCADE")
	t.Cleanup(func() { dbtest.Exec(t, r.url, "DROP OWNED BY "+name, "DROP ROLE "+name) })
	if err := r.sink.Close(); err != nil {
		t.Fatal(err)
	}
	r.endpoint.URL = waybill.NewSecret(asRole(r.url, name))
	r.sink = r.open(waybill.SinkOptions{Stream: "test"})
	if r.sink.replica {
		t.Fatal("a plain role switched triggers off")
	}
	return r
}

func referenceChanges(r *sinkRig) []waybill.Change {
	parent, child := r.version("parent"), r.version("child")
	return []waybill.Change{
		r.insert(parent, "10", "NULL"), r.insert(child, "10", "10"), r.insert(child, "11", "1"),
		r.remove(child, "2", "~"), r.remove(parent, "2", "~"),
		r.update(child, "1", "10"), r.remove(parent, "1", "~"), r.insert(parent, "1", "NULL"),
		r.insert(parent, "20", "NULL"), r.update(parent, "10", "20"), r.update(parent, "20", "10"), // a cycle
	}
}

var referenceTables = []string{
	"CREATE TABLE parent (id int PRIMARY KEY, other int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
	"CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE)",
	"INSERT INTO parent VALUES (1), (2), (3)", "INSERT INTO child VALUES (1, 1), (2, 2), (3, 3)",
}

func TestApplyUnderForeignKeys(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		for name, r := range map[string]*sinkRig{"replica": newSinkRig(t, major, referenceTables...), "plain": plainRig(t, major, referenceTables...)} {
			t.Run(name, func(t *testing.T) {
				r.t = t
				r.apply("1", referenceChanges(r)...)
				r.want("SELECT * FROM parent ORDER BY id", "1|NULL", "3|NULL", "10|20", "20|10")
				r.want("SELECT * FROM child ORDER BY id", "1|10", "3|3", "10|10", "11|1")
			})
		}
	})
}

// Rows that refer to a removed row until they are updated in the same batch: the other order must be found.
func TestApplyFindsTheOrderUnderForeignKeys(t *testing.T) {
	for _, action := range []string{"", "ON DELETE CASCADE", "ON DELETE SET NULL"} {
		r := plainRig(t, 15, "CREATE TABLE parent (id int PRIMARY KEY, u int UNIQUE)", "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent "+action+")",
			"INSERT INTO parent VALUES (1, 1), (2, 2)", "INSERT INTO child VALUES (1, 1)")
		parent, child := r.version("parent"), r.version("child")
		r.apply("1", r.update(child, "1", "2"), r.remove(parent, "1", "~"), r.insert(parent, "5", "5"))
		r.want("SELECT * FROM child", "1|2")
		r.want("SELECT * FROM parent ORDER BY id", "2|2", "5|5")
		err := r.try("2", r.update(parent, "2", "0"), r.update(parent, "5", "2"), r.update(parent, "2", "5"))
		if action != "" {
			wantFault(t, err, waybill.Setup, "public.parent", "changed places")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r.want("SELECT * FROM parent ORDER BY id", "2|5", "5|2")
		r.want("SELECT * FROM child", "1|2")
	}
}

func TestApplySaysWhichForeignKeyRefuses(t *testing.T) {
	r := plainRig(t, 15, referenceTables...)
	wantFault(t, r.try("1", r.insert(r.version("child"), "9", "99")), waybill.Drift, "public.child", "child_parent_fkey")
	r.want("SELECT count(*) FROM child", "3")
}

func TestApplyTruncates(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, append(referenceTables, "CREATE TABLE outside (id int REFERENCES child)", "CREATE TABLE s (id serial PRIMARY KEY)", "INSERT INTO s DEFAULT VALUES")...)
		cut := func(table string, group int, restart bool) waybill.Change {
			return waybill.Change{Op: waybill.Truncate, Version: r.version(table), Cut: &waybill.Cut{Group: group, RestartIdentity: restart}}
		}
		child := r.version("child")
		r.apply("1", r.insert(child, "50", "3"), cut("child", 1, false), cut("parent", 1, false), r.insert(child, "51", "NULL"),
			cut("s", 2, true), r.insert(child, "52", "NULL"), r.remove(child, "51", "~"))
		r.want("SELECT id FROM child", "52")
		r.want("SELECT count(*) FROM parent", "0")
		r.want("SELECT nextval('s_id_seq')", "1")
	})
}
