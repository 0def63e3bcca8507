package postgres

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// readers are the sessions of a view. Each is in a transaction of its own that has the view's snapshot, so
// all see the same. They are opened when needed and kept for the next reader.
type readers struct {
	endpoint waybill.Endpoint
	snapshot string

	mu     sync.Mutex
	idle   []*pgconn.PgConn
	closed bool
}

var errViewClosed = errors.New("the view is closed")

// take returns a session that the caller gives back with give.
func (r *readers) take(ctx context.Context) (*pgconn.PgConn, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errViewClosed
	}
	if n := len(r.idle); n > 0 {
		conn := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return conn, nil
	}
	r.mu.Unlock()
	return r.open(ctx)
}

func (r *readers) open(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := connect(ctx, r.endpoint, "view", nil)
	if err != nil {
		return nil, err
	}
	// One process reads one slice: parallel workers would only add a queue between them and the socket.
	err = exec(ctx, conn, "SET max_parallel_workers_per_gather = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	if err == nil {
		err = exec(ctx, conn, "SET TRANSACTION SNAPSHOT "+quoteLiteral(r.snapshot))
	}
	if err == nil {
		return conn, nil
	}
	closeConn(conn)
	if state := sqlState(err); state == "22023" || state == "55000" {
		return nil, &waybill.Error{Op: "join snapshot " + r.snapshot, Fault: waybill.Passing, Err: err,
			Hint: "the session that holds the view's snapshot has ended: the copy begins anew with a new view"}
	}
	return nil, classify("join snapshot "+r.snapshot, waybill.TableName{}, err)
}

// give takes a session back. One that is not in its transaction any more has lost the snapshot and is closed.
func (r *readers) give(conn *pgconn.PgConn) {
	r.mu.Lock()
	keep := !r.closed && !conn.IsClosed() && conn.TxStatus() == 'T'
	if keep {
		r.idle = append(r.idle, conn)
	}
	r.mu.Unlock()
	if !keep {
		closeConn(conn)
	}
}

// close ends the idle sessions now and the others when they are given back.
func (r *readers) close() {
	r.mu.Lock()
	idle := r.idle
	r.idle, r.closed = nil, true
	r.mu.Unlock()
	for _, conn := range idle {
		closeConn(conn)
	}
}

// query runs one query on a session of the view.
func (r *readers) query(ctx context.Context, sql string, args ...string) ([][][]byte, error) {
	conn, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	defer r.give(conn)
	return query(ctx, conn, sql, args...)
}
