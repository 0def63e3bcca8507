package ledger

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// expect checks an error's class, what it says and what it advises.
func expect(t *testing.T, err error, fault waybill.Fault, says, advises string) {
	t.Helper()
	if err == nil || waybill.FaultOf(err) != fault || !strings.Contains(err.Error(), says) || !strings.Contains(waybill.HintOf(err), advises) {
		t.Errorf("error %v (%v, hint %q), want %v with %q and hint %q", err, waybill.FaultOf(err), waybill.HintOf(err), fault, says, advises)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	text := filepath.Join(dir, "text")
	check(t, os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600))
	_, err := Open(ctx, "mysql://x")
	expect(t, err, waybill.Setup, "neither a file nor a server", "sqlite:")
	_, err = Open(ctx, "sqlite:")
	expect(t, err, waybill.Setup, "no file is named", "sqlite:")
	_, err = Open(ctx, "sqlite:"+dir+"/none/l.db")
	expect(t, err, waybill.Setup, "no such file", "directory that exists")
	_, err = OpenExisting(ctx, "sqlite:"+dir+"/none.db")
	expect(t, err, waybill.Setup, "no such file", "--ledger")
	_, err = Open(ctx, "sqlite:"+text)
	expect(t, err, waybill.Setup, text, "no SQLite database")
	_, err = Open(ctx, "postgres://u:hunter2@%zz")
	expect(t, err, waybill.Setup, "URL is not valid", "percent-encode")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is shown: %v", err)
	}
	_, err = Open(ctx, "postgres://u:hunter2@127.0.0.1:1/d")
	expect(t, err, waybill.Passing, "database d at 127.0.0.1", "server is up")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is shown: %v", err)
	}
}

func TestOpenRefusesOnServer(t *testing.T) {
	dsn := dbtest.Database(t, 15)
	_, err := OpenExisting(t.Context(), dsn)
	expect(t, err, waybill.Setup, "there is none", "--ledger")
	u, err := url.Parse(dsn)
	check(t, err)
	u.Path = "/nowhere"
	_, err = Open(t.Context(), u.String())
	expect(t, err, waybill.Setup, "nowhere", "create the database")
	dbtest.Exec(t, dsn, "CREATE ROLE poor_clerk LOGIN PASSWORD 'x'")
	t.Cleanup(func() { dbtest.Exec(t, dsn, "DROP ROLE poor_clerk") })
	if u, err = url.Parse(dsn); err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("poor_clerk", "x")
	_, err = Open(t.Context(), u.String())
	expect(t, err, waybill.Setup, "permission denied", "GRANT CREATE")
}

func TestOpenRefusesForeignAndNewerFiles(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		l := mustOpen(t, dsn)
		_, err := l.store.write.Exec("INSERT INTO migration VALUES (999, '')")
		check(t, err)
		_, err = Open(t.Context(), dsn)
		expect(t, err, waybill.Setup, "structure is number 999", "newer program")
		if l.store.kind == postgres {
			return
		}
		_, err = l.store.write.Exec("PRAGMA application_id = 5")
		check(t, err)
		_, err = Open(t.Context(), dsn)
		expect(t, err, waybill.Setup, "another program", "another file")
	})
}

func TestFullDiskLosesNothing(t *testing.T) {
	ctx, l := t.Context(), mustOpen(t, "sqlite:"+t.TempDir()+"/l.db")
	fill(t, l)
	var pages int
	check(t, l.store.write.QueryRow("PRAGMA page_count").Scan(&pages))
	_, err := l.store.write.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	check(t, err)
	large := strings.Repeat("x", 1<<20)
	expect(t, l.Record(ctx, waybill.Entry{Kind: "large", Detail: large}), waybill.Setup, "full", "free space")
	v, err := l.Verify(ctx, Head{})
	check(t, err)
	if v.Head.Entries != 10 || len(v.Problems) != 0 {
		t.Errorf("verify = %+v, want the 10 entries from before", v)
	}
	_, err = l.store.write.Exec("PRAGMA max_page_count = 1000000")
	check(t, err)
	check(t, l.Record(ctx, waybill.Entry{Kind: "large", Detail: large}))
}

func TestDamagedFileIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.db")
	l, err := Open(t.Context(), "sqlite:"+path)
	check(t, err)
	for range 500 {
		check(t, l.Record(t.Context(), waybill.Entry{Kind: "test", Detail: strings.Repeat("x", 100)}))
	}
	check(t, l.Close()) // which brings the write-ahead log into the file
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	stat, err := file.Stat()
	check(t, err)
	_, err = file.WriteAt([]byte(strings.Repeat("damage", 10_000)), stat.Size()-60_000)
	check(t, err)
	check(t, file.Close())
	l, err = Open(t.Context(), "sqlite:"+path)
	if err == nil {
		t.Cleanup(func() { l.Close() })
		_, err = l.Entries(t.Context(), EntryFilter{})
	}
	expect(t, err, waybill.Setup, path, "damaged")
}

func TestServerFaults(t *testing.T) {
	s := store{kind: postgres, where: "database d at h"}
	for code, want := range map[string]waybill.Fault{"53100": waybill.Setup, "28P01": waybill.Setup, "57P01": waybill.Passing,
		"40001": waybill.Passing, "08006": waybill.Passing, "42501": waybill.Setup, "42601": waybill.Bug} {
		if got := waybill.FaultOf(s.classify("x", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
	if got := waybill.FaultOf(s.classify("x", errors.New("EOF"))); got != waybill.Passing {
		t.Errorf("a lost connection: %v", got)
	}
}
