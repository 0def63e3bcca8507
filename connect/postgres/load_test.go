package postgres

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// shopTables is a source with most of what a table can have.
var shopTables = []string{
	"CREATE TYPE mood AS ENUM ('sad', 'happy')",
	"CREATE TABLE customer (id int PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'x', m mood, CHECK (id > 0))",
	"CREATE INDEX customer_name ON customer (lower(name))", "CREATE UNIQUE INDEX customer_m ON customer (m, id)",
	"CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customer, boss int REFERENCES orders, note text)",
	"CREATE TABLE part (d int, x text) PARTITION BY RANGE (d)", "CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (100)",
	"INSERT INTO customer SELECT n, 'c' || n, 'happy' FROM generate_series(1, 5000) n",
	"INSERT INTO orders (customer, boss, note) SELECT n % 5000 + 1, NULL, E'a\\tb\\\\' FROM generate_series(1, 3000) n",
	"INSERT INTO part SELECT n, NULL FROM generate_series(1, 99) n",
}

var shop = []string{"customer", "orders", "part"}

// copyRig is a source with a view and an empty target with a sink.
type copyRig struct {
	*sinkRig
	view     waybill.View
	versions []*waybill.TableVersion
}

func newCopyRig(t *testing.T, major int) *copyRig {
	t.Helper()
	url := dbtest.Database(t, major)
	dbtest.Exec(t, url, shopTables...)
	source := waybill.Endpoint{Name: "source", Kind: kind, URL: waybill.NewSecret(url)}
	view, err := openView(t.Context(), source, waybill.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &copyRig{sinkRig: newSinkRig(t, major), view: view}
	for _, name := range shop {
		v, err := view.Version(t.Context(), waybill.TableName{Schema: "public", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		r.versions = append(r.versions, v)
	}
	return r
}

// copyAll loads all tables, slices side by side, as rows or as bytes of a format.
func (r *copyRig) copyAll(t *testing.T, f waybill.Format) {
	t.Helper()
	var group errgroup.Group
	for _, v := range r.versions {
		slices, err := r.view.Slices(t.Context(), v, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, slice := range slices {
			group.Go(func() error { return r.copySlice(context.Background(), slice, f) })
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (r *copyRig) copySlice(ctx context.Context, slice waybill.Slice, f waybill.Format) error {
	if f == "" {
		_, err := r.sink.Load(ctx, slice, r.view.Read(ctx, slice))
		return err
	}
	formats, err := r.sink.Accepts(ctx, slice.Version)
	if err != nil {
		return err
	}
	var buffer bytes.Buffer
	use := textFormat
	if f != textFormat && len(formats) > 1 {
		use = formats[0]
	}
	if _, err := r.view.(waybill.Exporter).Export(ctx, slice, use, &buffer); err != nil {
		return err
	}
	_, err = r.sink.Import(ctx, slice, use, &buffer)
	return err
}

func (r *copyRig) wantShop(t *testing.T) {
	t.Helper()
	r.want("SELECT count(*), sum(length(name)), min(m) FROM customer", "5000|23893|happy")
	r.want(`SELECT count(*), count(*) FILTER (WHERE note = E'a\tb\\') FROM orders`, "3000|3000")
	r.want("SELECT count(*), sum(d) FROM part1", "99|4950")
}

func TestCopyOfTables(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		for _, format := range []waybill.Format{"", textFormat, binaryPrefix} {
			r := newCopyRig(t, major)
			if err := r.sink.Prepare(t.Context(), r.versions, true); err != nil {
				t.Fatal(err)
			}
			r.copyAll(t, format)
			r.copyAll(t, format) // a slice that is there is not loaded again
			if err := r.sink.Complete(t.Context(), r.versions, "9"); err != nil {
				t.Fatal(err)
			}
			r.wantShop(t)
			wantComplete(t, r)
		}
	})
}

func wantComplete(t *testing.T, r *copyRig) {
	t.Helper()
	progress, err := r.sink.Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.versions {
		if progress.Copied[v.Table] != "9" {
			t.Errorf("%s copied as of %q, want 9", v.Table, progress.Copied[v.Table])
		}
		if found := differences(r.version(v.Table.Name), v); len(found) > 0 {
			t.Errorf("%s differs: %q", v.Table, found)
		}
		if kept := progress.Versions[v.Table]; kept == nil || len(kept.Columns) != len(v.Columns) || kept.ID != v.ID {
			t.Errorf("%s: kept version = %+v", v.Table, kept)
		}
	}
	r.want("SELECT count(*) FROM waybill.loaded", "0")
	r.want("SELECT conname FROM pg_constraint WHERE contype IN ('c', 'f', 'p') AND connamespace = 'public'::regnamespace ORDER BY 1",
		"customer_id_check", "customer_pkey", "orders_boss_fkey", "orders_customer_fkey", "orders_pkey")
	r.want("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'customer'::regclass ORDER BY 1", "customer_m", "customer_name", "customer_pkey")
}

// An unfinished copy is emptied by the next one, a copy of somebody else's rows is refused.
func TestPrepareEmptiesOnlyItsOwn(t *testing.T) {
	r := newCopyRig(t, 15)
	ctx := t.Context()
	prepare := func() error { return r.sink.Prepare(ctx, r.versions, true) }
	if err := prepare(); err != nil {
		t.Fatal(err)
	}
	r.copyAll(t, "")
	if err := prepare(); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT count(*) FROM orders", "0")
	r.copyAll(t, "")
	if err := r.sink.Complete(ctx, r.versions, "9"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, prepare(), waybill.Drift, "public.orders", "rows that this link did not bring")
	if err := r.sink.Forget(ctx, r.versions[0].Table); err != nil {
		t.Fatal(err)
	}
	if err := r.sink.Prepare(ctx, r.versions[:1], true); err != nil { // orders refer to it, so no TRUNCATE
		t.Fatal(err)
	}
	r.want("SELECT count(*) FROM customer", "0")
	other := r.open(waybill.SinkOptions{Stream: "other"})
	wantFault(t, other.Prepare(ctx, r.versions[1:2], true), waybill.Setup, "stream test has copied")
}

func TestPrepareAsksWhatToDoWithRows(t *testing.T) {
	r := newCopyRig(t, 15)
	dbtest.Exec(t, r.url, "CREATE TABLE part (d int, x text) PARTITION BY RANGE (d)", "CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (100)",
		"INSERT INTO part VALUES (1, 'foreign')", "CREATE TABLE orders (id int, customer text)")
	err := r.sink.Prepare(t.Context(), r.versions[1:], true)
	wantFault(t, err, waybill.Drift, "public.part", "did not bring", "public.orders", "customer", "note")
	r.want("SELECT count(*) FROM part", "1")
	r.sink.endpoint.Settings = map[string]string{settingExisting: "drop"}
	wantFault(t, r.sink.Prepare(t.Context(), r.versions[2:], true), waybill.Setup, `"drop"`)
	r.sink.endpoint.Settings = map[string]string{settingExisting: "truncate"}
	if err := r.sink.Prepare(t.Context(), r.versions[2:], true); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT count(*) FROM part", "0")
}

// A leftover of an unfinished copy whose source has changed since is made anew.
func TestPrepareMakesAChangedLeftoverAnew(t *testing.T) {
	r := newCopyRig(t, 15)
	if err := r.sink.Prepare(t.Context(), r.versions[:1], true); err != nil {
		t.Fatal(err)
	}
	changed := *r.versions[0]
	changed.Columns = append(changed.Columns[:len(changed.Columns):len(changed.Columns)],
		waybill.Column{ID: 9, Name: "added", Type: waybill.Type{Kind: waybill.KindText, Native: "text"}})
	if err := r.sink.Prepare(t.Context(), []*waybill.TableVersion{&changed}, true); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT attname FROM pg_attribute WHERE attrelid = 'customer'::regclass AND attname = 'added'", "added")
}

// TestPrepareExtendsEnums: a copy that was cut off leaves an enum as it was then. Another table uses it, so it cannot be
// made anew.
func TestPrepareExtendsEnums(t *testing.T) {
	for _, major := range bothMajors {
		r := newSinkRig(t, major, "CREATE TYPE mood AS ENUM ('a', 'z')", "CREATE TABLE t (m mood)", "CREATE TABLE fresh (m mood)")
		left, fresh := r.version("t"), r.version("fresh")
		dbtest.Exec(t, r.url, "DROP TABLE fresh")
		for _, v := range []*waybill.TableVersion{left, fresh} {
			v.Types[0].Labels = []string{"first", "a", "between", "z", "last"}
			v.Types[0].Definition = "CREATE TYPE public.mood AS ENUM ('first', 'a', 'between', 'z', 'last')"
		}
		if err := r.sink.Prepare(t.Context(), []*waybill.TableVersion{left, fresh}, true); err != nil {
			t.Fatal(err)
		}
		r.want("SELECT enumlabel FROM pg_enum ORDER BY enumsortorder", "first", "a", "between", "z", "last")
	}
}

func TestLoadTellsWhyItStopped(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY, n smallint)")
	v := r.version("a")
	broken := errors.New("the source broke")
	rows := func(err error, texts ...string) iter.Seq2[waybill.Batch, error] {
		return func(yield func(waybill.Batch, error) bool) {
			if yield(waybill.Batch{Version: v, Rows: []waybill.Row{r.row(v, texts...)}}, nil) && err != nil {
				yield(waybill.Batch{}, err)
			}
		}
	}
	slice := waybill.Slice{Version: v}
	if _, err := r.sink.Load(t.Context(), slice, rows(broken, "1", "1")); !errors.Is(err, broken) {
		t.Errorf("error = %v, want %v", err, broken)
	}
	_, err := r.sink.Load(t.Context(), slice, rows(nil, "1", "70000"))
	wantFault(t, err, waybill.Data, "public.a", "column n", "70000")
	_, err = r.sink.Load(t.Context(), slice, rows(nil, "1", "~"))
	if err == nil {
		t.Error("a row without a value was loaded")
	}
	if n, err := r.sink.Load(t.Context(), slice, rows(nil, "1", "7")); n != 1 || err != nil {
		t.Errorf("load = %d, %v", n, err)
	}
	r.want("SELECT * FROM a", "1|7")
	wantFault(t, func() error {
		r.open(waybill.SinkOptions{Stream: "x"})
		dbtest.Exec(t, r.url, "UPDATE waybill.stream SET epoch = epoch + 1")
		_, err := r.sink.Load(t.Context(), waybill.Slice{Version: v, Number: 1}, rows(nil, "2", "7"))
		return err
	}(), waybill.Setup, "took stream test over")
	r.want("SELECT count(*) FROM a", "1")
}

func TestSequencesMoveForwardOnly(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE SEQUENCE up", "CREATE SEQUENCE down INCREMENT BY -1", "CREATE SEQUENCE ahead", "SELECT setval('ahead', 50)", "CREATE SEQUENCE fresh")
	name := func(s string) waybill.TableName { return waybill.TableName{Schema: "public", Name: s} }
	set := func(states ...waybill.SequenceState) {
		t.Helper()
		if err := r.sink.SetSequences(t.Context(), states); err != nil {
			t.Fatal(err)
		}
	}
	set(waybill.SequenceState{Name: name("up"), Last: 10, Called: true}, waybill.SequenceState{Name: name("down"), Last: -10, Called: true},
		waybill.SequenceState{Name: name("ahead"), Last: 7, Called: true}, waybill.SequenceState{Name: name("fresh"), Last: 1, Called: true})
	set(waybill.SequenceState{Name: name("down"), Last: -5, Called: true}, waybill.SequenceState{Name: name("up"), Last: 10, Called: false})
	r.want("SELECT nextval('up'), nextval('down'), nextval('ahead'), nextval('fresh')", "11|-11|51|2")
}
