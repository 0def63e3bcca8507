package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	wireBuffer = 1 << 20 // bytes read at once from a replication connection
	wireKeep   = 4 << 20 // a buffer that one large message made longer than this is let go
)

// serverEpoch is where the server's clock starts: 2000-01-01 UTC.
var serverEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// replication is a replication connection taken over from the driver: one goroutine reads, any may write.
type replication struct {
	conn   net.Conn
	buffer []byte
	r, w   int

	writing sync.Mutex
	out     []byte
}

// takeOver takes the connection over. The driver must not use it any more.
func takeOver(conn *pgconn.PgConn) (*replication, error) {
	hijacked, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	if n := hijacked.Frontend.ReadBufferLen(); n != 0 {
		return nil, errors.Join(fmt.Errorf("%d bytes came unasked", n), hijacked.Conn.Close())
	}
	return &replication{conn: hijacked.Conn, buffer: make([]byte, wireBuffer)}, nil
}

// buffered reports whether a whole message can be had without reading from the network.
func (c *replication) buffered() bool {
	have := c.w - c.r
	return have >= 5 && have > int(binary.BigEndian.Uint32(c.buffer[c.r+1:]))
}

// next returns the next message. Its body is valid until the next call.
func (c *replication) next() (kind byte, body []byte, err error) {
	if err := c.fill(5); err != nil {
		return 0, nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(c.buffer[c.r+1:])))
	if size < 4 {
		return 0, nil, fmt.Errorf("server message of length %d", size)
	}
	if err := c.fill(1 + size); err != nil {
		return 0, nil, err
	}
	kind, body = c.buffer[c.r], c.buffer[c.r+5:c.r+1+size]
	c.r += 1 + size
	return kind, body, nil
}

// fill reads until n bytes are in the buffer.
func (c *replication) fill(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	if c.r > 0 || len(c.buffer) < n || len(c.buffer) > wireKeep {
		c.compact(n)
	}
	m, err := io.ReadAtLeast(c.conn, c.buffer[c.w:], n-(c.w-c.r))
	c.w += m
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// wait lets the network bring more for a while and reports whether it did. What is wrong with the connection is
// left for next to find.
func (c *replication) wait(ctx context.Context, while time.Duration) bool {
	time.Sleep(while)
	if c.r > 0 {
		c.compact(0)
	}
	if c.w == len(c.buffer) {
		return true
	}
	if c.conn.SetReadDeadline(time.Now().Add(while)) != nil {
		return false
	}
	n, err := c.conn.Read(c.buffer[c.w:])
	c.w += n
	deadline := time.Time{}
	if ctx.Err() != nil {
		deadline = time.Unix(1, 0) // the context's end may have set it just before
	}
	return c.conn.SetReadDeadline(deadline) == nil && (err == nil || n > 0)
}

// compact moves what is unread to the front of a buffer that can hold n bytes.
func (c *replication) compact(n int) {
	to := c.buffer
	if len(to) < n || len(to) > wireKeep {
		to = make([]byte, max(n, wireBuffer))
	}
	c.w = copy(to, c.buffer[c.r:c.w])
	c.r, c.buffer = 0, to
}

// send writes one message.
func (c *replication) send(kind byte, body ...[]byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	size := 4
	for _, part := range body {
		size += len(part)
	}
	c.out = append(c.out[:0], kind)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(size))
	for _, part := range body {
		c.out = append(c.out, part...)
	}
	_, err := c.conn.Write(c.out)
	return err
}

// status reports to the server what is durable. All three positions are the same on purpose: a server that thinks
// that more was written sends no keepalive when it goes idle, and those carry the end of its log.
func (c *replication) status(lsn uint64, now time.Time) error {
	var b [34]byte
	b[0] = 'r'
	for i := range 3 {
		binary.BigEndian.PutUint64(b[1+8*i:], lsn)
	}
	binary.BigEndian.PutUint64(b[25:], uint64(now.Sub(serverEpoch).Microseconds()))
	return c.send('d', b[:])
}

// startReplication asks for the stream and returns once it begins.
func (c *replication) startReplication(sql string) error {
	if err := c.send('Q', []byte(sql), []byte{0}); err != nil {
		return err
	}
	for {
		kind, body, err := c.next()
		if err != nil {
			return err
		}
		switch kind {
		case 'W':
			return nil
		case 'E':
			return serverRefusal(body)
		case 'N', 'S':
		default:
			return fmt.Errorf("server answers START_REPLICATION with a message of type %q", kind)
		}
	}
}

// finish ends the stream in order, so that the slot is free when it returns, or gives up at the deadline.
func (c *replication) finish(deadline time.Time) {
	if c.conn.SetDeadline(deadline) == nil && c.send('c') == nil && c.send('X') == nil {
		_, _ = io.Copy(io.Discard, c.conn) // until the server closes: what it still sends will be sent again
	}
	_ = c.conn.Close()
}

// serverRefusal turns an ErrorResponse into the driver's error.
func serverRefusal(body []byte) error {
	var response pgproto3.ErrorResponse
	if err := response.Decode(body); err != nil {
		return err
	}
	return pgconn.ErrorResponseToPgError(&response)
}
