package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// sink writes into one database for one stream. It has three kinds of sessions: the guard holds the stream's
// lock and gives signs of life (a goroutine owns it from openSink to Close), the apply session does
// everything that is in order, and loads take sessions from a pool.
type sink struct {
	endpoint waybill.Endpoint
	options  waybill.SinkOptions
	log      *slog.Logger
	session  applySession
	replica  bool // triggers and foreign keys do not act on what this sink writes
	epoch    int64
	position waybill.Position
	reshaped bool // the open transaction changed a structure
	keys     pendingKeys
	inside   bool // a transaction of the source is open: some of its batches are applied, not committed

	targets  map[waybill.TableName]*target
	versions map[*waybill.TableVersion]*target
	effects  []*effect // of the batch at hand, reused
	active   int       // how many of them are in use
	fixed    fixedStatements

	guard    *pgconn.PgConn
	stop     context.CancelFunc
	stopped  chan struct{}
	lifeLost atomic.Pointer[waybill.Error]

	mu   sync.Mutex
	idle []*pgconn.PgConn // load sessions that nobody uses
}

// openSink opens the target for a stream, which makes any other process that writes it harmless.
func openSink(ctx context.Context, e waybill.Endpoint, o waybill.SinkOptions) (waybill.Sink, error) {
	if o.Stream == "" {
		return nil, waybill.Errorf(waybill.Bug, "open sink", "no stream is named")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Report == nil {
		o.Report = func(string, float64) {}
	}
	s := &sink{endpoint: e, options: o, log: o.Log, keys: pendingKeys{due: true}, fixed: newFixedStatements(),
		targets: map[waybill.TableName]*target{}, versions: map[*waybill.TableVersion]*target{}}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *sink) open(ctx context.Context) (err error) {
	if s.guard, err = connect(ctx, s.endpoint, "guard "+s.options.Stream, nil); err != nil {
		return err
	}
	if err := createControl(ctx, s.guard); err != nil {
		return err
	}
	if err := holdStream(ctx, s.guard, s.options); err != nil {
		return err
	}
	if s.epoch, s.position, err = raiseEpoch(ctx, s.guard, s.options.Stream); err != nil {
		return err
	}
	if s.session.conn, s.replica, err = s.connectWriter(ctx, "apply "+s.options.Stream); err != nil {
		return err
	}
	if err := exec(ctx, s.session.conn, planSettings(serverVersion(s.session.conn))); err != nil {
		return classify("set up the apply session", waybill.TableName{}, err)
	}
	if !s.replica {
		s.log.Warn("triggers and foreign keys act on what the link writes", "link", s.options.Stream,
			"fix", "GRANT SET ON PARAMETER session_replication_role TO <user of the url>")
	}
	life, stop := context.WithCancel(context.Background())
	s.stop, s.stopped = stop, make(chan struct{})
	go s.live(life)
	return nil
}

// connectWriter opens a session whose writes are durable when they are committed and which, where the role
// may ask for it, fires no trigger: what triggers did at the source arrives by itself.
func (s *sink) connectWriter(ctx context.Context, purpose string) (*pgconn.PgConn, bool, error) {
	conn, err := connect(ctx, s.endpoint, purpose, nil)
	if err != nil {
		return nil, false, err
	}
	err = exec(ctx, conn, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	if err != nil {
		closeConn(conn)
		return nil, false, classify("set up a session", waybill.TableName{}, err)
	}
	err = exec(ctx, conn, "SET session_replication_role = replica")
	if err != nil && sqlState(err) != "42501" {
		closeConn(conn)
		return nil, false, classify("set up a session", waybill.TableName{}, err)
	}
	return conn, err == nil, nil
}

// planSettings make every statement find its rows through the key's index, whatever the planner believes of
// sizes: a hash join over a large table costs several times as much.
func planSettings(version int) string {
	sql := "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; SET enable_bitmapscan = off;"
	if version >= 120000 {
		sql += "SET plan_cache_mode = force_generic_plan;"
	}
	return sql
}

// scanSettings and indexSettings switch to statements that read a table once and back.
const (
	scanSettings = "SELECT pg_catalog.set_config('enable_hashjoin', 'on', true), pg_catalog.set_config('enable_seqscan', 'on', true)," +
		" pg_catalog.set_config('enable_nestloop', 'off', true)"
	indexSettings = "SELECT pg_catalog.set_config('enable_hashjoin', 'off', true), pg_catalog.set_config('enable_seqscan', 'off', true)," +
		" pg_catalog.set_config('enable_nestloop', 'on', true)"
)

// live shows the server, and through it other processes, that this one is alive, and notices when the
// session with the stream's lock is gone.
func (s *sink) live(ctx context.Context) {
	defer close(s.stopped)
	tick := time.NewTicker(lifeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sign, cancel := context.WithTimeout(ctx, lifeless/2)
		err := exec(sign, s.guard, "SELECT 1")
		cancel()
		if err != nil && ctx.Err() == nil {
			s.lifeLost.Store(&waybill.Error{Op: "hold stream " + s.options.Stream + " at the target", Fault: waybill.Passing, Err: err})
			return
		}
	}
}

// alive reports whether this process still holds the stream, as far as it knows.
func (s *sink) alive() error {
	if lost := s.lifeLost.Load(); lost != nil {
		return lost
	}
	if s.session.conn.IsClosed() {
		return waybill.Errorf(waybill.Passing, "write to the target", "the session is closed")
	}
	return nil
}

// Close ends all sessions. A transaction that is open is rolled back by the server.
func (s *sink) Close() error {
	if s.stop != nil {
		s.stop()
		<-s.stopped
		s.stop = nil
	}
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, conn := range append(idle, s.session.conn, s.guard) {
		if conn != nil {
			closeConn(conn)
		}
	}
	return nil
}

// Resume returns what the target knows of the stream.
func (s *sink) Resume(ctx context.Context) (waybill.Progress, error) {
	if err := s.idleSession(); err != nil {
		return waybill.Progress{}, err
	}
	p, err := readProgress(ctx, s.session.conn, s.options.Stream)
	if err != nil {
		return p, err
	}
	s.position = p.Position
	return p, nil
}

// idleSession returns an error where the apply session is not free for work of its own.
func (s *sink) idleSession() error {
	if err := s.alive(); err != nil {
		return err
	}
	if s.inside {
		return waybill.Errorf(waybill.Bug, "use the target", "a transaction of the source is half applied")
	}
	return nil
}

// transact runs statements on the apply session in one transaction, under the stream's epoch.
func (s *sink) transact(ctx context.Context, op string, table waybill.TableName, statements ...string) error {
	err := exec(ctx, s.session.conn, "BEGIN;"+s.fenceSQL())
	for _, sql := range statements {
		if err != nil {
			break
		}
		err = exec(ctx, s.session.conn, sql)
	}
	if err == nil {
		err = exec(ctx, s.session.conn, "COMMIT")
	}
	if err != nil {
		rollback(ctx, s.session.conn)
		return s.explain(op, table, err)
	}
	return nil
}

const fencedMark = "waybill: stream taken over"

// fenceSQL fails unless the stream is still this process's, and locks it until the transaction ends.
func (s *sink) fenceSQL() string {
	return fmt.Sprintf("WITH mine AS (UPDATE waybill.stream SET updated_at = clock_timestamp() WHERE stream = %s AND epoch = %d RETURNING 1)"+
		" SELECT CASE WHEN count(*) = 1 THEN 0 ELSE ('%s' || count(*))::int4 END FROM mine;", quoteLiteral(s.options.Stream), s.epoch, fencedMark)
}
