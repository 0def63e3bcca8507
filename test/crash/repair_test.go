package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/pgserver"
)

// The tables of a repair under fire: unique values, references, and a table without a key.
const repairTables = `
CREATE TABLE shops (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE sales (id bigint PRIMARY KEY, shop int NOT NULL REFERENCES shops, slot int UNIQUE, note text);
CREATE TABLE visits (shop int, day date, who text);
INSERT INTO shops SELECT i, 'shop ' || i FROM generate_series(1, 2000) i;
INSERT INTO sales SELECT i, 1 + i % 2000, i, 'note ' || i FROM generate_series(1, 30000) i;
INSERT INTO visits SELECT i % 500, date '2024-01-01' + i % 7, 'v' FROM generate_series(1, 14000) i;`

// damage makes thousands of rows differ; %d is where it begins, so that every round is another one.
const repairDamage = `
SET session_replication_role = replica;
UPDATE shops SET name = NULL WHERE id %% 4 = 0;
UPDATE shops SET name = 'shop ' || (2004 - id) WHERE id %% 4 = 0;
DELETE FROM sales WHERE id %% 7 = %[1]d;
UPDATE sales SET note = 'other', shop = 1 WHERE id %% 5 = 0;
UPDATE sales SET slot = NULL WHERE id %% 9 = 0;
UPDATE sales SET slot = 30000 + 1 - id WHERE id %% 9 = 0 AND NOT EXISTS (SELECT FROM sales o WHERE o.slot = 30001 - sales.id);
INSERT INTO sales SELECT 40000 + i, 5000 + i, 40000 + i, 'extra' FROM generate_series(1, 2000) i;
INSERT INTO shops SELECT 5000 + i, 'extra ' || i FROM generate_series(1, 2000) i;
INSERT INTO visits SELECT i %% 500, date '2024-01-01' + i %% 7, 'v' FROM generate_series(1, 900) i;
DELETE FROM visits WHERE ctid IN (SELECT ctid FROM visits WHERE shop %% 3 = %[1]d LIMIT 1500);`

// TestRepairIsKilled kills repairs at random moments. After each kill nothing that the source has may be gone from
// the target; the last repair ends with both sides equal; and the undo files of all of them, the killed ones' too,
// give back exactly what was there before. WAYBILL_REPAIR_KILLS sets how many.
func TestRepairIsKilled(t *testing.T) {
	kills, seed := number(t, "WAYBILL_REPAIR_KILLS", 4), uint64(number(t, "WAYBILL_SEED", int(time.Now().UnixNano()>>10)))
	r := newRepairTrial(t, seed)
	for round, left := 0, kills; left > 0; round++ {
		left -= r.round(round, min(left, 10))
	}
	r.run(0, "ledger", "verify")
	t.Logf("repair: %d kills, %d of them while rows were written, seed %d", kills, r.during, seed)
}

type repairTrial struct {
	t              *testing.T
	program, dir   string
	source, target string
	random         *rand.Rand
	during         int // kills that met a repair which had written and was not done
}

func newRepairTrial(t *testing.T, seed uint64) *repairTrial {
	r := &repairTrial{t: t, program: binary(t), dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 11))}
	for i, major := range []int{15, 18} {
		s, err := pgserver.Start(t.Context(), pgserver.Options{Major: major})
		if errors.Is(err, pgserver.ErrMissing) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
		*[]*string{&r.source, &r.target}[i] = s.URL("postgres")
	}
	config := fmt.Sprintf("endpoints:\n  shop: {kind: postgres, url: %q}\n  lake: {kind: postgres, url: %q}\n", r.source, r.target)
	if err := os.WriteFile(filepath.Join(r.dir, "waybill.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.sql(r.source, repairTables)
	r.sql(r.target, repairTables)
	return r
}

// round damages the target, kills repairs of it, lets one finish, and takes all back and forth again. It returns
// how many were killed.
func (r *repairTrial) round(number, kills int) int {
	t := r.t
	r.sql(r.target, fmt.Sprintf(repairDamage, number%3))
	before := r.content()
	run := r.compare()
	undo := filepath.Join(r.dir, fmt.Sprint("undo", number))
	arguments := []string{"compare", "repair", fmt.Sprint(run), "--apply", "--yes", "--settle", "10ms", "--batch", "60", "--undo", undo}
	present := r.present()
	for range kills {
		r.kill(arguments)
		now := r.present()
		if now < present {
			t.Fatalf("%d rows that the source has were at the target, now %d", present, now)
		}
		present = now
	}
	r.run(0, arguments...)
	r.run(0, "compare", "run", "--source", "shop", "--target", "lake", "--settle", "10ms")
	files, err := filepath.Glob(filepath.Join(undo, "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r.sql(r.target, string(text))
	}
	if after := r.content(); after != before {
		t.Fatalf("the undo files do not give back what was there before:\n%s\nbefore:\n%s", after, before)
	}
	r.run(0, "compare", "repair", fmt.Sprint(r.compare()), "--apply", "--yes", "--settle", "10ms")
	r.run(0, "compare", "run", "--source", "shop", "--target", "lake", "--settle", "10ms")
	return kills
}

// kill starts a repair and ends it after a random time.
func (r *repairTrial) kill(arguments []string) {
	t := r.t
	was := r.content()
	command := exec.CommandContext(t.Context(), r.program, arguments...)
	command.Dir = r.dir
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(time.Duration(300+r.random.IntN(2200)) * time.Millisecond)
	defer timer.Stop()
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-timer.C:
		if err := command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-ended
		if r.content() != was {
			r.during++
		}
	case err := <-ended:
		if err != nil {
			t.Fatalf("a repair that nobody killed: %v", err)
		}
	}
}

// present counts rows of the source that the target has, by key.
func (r *repairTrial) present() int {
	shops, sales := r.one(r.target, "SELECT count(*) FROM shops WHERE id <= 2000"), r.one(r.target, "SELECT count(*) FROM sales WHERE id <= 30000")
	visits := r.one(r.target, `SELECT sum(least(n, 4)) FROM (SELECT count(*) AS n FROM visits GROUP BY shop, day, who) g`)
	var sum int
	for _, text := range []string{shops, sales, visits} {
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			r.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// content is a digest of all rows of the target.
func (r *repairTrial) content() string {
	var parts []string
	for _, table := range []string{"shops", "sales", "visits"} {
		parts = append(parts, table+" "+r.one(r.target, "SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\"), '')) FROM "+table+" t"))
	}
	return strings.Join(parts, "\n")
}

func (r *repairTrial) compare() int64 {
	var result struct{ Run int64 }
	if err := json.Unmarshal(r.run(4, "compare", "run", "--source", "shop", "--target", "lake", "--settle", "10ms", "-o", "json"), &result); err != nil {
		r.t.Fatal(err)
	}
	return result.Run
}

// run runs the program to its end and wants an exit code.
func (r *repairTrial) run(want int, arguments ...string) []byte {
	r.t.Helper()
	var stderr strings.Builder
	command := exec.CommandContext(r.t.Context(), r.program, arguments...)
	command.Dir, command.Stderr = r.dir, &stderr
	out, err := command.Output()
	if command.ProcessState == nil || command.ProcessState.ExitCode() != want {
		r.t.Fatalf("%s: %v, want exit code %d\n%s%s", strings.Join(arguments, " "), err, want, out, stderr.String())
	}
	return out
}

func (r *repairTrial) sql(url, statements string) {
	r.t.Helper()
	r.with(url, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, statements).ReadAll()
		return err
	})
}

func (r *repairTrial) one(url, query string) (text string) {
	r.t.Helper()
	r.with(url, func(ctx context.Context, conn *pgx.Conn) error {
		results, err := conn.PgConn().Exec(ctx, query).ReadAll()
		if err == nil {
			text = string(results[0].Rows[0][0])
		}
		return err
	})
	return text
}

func (r *repairTrial) with(url string, f func(context.Context, *pgx.Conn) error) {
	r.t.Helper()
	ctx := r.t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := f(ctx, conn); err != nil {
		r.t.Fatal(err)
	}
}
