package postgres

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// side is an ordinary session beside the replication connection: for heartbeats and for what the log does not
// tell. It is opened when needed, opened again when it broke, and safe for parallel use.
type side struct {
	endpoint waybill.Endpoint
	stream   string
	log      *slog.Logger

	mu   sync.Mutex
	conn *pgconn.PgConn
}

// use calls f with the session.
func (s *side) use(ctx context.Context, f func(conn *pgconn.PgConn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && s.conn.IsClosed() {
		s.conn = nil
	}
	if s.conn == nil {
		conn, err := connect(ctx, s.endpoint, "side of "+s.stream, nil)
		if err != nil {
			return err
		}
		// A heartbeat must not wait for a standby: the stream brings it when the standby has it, or not.
		if err := exec(ctx, conn, "SET synchronous_commit = off"); err != nil {
			closeConn(conn)
			return classify("open session", waybill.TableName{}, err)
		}
		s.conn = conn
	}
	return f(s.conn)
}

func (s *side) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		closeConn(s.conn)
		s.conn = nil
	}
}

// describe returns today's structure of the table with an oid, nil if it does not exist.
func (s *side) describe(ctx context.Context, oid uint32) (v *waybill.TableVersion, err error) {
	err = s.use(ctx, func(conn *pgconn.PgConn) error {
		rows, err := query(ctx, conn, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = `+oidText(oid))
		if err != nil || len(rows) == 0 {
			return classify("look for table", waybill.TableName{}, err)
		}
		versions, err := describe(ctx, conn, []waybill.TableName{{Schema: string(rows[0][0]), Name: string(rows[0][1])}})
		if err == nil && versions[0] != nil && versions[0].ID == oidText(oid) {
			v = versions[0]
		}
		return err
	})
	return v, err
}

// formatType names a type as versions do.
func (s *side) formatType(ctx context.Context, t typeID) (name string, err error) {
	err = s.use(ctx, func(conn *pgconn.PgConn) error {
		rows, err := query(ctx, conn, "SELECT format_type("+strconv.FormatUint(uint64(t.oid), 10)+", "+strconv.Itoa(int(t.mod))+")")
		if err == nil {
			name = string(rows[0][0])
		}
		return classify("name type", waybill.TableName{}, err)
	})
	return name, err
}

// beat gives a sign of life by the given statement.
func (s *side) beat(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return s.use(ctx, func(conn *pgconn.PgConn) error {
		return classify("send heartbeat", waybill.TableName{}, exec(ctx, conn, statement))
	})
}
