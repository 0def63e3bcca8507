package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	copyBuffer    = 1 << 20 // bytes read ahead of one COPY, and at most one batch
	frameHeader   = 5       // type and length
	cancelTimeout = 500 * time.Millisecond
)

// rawCopy reads a COPY ... TO STDOUT straight from the socket of an idle session: the server sends one
// message per row, and to take each through the driver would cost more than the rest of the work. The
// session is usable again once the copy has ended; after an error close it.
type rawCopy struct {
	conn       net.Conn
	buf        []byte
	start, end int   // what was received and not yet taken is buf[start:end]
	rows       int64 // told by the server at the end
	ended      bool
}

// startCopy sends the statement and reads up to where rows begin.
func startCopy(ctx context.Context, conn *pgconn.PgConn, sql string, buf []byte) (*rawCopy, error) {
	if err := conn.SyncConn(ctx); err != nil {
		return nil, err
	}
	message, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return nil, err
	}
	c := &rawCopy{conn: conn.Conn(), buf: buf}
	if _, err := c.conn.Write(message); err != nil {
		return nil, err
	}
	for {
		kind, _, ok, err := c.frame()
		if err == nil && !ok {
			err = c.fill()
		}
		if err != nil {
			return nil, err
		}
		if ok && kind == 'H' {
			return c, nil
		}
		if ok && kind == 'Z' {
			return nil, errors.New("the statement gave no copy")
		}
	}
}

// frame takes the next message if it is complete in the buffer. An error of the server is returned once the
// session is ready again. Messages that matter to nobody here are given as they come.
func (c *rawCopy) frame() (kind byte, payload []byte, ok bool, err error) {
	if c.end-c.start < frameHeader {
		return 0, nil, false, nil
	}
	size := int(binary.BigEndian.Uint32(c.buf[c.start+1:])) + 1
	if size < frameHeader || size > 1<<30+1<<20 {
		return 0, nil, false, fmt.Errorf("message of %d bytes", size)
	}
	if c.end-c.start < size {
		return 0, nil, false, nil
	}
	kind, payload = c.buf[c.start], c.buf[c.start+frameHeader:c.start+size]
	c.start += size
	switch kind {
	case 'E':
		var response pgproto3.ErrorResponse
		if err := response.Decode(payload); err != nil {
			return 0, nil, false, err
		}
		return kind, nil, true, pgconn.ErrorResponseToPgError(&response)
	case 'C':
		_, count, _ := strings.Cut(strings.TrimSuffix(string(payload), "\x00"), " ")
		if c.rows, err = strconv.ParseInt(count, 10, 64); err != nil {
			return kind, nil, true, fmt.Errorf("end of copy: %w", err)
		}
	case 'Z':
		c.ended = true
	}
	return kind, payload, true, nil
}

// fill receives more. It needs room: call compact before when there is none.
func (c *rawCopy) fill() error {
	if c.end == len(c.buf) {
		c.compact()
	}
	n, err := c.conn.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// full reports whether nothing more can be received before what was taken is let go by compact.
func (c *rawCopy) full() bool { return c.end == len(c.buf) }

// compact makes room: it overwrites what was taken, grows for a message that is larger than the buffer, and
// gives the memory of such a one back later.
func (c *rawCopy) compact() {
	rest := c.buf[c.start:c.end]
	size := copyBuffer
	if len(rest) >= frameHeader {
		size = max(size, int(binary.BigEndian.Uint32(rest[1:]))+1)
	}
	if size > len(c.buf) || size == copyBuffer && len(c.buf) > copyBuffer {
		grown := make([]byte, max(size, len(rest)))
		c.start, c.end = 0, copy(grown, rest)
		c.buf = grown
		return
	}
	c.start, c.end = 0, copy(c.buf, rest)
}

// watch lets the end of ctx break off whatever the socket does. The returned function ends that and reports
// whether the socket is still good.
func watch(ctx context.Context, conn *pgconn.PgConn) (stop func() bool) {
	socket := conn.Conn()
	return context.AfterFunc(ctx, func() {
		_ = socket.SetDeadline(time.Unix(1, 0)) // a socket that refuses is closed already
	})
}

// abandon ends a session in the middle of a statement: the server is told to stop, because it may be at work
// (a sort) that would not notice a closed socket for long.
func abandon(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancel()
	_ = conn.CancelRequest(ctx) // a courtesy to a server that may be gone
	closeConn(conn)
}
