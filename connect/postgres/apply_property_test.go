package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// keyedRow is a row of the model of table k: a key of two parts, a unique value and a large text.
type keyedRow struct {
	u, big string
}

// model is what the source holds; it makes the changes that the source's log would tell.
type model struct {
	rig   *sinkRig
	keyed *waybill.TableVersion
	bag   *waybill.TableVersion
	rows  map[[2]int]keyedRow
	bags  map[[2]string]int
	next  int
}

const keySpace = 4

func (m *model) key(t *rapid.T) [2]int {
	return [2]int{rapid.IntRange(1, keySpace).Draw(t, "key"), rapid.IntRange(1, 2).Draw(t, "part")}
}

func keyTexts(k [2]int) (string, string) { return strconv.Itoa(k[0]), "p" + strconv.Itoa(k[1]) }

// unique draws a value of the unique column that no row holds at this moment.
func (m *model) unique(t *rapid.T) string {
	u := strconv.Itoa(rapid.IntRange(1, 12).Draw(t, "unique"))
	for _, row := range m.rows {
		if row.u == u {
			return "NULL"
		}
	}
	return u
}

func (m *model) change(t *rapid.T) (changes []waybill.Change) {
	r, v := m.rig, m.keyed
	switch rapid.IntRange(0, 7).Draw(t, "op") {
	case 0, 1:
		k := m.key(t)
		if _, taken := m.rows[k]; taken {
			return nil
		}
		m.next++
		row := keyedRow{m.unique(t), "big" + strconv.Itoa(m.next)}
		m.rows[k] = row
		a, b := keyTexts(k)
		return []waybill.Change{r.insert(v, a, b, row.u, row.big)}
	case 2, 3, 4:
		return m.update(t)
	case 5:
		k := m.key(t)
		if _, there := m.rows[k]; !there {
			return nil
		}
		delete(m.rows, k)
		a, b := keyTexts(k)
		return []waybill.Change{r.remove(v, a, b, "~", "~")}
	}
	return m.changeBag(t)
}

func (m *model) update(t *rapid.T) []waybill.Change {
	r, v := m.rig, m.keyed
	k := m.key(t)
	row, there := m.rows[k]
	if !there {
		return nil
	}
	to := k
	if rapid.Bool().Draw(t, "move") {
		if to = m.key(t); to != k {
			if _, taken := m.rows[to]; taken {
				return nil
			}
		}
	}
	if rapid.Bool().Draw(t, "unique changes") {
		row.u = m.unique(t)
	}
	big := "~"
	if rapid.Bool().Draw(t, "big changes") {
		m.next++
		row.big = "big" + strconv.Itoa(m.next)
		big = row.big
	}
	delete(m.rows, k)
	m.rows[to] = row
	a, b := keyTexts(to)
	if to == k {
		return []waybill.Change{r.update(v, a, b, row.u, big)}
	}
	oldA, oldB := keyTexts(k)
	return []waybill.Change{r.move(v, r.row(v, oldA, oldB, "~", "~"), a, b, row.u, big)}
}

func (m *model) changeBag(t *rapid.T) []waybill.Change {
	r, v := m.rig, m.bag
	line := func(name string) [2]string {
		return [2]string{rapid.SampledFrom([]string{"1", "1.0", "NULL"}).Draw(t, name), rapid.SampledFrom([]string{"a", "", "NULL"}).Draw(t, name)}
	}
	old, new := line("old"), line("new")
	op := rapid.IntRange(0, 2).Draw(t, "bag op")
	if op > 0 && m.bags[old] == 0 {
		op = 0
	}
	if op > 0 {
		m.bags[old]--
	}
	if op < 2 {
		m.bags[new]++
	}
	switch op {
	case 0:
		return []waybill.Change{r.insert(v, new[0], new[1])}
	case 1:
		return []waybill.Change{r.move(v, r.row(v, old[0], old[1]), new[0], new[1])}
	}
	return []waybill.Change{r.remove(v, old[0], old[1])}
}

func (m *model) apply(t *rapid.T, p waybill.Position, changes []waybill.Change) {
	if err := m.rig.try(p, changes...); err != nil {
		t.Fatal(err)
	}
}

func (m *model) want() []string {
	var lines []string
	for k, row := range m.rows {
		a, b := keyTexts(k)
		lines = append(lines, strings.Join([]string{"k", a, b, row.u, row.big}, "|"))
	}
	for line, n := range m.bags {
		if n > 0 {
			lines = append(lines, fmt.Sprintf("bag|%s|%s|%d", line[0], line[1], n))
		}
	}
	slices.Sort(lines)
	return lines
}

func (m *model) got() []string {
	var lines []string
	for _, row := range dbtest.Rows(m.rig.t, m.rig.url, "SELECT 'k', * FROM k") {
		lines = append(lines, strings.Join(row, "|"))
	}
	for _, row := range dbtest.Rows(m.rig.t, m.rig.url, "SELECT 'bag', x::text, y, count(*) FROM bag GROUP BY 2, 3") {
		lines = append(lines, strings.Join(row, "|"))
	}
	slices.Sort(lines)
	return lines
}

// TestApplyEqualsTheModel applies random transactions in random groupings: whole ones together, or one in
// parts. Whatever the grouping, the target must hold what the source holds.
func TestApplyEqualsTheModel(t *testing.T) {
	eachMajor(t, bothMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major, "CREATE TABLE k (a int, b text, u int UNIQUE, big text, PRIMARY KEY (a, b))", "CREATE TABLE bag (x numeric, y text)")
		keyed, bag := r.version("k"), r.version("bag")
		position := 0
		rapid.Check(t, func(t *rapid.T) {
			dbtest.Exec(r.t, r.url, "TRUNCATE k, bag")
			r.sink.forgetTarget(keyed.Table) // and with it that values were swapped before
			m := &model{rig: r, keyed: keyed, bag: bag, rows: map[[2]int]keyedRow{}, bags: map[[2]string]int{}}
			for range rapid.IntRange(1, 4).Draw(t, "batches") {
				var changes []waybill.Change
				for range rapid.IntRange(1, 25).Draw(t, "changes") {
					changes = append(changes, m.change(t)...)
				}
				position++
				if len(changes) > 0 && rapid.IntRange(0, 3).Draw(t, "in parts") == 0 {
					at := rapid.IntRange(0, len(changes)).Draw(t, "cut")
					m.apply(t, "", changes[:at])
					changes = changes[at:]
				}
				m.apply(t, waybill.Position(strconv.Itoa(position)), changes)
			}
			if got, want := m.got(), m.want(); !slices.Equal(got, want) {
				t.Fatalf("target\n got %q\nwant %q", got, want)
			}
		})
	})
}
