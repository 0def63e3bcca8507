package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// sinkRig is a target database with a sink and the versions of its tables.
type sinkRig struct {
	t        testing.TB
	url      string
	endpoint waybill.Endpoint
	conn     *pgconn.PgConn
	sink     *sink
}

func newSinkRig(t testing.TB, major int, statements ...string) *sinkRig {
	t.Helper()
	url := dbtest.Database(t, major)
	dbtest.Exec(t, url, statements...)
	r := &sinkRig{t: t, url: url, endpoint: waybill.Endpoint{Name: "target", Kind: kind, URL: waybill.NewSecret(url)}}
	var err error
	if r.conn, err = connect(t.Context(), r.endpoint, "test", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(r.conn) })
	r.sink = r.open(waybill.SinkOptions{Stream: "test"})
	return r
}

func (r *sinkRig) open(o waybill.SinkOptions) *sink {
	r.t.Helper()
	opened, err := openSink(context.Background(), r.endpoint, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return opened.(*sink)
}

// version describes a table of the target as if it were the source's.
func (r *sinkRig) version(table string) *waybill.TableVersion {
	r.t.Helper()
	versions, err := describe(context.Background(), r.conn, []waybill.TableName{{Schema: "public", Name: table}})
	if err != nil {
		r.t.Fatal(err)
	}
	if versions[0] == nil {
		r.t.Fatalf("no table %s", table)
	}
	return versions[0]
}

// row reads a row from texts: NULL is null and ~ is absent.
func (r *sinkRig) row(v *waybill.TableVersion, texts ...string) waybill.Row {
	r.t.Helper()
	row := make(waybill.Row, len(v.Columns))
	for i, text := range texts {
		switch text {
		case "~":
		case "NULL":
			row[i] = waybill.Null
		default:
			value, err := decodeText(v.Columns[i].Type.Kind, text)
			if err != nil {
				r.t.Fatal(err)
			}
			row[i] = value
		}
	}
	return row
}

func (r *sinkRig) insert(v *waybill.TableVersion, after ...string) waybill.Change {
	return waybill.Change{Op: waybill.Insert, Version: v, After: r.row(v, after...)}
}

// update is of a row whose key stays.
func (r *sinkRig) update(v *waybill.TableVersion, after ...string) waybill.Change {
	return waybill.Change{Op: waybill.Update, Version: v, After: r.row(v, after...)}
}

func (r *sinkRig) move(v *waybill.TableVersion, before waybill.Row, after ...string) waybill.Change {
	return waybill.Change{Op: waybill.Update, Version: v, Before: before, After: r.row(v, after...)}
}

func (r *sinkRig) remove(v *waybill.TableVersion, before ...string) waybill.Change {
	return waybill.Change{Op: waybill.Delete, Version: v, Before: r.row(v, before...)}
}

func (r *sinkRig) try(p waybill.Position, changes ...waybill.Change) error {
	return r.sink.Apply(context.Background(), waybill.ChangeBatch{Changes: changes, Position: p, Transactions: 1})
}

func (r *sinkRig) apply(p waybill.Position, changes ...waybill.Change) {
	r.t.Helper()
	if err := r.try(p, changes...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *sinkRig) want(query string, want ...string) {
	r.t.Helper()
	var got []string
	for _, row := range dbtest.Rows(r.t, r.url, query) {
		got = append(got, strings.Join(row, "|"))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func (r *sinkRig) position() waybill.Position {
	r.t.Helper()
	p, err := r.sink.Resume(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Position
}

func wantFault(t testing.TB, err error, fault waybill.Fault, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of fault %s with %q", fault, parts)
	}
	var known *waybill.Error
	if !errors.As(err, &known) || waybill.FaultOf(err) != fault {
		t.Errorf("fault of %q = %s, want %s", err, waybill.FaultOf(err), fault)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error = %q, want it to say %q", err, part)
		}
	}
}

// TestOnlyTheLastOfManyWaitsForTheDisk looks at the setting as a deferred trigger sees it at the commit.
func TestOnlyTheLastOfManyWaitsForTheDisk(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE seen (id int, setting text)",
		"CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (new.id, current_setting('synchronous_commit')); RETURN NULL; END $$",
		"CREATE CONSTRAINT TRIGGER see AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see()",
		"ALTER TABLE a ENABLE ALWAYS TRIGGER see")
	v := r.version("a")
	for i, more := range []bool{true, true, false, true, false} {
		id := strconv.Itoa(i)
		b := waybill.ChangeBatch{Changes: []waybill.Change{r.insert(v, id)}, Position: waybill.Position("p" + id), Transactions: 1, More: more}
		if err := r.sink.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	r.want("SELECT * FROM seen ORDER BY id", "0|off", "1|off", "2|on", "3|off", "4|on")
}
