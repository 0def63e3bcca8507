package compare_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// TestAgain changes tables between two looks: what both sides agree on later was in flight, what stands still
// and differs is told, what does not stand still is neither.
func TestAgain(t *testing.T) {
	for _, direct := range []int64{-1, math.MaxInt64} {
		from, to := dbtest.Database(t, 15), dbtest.Database(t, 18)
		for _, url := range []string{from, to} {
			dbtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY, v text)", "INSERT INTO a SELECT g, 'x' FROM generate_series(1, 3000) g",
				"CREATE TABLE bag (n numeric, v text)", "INSERT INTO bag SELECT g, 'x' FROM generate_series(1, 20) g, generate_series(1, 2)",
				"CREATE TABLE moving (id int PRIMARY KEY, v int)", "INSERT INTO moving VALUES (1, 0)", "CREATE TABLE calm (id int PRIMARY KEY)")
		}
		dbtest.Exec(t, from, "UPDATE a SET v = 'late' WHERE id = 10", "DELETE FROM a WHERE id = 11", "INSERT INTO a VALUES (5000, 'late')",
			"UPDATE a SET v = 'lost' WHERE id % 2 = 0 AND id > 500", "UPDATE moving SET v = 1", "INSERT INTO bag VALUES (4, 'late')")
		dbtest.Exec(t, to, "UPDATE a SET v = 'damaged' WHERE id = 21", "INSERT INTO a VALUES (6000, 'more')", "UPDATE bag SET n = 7.0 WHERE n = 7", "DELETE FROM bag WHERE n = 9")
		looks := 0
		result, err := compare.Run(context.Background(), compare.Options{
			Source: open(t, from), Target: open(t, to), Direct: direct, Delay: time.Millisecond, Looks: 4,
			Again: func(context.Context) (waybill.View, waybill.View, error) {
				looks++
				dbtest.Exec(t, from, "UPDATE moving SET v = v + 1")
				switch looks {
				case 1:
					dbtest.Exec(t, to, "UPDATE a SET v = 'late' WHERE id = 10", "DELETE FROM a WHERE id = 11", "INSERT INTO bag VALUES (4, 'late')")
				case 2:
					dbtest.Exec(t, to, "INSERT INTO a VALUES (5000, 'late')")
				}
				// Row 5000 is touched, so that it has not stood still at the first look.
				dbtest.Exec(t, from, fmt.Sprintf("UPDATE a SET v = 'late%d' WHERE id = 5000 AND %d = 1", looks, looks))
				if looks == 2 {
					dbtest.Exec(t, from, "UPDATE a SET v = 'late' WHERE id = 5000")
				}
				return open(t, from), open(t, to), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		type verdict struct {
			State                                   compare.State
			Missing, Extra, Changed, InFlight, Gone int64
		}
		want := map[string]verdict{
			"a":      {compare.Different, 0, 1, 1251, 0, 3},
			"bag":    {compare.Different, 4, 2, 0, 0, 1},
			"moving": {compare.Unsettled, 0, 0, 0, 1, 0},
			"calm":   {compare.Equal, 0, 0, 0, 0, 0},
		}
		got := map[string]verdict{}
		for _, r := range result.Tables {
			got[r.Table.Name] = verdict{r.State, r.Missing, r.Extra, r.Changed, r.InFlight, r.Gone}
			if r.Table.Name == "a" && !slices.ContainsFunc(r.Differences, func(d compare.Difference) bool { return *d.Key[0].Value == "21" }) {
				t.Errorf("row 21 is not among the differences: %+v", r.Differences)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("direct %d: verdicts (-want +got):\n%s", direct, diff)
		}
		if looks != 4 {
			t.Errorf("%d looks, want 4", looks)
		}
	}
}

// TestAgainReshaped has a table whose structure changes between two looks.
func TestAgainReshaped(t *testing.T) {
	from, to := dbtest.Database(t, 15), dbtest.Database(t, 15)
	dbtest.Exec(t, from, "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x')")
	dbtest.Exec(t, to, "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'y')")
	o := compare.Options{Source: open(t, from), Target: open(t, to), Delay: time.Millisecond}
	o.Again = func(context.Context) (waybill.View, waybill.View, error) {
		if err := o.Target.Close(); err != nil { // it holds a lock
			return nil, nil, err
		}
		dbtest.Exec(t, to, "ALTER TABLE a ADD w int")
		return open(t, from), open(t, to), nil
	}
	result, err := compare.Run(context.Background(), o)
	if err != nil || result.Tables[0].State != compare.Refused {
		t.Errorf("%+v, %v; want the table refused", result.Tables, err)
	}
}
