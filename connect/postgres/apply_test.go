package postgres

import (
	"strconv"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

func TestApplyFoldsChangesOfARow(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE a (id int PRIMARY KEY, b text, c text)", "INSERT INTO a VALUES (1, 'one', 'x'), (2, 'two', 'y'), (3, 'three', 'z')")
		v := r.version("a")
		r.apply("1",
			r.insert(v, "10", "ten", "NULL"), r.update(v, "10", "TEN", "~"), // an insert
			r.insert(v, "11", "gone", "g"), r.remove(v, "11", "~", "~"), // nothing
			r.update(v, "1", "ONE", "~"), r.update(v, "1", "~", "X"), // one update of both
			r.remove(v, "2", "~", "~"), r.insert(v, "2", "again", "NULL"), // replaced
			r.update(v, "3", "gone", "gone"), r.remove(v, "3", "~", "~"), // a delete
		)
		r.want("SELECT * FROM a ORDER BY id", "1|ONE|X", "2|again|NULL", "10|TEN|NULL")
		if got := r.position(); got != "1" {
			t.Errorf("position = %q, want 1", got)
		}
	})
}

func TestApplyMovesKeys(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE a (id int PRIMARY KEY, b text, big text)",
			"INSERT INTO a SELECT n, 'b' || n, 'big' || n FROM generate_series(1, 9) n")
		v := r.version("a")
		key := func(id string) waybill.Row { return r.row(v, id, "~", "~") }
		r.apply("1", r.move(v, key("1"), "101", "moved", "~"))                                                                         // a large value that did not travel stays
		r.apply("2", r.move(v, key("2"), "0", "~", "~"), r.move(v, key("3"), "2", "three", "~"), r.move(v, key("0"), "3", "two", "~")) // swap
		r.apply("3", r.move(v, key("5"), "6000", "~", "~"), r.move(v, key("4"), "5", "four", "~"))                                     // chain
		r.apply("4", r.move(v, key("6"), "60", "~", "~"), r.insert(v, "6", "new", "new"), r.move(v, key("60"), "61", "six", "~"))
		r.apply("5", r.move(v, key("7"), "70", "~", "~"), r.remove(v, "70", "~", "~"), r.insert(v, "7", "seven", "7"))
		r.apply("6", r.remove(v, "8", "~", "~"), r.move(v, key("9"), "8", "nein", "~"), r.update(v, "8", "nine", "~"))
		r.want("SELECT * FROM a ORDER BY id", "2|three|big3", "3|two|big2", "5|four|big4", "6|new|new", "7|seven|7", "8|nine|big9",
			"61|six|big6", "101|moved|big1", "6000|b5|big5")
	})
}

func TestApplySwapsUniqueValues(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE a (id int PRIMARY KEY, u int UNIQUE, big text)", "INSERT INTO a VALUES (1, 10, 'x'), (2, 20, 'y'), (3, 30, 'z')")
		v := r.version("a")
		r.apply("1", r.update(v, "1", "0", "~"), r.update(v, "2", "10", "~"), r.update(v, "1", "20", "~"))
		r.want("SELECT * FROM a ORDER BY id", "1|20|x", "2|10|y", "3|30|z")
		r.apply("2", r.update(v, "3", "0", "~"), r.update(v, "1", "30", "Z"), r.update(v, "2", "20", "~"), r.update(v, "3", "10", "~"), r.insert(v, "4", "40", "w"))
		r.want("SELECT * FROM a ORDER BY id", "1|30|Z", "2|20|y", "3|10|z", "4|40|w")
	})
}

func TestApplySwapsUniqueValuesInsideATransaction(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY, u int UNIQUE)", "INSERT INTO a VALUES (1, 10), (2, 20)")
	v := r.version("a")
	r.apply("", r.insert(v, "3", "30"))
	r.apply("", r.update(v, "1", "0"), r.update(v, "2", "10"), r.update(v, "1", "20"))
	r.want("SELECT * FROM a ORDER BY id", "1|10", "2|20")
	r.apply("1", r.insert(v, "4", "40"))
	r.want("SELECT * FROM a ORDER BY id", "1|20", "2|10", "3|30", "4|40")
}

func TestApplyKeepsPartsOfATransactionTogether(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY, b text)")
	v := r.version("a")
	r.apply("1", r.insert(v, "1", "one"))
	r.apply("", r.insert(v, "2", "two"))
	r.want("SELECT * FROM a", "1|one")
	wantFault(t, r.try("", r.insert(v, "1", "again")), waybill.Drift, "public.a", "(id)=(1)")
	r.want("SELECT * FROM a", "1|one")
	r.apply("", r.insert(v, "2", "two"))
	r.apply("2", r.update(v, "2", "TWO"))
	r.want("SELECT * FROM a ORDER BY id", "1|one", "2|TWO")
	r.apply("2", r.insert(v, "2", "two")) // a repeat changes nothing
}

func TestApplyNoticesAForeignHand(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY, b text, n smallint CHECK (n > 0))", "INSERT INTO a VALUES (1, 'one', 1)")
	v := r.version("a")
	wantFault(t, r.try("1", r.update(v, "1", "x", "1"), r.update(v, "7", "x", "1"), r.update(v, "8", "x", "1")), waybill.Drift, "public.a", "(id)=(7)", "(id)=(8)")
	wantFault(t, r.try("1", r.remove(v, "7", "~", "~")), waybill.Drift, "public.a", "(id)=(7)")
	wantFault(t, r.try("1", r.insert(v, "1", "x", "1")), waybill.Drift, "public.a", "(id)=(1)")
	wantFault(t, r.try("1", r.insert(v, "2", "x", "-5")), waybill.Data, "public.a", "a_n_check")
	wantFault(t, r.try("1", r.insert(v, "2", "x", "70000")), waybill.Data, "public.a", "column n", "(id)=(2)")
	r.want("SELECT * FROM a", "1|one|1")
	if got := r.position(); got != "" {
		t.Errorf("position = %q after failed batches, want none", got)
	}
}

func TestApplyInsertsManyRows(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE a (id int PRIMARY KEY, b text)", "INSERT INTO a VALUES (0, 'old')")
		v := r.version("a")
		changes := []waybill.Change{r.update(v, "0", "new")}
		for n := 1; n <= 2*minCopyRows; n++ {
			changes = append(changes, r.insert(v, strconv.Itoa(n), "tab\tand\\slash"))
		}
		r.apply("1", changes...)
		r.want(`SELECT count(*), count(*) FILTER (WHERE b = E'tab\tand\\slash'), min(b) FILTER (WHERE id = 0) FROM a`, "1001|1000|new")
		wantFault(t, r.try("2", changes[1:]...), waybill.Drift, "public.a", "(id)=(1)")
		r.apply("", changes[0])
		for i := range changes[1:] {
			changes[i+1] = r.insert(v, strconv.Itoa(5000+i), "later")
		}
		r.apply("2", changes...)
		r.want(`SELECT count(*) FROM a`, "2001")
		if got := r.position(); got != "2" {
			t.Errorf("position = %q, want 2", got)
		}
	})
}

func TestApplyToTheWidestTable(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		const columns = 1590
		definition := make([]string, columns)
		one, two := make([]string, columns), make([]string, columns)
		for i := range definition {
			definition[i] = "c" + strconv.Itoa(i) + " smallint"
			one[i], two[i] = "1", "2"
		}
		r := newSinkRig(t, major, "CREATE TABLE a ("+strings.Join(definition, ", ")+", PRIMARY KEY (c0))", "CREATE TABLE bag ("+strings.Join(definition, ", ")+")")
		v, bag := r.version("a"), r.version("bag")
		r.apply("1", r.insert(v, one...), r.insert(bag, one...))
		two[0] = "1"
		r.apply("2", r.update(v, two...), r.insert(bag, two...), r.remove(bag, one...))
		r.want("SELECT c0, c1, c1589 FROM a", "1|2|2")
		r.want("SELECT c0, c1, c1589 FROM bag", "1|2|2")
	})
}
