package dbtest

import "testing"

func TestMain(m *testing.M) { Main(m) }

func TestServerTakesStatements(t *testing.T) {
	for _, major := range []int{15, 18} {
		url := Database(t, major)
		Exec(t, url, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1), (NULL)")
		rows := Rows(t, url, "SELECT id FROM a ORDER BY id")
		if len(rows) != 2 || rows[0][0] != "1" || rows[1][0] != "NULL" {
			t.Errorf("postgres %d: rows = %v", major, rows)
		}
	}
}
