package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/ledger"
)

// program runs the tests with servers that are stopped after them.
type program struct{ *testing.M }

func (p program) Run() int { return dbtest.Run(p.M) }

func TestMain(m *testing.M) {
	testscript.Main(program{m}, map[string]func(){"waybill": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(e *testscript.Env) error { e.Setenv("USER", "ann"); return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"seed":     seed,
			"damage":   damage,
			"database": func(ts *testscript.TestScript, _ bool, args []string) { database(t, ts, args) },
			"sql": func(ts *testscript.TestScript, _ bool, args []string) {
				dbtest.Exec(t, ts.Getenv(args[0]), args[1:]...)
			},
			"left_standing":    leftStanding,
			"as_role":          asRole,
			"same_differences": sameDifferences,
			"run_sql":          func(ts *testscript.TestScript, _ bool, args []string) { runFiles(t, ts, args) },
			"until":            until,
			"await":            func(ts *testscript.TestScript, _ bool, args []string) { await(t, ts, args) },
			"json":             validJSON,
		},
	})
}

// exits runs a program and wants an exit code: exits 3 waybill ...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failed, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = failed.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// database makes empty databases and puts their URLs in the environment: database MAJOR NAME...
func database(t *testing.T, ts *testscript.TestScript, args []string) {
	major, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, name := range args[1:] {
		address := dbtest.Database(t, major)
		ts.Setenv(name, address)
		u, err := url.Parse(address)
		ts.Check(err)
		u.User = url.UserPassword("postgres", "planted-password")
		ts.Setenv(name+"_WITH_PASSWORD", u.String())
	}
}

// runFiles runs files of statements, of a directory in the order of their names: run_sql URL_NAME FILE...
func runFiles(t *testing.T, ts *testscript.TestScript, args []string) {
	for _, name := range args[1:] {
		files, err := filepath.Glob(filepath.Join(ts.MkAbs(name), "*.sql"))
		ts.Check(err)
		if len(files) == 0 {
			files = []string{ts.MkAbs(name)}
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			ts.Check(err)
			dbtest.Exec(t, ts.Getenv(args[0]), string(text))
		}
	}
}

// leftStanding records that a repair has a link stand, as one does that is killed then: left_standing LINK
func leftStanding(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	l, err := ledger.Open(ctx, "sqlite:"+ts.MkAbs("waybill.db"))
	ts.Check(err)
	ts.Check(l.Record(ctx, waybill.Entry{Kind: repairHold, Subject: args[0]}))
	ts.Check(l.Close())
}

// asRole puts the URL of a database with another user in the environment: as_role URL_NAME ROLE NEW_NAME
func asRole(ts *testscript.TestScript, _ bool, args []string) {
	u, err := url.Parse(ts.Getenv(args[0]))
	ts.Check(err)
	u.User = url.User(args[1])
	ts.Setenv(args[2], u.String())
}

// sameDifferences wants two results of comparisons to name the same differences: same_differences FILE FILE
func sameDifferences(ts *testscript.TestScript, _ bool, args []string) {
	var sides [2][]string
	for i, name := range args[:2] {
		var result compare.Result
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &result))
		for _, t := range result.Tables {
			for _, d := range t.Differences {
				text, err := json.Marshal(d)
				ts.Check(err)
				sides[i] = append(sides[i], string(text))
			}
		}
		slices.Sort(sides[i])
	}
	if d := cmp.Diff(sides[0], sides[1]); d != "" || len(sides[0]) == 0 {
		ts.Fatalf("%d differences, and they are not the same (-%s +%s):\n%s", len(sides[0]), args[0], args[1], d)
	}
}

// await waits until a query gives a row: await URL_NAME QUERY WANT
func await(t *testing.T, ts *testscript.TestScript, args []string) {
	if got := awaitRow(t.Context(), t, ts.Getenv(args[0]), args[1], args[2]); got != args[2] {
		ts.Fatalf("%s: %q, want %q", args[1], got, args[2])
	}
}

// until runs a command until its output matches, because what is shown of a link is up to a second old:
// until PATTERN PROGRAM ARG...
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 300 {
		if err := ts.Exec(args[1], args[2:]...); err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		<-tick.C
	}
	ts.Fatalf("no match for %q in 30 seconds", args[0])
}

// awaitRow waits for a query's first row to be as wanted, its columns joined by |, and returns the last seen.
// A query that fails because its table is not there yet is asked again.
func awaitRow(ctx context.Context, t *testing.T, address, query, want string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got := ask(ctx, address, query)
		if got == want {
			return got
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return got
		}
	}
}

func ask(ctx context.Context, address, query string) string {
	conn, err := pgconn.Connect(ctx, address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, query).ReadAll()
	if err != nil {
		return err.Error()
	}
	if len(results) == 0 || len(results[0].Rows) == 0 {
		return "no row"
	}
	return string(bytes.Join(results[0].Rows[0], []byte("|")))
}

// seed writes a ledger with a run, versions and statuses of links: seed FILE
func seed(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	l, err := ledger.Open(ctx, "sqlite:"+ts.MkAbs(args[0]))
	ts.Check(err)
	run, err := l.BeginRun(ctx, waybill.Run{Kind: "link", Name: "a", Version: "v1", Host: "elsewhere", Process: 7, Started: time.Unix(1700000000, 0)})
	ts.Check(err)
	table := waybill.TableName{Schema: "public", Name: "orders"}
	for _, columns := range [][]string{{"id"}, {"id", "note"}} {
		v := &waybill.TableVersion{Table: table, ID: "16384"}
		for i, c := range columns {
			v.Columns = append(v.Columns, waybill.Column{ID: i + 1, Name: c, Type: waybill.Type{Kind: waybill.KindInt, Native: "bigint"}})
		}
		_, err := l.SaveVersion(ctx, "a", v, "1/0/10")
		ts.Check(err)
	}
	ts.Check(l.Record(ctx, waybill.Entry{Kind: "link.copied", Subject: "a", Run: run, Table: table, Detail: map[string]int{"rows": 5}}))
	ts.Check(l.EndRun(ctx, run, "failed", "the disk is full", map[string]int64{"rows copied": 12345}))
	host, err := os.Hostname()
	ts.Check(err)
	ts.Check(l.SaveStatus(ctx, waybill.LinkStatus{Link: "a", Run: run, State: "streaming", Position: "1/0/10", Changes: 7, Host: "elsewhere", Process: 7,
		Updated: time.Now().Add(-time.Hour), Tables: []waybill.TableStatus{{Table: table, State: "streaming", Rows: 5, Expected: 6, Version: 2}}}))
	ts.Check(l.SaveStatus(ctx, waybill.LinkStatus{Link: "alive", State: "streaming", Host: host, Process: os.Getpid(), Updated: time.Now()}))
	ts.Check(l.SaveStatus(ctx, waybill.LinkStatus{Link: "killed", State: "copying", Host: host, Process: 1 << 30, Updated: time.Now()}))
	ts.Check(l.Close())
}

// damage changes a byte string in a file: damage FILE OLD NEW
func damage(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	content, err := os.ReadFile(name)
	ts.Check(err)
	if !strings.Contains(string(content), args[1]) || len(args[1]) != len(args[2]) {
		ts.Fatalf("%s has no %q, or %q has another length", filepath.Base(name), args[1], args[2])
	}
	ts.Check(os.WriteFile(name, []byte(strings.ReplaceAll(string(content), args[1], args[2])), 0o600))
}

// validJSON checks that a file, stdout or stderr is one JSON value, or lines of them: json FILE [lines]
func validJSON(ts *testscript.TestScript, _ bool, args []string) {
	values := []string{ts.ReadFile(args[0])}
	if len(args) > 1 {
		values = strings.Split(strings.TrimSpace(values[0]), "\n")
	}
	for _, text := range values {
		if !json.Valid([]byte(text)) {
			ts.Fatalf("not JSON: %s", text)
		}
	}
	ts.Logf("%s", fmt.Sprint(len(values), " JSON values"))
}
