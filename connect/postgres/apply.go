package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// minCopyRows is from how many rows on an insert goes by COPY, which takes round trips of its own.
const minCopyRows = 500

// maxVersions bounds how many pointers to versions are remembered.
const maxVersions = 100_000

// carefulBatches is for how many batches a table in which unique values changed places is treated with care.
const carefulBatches = 100

var errCascades = errors.New("keys or unique values changed places, and a foreign key that acts on deletes refers to the table")

// fixedStatements are those that every transaction needs.
type fixedStatements struct {
	begin, hasty, deferred, savepoint, release, fence, position, scan, index, commit statement
}

func newFixedStatements() fixedStatements {
	checked := func(set string, parameter int) string {
		return "WITH mine AS (UPDATE waybill.stream SET " + set + " RETURNING 1) SELECT CASE WHEN count(*) = 1 THEN 0 ELSE ('" +
			fencedMark + "' || count(*))::int4 END FROM mine"
	}
	return fixedStatements{
		begin:     statement{sql: "BEGIN"},
		hasty:     statement{sql: "SET LOCAL synchronous_commit = off"},
		deferred:  statement{sql: "SET CONSTRAINTS ALL DEFERRED"},
		savepoint: statement{sql: "SAVEPOINT part"},
		release:   statement{sql: "RELEASE SAVEPOINT part"},
		fence:     statement{sql: checked("updated_at = clock_timestamp() WHERE stream = $1::text AND epoch = $2::int8", 3)},
		position: statement{sql: checked("position = $3::text, updated_at = clock_timestamp(), committed_at = $4::timestamptz"+
			" WHERE stream = $1::text AND epoch = $2::int8", 5)},
		scan:   statement{sql: scanSettings},
		index:  statement{sql: indexSettings},
		commit: statement{sql: "COMMIT"},
	}
}

// apply is one call of Apply at work: a batch, in one try.
type apply struct {
	sink    *sink
	batch   *waybill.ChangeBatch
	careful bool // take updated rows out and put them back, for all tables
	late    bool // removals come last; only where foreign keys act
	begun   bool // this part of the transaction has sent its first statements
	saved   bool // a savepoint stands before this part
	failed  *sent
	copies  []task // large inserts that go by COPY once the statements before them are done
}

// Apply writes a batch in one transaction of the target, or as a part of one, with its position (invariant 3).
// It computes the net effect per row first. Structure changes and truncations split the batch.
func (s *sink) Apply(ctx context.Context, b waybill.ChangeBatch) error {
	if err := s.alive(); err != nil {
		return err
	}
	if b.Position != "" && b.Position == s.position && (len(b.Changes) > 0 || s.inside) {
		s.abandon(ctx) // all of it is in the target already
		return nil
	}
	if err := s.session.forgetStatements(ctx); err != nil {
		return classify("apply to the target", waybill.TableName{}, err)
	}
	a := &apply{sink: s, batch: &b}
	err := a.run(ctx)
	for err != nil && a.otherWay(err) && a.undo(ctx) == nil {
		a = &apply{sink: s, batch: &b, careful: a.careful, late: a.late, begun: a.saved, saved: a.saved}
		err = a.run(ctx)
	}
	if err != nil {
		err = a.explain(ctx, err)
		s.abandon(ctx)
		return err
	}
	s.inside = b.Position == ""
	if s.inside {
		return nil
	}
	s.keys.due = s.keys.due || s.reshaped
	s.position, s.reshaped = b.Position, false
	if ready, err := s.keys.ready(b.Position); err != nil || !ready {
		return err
	}
	return s.buildForeignKeys(ctx)
}

// abandon rolls back whatever transaction is open.
func (s *sink) abandon(ctx context.Context) {
	rollback(ctx, s.session.conn)
	s.inside = false
	s.clearEffects()
	s.forgetReshaped()
}

// forgetReshaped drops what is known of tables, where a structure change was rolled back.
func (s *sink) forgetReshaped() {
	if s.reshaped {
		clear(s.targets)
		clear(s.versions)
		s.reshaped = false
	}
}

// otherWay reports whether the batch may succeed in another way than the one that failed, and chooses it.
func (a *apply) otherWay(err error) bool {
	if literal, ok := errors.AsType[*literalError](err); ok {
		literal.target.sendText(literal.column)
		return true
	}
	if a.failed == nil || a.failed.effect == nil {
		return false
	}
	op, state := a.failed.statement.op, sqlState(err)
	if !a.careful && (state == "23505" || state == "23P01") && (op == opUpdate || op == opMove) {
		// Unique values changed places within the batch. It may soon happen again in this table.
		a.careful = true
		a.failed.effect.target.careful = carefulBatches
		return true
	}
	if !a.late && !a.sink.replica && (state == "23503" || missedRows(err)) {
		// A removal met rows that refer to it and are about to refer to another, or took them with it.
		a.late = true
		return true
	}
	return false
}

// undo takes back this part of the transaction, so that it can be tried again.
func (a *apply) undo(ctx context.Context) error {
	s := a.sink
	inside := s.inside
	if a.saved {
		err := exec(ctx, s.session.conn, "ROLLBACK TO SAVEPOINT part")
		s.clearEffects()
		s.forgetReshaped()
		return err
	}
	s.abandon(ctx)
	s.inside = inside
	return nil
}

func (a *apply) run(ctx context.Context) error {
	changes := a.batch.Changes
	for i := 0; i < len(changes); i++ {
		var err error
		switch c := &changes[i]; c.Op {
		case waybill.Reshape:
			err = a.reshape(ctx, c)
		case waybill.Truncate:
			n := cutLength(changes[i:])
			err = a.truncate(ctx, changes[i:i+n])
			i += n - 1
		default:
			err = a.add(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return a.flush(ctx, true)
}

func (a *apply) add(ctx context.Context, c *waybill.Change) error {
	t := a.sink.versions[c.Version]
	if t == nil {
		var err error
		if t, err = a.target(ctx, c.Version); err != nil {
			return err
		}
	}
	if t.effect == nil {
		t.effect = a.sink.newEffect(t)
	}
	return t.effect.add(c)
}

// target finds or opens what is known of a version's table. Versions that differ in nothing that matters here
// share it, so that their changes are folded together.
func (a *apply) target(ctx context.Context, v *waybill.TableVersion) (*target, error) {
	s := a.sink
	t := s.targets[v.Table]
	if t == nil || !sameLayout(t.version, v) {
		if err := a.flush(ctx, false); err != nil {
			return nil, err
		}
		s.forgetTarget(v.Table)
		var err error
		if t, err = openTarget(ctx, s.session.conn, v); err != nil {
			return nil, err
		}
		s.targets[v.Table] = t
	}
	if len(s.versions) > maxVersions {
		clear(s.versions) // a source that makes its versions anew all the time
	}
	s.versions[v] = t
	return t, nil
}

func sameLayout(a, b *waybill.TableVersion) bool {
	return a.Identity == b.Identity && slices.Equal(a.Key, b.Key) && isBag(a) == isBag(b) &&
		slices.EqualFunc(a.Columns, b.Columns, func(x, y waybill.Column) bool {
			return x.Name == y.Name && x.Type == y.Type && x.Generated == y.Generated
		})
}

func (s *sink) forgetTarget(table waybill.TableName) {
	delete(s.targets, table)
	for v := range s.versions {
		if v.Table == table {
			delete(s.versions, v)
		}
	}
}

func (s *sink) newEffect(t *target) *effect {
	if s.active == len(s.effects) {
		s.effects = append(s.effects, new(effect))
	}
	e := s.effects[s.active]
	s.active++
	e.reset(t)
	t.careful = max(0, t.careful-1)
	return e
}

func (s *sink) clearEffects() {
	for _, e := range s.effects[:s.active] {
		e.target.effect = nil
		clear(e.rows) // the batch's memory is its source's
	}
	s.active = 0
}

// flush writes the net effect of what was added so far. With last it ends this part of the transaction, and
// the transaction with it where the batch has a position.
func (a *apply) flush(ctx context.Context, last bool) error {
	s := a.sink
	if s.active == 0 && !last {
		return nil
	}
	w := s.session.start(ctx)
	err := a.open(w)
	if err == nil {
		err = a.tasks(w)
	}
	if err == nil && last && len(a.copies) == 0 {
		err = a.close(w)
	}
	err = a.finish(w, err)
	if err == nil && len(a.copies) > 0 {
		err = a.copyRows(ctx)
		if err == nil && last {
			w = s.session.start(ctx)
			err = a.finish(w, a.close(w))
		}
	}
	if err == nil { // else the rows are still needed to say what is wrong
		s.clearEffects()
		a.copies = a.copies[:0]
	}
	return err
}

// finish ends a script whose queueing met err or not, and keeps what failed at the server.
func (a *apply) finish(w *script, err error) error {
	failed, finishErr := w.finish()
	if err == nil {
		a.failed, err = failed, finishErr
	}
	return err
}

// copyRows runs the large inserts: a COPY costs the server half of what an INSERT does.
func (a *apply) copyRows(ctx context.Context) error {
	for _, t := range a.copies {
		reader := &effectReader{effect: t.effect, rows: t.rows}
		if _, err := a.sink.session.conn.CopyFrom(ctx, reader, t.effect.target.copySQL()); err != nil {
			a.failed = &sent{statement: t.statement, effect: t.effect, rows: t.rows}
			return err
		}
	}
	return nil
}

// open queues the start of the transaction, or of this part of it. The stream's row comes first: a process
// that was replaced fails before it waits for anything else.
func (a *apply) open(w *script) error {
	if a.begun {
		return nil
	}
	a.begun = true
	s := a.sink
	f := &s.fixed
	if !s.inside {
		if err := w.plain(&f.begin); err != nil {
			return err
		}
		if !s.replica {
			if err := w.plain(&f.deferred); err != nil {
				return err
			}
		}
	}
	if err := a.fence(w); err != nil {
		return err
	}
	if (s.inside || a.batch.Position == "") && !a.saved {
		a.saved = true
		return w.plain(&f.savepoint)
	}
	return nil
}

func (a *apply) fence(w *script) error {
	s := a.sink
	params := [][]byte{[]byte(s.options.Stream), binary.BigEndian.AppendUint64(nil, uint64(s.epoch))}
	if a.batch.Position == "" {
		return w.send(&s.fixed.fence, params, nil, nil)
	}
	return w.send(&s.fixed.position, append(params, []byte(a.batch.Position), instant(a.batch.Committed)), nil, nil)
}

// close ends the transaction or this part of it. The log of the target is written in order: a commit that waits for
// the disk makes those before it durable, which did not wait.
func (a *apply) close(w *script) error {
	f := &a.sink.fixed
	if a.batch.Position == "" {
		return w.plain(&f.release)
	}
	if a.batch.More {
		if err := w.plain(&f.hasty); err != nil {
			return err
		}
	}
	return w.plain(&f.commit)
}

// instant is a time as a binary parameter; NULL for the zero time.
func instant(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()-microsTo2000))
}

// tasks queues what the effects need: removals of all tables first, in reverse order of references, then the
// rest in the order of references, which matters only where foreign keys act.
func (a *apply) tasks(w *script) error {
	s := a.sink
	effects := s.effects[:s.active]
	if !s.replica {
		effects = byReference(effects)
	}
	plans := make([]plan, len(effects))
	for i, e := range effects {
		plans[i] = e.plan(a.careful)
	}
	first, second := a.removals, a.changes
	if a.late {
		first, second = second, first
	}
	if err := first(w, plans); err != nil {
		return err
	}
	return second(w, plans)
}

func (a *apply) removals(w *script, plans []plan) error {
	for _, p := range slices.Backward(plans) {
		if err := a.queue(w, p.removals); err != nil {
			return err
		}
	}
	return nil
}

func (a *apply) changes(w *script, plans []plan) error {
	for _, p := range plans {
		if err := a.queue(w, p.changes); err != nil {
			return err
		}
	}
	return nil
}

func (a *apply) queue(w *script, tasks []task) error {
	f := &a.sink.fixed
	for _, t := range tasks {
		// Where foreign keys act, the order of tables matters and a COPY would come too late.
		if t.statement.op == opInsert && len(t.rows) >= minCopyRows && a.sink.replica {
			a.copies = append(a.copies, t)
			continue
		}
		if t.statement.op == opReplace && t.effect.target.cascades && !a.sink.replica {
			return &waybill.Error{Op: "update row of", Table: t.effect.target.name, Fault: waybill.Setup, Err: errCascades,
				Hint: "let the link's role switch triggers off: GRANT SET ON PARAMETER session_replication_role TO <user of the url>"}
		}
		scans := t.statement.op == opDiscard || t.effect.target.unindexed && t.statement.op != opInsert
		if scans {
			if err := w.plain(&f.scan); err != nil {
				return err
			}
		}
		if err := w.task(t); err != nil {
			return err
		}
		if scans {
			if err := w.plain(&f.index); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain turns the error of a try into what a person needs.
func (a *apply) explain(ctx context.Context, err error) error {
	if a.failed == nil || a.failed.effect == nil {
		return a.sink.explain("apply to the target", waybill.TableName{}, err)
	}
	return a.sink.diagnose(ctx, a.failed, err)
}

// explain classifies an error of the apply session.
func (s *sink) explain(op string, table waybill.TableName, err error) error {
	var server *pgconn.PgError
	if errors.As(err, &server) && strings.Contains(server.Message, fencedMark) {
		return &waybill.Error{Op: op, Fault: waybill.Setup, Err: errors.New("another process took stream " + s.options.Stream + " over"),
			Hint: "let the other process go on, and do not start this one again beside it"}
	}
	return classify(op, table, err)
}
