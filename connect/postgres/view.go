package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

const batchRows = 1000

// view is one exported snapshot. The session that exports it stays idle until Close, the readers join it, and
// the keeper holds a shared lock on every table that was asked for: after a rewrite or TRUNCATE a snapshot
// sees an empty table, so no rewrite may come between, and one that came before the lock is found out.
type view struct {
	options  waybill.ViewOptions
	position waybill.Position
	version  int
	readers  *readers
	release  func() error

	mu     sync.Mutex
	keeper *pgconn.PgConn
	pinned map[waybill.TableName]*waybill.TableVersion
}

var (
	_ waybill.View      = (*view)(nil)
	_ waybill.Exporter  = (*view)(nil)
	_ waybill.Sequencer = (*view)(nil)
	_ waybill.RawReader = (*view)(nil)
	_ waybill.Narrower  = (*view)(nil)
	_ waybill.Locator   = (*view)(nil)
)

// openView opens a view of its own. A positioned one takes its snapshot from a temporary replication slot,
// which is the only way to learn the exact place in the log; a standby cannot give that.
func openView(ctx context.Context, e waybill.Endpoint, o waybill.ViewOptions) (*view, error) {
	conn, err := connect(ctx, e, "view snapshot", nil)
	if err != nil {
		return nil, err
	}
	if o.Positioned {
		rows, err := query(ctx, conn, "SELECT pg_is_in_recovery()")
		if err != nil {
			closeConn(conn)
			return nil, classify("open view of "+e.Name, waybill.TableName{}, err)
		}
		if !isTrue(rows[0][0]) {
			closeConn(conn)
			return openPositioned(ctx, e, o)
		}
	}
	rows, err := query(ctx, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()")
	if err != nil {
		closeConn(conn)
		return nil, classify("open view of "+e.Name, waybill.TableName{}, err)
	}
	return newView(ctx, e, string(rows[0][0]), "", o, func() error { closeConn(conn); return nil })
}

// newView opens a view on an exported snapshot. The caller's exporting session must stay as it is until
// release is called, which is at Close, or here when the view cannot be opened.
func newView(ctx context.Context, e waybill.Endpoint, snapshot string, p waybill.Position, o waybill.ViewOptions, release func() error) (*view, error) {
	w := &view{options: o, position: p, release: release, readers: &readers{endpoint: e, snapshot: snapshot},
		pinned: map[waybill.TableName]*waybill.TableVersion{}}
	conn, err := w.readers.take(ctx)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	w.version = serverVersion(conn)
	w.readers.give(conn)
	return w, nil
}

func (w *view) Position() waybill.Position { return w.position }

// Close ends all sessions of the view.
func (w *view) Close() error {
	w.readers.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keeper != nil {
		closeConn(w.keeper)
		w.keeper = nil
	}
	if w.release == nil {
		return nil
	}
	release := w.release
	w.release = nil
	return release()
}

// Tables lists what can be read. Unlogged tables can be, but no stream carries them, so a positioned view
// leaves them out.
func (w *view) Tables(ctx context.Context) ([]waybill.TableName, error) {
	conn, err := w.readers.take(ctx)
	if err != nil {
		return nil, err
	}
	defer w.readers.give(conn)
	tables, err := listTables(ctx, conn)
	if err != nil {
		return nil, err
	}
	if w.position == "" {
		unlogged, err := query(ctx, conn, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'u' AND NOT c.relispartition AND n.nspname <> 'waybill'`)
		if err != nil {
			return nil, classify("list tables", waybill.TableName{}, err)
		}
		for _, row := range unlogged {
			tables = append(tables, waybill.TableName{Schema: string(row[0]), Name: string(row[1])})
		}
	}
	tables = w.options.Tables.Pick(tables)
	slices.SortFunc(tables, func(a, b waybill.TableName) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return tables, nil
}

// Version describes the table and keeps it as it is until Close.
func (w *view) Version(ctx context.Context, table waybill.TableName) (*waybill.TableVersion, error) {
	if err := w.pin(ctx, table); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pinned[table], nil
}

// Read reads a slice with all columns of its version, generated ones too.
func (w *view) Read(ctx context.Context, s waybill.Slice) iter.Seq2[waybill.Batch, error] {
	return func(yield func(waybill.Batch, error) bool) {
		err := w.read(ctx, s, func(b waybill.Batch) bool { return yield(b, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(waybill.Batch{}, classify("read", s.Version.Table, contextCause(ctx, err)))
		}
	}
}

// errStopped says that the reader of an iterator wants no more.
var errStopped = errors.New("stopped")

// contextCause puts the end of the context before what it caused at the socket.
func contextCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (w *view) read(ctx context.Context, s waybill.Slice, yield func(waybill.Batch) bool) error {
	if err := w.pin(ctx, s.Version.Table); err != nil {
		return err
	}
	columns := allColumns(s.Version)
	sql, err := selectSlice(s, columns)
	if err != nil {
		return err
	}
	return w.copyOut(ctx, "COPY ("+sql+") TO STDOUT", func(c *rawCopy) error {
		return readBatches(c, newBatcher(s.Version, columns), yield)
	})
}

// copyOut runs a COPY on a session of the view and hands it to take. The session is kept only if all went well.
func (w *view) copyOut(ctx context.Context, sql string, take func(c *rawCopy) error) error {
	conn, err := w.readers.take(ctx)
	if err != nil {
		return err
	}
	stop := watch(ctx, conn)
	c, err := startCopy(ctx, conn, sql, make([]byte, copyBuffer))
	if err == nil {
		err = take(c)
	}
	if !stop() || err != nil {
		abandon(conn)
		if err == nil {
			return ctx.Err()
		}
		return err
	}
	w.readers.give(conn)
	return nil
}

// batcher gathers rows. Its memory is used again for every batch.
type batcher struct {
	version *waybill.TableVersion
	columns []int
	values  []waybill.Value
	rows    []waybill.Row
}

func newBatcher(v *waybill.TableVersion, columns []int) *batcher {
	return &batcher{version: v, columns: columns, values: make([]waybill.Value, batchRows*len(v.Columns)),
		rows: make([]waybill.Row, 0, batchRows)}
}

func (b *batcher) add(line []byte) error {
	width := len(b.version.Columns)
	at := len(b.rows) * width
	row := waybill.Row(b.values[at : at+width : at+width])
	b.rows = append(b.rows, row)
	return decodeCopy(line, b.version, b.columns, row)
}

// readBatches decodes rows where they were received and gives them on when the buffer or the batch is full:
// the rows of a batch alias the buffer.
func readBatches(c *rawCopy, b *batcher, yield func(waybill.Batch) bool) error {
	flush := func() error {
		if len(b.rows) == 0 {
			return nil
		}
		ok := yield(waybill.Batch{Version: b.version, Rows: b.rows})
		b.rows = b.rows[:0]
		if !ok {
			return errStopped
		}
		return nil
	}
	for !c.ended {
		kind, line, ok, err := c.frame()
		switch {
		case err != nil:
			return err
		case ok && kind == 'd':
			err = b.add(line)
			if err == nil && len(b.rows) == batchRows {
				err = flush()
			}
		case !ok && c.full():
			if err = flush(); err == nil {
				err = c.fill()
			}
		case !ok:
			err = c.fill()
		}
		if err != nil {
			return err
		}
	}
	return flush()
}

// changedSince says that a table is no longer what the snapshot knows.
func changedSince(table waybill.TableName) error {
	return &waybill.Error{Op: "read", Table: table, Fault: waybill.Passing,
		Hint: "a new view sees the table as it is now",
		Err:  fmt.Errorf("the table was changed, rewritten or truncated after the view was opened")}
}

// pin locks the table against changes of structure until Close and makes sure that none came between the
// snapshot and the lock.
func (w *view) pin(ctx context.Context, table waybill.TableName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pinned[table] != nil {
		return nil
	}
	conn, err := w.readers.take(ctx)
	if err != nil {
		return err
	}
	defer w.readers.give(conn)
	before, err := storedAs(ctx, conn, table)
	if err != nil {
		return classify("look up", table, err)
	}
	if len(before) == 0 {
		return &waybill.Error{Op: "look up", Table: table, Fault: waybill.Drift, Err: errors.New("there is no such table"),
			Hint: "correct the name; views, foreign tables and single partitions cannot be read"}
	}
	if err := w.admit(table, before); err != nil {
		return err
	}
	after, err := w.lock(ctx, table, string(before[0][3]))
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return changedSince(table)
	}
	versions, err := describe(ctx, conn, []waybill.TableName{table})
	if err != nil {
		return err
	}
	if versions[0] == nil {
		return changedSince(table)
	}
	w.pinned[table] = versions[0]
	return nil
}

// admit refuses what cannot be carried.
func (w *view) admit(table waybill.TableName, stored [][][]byte) error {
	refuse := func(hint, format string, args ...any) error {
		return &waybill.Error{Op: "carry", Table: table, Fault: waybill.Data, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	for _, row := range stored {
		name := waybill.TableName{Schema: string(row[1]), Name: string(row[2])}
		switch {
		case string(row[3]) == "f":
			return refuse("leave the table out of the selection, or detach the partition", "partition %s is a foreign table", name)
		case string(row[4]) == "u" && w.position != "":
			return refuse("ALTER TABLE "+quoteTable(name)+" SET LOGGED, or leave it out of the selection",
				"%s is unlogged, so its changes are in no log", name)
		case len(row[7]) > 0:
			return refuse("leave the table out of the selection, or drop the column", "column %s has a type that no server takes as input", row[7])
		}
	}
	return nil
}

// storedAs returns what the session sees of the table and its partitions: identity, name, kind, file and
// columns, the table itself first.
func storedAs(ctx context.Context, conn *pgconn.PgConn, table waybill.TableName) ([][][]byte, error) {
	return query(ctx, conn, `WITH RECURSIVE tree AS (
		  SELECT c.oid AS id, 0 AS depth FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		  WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		  UNION ALL
		  SELECT h.inhrelid, t.depth + 1 FROM tree t JOIN pg_class c ON c.oid = t.id AND c.relkind = 'p'
		  JOIN pg_inherits h ON h.inhparent = t.id)
		SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relfilenode,
		  (SELECT string_agg(format('%s %I %s %s', a.attnum, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)
		   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
		  (SELECT string_agg(format('%s %s', a.attname, y.typname), ', ' ORDER BY a.attnum)
		   FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		   AND y.typname IN (`+unreadableTypes+`)
		   AND y.typnamespace = 'pg_catalog'::regnamespace)
		FROM tree JOIN pg_class c ON c.oid = tree.id JOIN pg_namespace n ON n.oid = c.relnamespace
		ORDER BY tree.depth, c.oid`, table.Schema, table.Name)
}

// lock takes the lock on the keeper's session, which sees the catalogue as it is now.
func (w *view) lock(ctx context.Context, table waybill.TableName, kind string) ([][][]byte, error) {
	if w.keeper != nil && (w.keeper.IsClosed() || w.keeper.TxStatus() != 'T') {
		return nil, &waybill.Error{Op: "lock", Table: table, Fault: waybill.Passing, Err: errors.New("the session that holds the view's locks has ended")}
	}
	if w.keeper == nil {
		keeper, err := connect(ctx, w.readers.endpoint, "view locks", nil)
		if err != nil {
			return nil, err
		}
		if err := exec(ctx, keeper, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"); err != nil {
			closeConn(keeper)
			return nil, classify("lock", table, err)
		}
		w.keeper = keeper
	}
	only := "ONLY "
	if kind == "p" {
		only = ""
	}
	err := exec(ctx, w.keeper, "SAVEPOINT waybill; LOCK TABLE "+only+quoteTable(table)+" IN ACCESS SHARE MODE; RELEASE waybill")
	if err == nil {
		after, err := storedAs(ctx, w.keeper, table)
		return after, classify("look up", table, err)
	}
	if w.keeper.TxStatus() == 'E' {
		err = errors.Join(err, exec(ctx, w.keeper, "ROLLBACK TO waybill"))
	}
	if state := sqlState(err); state == "42P01" || state == "3F000" {
		return nil, changedSince(table)
	}
	return nil, classify("lock", table, err)
}
