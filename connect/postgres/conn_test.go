package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/internal/pgserver"
)

func TestSessionsArePinned(t *testing.T) {
	onMajors(t, func(t *testing.T, major int, url string) {
		name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
		dbtest.Exec(t, url, "ALTER DATABASE "+name+" SET datestyle = 'SQL, DMY'", "ALTER DATABASE "+name+" SET statement_timeout = '200ms'",
			"ALTER DATABASE "+name+" SET bytea_output = 'escape'", "ALTER DATABASE "+name+" SET timezone = 'Asia/Kathmandu'")
		conn := testSession(t, url)
		rows, err := query(context.Background(), conn, `SELECT '2024-02-01'::date, '\x00'::bytea, '2024-02-01 00:00+00'::timestamptz, '1 day 2 hours'::interval,
			0.1::float8, current_setting('statement_timeout'), current_setting('search_path'), current_setting('application_name'), pg_sleep(0.3)`)
		if err != nil {
			t.Fatal(err)
		}
		dbtest.Exec(t, url, "ALTER DATABASE "+name+" RESET ALL")
		want := `2024-02-01 \x00 2024-02-01 00:00:00+00 P1DT2H 0.1 0 pg_catalog waybill test `
		if major < 12 {
			want = strings.Replace(want, "0.1 ", "0.100000000000000006 ", 1)
		}
		var got []string
		for _, field := range rows[0] {
			got = append(got, string(field))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("got  %q\nwant %q", text, want)
		}
		if got := serverVersion(conn) / 10000; got != major {
			t.Errorf("version %d", serverVersion(conn))
		}
	})
}

func TestQueryTellsNullFromEmpty(t *testing.T) {
	conn := testSession(t, dbtest.Database(t, 15))
	rows, err := query(context.Background(), conn, "SELECT $1::text, NULL::text, ''", `it's "\ `)
	if err != nil || string(rows[0][0]) != `it's "\ ` || rows[0][1] != nil || rows[0][2] == nil {
		t.Errorf("rows %q, %v", rows, err)
	}
	for _, text := range []string{`plain`, `it's`, `back\slash'`, ``} {
		rows, err := query(context.Background(), conn, "SELECT"+" "+quoteLiteral(text))
		if err != nil || string(rows[0][0]) != text {
			t.Errorf("literal %q became %q, %v", text, rows, err)
		}
	}
}

func TestWrongPasswordIsTriedOnce(t *testing.T) {
	ctx := context.Background()
	s, err := pgserver.Start(ctx, pgserver.Options{Major: 15})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	dbtest.Exec(t, s.URL("postgres"), "CREATE ROLE someone LOGIN PASSWORD 'right'")
	hba := "local all all trust\nhost all postgres all trust\nhost all all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.DataDir(), "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		t.Fatal(err)
	}
	dbtest.Exec(t, s.URL("postgres"), "SELECT pg_reload_conf()", "SELECT pg_sleep(0.1)")
	url := fmt.Sprintf("postgres://someone:sesame-open@localhost:%d,127.0.0.1:%[1]d/postgres?sslmode=prefer", s.Port)
	_, err = connect(ctx, testEndpoint(url), "test", nil)
	if err == nil || waybill.FaultOf(err) != waybill.Setup || !strings.Contains(waybill.HintOf(err), "password") {
		t.Errorf("fault %v, hint %q: %v", waybill.FaultOf(err), waybill.HintOf(err), err)
	}
	if strings.Contains(fmt.Sprintf("%+v", err), "sesame") {
		t.Errorf("the password is in the error: %v", err)
	}
	if got := strings.Count(s.Log(), "password authentication failed"); got != 1 {
		t.Errorf("%d tries:\n%s", got, s.Log())
	}
	_, err = connect(ctx, testEndpoint(strings.Replace(url, "/postgres?", "/nowhere?", 1)), "test", nil)
	if waybill.FaultOf(err) != waybill.Setup {
		t.Errorf("no such database: %v", err)
	}
}

// refusingServer answers every login with one error and counts them.
func refusingServer(t *testing.T, answer *pgproto3.ErrorResponse) (address string, logins *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logins = new(atomic.Int32)
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(c, c)
			if _, err := b.ReceiveStartupMessage(); err == nil {
				logins.Add(1)
				b.Send(answer)
				_ = b.Flush() // the client may be gone
			}
			c.Close()
		}
	}()
	return l.Addr().String(), logins
}

func TestRefusedLoginDoesNotFallBack(t *testing.T) {
	for _, c := range []struct {
		routine string
		want    int32
	}{{"auth_failed", 1}, {"InitializeSessionUserId", 1}, {"ClientAuthentication", 2}} {
		address, logins := refusingServer(t, &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Message: "no", Routine: c.routine})
		_, err := connect(context.Background(), testEndpoint("postgres://u:p@"+address+","+address+"/d?sslmode=disable"), "test", nil)
		if waybill.FaultOf(err) != waybill.Setup || logins.Load() != c.want {
			t.Errorf("%s: %d logins, want %d; %v", c.routine, logins.Load(), c.want, err)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	port, err := pgserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url, hint string
		fault     waybill.Fault
	}{
		{fmt.Sprintf("postgres://u:sesame@127.0.0.1:%d/d", port), "server runs", waybill.Passing},
		{"postgres://u:sesame@/%zz", "percent-encoded", waybill.Setup},
		{"postgres://u:ses ame/@h:x/d", "percent-encoded", waybill.Setup},
		{"postgres://u:sesame@h:x/d", "percent-encoded", waybill.Setup},
		{"postgres://u:sesame@no-such-host.invalid/d", "host name", waybill.Passing},
	} {
		_, err := connect(context.Background(), testEndpoint(c.url), "test", nil)
		if waybill.FaultOf(err) != c.fault || !strings.Contains(waybill.HintOf(err), c.hint) {
			t.Errorf("%s: fault %v, hint %q, %v", c.url, waybill.FaultOf(err), waybill.HintOf(err), err)
		}
		if strings.Contains(fmt.Sprintf("%+v", err), "ame") && strings.Contains(fmt.Sprintf("%+v", err), "ses") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func TestFaultsBySQLState(t *testing.T) {
	table := waybill.TableName{Schema: "public", Name: "a"}
	for code, want := range map[string]waybill.Fault{
		"57P01": waybill.Passing, "40P01": waybill.Passing, "40001": waybill.Passing, "53300": waybill.Passing, "08006": waybill.Passing,
		"42501": waybill.Setup, "53100": waybill.Setup, "28P01": waybill.Setup, "3D000": waybill.Setup, "25006": waybill.Setup,
		"42P01": waybill.Drift, "42703": waybill.Drift, "42804": waybill.Drift, "23505": waybill.Data, "22P02": waybill.Data,
		"42601": waybill.Bug, "25P02": waybill.Bug, "XX000": waybill.Bug, "": waybill.Bug,
	} {
		err := classify("do", table, fmt.Errorf("outer: %w", &pgconn.PgError{Code: code, Message: "m", Detail: "d"}))
		if got := waybill.FaultOf(err); got != want {
			t.Errorf("%s: got %v, want %v", code, got, want)
		}
		if text := err.Error(); text != "do public.a: m: d (SQLSTATE "+code+")" {
			t.Errorf("text %q", text)
		}
	}
	if hint := waybill.HintOf(classify("read", table, &pgconn.PgError{Code: "42501"})); !strings.Contains(hint, `GRANT SELECT ON "public"."a"`) {
		t.Errorf("hint %q", hint)
	}
	if classify("do", table, nil) != nil {
		t.Error("nil became an error")
	}
	outer := classify("outer", table, classify("inner", table, &pgconn.PgError{Code: "53100"}))
	if waybill.FaultOf(outer) != waybill.Setup || waybill.HintOf(outer) == "" {
		t.Errorf("fault and hint were lost: %v", outer)
	}
}

func TestRestartedServerIsPassing(t *testing.T) {
	ctx := context.Background()
	url := dbtest.Database(t, 15)
	conn := testSession(t, url)
	dbtest.Exec(t, url, fmt.Sprintf("SELECT pg_terminate_backend(%d)", conn.PID()))
	_, err := query(ctx, conn, "SELECT 1")
	if err = classify("ask", waybill.TableName{}, err); waybill.FaultOf(err) != waybill.Passing {
		t.Errorf("fault %v: %v", waybill.FaultOf(err), err)
	}
	if _, err = query(ctx, conn, "SELECT 1"); waybill.FaultOf(classify("ask", waybill.TableName{}, err)) != waybill.Passing {
		t.Errorf("second use: %v", err)
	}
}
