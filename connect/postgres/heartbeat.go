package postgres

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	heartbeatPrefix = "waybill.heartbeat" // of the logical messages that are signs of life
	lostPrefix      = "waybill.lost"      // of those that a capture trigger writes when it cannot do its work

	statusEvery    = 3 * time.Second        // how often the server is told what is durable, at the least
	confirmedEvery = 100 * time.Millisecond // how soon it is told of a confirmation
)

// pulse tells the server what is durable, whether or not anything is read: a server that hears nothing for
// wal_sender_timeout ends the stream. It also asks for signs of life that come back through the log.
type pulse struct {
	wire      *replication
	durable   *atomic.Uint64
	confirmed chan struct{} // wakes the pulse after a confirmation
	status    time.Duration
	beat      time.Duration
	statement string // empty where no heartbeat can be made
	side      *side
	log       *slog.Logger
}

// run beats until the context ends or the connection fails.
func (p *pulse) run(ctx context.Context) error {
	status := time.NewTicker(p.status)
	defer status.Stop()
	var told uint64
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-status.C:
		case <-p.confirmed:
			if !p.pause(ctx) {
				return context.Cause(ctx)
			}
			if p.durable.Load() == told {
				continue
			}
		}
		told = p.durable.Load()
		if err := p.wire.status(told, time.Now()); err != nil {
			return err
		}
	}
}

// pause lets confirmations gather.
func (p *pulse) pause(ctx context.Context) bool {
	timer := time.NewTimer(confirmedEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// beats sends heartbeats until the context ends. A beat that fails is not the stream's failure: the stream itself
// tells when the server is gone.
func (p *pulse) beats(ctx context.Context) {
	if p.statement == "" {
		return
	}
	ticker := time.NewTicker(p.beat)
	defer ticker.Stop()
	failing := false
	for {
		err := p.side.beat(ctx, p.statement)
		if err != nil && !failing && ctx.Err() == nil {
			p.log.Warn("heartbeat not sent", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// heartbeatStatement returns what makes a sign of life travel through the log, or nothing where the server knows no
// logical messages and has no published heartbeat table, or cannot write.
func heartbeatStatement(ctx context.Context, conn *pgconn.PgConn, stream, publication string) (string, error) {
	rows, err := query(ctx, conn, `SELECT pg_is_in_recovery(), EXISTS (SELECT FROM pg_publication_tables
		WHERE pubname = `+quoteLiteral(publication)+` AND schemaname = 'waybill' AND tablename = 'heartbeat')`)
	if err != nil {
		return "", err
	}
	switch standby, table := isTrue(rows[0][0]), isTrue(rows[0][1]); {
	case standby:
		return "", nil
	case serverVersion(conn) >= 140000:
		return "SELECT pg_logical_emit_message(true, " + quoteLiteral(heartbeatPrefix) + ", " + quoteLiteral(stream) + ")", nil
	case table:
		return "INSERT INTO waybill.heartbeat AS h (stream, at) VALUES (" + quoteLiteral(stream) +
			", clock_timestamp()) ON CONFLICT (stream) DO UPDATE SET at = excluded.at", nil
	}
	return "", nil
}
