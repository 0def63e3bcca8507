package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-data/waybill/connect"
	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/internal/pgserver"
)

const planted = "pl4nted-s3cret"

// guardedServer is one that asks the user clerk for the planted password and notes each login.
func guardedServer(t *testing.T) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), pgserver.Options{Settings: []string{"log_connections=on", "log_min_messages=info"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	dbtest.Exec(t, s.URL("postgres"), "CREATE ROLE clerk LOGIN SUPERUSER PASSWORD '"+planted+"'", "CREATE DATABASE shop", "CREATE DATABASE lake", "CREATE DATABASE ledger")
	rules := "host all clerk 127.0.0.1/32 scram-sha-256\nhost replication clerk 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	if err := os.WriteFile(filepath.Join(s.DataDir(), "pg_hba.conf"), []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	dbtest.Exec(t, s.URL("postgres"), "SELECT pg_reload_conf()")
	return s
}

// as returns the URL of a database for clerk with a password.
func as(s *pgserver.Server, database, password string) string {
	return strings.Replace(strings.TrimSuffix(s.URL(database), "?sslmode=disable"), "postgres@", "clerk:"+password+"@", 1)
}

const configuration = `
ledger: "${env:LEDGER}"
endpoints:
  shop: {kind: postgres, url: "${env:SHOP}"}
  lake: {kind: postgres, url: "${env:LAKE}"}
links:
  a: {source: shop, target: lake, tables: "public.*"}
`

// inside prepares a directory with a configuration and returns how to run commands there.
func inside(t *testing.T) func(args ...string) (code int, out string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "waybill.yaml"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	return func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(connect.All(), append(args, "--log-level", "debug"), strings.NewReader(""), &out, &out)
		return code, out.String()
	}
}

// TestWrongPasswordIsTriedOnce counts refused logins in the server's log (invariant 8).
func TestWrongPasswordIsTriedOnce(t *testing.T) {
	s := guardedServer(t)
	waybill := inside(t)
	refused := func() int { return strings.Count(s.Log(), "password authentication failed for user") }
	for _, test := range []struct {
		endpoint string
		args     []string
		want     int // exit code
	}{
		{"SHOP", []string{"doctor"}, exitSetup},
		{"LAKE", []string{"doctor"}, exitSetup},
		{"SHOP", []string{"run", "a"}, exitSetup},
		{"LAKE", []string{"run", "a"}, exitSetup},
		{"SHOP", []string{"link", "status"}, exitOK},
		{"SHOP", []string{"link", "position", "a"}, exitOK},
		{"LAKE", []string{"link", "position", "a"}, exitSetup},
		{"SHOP", []string{"link", "drop", "a", "--yes"}, exitSetup},
		{"LAKE", []string{"link", "drop", "a", "--yes"}, exitSetup},
		{"SHOP", []string{"schema", "install", "shop"}, exitSetup},
		{"SHOP", []string{"schema", "install", "shop", "--apply"}, exitSetup},
		{"SHOP", []string{"schema", "remove", "shop", "--apply"}, exitSetup},
		{"LEDGER", []string{"ledger", "runs"}, exitSetup},
		{"LEDGER", []string{"run", "a"}, exitSetup},
	} {
		t.Run(test.endpoint+" "+strings.Join(test.args, " "), func(t *testing.T) {
			t.Setenv("LEDGER", "sqlite:l.db")
			t.Setenv("SHOP", as(s, "shop", planted))
			t.Setenv("LAKE", as(s, "lake", planted))
			t.Setenv(test.endpoint, as(s, strings.ToLower(test.endpoint), "wrong"))
			before := refused()
			code, out := waybill(test.args...)
			if code != test.want {
				t.Errorf("exit code %d, want %d\n%s", code, test.want, out)
			}
			if got := refused() - before; got != 1 {
				t.Errorf("%d refused logins, want 1\n%s", got, out)
			}
			if !strings.Contains(out, "password") {
				t.Errorf("the output does not say that it was the password:\n%s", out)
			}
		})
	}
}

// TestSecretsAppearNowhere runs what it can with a planted password and looks for it in all that is written.
func TestSecretsAppearNowhere(t *testing.T) {
	s := guardedServer(t)
	dbtest.Exec(t, s.URL("shop"), "CREATE TABLE orders (id bigint PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
	waybill := inside(t)
	var all strings.Builder
	var mu sync.Mutex // the link runs while another command stops it
	try := func(args ...string) {
		code, out := waybill(args...)
		mu.Lock()
		defer mu.Unlock()
		all.WriteString(out)
		t.Logf("%v: %d", args, code)
	}
	t.Setenv("LEDGER", "sqlite:l.db")
	t.Setenv("SHOP", as(s, "shop", planted))
	t.Setenv("LAKE", as(s, "lake", planted))
	each := func() {
		for _, form := range []string{"table", "json", "jsonl"} {
			for _, args := range [][]string{{"check"}, {"doctor"}, {"link", "status", "--tables"}, {"link", "position", "a"}, {"schema", "install", "shop"},
				{"schema", "history", "a"}, {"ledger", "runs"}, {"ledger", "show", "1"}, {"ledger", "verify"}, {"ledger", "verify", "--ledger", as(s, "nowhere", planted)}} {
				try(append(args, "-o", form)...)
			}
		}
	}
	each()
	runFor(t, s, func() { try("run", "a") }, func() { try("link", "stop", "a") })
	each()
	t.Setenv("SHOP", as(s, "nowhere", planted))
	try("run", "a")
	each()
	t.Setenv("SHOP", "postgres://clerk:"+planted+"@127.0.0.1:1/shop")
	each()
	t.Setenv("SHOP", "postgres://clerk:"+planted+"%zz@127.0.0.1:1/shop")
	try("run", "a")
	each()
	try("link", "drop", "a", "--yes", "--source-gone")
	for _, file := range []string{"l.db", "l.db-wal"} {
		if text, err := os.ReadFile(file); err == nil {
			all.Write(text)
		}
	}
	if at := strings.Index(all.String(), planted); at >= 0 {
		t.Errorf("the password appears: ...%s...", all.String()[max(0, at-200):min(all.Len(), at+50)])
	}
	if all.Len() < 10_000 {
		t.Errorf("only %d bytes were looked at", all.Len())
	}
}

// runFor runs a link until its first row has arrived.
func runFor(t *testing.T, s *pgserver.Server, link, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		link()
	}()
	awaitRow(ctx, t, s.URL("lake"), "SELECT count(*) FROM pg_class WHERE relname = 'orders_pkey'", "1")
	stop()
	<-ctx.Done()
}
