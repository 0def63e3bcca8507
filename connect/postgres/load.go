package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// loadChunk is about how many bytes of rows are encoded before they are given to the connection.
const loadChunk = 256 << 10

// copyChunk is the same for the inserts of a batch of changes.
const copyChunk = 64 << 10

// Load writes the rows of one slice in one transaction, with a record of the slice: a slice that is in the
// table already is not loaded again. It is safe for parallel use.
func (s *sink) Load(ctx context.Context, slice waybill.Slice, rows iter.Seq2[waybill.Batch, error]) (int64, error) {
	columns := copyColumns(slice.Version)
	return s.load(ctx, slice, copyStatement(slice.Version, columns, textFormat), func() io.Reader {
		next, stop := iter.Pull2(rows)
		return &rowReader{next: next, stop: stop, columns: columns}
	})
}

func copyStatement(v *waybill.TableVersion, columns []int, f waybill.Format) string {
	sql := "COPY " + quoteTable(v.Table)
	if len(columns) > 0 {
		sql += " (" + columnList(v, columns) + ")"
	}
	sql += " FROM STDIN"
	if f != textFormat {
		sql += " (FORMAT binary)"
	}
	return sql
}

// load runs one COPY and records its slice in the same transaction.
func (s *sink) load(ctx context.Context, slice waybill.Slice, sql string, open func() io.Reader) (int64, error) {
	table := slice.Version.Table
	op := "load slice " + strconv.Itoa(slice.Number) + " of"
	conn, err := s.borrow(ctx)
	if err != nil {
		return 0, classify(op, table, err)
	}
	rows, err := s.loadOn(ctx, conn, slice, sql, open)
	s.giveBack(ctx, conn)
	if err != nil {
		return 0, s.explain(op, table, err)
	}
	return rows, nil
}

func (s *sink) loadOn(ctx context.Context, conn *pgconn.PgConn, slice waybill.Slice, sql string, open func() io.Reader) (int64, error) {
	table := slice.Version.Table
	key := quoteLiteral(s.options.Stream) + ", " + quoteLiteral(table.Schema) + ", " + quoteLiteral(table.Name) + ", " + strconv.Itoa(slice.Number)
	done, err := query(ctx, conn, "SELECT row_count FROM waybill.loaded WHERE (stream, schema_name, table_name, slice) = ("+key+")")
	if err != nil {
		return 0, err
	}
	if len(done) > 0 {
		return strconv.ParseInt(string(done[0][0]), 10, 64)
	}
	if err := exec(ctx, conn, "BEGIN"); err != nil {
		return 0, err
	}
	reader := open()
	tag, err := conn.CopyFrom(ctx, reader, sql)
	if closer, ok := reader.(*rowReader); ok {
		closer.stop()
		if closer.failed != nil {
			return 0, closer.failed // what stopped the copy, in its own words
		}
	}
	if err != nil {
		return 0, err
	}
	rows := tag.RowsAffected()
	return rows, exec(ctx, conn, s.holdsSQL()+fmt.Sprintf("INSERT INTO waybill.loaded VALUES (%s, %d); COMMIT", key, rows))
}

// holdsSQL fails unless the stream is still this process's. Unlike fenceSQL it lets loads run side by side;
// it comes last, so that a process that takes over does not wait for a load that is still running.
func (s *sink) holdsSQL() string {
	return fmt.Sprintf("SELECT CASE WHEN epoch = %d THEN 0 ELSE ('%s' || epoch)::int4 END FROM (SELECT epoch FROM waybill.stream WHERE stream = %s FOR SHARE) AS mine;",
		s.epoch, fencedMark, quoteLiteral(s.options.Stream))
}

// rowReader turns rows into COPY's text format as they are asked for.
type rowReader struct {
	next    func() (waybill.Batch, error, bool)
	stop    func()
	columns []int
	rows    []waybill.Row
	buffer  []byte
	rest    []byte
	failed  error
}

func (r *rowReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *rowReader) fill() error {
	if len(r.rows) == 0 {
		batch, err, ok := r.next()
		if !ok {
			return io.EOF
		}
		if err != nil {
			r.failed = err
			return err
		}
		r.rows = batch.Rows
	}
	r.buffer = r.buffer[:0]
	n := 0
	for n < len(r.rows) && len(r.buffer) < loadChunk {
		if i := firstAbsent(r.rows[n], r.columns); i >= 0 {
			r.failed = errors.New("a row came without a value for column " + strconv.Itoa(i+1))
			return r.failed
		}
		r.buffer = appendCopy(r.buffer, r.rows[n], r.columns)
		n++
	}
	r.rows, r.rest = r.rows[n:], r.buffer
	return nil
}

// borrow returns a load session that nobody else uses.
func (s *sink) borrow(ctx context.Context) (*pgconn.PgConn, error) {
	s.mu.Lock()
	for len(s.idle) > 0 {
		conn := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if !conn.IsClosed() {
			s.mu.Unlock()
			return conn, nil
		}
	}
	s.mu.Unlock()
	conn, _, err := s.connectWriter(ctx, "load "+s.options.Stream)
	return conn, err
}

// giveBack returns a session to the pool, out of any transaction, or closes it.
func (s *sink) giveBack(ctx context.Context, conn *pgconn.PgConn) {
	rollback(ctx, conn)
	if conn.IsClosed() || conn.TxStatus() != 'I' {
		closeConn(conn)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, conn)
}

// effectReader gives the new rows of an effect in COPY's text format.
type effectReader struct {
	effect *effect
	rows   []int32
	buffer []byte
	rest   []byte
}

func (r *effectReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if len(r.rows) == 0 {
			return 0, io.EOF
		}
		r.buffer = r.buffer[:0]
		for len(r.rows) > 0 && len(r.buffer) < copyChunk {
			r.buffer = appendCopy(r.buffer, r.effect.rows[r.rows[0]].now, r.effect.target.columns)
			r.rows = r.rows[1:]
		}
		r.rest = r.buffer
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
