// Package pgserver starts throw-away PostgreSQL servers: for tests, for the demo and for benchmarks. A [Server]
// runs as an unprivileged user in a directory of its own on a free port and is gone after Stop.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMissing says that the binaries of a server are not on this machine.
var ErrMissing = errors.New("server is not installed")

// Server is a running PostgreSQL server.
type Server struct {
	Major int
	Port  int
	dir   string
	bin   string
	owner *syscall.Credential
}

// Options choose the server. The zero value is any installed version in a directory under the system's own.
type Options struct {
	Major    int      // 0: the newest installed of Debian's
	Dir      string   // parent of the data directory; empty: the system's temporary directory
	Settings []string // name=value for postgresql.conf, after the defaults
}

// ServersDir is where script/postgres.sh puts servers that are not the system's own.
func ServersDir() string {
	if dir := os.Getenv("WAYBILL_SERVERS"); dir != "" {
		return dir
	}
	return "/var/tmp/waybill-servers"
}

// BinDir returns the directory with the binaries of a major version; major 0 is the newest of the system's own.
func BinDir(major int) (string, int, error) {
	if major == 0 {
		for m := 30; m >= 10; m-- {
			if dir, _, err := BinDir(m); err == nil {
				return dir, m, nil
			}
		}
		return "", 0, fmt.Errorf("postgres: %w", ErrMissing)
	}
	candidates := []string{
		fmt.Sprintf("/usr/lib/postgresql/%d/bin", major),
		filepath.Join(ServersDir(), fmt.Sprintf("postgres-%d/bin", major)),
		fmt.Sprintf("/usr/pgsql-%d/bin", major),
	}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, major, nil
		}
	}
	return "", 0, fmt.Errorf("postgres %d: %w: run script/postgres.sh %d", major, ErrMissing, major)
}

// Start creates and starts a server for logical replication with the superuser "postgres" and no password
// over the loopback address.
func Start(ctx context.Context, o Options) (*Server, error) {
	bin, major, err := BinDir(o.Major)
	if err != nil {
		return nil, err
	}
	owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "waybill-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{Major: major, dir: dir, bin: bin, owner: owner}
	if err := s.create(ctx, o.Settings); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) create(ctx context.Context, settings []string) error {
	if s.owner != nil {
		if err := os.Chown(s.dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	data := s.DataDir()
	if err := s.run(ctx, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	port, err := FreePort()
	if err != nil {
		return err
	}
	s.Port = port
	conf := []string{
		"listen_addresses='127.0.0.1'", fmt.Sprintf("port=%d", port), fmt.Sprintf("unix_socket_directories='%s'", s.dir),
		"wal_level=logical", "max_wal_senders=40", "max_replication_slots=40", "max_connections=200",
		"max_prepared_transactions=20", "fsync=on", "shared_buffers=128MB", "max_wal_size=2GB",
		"logging_collector=off", "log_min_messages=warning",
	}
	conf = append(conf, settings...)
	file, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("\n" + strings.Join(conf, "\n") + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return s.Up(ctx)
}

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// Bin returns the path of one of the server's programs.
func (s *Server) Bin(program string) string { return filepath.Join(s.bin, program) }

// URL returns the connection URL of a database of the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// Up starts a stopped server and waits until it takes connections.
func (s *Server) Up(ctx context.Context) error {
	return s.run(ctx, "pg_ctl", "-D", s.DataDir(), "-w", "-t", "60", "-l", filepath.Join(s.dir, "log"), "start")
}

// Down stops the server; mode is smart, fast or immediate (a crash).
func (s *Server) Down(ctx context.Context, mode string) error {
	return s.run(ctx, "pg_ctl", "-D", s.DataDir(), "-w", "-t", "60", "-m", mode, "stop")
}

// Stop stops the server at once and removes its directory.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(s.Down(ctx, "immediate"), os.RemoveAll(s.dir))
}

// Log returns the server's log.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (s *Server) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.Bin(program), args...)
	cmd.Dir = s.dir
	// The server outlives this process group's signals: it is stopped by Stop, not by a Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Setpgid: true}
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "LC_ALL=C", "TZ=UTC")
	// pg_ctl leaves the server holding its output, so a pipe would never end: a file does.
	out, err := os.CreateTemp("", "waybill-"+program)
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s%s", program, err, text, s.Log())
	}
	return nil
}

// unprivileged returns whom to run as when this process is root, which PostgreSQL refuses; nil otherwise.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("running as root without a user postgres or nobody to run a server as")
}

// FreePort returns a free port of the loopback address.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
