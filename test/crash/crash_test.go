// Package crash kills the real program at random moments and at named points, under writes and structure
// changes, and lets the comparison judge. WAYBILL_CRASH_KILLS sets how many kills, WAYBILL_SEED repeats a
// run's random choices, WAYBILL_BINARY names the program instead of building it.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill/demo"
	"github.com/waybill-data/waybill/internal/pgserver"
)

const (
	killsPerRound = 25       // of one pair of databases before the comparison
	killsForAll   = 150      // so many must hit every point
	largeBytes    = 64 << 20 // more than twice what a link reads ahead of its target
)

func TestNothingIsLost(t *testing.T) {
	kills, seed := number(t, "WAYBILL_CRASH_KILLS", 6), uint64(number(t, "WAYBILL_SEED", int(time.Now().UnixNano()>>10)))
	program := binary(t)
	score := newScore()
	started := time.Now()
	for n := 0; score.total < kills; n++ {
		r := &trial{t: t, seed: seed + uint64(n), program: program, score: score, kills: min(killsPerRound, kills-score.total)}
		r.play()
	}
	t.Logf("per point:\n%s", score)
	if missed := score.missed(); kills >= killsForAll && len(missed) > 0 {
		t.Errorf("%d kills, and none of them at %s", kills, strings.Join(missed, ", "))
	}
	t.Logf("crash: %d kills, %d row comparisons, 0 differences, 0 slots left, seed %d, %s",
		score.total, score.rows, seed, time.Since(started).Round(time.Second))
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q; write a number above 0", name, text)
	}
	return n
}

// binary builds the program as users get it.
func binary(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("WAYBILL_BINARY"); program != "" {
		return program
	}
	program := filepath.Join(t.TempDir(), "waybill")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/waybill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return program
}

// trial is one pair of databases, from the first copy to the last comparison.
type trial struct {
	t       *testing.T
	seed    uint64
	program string
	score   *score
	kills   int
	stage   *demo.Stage
	world   *demo.World
	random  *rand.Rand
	large   chan demo.LargeOptions
	group   *errgroup.Group // the shop and who kills
}

func (r *trial) play() {
	t := r.t
	dir, err := os.MkdirTemp("", "waybill-crash-")
	if err != nil {
		t.Fatal(err)
	}
	r.random, r.large = rand.New(rand.NewPCG(r.seed, 7)), make(chan demo.LargeOptions)
	source, target := r.majors()
	r.stage, err = demo.OpenStage(t.Context(), demo.StageOptions{Program: r.program, Dir: dir, Source: source, Target: target,
		Settings: []string{"logical_decoding_work_mem=64kB", "wal_sender_timeout=5s"}, Backlog: [...]string{"", "0"}[r.random.IntN(2)]})
	if err != nil {
		t.Fatal(err)
	}
	passed := false
	defer func() { r.leave(dir, passed) }()
	t.Logf("seed %d: from PostgreSQL %d to %d", r.seed, r.stage.Source.Major, r.stage.Target.Major)
	r.setUp()
	child := r.underFire()
	defer child.Kill() // whatever is found, nothing of it stays
	r.judge(child)
	r.noTrace(child)
	passed = true
}

// majors puts the newer server on either side, where it is installed.
func (r *trial) majors() (source, target int) {
	const older, newer = 15, 18
	if _, _, err := pgserver.BinDir(newer); err == nil && r.random.IntN(2) == 0 {
		return newer, older
	}
	return older, newer
}

// leave removes everything after a good round. After a bad one the servers are stopped and everything stays.
func (r *trial) leave(dir string, passed bool) {
	if passed {
		if err := r.stage.Close(); err != nil {
			r.t.Error(err)
		}
		os.RemoveAll(dir)
		return
	}
	for _, server := range []*pgserver.Server{r.stage.Source, r.stage.Target} {
		if err := server.Down(context.Background(), "fast"); err != nil {
			r.t.Log(err)
		}
	}
	r.t.Logf("per point:\n%s", r.score)
	r.t.Errorf("evidence (logs, ledger, both data directories) is in %s; again with WAYBILL_SEED=%d", dir, r.seed)
}

func (r *trial) setUp() {
	ctx := r.t.Context()
	r.world = demo.NewWorld(r.stage.SourceURL, r.seed)
	if _, err := r.world.Load(ctx, 0.5); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.stage.Output(ctx, "schema", "install", "shop", "--apply"); err != nil {
		r.t.Fatal(err)
	}
}

// underFire kills while the shop lives and returns the last child, which nobody has killed.
func (r *trial) underFire() *demo.Child {
	living, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	group, living := errgroup.WithContext(living)
	r.group = group
	group.Go(func() error { return r.world.Write(living, demo.WriteOptions{Rate: 60, Crashes: true}) })
	group.Go(func() error {
		return r.world.Reshape(living, demo.ReshapeOptions{Every: 400 * time.Millisecond, Crashes: true, Without: without(), Large: r.large})
	})
	var child *demo.Child
	group.Go(func() (err error) {
		defer cancel()
		for n := range r.kills {
			started := time.Now()
			point, err := r.kill(living, n)
			if err != nil {
				return err
			}
			r.score.add(point)
			r.t.Logf("kill %d: %s after %s", r.score.total, point, time.Since(started).Round(time.Millisecond))
		}
		child, err = r.stage.Start()
		return err
	})
	if err := group.Wait(); err != nil {
		if child != nil {
			child.Kill()
		}
		r.t.Fatal(err)
	}
	return child
}

// without names kinds of structure changes to leave out, for finding the one that is to blame.
func without() []string {
	return strings.FieldsFunc(os.Getenv("WAYBILL_CRASH_WITHOUT"), func(c rune) bool { return c == ';' })
}

// kill runs the link once and ends it: at a point, at a random moment, or together with a server. It returns which
// it was.
func (r *trial) kill(ctx context.Context, number int) (point string, err error) {
	point, environment := r.choose(number)
	child, err := r.stage.Start(environment...)
	if err != nil {
		return point, err
	}
	patience := 8 * time.Second
	var spilling <-chan struct{}
	switch point {
	case pointSpill:
		patience *= 2
		spilling = r.spill(ctx, child)
	case pointPart:
		patience *= 2
		r.ask(ctx, child, demo.LargeOptions{})
	case pointRandom, pointSource, pointTarget:
		patience = time.Duration(200+r.random.IntN(3500)) * time.Millisecond
	}
	select {
	case <-ctx.Done():
		child.Kill()
		return point, ctx.Err()
	case <-child.Done():
		if !child.Killed() || len(environment) == 0 {
			return point, child.Err()
		}
		return point, nil
	case <-spilling:
	case <-time.After(patience):
		if point == pointSpill || len(environment) > 0 {
			point = pointRandom // the point was not reached in time
		}
	}
	switch point {
	case pointSource:
		err = r.crash(ctx, child, r.stage.Source)
	case pointTarget:
		err = r.crash(ctx, child, r.stage.Target)
	}
	child.Kill()
	return point, err
}

// ask lets the shop make a large transaction as long as the child lives.
func (r *trial) ask(ctx context.Context, child *demo.Child, o demo.LargeOptions) {
	o.Bytes, o.Reshape = largeBytes, r.random.IntN(2) == 0
	r.group.Go(func() error {
		select {
		case r.large <- o:
		case <-child.Done():
		case <-ctx.Done():
		}
		return nil
	})
}

// spill tells when to kill while an open transaction is being written to disk: some time after its file is seen.
func (r *trial) spill(ctx context.Context, child *demo.Child) <-chan struct{} {
	spilling, further := make(chan struct{}), time.Duration(r.random.IntN(200))*time.Millisecond
	r.ask(ctx, child, demo.LargeOptions{RollBack: r.random.IntN(4) == 0, Midway: func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !child.Spills() {
			select {
			case <-child.Done():
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		time.AfterFunc(further, func() { close(spilling) })
	}})
	return spilling
}

// crash stops a server as if the power had failed and starts it again; the link must live through it.
func (r *trial) crash(ctx context.Context, child *demo.Child, server *pgserver.Server) error {
	if err := server.Down(ctx, "immediate"); err != nil {
		return err
	}
	if err := server.Up(ctx); err != nil {
		return err
	}
	select {
	case <-child.Done():
		return child.Err()
	case <-time.After(3 * time.Second):
		return nil
	}
}

// choose prefers the named point that was hit least, so that all are. A trial begins in the first copy.
func (r *trial) choose(number int) (point string, environment []string) {
	switch n := r.random.IntN(20); {
	case number < 2:
		return r.arm([...]string{"copy.slice", "copy.complete"}[number])
	case n == 0:
		return pointSource, nil
	case n == 1:
		return pointTarget, nil
	case n < 7:
		return pointRandom, nil
	}
	return r.arm(r.score.rarest(r.random))
}

// arm makes the link kill itself the first or a later time that it passes the point. Only spilling is seen from
// outside.
func (r *trial) arm(point string) (string, []string) {
	r.score.tried[point]++
	switch point {
	case pointSpill:
		return point, nil
	case pointPart:
		return point, []string{fmt.Sprintf("WAYBILL_FAILPOINT=%s:%d", point, 1+r.random.IntN(2))}
	}
	return point, []string{fmt.Sprintf("WAYBILL_FAILPOINT=%s:%d", point, 1+r.random.IntN(6)*r.random.IntN(2))}
}

// judge waits until everything has arrived and compares.
func (r *trial) judge(child *demo.Child) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	if err := r.stage.Arrived(ctx, child); err != nil {
		r.t.Fatal(err)
	}
	verdict, err := r.stage.Compare(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if verdict.Compared < 10 || verdict.SourceRows == 0 {
		r.t.Errorf("compared %d rows in %d tables, want rows in at least 10", verdict.SourceRows, verdict.Compared)
	}
	for _, unequal := range verdict.Unequal {
		r.t.Errorf("after %d kills: %s", r.kills, unequal)
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
	r.score.rows += verdict.SourceRows
	if out, err := r.stage.Output(ctx, "ledger", "verify"); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
}

// noTrace stops the link, drops it and takes the capture away, and looks for what is left at the source.
func (r *trial) noTrace(child *demo.Child) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if err := child.Interrupt(ctx); err != nil {
		r.t.Error(err)
	}
	r.expect(ctx, "SELECT count(*) FROM pg_replication_slots", "1")
	r.expect(ctx, "SELECT count(*) FROM pg_publication", "1")
	for _, args := range [][]string{{"link", "drop", demo.Link, "--yes"}, {"schema", "remove", "shop", "--apply"}} {
		if _, err := r.stage.Output(ctx, args...); err != nil {
			r.t.Error(err)
		}
	}
	r.expect(ctx, "SELECT count(*) FROM pg_replication_slots", "0")
	r.expect(ctx, "SELECT count(*) FROM pg_publication", "0")
	r.expect(ctx, "SELECT count(*) FROM pg_event_trigger", "0")
	r.expect(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = 'waybill'", "0")
	if r.t.Failed() {
		r.t.FailNow()
	}
}

func (r *trial) expect(ctx context.Context, query, want string) {
	r.t.Helper()
	rows, err := demo.Query(ctx, r.stage.SourceURL, query)
	if err != nil {
		r.t.Error(err)
		return
	}
	if rows[0][0] != want {
		r.t.Errorf("at the source: %s: got %s, want %s", query, rows[0][0], want)
	}
}
