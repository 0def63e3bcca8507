package postgres

import (
	"fmt"
	osexec "os/exec"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

func TestSecondProcessIsRefused(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := newSinkRig(t, major)
		for _, takeover := range []bool{false, true} {
			_, err := openSink(t.Context(), r.endpoint, waybill.SinkOptions{Stream: "test", Takeover: takeover})
			wantFault(t, err, waybill.Setup, "another process", "process ", " since ")
		}
		r.open(waybill.SinkOptions{Stream: "other"})
		if err := r.sink.Close(); err != nil {
			t.Fatal(err)
		}
		r.open(waybill.SinkOptions{Stream: "test"})
	})
}

// A process that lost its guard session but still writes is fenced by the next one's epoch.
func TestReplacedProcessIsFenced(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY)")
	v := r.version("a")
	r.apply("1", r.insert(v, "1"))
	dbtest.Exec(t, r.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waybill guard test'")
	eventually(t, r, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0")
	second := r.open(waybill.SinkOptions{Stream: "test"})
	wantFault(t, r.try("2", r.insert(v, "2")), waybill.Setup, "took stream test over")
	wantFault(t, r.try(""), waybill.Setup, "took stream test over")
	wantFault(t, r.sink.Forget(t.Context(), v.Table), waybill.Setup, "took stream test over")
	r.sink = second
	r.apply("2", r.insert(v, "2"))
	r.want("SELECT * FROM a ORDER BY id", "1", "2")
}

func eventually(t *testing.T, r *sinkRig, query, want string) {
	t.Helper()
	for range 1000 {
		if dbtest.Rows(t, r.url, query)[0][0] == want {
			return
		}
		dbtest.Exec(t, r.url, "SELECT pg_sleep(0.01)")
	}
	t.Fatalf("%s never gave %s", query, want)
}

func TestLostGuardIsNoticed(t *testing.T) {
	r := newSinkRig(t, 15)
	r.sink.lifeLost.Store(&waybill.Error{Op: "hold stream", Fault: waybill.Passing})
	wantFault(t, r.try("1"), waybill.Passing)
}

func TestTakeoverEndsASilentSession(t *testing.T) {
	r := newSinkRig(t, 15)
	r.sink.stop()
	<-r.sink.stopped
	silent := holdAge(t, r)
	if silent > time.Minute {
		t.Fatalf("silent = %s for a session that just spoke", silent)
	}
	pid := dbtest.Rows(t, r.url, "SELECT pid FROM pg_locks WHERE locktype = 'advisory'")[0][0]
	if err := endHolder(t.Context(), r.conn, lockKey("test"), pid); err != nil {
		t.Fatal(err)
	}
	r.open(waybill.SinkOptions{Stream: "test"})
}

func holdAge(t *testing.T, r *sinkRig) time.Duration {
	t.Helper()
	h, err := findHolder(t.Context(), r.conn, "test", lockKey("test"))
	if err != nil || h.session == "" {
		t.Fatalf("holder = %+v, %v", h, err)
	}
	return h.silent
}

// A killed process leaves a session that the server keeps for a while; the next start must not wait for it.
func TestSessionOfAKilledProcessIsTakenOver(t *testing.T) {
	r := newSinkRig(t, 15)
	killed := osexec.Command("true")
	if err := killed.Run(); err != nil {
		t.Fatal(err)
	}
	dbtest.Exec(t, r.url, fmt.Sprintf("UPDATE waybill.stream SET holder_process = %d", killed.Process.Pid))
	_, err := openSink(t.Context(), r.endpoint, waybill.SinkOptions{Stream: "test"})
	wantFault(t, err, waybill.Setup, "another process has it")
	r.open(waybill.SinkOptions{Stream: "test", Takeover: true})
}

func TestControlNeedsTheRightToCreate(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE ROLE plain LOGIN")
	t.Cleanup(func() { dbtest.Exec(t, r.url, "DROP ROLE plain") })
	dbtest.Exec(t, r.url, "DROP SCHEMA waybill CASCADE")
	e := r.endpoint
	e.URL = waybill.NewSecret(asRole(r.url, "plain"))
	_, err := openSink(t.Context(), e, waybill.SinkOptions{Stream: "x"})
	wantFault(t, err, waybill.Setup, "create schema waybill")
	if waybill.HintOf(err) == "" {
		t.Error("no hint")
	}
}

func TestReleaseRemovesWhatWasRecorded(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE TABLE a (id int PRIMARY KEY)")
	r.apply("1", r.insert(r.version("a"), "1"))
	wantFault(t, release(t.Context(), r.endpoint, "test"), waybill.Setup, "another process")
	other := r.open(waybill.SinkOptions{Stream: "other"})
	if err := r.sink.Close(); err != nil {
		t.Fatal(err)
	}
	if err := release(t.Context(), r.endpoint, "test"); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT stream FROM waybill.stream", "other")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing, which is no error
		if err := release(t.Context(), r.endpoint, "other"); err != nil {
			t.Fatal(err)
		}
	}
	r.want("SELECT to_regnamespace('waybill') IS NULL, (SELECT count(*) FROM a)", "t|1")
}

func TestReleaseKeepsASchemaThatHoldsMore(t *testing.T) {
	r := newSinkRig(t, 15, "CREATE SCHEMA waybill", "CREATE TABLE waybill.event (id int)")
	if err := r.sink.Close(); err != nil {
		t.Fatal(err)
	}
	if err := release(t.Context(), r.endpoint, "test"); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT relname FROM pg_class WHERE relnamespace = 'waybill'::regnamespace", "event")
}
