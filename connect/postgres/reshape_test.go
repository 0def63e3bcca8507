package postgres

import (
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// mirror is a source whose structure changes are applied to a target by hand-made shapes.
type mirror struct {
	*sinkRig
	source *sinkRig
}

func newMirror(t *testing.T, major int, statements ...string) *mirror {
	t.Helper()
	return &mirror{sinkRig: newSinkRig(t, major, statements...), source: newSinkRig(t, major, statements...)}
}

// reshape runs a statement at the source and returns the change of structure of the table.
func (m *mirror) reshape(before *waybill.TableVersion, name, statement string) (waybill.Change, *waybill.TableVersion) {
	m.t.Helper()
	dbtest.Exec(m.t, m.source.url, statement)
	shape := &waybill.Shape{Before: before, Statement: statement}
	if name != "" {
		shape.After = m.source.version(name)
	}
	version := shape.Before
	if version == nil {
		version = shape.After
	}
	return waybill.Change{Op: waybill.Reshape, Version: version, Shape: shape}, shape.After
}

// Before 11 the added column would be filled by a copy, which shapes made by hand do not ask for.
func TestReshapeBetweenRowsOfOneTransaction(t *testing.T) {
	eachMajor(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		m := newMirror(t, major, "CREATE TABLE a (id int PRIMARY KEY, b text)", "INSERT INTO a VALUES (1, 'one'), (2, 'two')")
		v := m.source.version("a")
		changes := []waybill.Change{m.insert(v, "3", "three"), m.update(v, "1", "ONE")}
		step := func(name, statement string) {
			c, after := m.reshape(v, name, statement)
			changes, v = append(changes, c), after
		}
		step("a", "ALTER TABLE a ADD COLUMN c int NOT NULL DEFAULT 7")
		changes = append(changes, m.insert(v, "4", "four", "4"), m.update(v, "1", "~", "1"))
		step("a", "ALTER TABLE a RENAME COLUMN b TO d")
		changes = append(changes, m.update(v, "2", "TWO", "2"))
		step("a", "ALTER TABLE a DROP COLUMN c")
		changes = append(changes, m.remove(v, "3", "~"), m.insert(v, "5", "five"))
		step("e", "ALTER TABLE a RENAME TO e")
		changes = append(changes, m.update(v, "5", "FIVE"))
		m.apply("", changes[:3]...) // the transaction may come in parts
		m.apply("1", changes[3:]...)
		m.want("SELECT * FROM e ORDER BY id", "1|ONE", "2|TWO", "4|four", "5|FIVE")
		progress, err := m.sink.Resume(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(progress.Copied) != 0 { // nothing was copied, so a rename has nothing to move
			t.Errorf("copied = %v", progress.Copied)
		}
	})
}

func TestReshapeCreatesRenamesAndDropsTables(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		m := newMirror(t, major)
		create, a := m.reshape(nil, "a", "CREATE TABLE a (id int PRIMARY KEY, b text DEFAULT 'x')")
		createB, b := m.reshape(nil, "b", "CREATE TABLE b (id int PRIMARY KEY)")
		m.apply("1", create, m.insert(a, "1", "one"), createB, m.insert(b, "9"))
		// Two tables exchange their names.
		one, spare := m.reshape(a, "spare", "ALTER TABLE a RENAME TO spare")
		two, nowA := m.reshape(b, "a", "ALTER TABLE b RENAME TO a")
		three, nowB := m.reshape(spare, "b", "ALTER TABLE spare RENAME TO b")
		m.apply("2", one, two, three, m.insert(nowA, "10"), m.update(nowB, "1", "ONE"))
		m.want("SELECT * FROM b", "1|ONE")
		m.want("SELECT * FROM a ORDER BY 1", "9", "10")
		progress, err := m.sink.Resume(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := progress.Versions[nowB.Table]; got == nil || got.ID != nowB.ID || progress.Copied[nowB.Table] != "1" {
			t.Errorf("b = %+v as of %q, want the table with id %s as of 1", got, progress.Copied[nowB.Table], nowB.ID)
		}
		drop, _ := m.reshape(nowB, "", "DROP TABLE b")
		again, b := m.reshape(nil, "b", "CREATE TABLE b (other text)")
		m.apply("3", drop, again, m.insert(b, "new"))
		m.want("SELECT * FROM b", "new")
	})
}

// What is known of tables inside a transaction that is rolled back must be forgotten with it.
func TestFailedBatchTakesItsReshapesBack(t *testing.T) {
	m := newMirror(t, 15, "CREATE TABLE a (id int PRIMARY KEY, b text)", "INSERT INTO a VALUES (1, 'one')")
	old := m.source.version("a")
	add, v := m.reshape(old, "a", "ALTER TABLE a ADD COLUMN c text")
	wantFault(t, m.try("1", add, m.insert(v, "2", "two", "c"), m.insert(v, "1", "again", "c")), waybill.Drift, "(id)=(1)")
	m.apply("1", m.insert(old, "2", "two"))
	m.apply("2", add, m.insert(v, "3", "three", "c"), m.update(v, "1", "~", "C"))
	m.want("SELECT * FROM a ORDER BY id", "1|one|C", "2|two|NULL", "3|three|c")
}

func TestReshapeWithReloadIsCopiedAgain(t *testing.T) {
	m := newMirror(t, 15)
	create, v := m.reshape(nil, "a", "CREATE TABLE a AS SELECT 1 AS id")
	create.Shape.Reload, create.Shape.Reason = true, "CREATE TABLE AS"
	m.apply("1", create)
	progress, err := m.sink.Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, copied := progress.Copied[v.Table]; copied {
		t.Error("a table whose rows did not travel counts as copied")
	}
	if err := m.sink.Prepare(t.Context(), []*waybill.TableVersion{v}, true); err != nil {
		t.Error(err)
	}
}
