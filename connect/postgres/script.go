package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// Bounds of one execution of a statement. They keep messages and server memory small, and let the server
// work on one piece while the next is made.
const (
	maxStatementRows  = 8192
	maxStatementBytes = 16 << 20
	maxStatements     = 1000 // prepared in one session
)

// script sends statements ahead of their results: the server works on one while the next is encoded, and a
// small transaction costs one round trip.
type script struct {
	session *applySession
	pipe    *pgconn.Pipeline
	sent    []sent
}

// sent is one execution whose result has not been read.
type sent struct {
	statement *statement
	effect    *effect
	rows      []int32
	prepares  bool
}

// applySession is a connection with its prepared statements and buffers.
type applySession struct {
	conn     *pgconn.PgConn
	names    int
	prepared []*statement // known to the server
	params   [][]byte
	results  []sent
}

var allBinary = []int16{1}

func (s *applySession) start(ctx context.Context) *script {
	return &script{session: s, pipe: s.conn.StartPipeline(ctx), sent: s.results[:0]}
}

// send queues one execution of a statement with encoded parameters.
func (w *script) send(st *statement, params [][]byte, e *effect, rows []int32) error {
	s := w.session
	prepares := !st.prepared
	if prepares {
		s.names++
		st.name = "w" + strconv.Itoa(s.names)
		st.prepared = true
		w.pipe.SendPrepare(st.name, st.sql, nil)
	}
	w.pipe.SendQueryPrepared(st.name, params, allBinary, nil)
	w.sent = append(w.sent, sent{st, e, rows, prepares})
	if len(rows) > 256 {
		return w.pipe.Flush()
	}
	return nil
}

// task queues a task in pieces that keep within the bounds.
func (w *script) task(t task) error {
	for start := 0; start < len(t.rows); {
		end, size := start, 0
		for end < len(t.rows) && (t.statement.op == opReplace || end-start < maxStatementRows && size < maxStatementBytes) {
			size += t.effect.size(t.rows[end])
			end++
		}
		rows := t.rows[start:end]
		params, err := w.session.encode(t.statement, t.effect, rows)
		if err != nil {
			return err
		}
		if err := w.send(t.statement, params, t.effect, rows); err != nil {
			return err
		}
		start = end
	}
	return nil
}

func (e *effect) size(i int32) int {
	row, size := e.rows[i].now, 0
	if row == nil {
		row = e.rows[i].origin
	}
	for c := range row {
		size += 12 + len(row[c].Text())
	}
	return size
}

// forgetStatements makes room for new statements once there are too many.
func (s *applySession) forgetStatements(ctx context.Context) error {
	if len(s.prepared) < maxStatements {
		return nil
	}
	if err := exec(ctx, s.conn, "DEALLOCATE ALL"); err != nil {
		return err
	}
	for _, st := range s.prepared {
		st.prepared = false
	}
	s.prepared = s.prepared[:0]
	return nil
}

// finish ends the script, reads all results and returns the first error with the execution that met it.
func (w *script) finish() (failed *sent, err error) {
	s := w.session
	err = w.pipe.Sync()
	for i := range w.sent {
		if err != nil {
			break
		}
		if err = w.result(&w.sent[i]); err != nil {
			failed = &w.sent[i]
			w.forget(i)
		}
	}
	if err == nil {
		err = w.expectSync()
	}
	closeErr := w.pipe.Close() // repeats the error of a statement
	if err == nil {
		err = closeErr
	}
	s.results = w.sent[:0]
	for i := range s.params {
		if cap(s.params[i]) > maxStatementBytes {
			s.params[i] = nil
		}
	}
	return failed, err
}

// forget takes back what was assumed of statements at and after a failed one: the server skipped them.
func (w *script) forget(from int) {
	for _, later := range w.sent[from:] {
		if later.prepares {
			later.statement.prepared = false
		}
	}
}

func (w *script) result(e *sent) error {
	if e.prepares {
		result, err := w.pipe.GetResults()
		if err != nil {
			return err
		}
		if _, ok := result.(*pgconn.StatementDescription); !ok {
			return fmt.Errorf("the server answered a prepare with %T", result)
		}
		w.session.prepared = append(w.session.prepared, e.statement)
	}
	result, err := w.pipe.GetResults()
	if err != nil {
		return err
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return fmt.Errorf("the server answered a statement with %T", result)
	}
	_, err = reader.Close()
	return err
}

func (w *script) expectSync() error {
	result, err := w.pipe.GetResults()
	if err != nil {
		return err
	}
	if _, ok := result.(*pgconn.PipelineSync); !ok {
		return fmt.Errorf("the server answered the end of a script with %T", result)
	}
	return nil
}

// encode builds the parameters of one execution in the session's buffers, which the next call overwrites.
func (s *applySession) encode(st *statement, e *effect, rows []int32) ([][]byte, error) {
	n := 0
	next := func() []byte {
		if n == len(s.params) {
			s.params = append(s.params, nil)
		}
		n++
		return s.params[n-1][:0]
	}
	for _, c := range st.key {
		param, err := e.appendColumn(next(), c, rows, oldValues)
		if err != nil {
			return nil, err
		}
		s.params[n-1] = param
	}
	for _, c := range st.values {
		from := newValues
		if slices.Contains(st.flagged, c) {
			from = newOrNull
		}
		param, err := e.appendColumn(next(), c, rows, from)
		if err != nil {
			return nil, err
		}
		s.params[n-1] = param
	}
	for _, c := range st.flagged {
		s.params[n-1] = e.appendFlags(next(), c, rows)
	}
	if st.counts {
		s.params[n-1] = e.appendCounts(next(), rows)
	}
	if st.counted {
		s.params[n-1] = binary.BigEndian.AppendUint64(next(), e.expected(st, rows))
	}
	return s.params[:n], nil
}

// whose says which values of a row are meant. newOrNull gives NULL for a value that did not travel, where a
// flag beside it says that the old one stays; anywhere else such a value is an error.
type whose uint8

const (
	oldValues whose = iota
	newValues
	newOrNull
)

// literalError says that a column must be sent as text: see sendText.
type literalError struct {
	target *target
	column int
}

func (e *literalError) Error() string {
	return "column " + e.target.version.Columns[e.column].Name + " of " + e.target.name.String() + " must be sent as text"
}

// appendColumn appends one column of the rows as an array.
func (e *effect) appendColumn(dst []byte, column int, rows []int32, from whose) ([]byte, error) {
	w := e.target.fields[column].wire
	dst = appendArray(dst, wireTypes[w].oid, len(rows))
	var err error
	stays := waybill.Null
	for _, i := range rows {
		row := e.rows[i].now
		if from == oldValues {
			row = e.rows[i].origin
		}
		v := &row[column]
		if from == newOrNull && v.IsAbsent() {
			v = &stays
		}
		if v.Kind() == waybill.KindLiteral && w != wireText {
			return nil, &literalError{e.target, column}
		}
		if dst, err = appendElement(dst, w, v); err != nil {
			return nil, &waybill.Error{Op: "apply to", Table: e.target.name, Fault: waybill.Data,
				Err:  &rowError{what: "column " + e.target.version.Columns[column].Name + ": " + err.Error(), key: e.target.keyText(row)},
				Hint: "the target cannot hold this value: change the column's type there, or correct the value at the source and copy the table again"}
		}
	}
	return dst, nil
}

func (e *effect) appendFlags(dst []byte, column int, rows []int32) []byte {
	dst = appendArray(dst, wireTypes[wireBool].oid, len(rows))
	for _, i := range rows {
		flag := byte(1)
		if e.rows[i].now[column].IsAbsent() {
			flag = 0
		}
		dst = append(dst, 0, 0, 0, 1, flag)
	}
	return dst
}

func (e *effect) appendCounts(dst []byte, rows []int32) []byte {
	dst = appendArray(dst, wireTypes[wireInt4].oid, len(rows))
	for _, i := range rows {
		dst = binary.BigEndian.AppendUint32(dst, 4)
		dst = binary.BigEndian.AppendUint32(dst, uint32(-e.rows[i].count))
	}
	return dst
}

func (e *effect) expected(st *statement, rows []int32) uint64 {
	if !st.counts {
		return uint64(len(rows))
	}
	total := 0
	for _, i := range rows {
		total -= e.rows[i].count
	}
	return uint64(total)
}

// plain queues a statement without parameters or rows.
func (w *script) plain(st *statement) error { return w.send(st, nil, nil, nil) }
