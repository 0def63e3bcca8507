// Package dbtest gives tests real databases: one server per test binary and version, one database per test.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/pgserver"
)

var (
	mu       sync.Mutex
	servers  = map[int]*pgserver.Server{}
	sequence atomic.Int64
)

// Main runs a package's tests and stops the servers they started. Use it as TestMain's body.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has more to do; it returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	mu.Lock()
	defer mu.Unlock()
	for _, s := range servers {
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return code
}

// Shared returns this test binary's server of a major version (0: the newest of the system's own), started
// on first use. A version that is not installed skips the test by name, or fails it if WAYBILL_REQUIRE
// lists it ("postgres15 postgres18").
func Shared(t testing.TB, major int) *pgserver.Server {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if s := servers[major]; s != nil {
		return s
	}
	s, err := pgserver.Start(context.Background(), pgserver.Options{Major: major})
	if errors.Is(err, pgserver.ErrMissing) && !strings.Contains(os.Getenv("WAYBILL_REQUIRE"), fmt.Sprint("postgres", major)) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	servers[major] = s
	return s
}

// Database creates an empty database for one test on the shared server and returns its URL. It is dropped
// after the test, with its replication slots.
func Database(t testing.TB, major int) string {
	t.Helper()
	return OnServer(t, Shared(t, major))
}

// OnServer is Database on a server of the test's own.
func OnServer(t testing.TB, s *pgserver.Server) string {
	t.Helper()
	name := fmt.Sprintf("t%d", sequence.Add(1))
	Exec(t, s.URL("postgres"), "CREATE DATABASE "+name)
	t.Cleanup(func() {
		Exec(t, s.URL("postgres"),
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
		Exec(t, s.URL(name),
			"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '"+name+"' AND NOT active")
		Exec(t, s.URL("postgres"), "DROP DATABASE IF EXISTS "+name)
	})
	return s.URL(name)
}

// Exec runs statements, one string each, each in its own implicit transaction, on a connection of its own.
func Exec(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Rows runs a query and returns its rows as text, NULL as "NULL".
func Rows(t testing.TB, url, query string) [][]string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var rows [][]string
	for _, result := range results {
		for _, row := range result.Rows {
			text := make([]string, len(row))
			for i, v := range row {
				if text[i] = string(v); v == nil {
					text[i] = "NULL"
				}
			}
			rows = append(rows, text)
		}
	}
	return rows
}
