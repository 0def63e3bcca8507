// Package readme runs the commands that the README tells a newcomer to run, as they are printed.
package readme

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const section = "## A first link of your own"

// blocks returns the commands of each sh block of the section.
func blocks(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(text), section)
	if !found {
		t.Fatalf("README.md has no section %q", section)
	}
	body, _, _ = strings.Cut(body, "\n## ")
	var all [][]string
	for _, block := range strings.Split(body, "```sh\n")[1:] {
		commands, _, _ := strings.Cut(block, "\n```")
		all = append(all, strings.Split(commands, "\n"))
	}
	return all
}

func TestFirstLink(t *testing.T) {
	source, target := dbtest.Database(t, 15), dbtest.Database(t, 15)
	dbtest.Exec(t, source,
		"CREATE TABLE orders (id bigint PRIMARY KEY, note text)",
		"INSERT INTO orders SELECT i, 'order ' || i FROM generate_series(1, 1000) i")
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin/waybill"), "../../cmd/waybill")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	environment := append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "SHOP_URL="+source, "LAKE_URL="+target)
	command := func(ctx context.Context, line string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+line)
		cmd.Dir, cmd.Env = dir, environment
		return cmd
	}
	var running *exec.Cmd
	log := filepath.Join(dir, "run.log")
	ran := 0
	for _, block := range blocks(t) {
		for _, line := range block {
			switch {
			case strings.HasPrefix(line, "make ") || strings.HasPrefix(line, "export "):
				continue // the binary is built and the addresses are given above
			case strings.HasPrefix(line, "waybill run "):
				running = command(context.WithoutCancel(t.Context()), line)
				output, err := os.Create(log)
				if err != nil {
					t.Fatal(err)
				}
				running.Stdout, running.Stderr = output, output
				err = running.Start()
				output.Close()
				if err != nil {
					t.Fatal(err)
				}
				process := running.Process
				t.Cleanup(func() { _ = process.Kill() })
				arrive(t, target, 1000, log)
				dbtest.Exec(t, source, "ALTER TABLE orders ADD COLUMN more int DEFAULT 7", "INSERT INTO orders VALUES (1001, 'later', 8)")
				arrive(t, target, 1001, log)
				continue
			case strings.HasPrefix(line, "waybill link drop") && running != nil:
				stop(t, running, log)
				running = nil
			}
			if out, err := command(t.Context(), line).CombinedOutput(); err != nil {
				t.Fatalf("$ %s\n%s%v", line, out, err)
			}
			ran++
		}
	}
	if ran < 7 {
		t.Errorf("ran %d commands, want at least 7: is the README cut up as this test thinks?", ran)
	}
	if rows := dbtest.Rows(t, target, "SELECT more FROM orders WHERE id IN (1, 1001) ORDER BY id"); len(rows) != 2 || rows[0][0] != "7" || rows[1][0] != "8" {
		t.Errorf("the target has %v, want 7 and 8", rows)
	}
	if rows := dbtest.Rows(t, source, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"); rows[0][0] != "0" {
		t.Errorf("%s slots are left at the source, want 0", rows[0][0])
	}
}

// arrive waits until the target has so many orders.
func arrive(t *testing.T, url string, want int, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		got := 0
		if rows := dbtest.Rows(t, url, "SELECT to_regclass('public.orders') IS NOT NULL"); rows[0][0] == "t" {
			got, _ = strconv.Atoi(dbtest.Rows(t, url, "SELECT count(*) FROM public.orders")[0][0])
		}
		if got >= want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the target has %d orders, want %d\n%s", got, want, text(log))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func stop(t *testing.T, running *exec.Cmd, log string) {
	t.Helper()
	if err := running.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := running.Wait(); err != nil {
		if code := running.ProcessState.ExitCode(); code != 130 {
			t.Errorf("waybill run ended with %d, want 130 after Ctrl-C\n%s", code, text(log))
		}
	}
}

func text(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
