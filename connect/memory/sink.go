package memory

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/waybill-data/waybill"
)

// sink writes one stream into a store.
type sink struct {
	session *session
	store   *Store
	stream  string
	record  *record
	edits   []func(*record, waybill.Position) // what the open transaction records of tables when it commits
	failed  error                             // what the open transaction ran into
}

func (s *Store) openSink(o waybill.SinkOptions) (*sink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[o.Stream]
	if r == nil {
		r = &record{prepared: map[waybill.TableName]bool{}, copied: map[waybill.TableName]waybill.Position{}, versions: map[waybill.TableName]*waybill.TableVersion{}}
		s.records[o.Stream] = r
	}
	if r.writer.live() || r.writer != nil && !r.writer.dead && !o.Takeover {
		return nil, &waybill.Error{Op: "open target stream " + o.Stream, Fault: waybill.Setup,
			Hint: "stop the other process first", Err: fmt.Errorf("another process writes it")}
	}
	if r.writer != nil && !r.writer.dead {
		r.writer.fence()
	}
	c := &sink{session: s.connect(), store: s, stream: o.Stream, record: r}
	r.writer = c.session
	return c, nil
}

// fence rolls back what a session that lost its stream has open. The caller holds the store's mu.
func (c *session) fence() {
	if c.open != nil {
		c.open.Rollback()
		c.open = nil
	}
}

// check reports whether the sink may write. The caller holds the store's mu.
func (k *sink) check() error {
	if err := k.session.check(); err != nil {
		return err
	}
	if k.record.writer != k.session || k.store.records[k.stream] != k.record {
		return &waybill.Error{Op: "write target stream " + k.stream, Fault: waybill.Setup,
			Hint: "only one process may run a link", Err: fmt.Errorf("another process took it over")}
	}
	return nil
}

func (k *sink) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	return k.check()
}

// write runs one transaction of the sink; record is called, locked, as it commits.
func (k *sink) write(ctx context.Context, do func(*Tx) error, record func(*record)) error {
	if err := k.ready(ctx); err != nil {
		return err
	}
	tx := k.store.Begin()
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	_, err := tx.commit(func() error {
		if err := k.check(); err != nil {
			return err
		}
		if record != nil {
			record(k.record)
		}
		return nil
	})
	return err
}

func (k *sink) Resume(ctx context.Context) (waybill.Progress, error) {
	if err := k.ready(ctx); err != nil {
		return waybill.Progress{}, err
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	return waybill.Progress{Position: k.record.position, Copied: maps.Clone(k.record.copied), Versions: maps.Clone(k.record.versions)}, nil
}

// Prepare makes anew what an unfinished copy made and is not what is wanted now.
func (k *sink) Prepare(ctx context.Context, versions []*waybill.TableVersion, forCopy bool) error {
	made := map[waybill.TableName]bool{}
	gone := map[waybill.TableName]bool{}
	return k.write(ctx, func(tx *Tx) error {
		if forCopy {
			if err := k.clear(tx, versions, gone); err != nil {
				return err
			}
		}
		for _, v := range versions {
			there, err := tx.Version(v.Table)
			missing := err != nil
			if !missing && forCopy && differ(there, v) != "" && k.unfinished(v.Table) {
				if err := tx.Drop(v.Table); err != nil {
					return err
				}
				missing = true
			}
			if missing {
				if err := tx.Create(bare(v)); err != nil {
					return err
				}
				made[v.Table] = forCopy
				continue
			}
			if difference := differ(there, v); difference != "" {
				return &waybill.Error{Op: "prepare", Table: v.Table, Fault: waybill.Drift,
					Hint: "drop or change the target's table", Err: fmt.Errorf("it exists at the target otherwise: %s", difference)}
			}
			if !forCopy {
				continue
			}
			if err := tx.Truncate(v.Table); err != nil {
				return err
			}
		}
		return nil
	}, func(r *record) {
		maps.DeleteFunc(r.prepared, func(name waybill.TableName, _ bool) bool { return gone[name] })
		maps.Copy(r.prepared, made)
	})
}

// clear drops the tables that an unfinished copy of the stream made, but for those that are wanted as they are.
func (k *sink) clear(tx *Tx, versions []*waybill.TableVersion, gone map[waybill.TableName]bool) error {
	wanted := map[waybill.TableName]*waybill.TableVersion{}
	for _, v := range versions {
		wanted[v.Table] = v
	}
	k.store.mu.Lock()
	prepared := maps.Clone(k.record.prepared)
	k.store.mu.Unlock()
	for name, made := range prepared {
		there, err := tx.Version(name)
		if !made || err != nil || wanted[name] != nil && differ(there, wanted[name]) == "" {
			continue
		}
		if err := tx.Drop(name); err != nil {
			return err
		}
		gone[name] = true
	}
	return nil
}

// unfinished reports whether the table was made by a copy, of whatever stream, that is not complete.
func (k *sink) unfinished(name waybill.TableName) bool {
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	for _, r := range k.store.records {
		if r.prepared[name] {
			return true
		}
	}
	return false
}

// bare returns the structure that rows are loaded into: columns only, with an identity of the target's own.
func bare(v *waybill.TableVersion) *waybill.TableVersion {
	return &waybill.TableVersion{Table: v.Table, Columns: v.Columns, Identity: v.Identity, Comment: v.Comment}
}

// differ tells the first difference that keeps rows of one structure out of the other.
func differ(there, wanted *waybill.TableVersion) string {
	if len(there.Columns) != len(wanted.Columns) {
		return fmt.Sprintf("%d columns, want %d", len(there.Columns), len(wanted.Columns))
	}
	for i, c := range wanted.Columns {
		if d := there.Columns[i]; d.Name != c.Name || d.Type.Native != c.Type.Native || d.NotNull != c.NotNull {
			return fmt.Sprintf("column %s %s, want %s %s", d.Name, d.Type.Native, c.Name, c.Type.Native)
		}
	}
	if len(there.Key) > 0 && !slices.Equal(there.Key, wanted.Key) {
		return "another key"
	}
	return ""
}

func (k *sink) Load(ctx context.Context, s waybill.Slice, rows iter.Seq2[waybill.Batch, error]) (int64, error) {
	var kept []waybill.Row
	for b, err := range rows {
		if err != nil {
			return 0, err
		}
		for _, row := range b.Rows {
			kept = append(kept, row.Clone())
		}
	}
	return k.insert(ctx, s, kept)
}

// Accepts implements [waybill.Importer].
func (k *sink) Accepts(ctx context.Context, v *waybill.TableVersion) ([]waybill.Format, error) {
	return []waybill.Format{Bytes}, k.ready(ctx)
}

// Import implements [waybill.Importer].
func (k *sink) Import(ctx context.Context, s waybill.Slice, f waybill.Format, r io.Reader) (int64, error) {
	if f != Bytes {
		return 0, waybill.Errorf(waybill.Bug, "import "+s.Version.Table.String(), "unknown format %s", f)
	}
	var kept []waybill.Row
	in := bufio.NewReader(r)
	for {
		row, err := readRow(in)
		if errors.Is(err, io.EOF) {
			return k.insert(ctx, s, kept)
		}
		if err != nil {
			return 0, fmt.Errorf("import %s: %w", s.Version.Table, err)
		}
		kept = append(kept, row)
	}
}

func (k *sink) insert(ctx context.Context, s waybill.Slice, rows []waybill.Row) (int64, error) {
	err := k.write(ctx, func(tx *Tx) error {
		for _, row := range rows {
			if err := tx.Insert(s.Version.Table, row); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	return int64(len(rows)), err
}

func (k *sink) Complete(ctx context.Context, versions []*waybill.TableVersion, asOf waybill.Position) error {
	for _, v := range versions {
		err := k.write(ctx, func(tx *Tx) error { return adopt(tx, v) }, func(r *record) {
			r.copied[v.Table], r.versions[v.Table] = asOf, v
			delete(r.prepared, v.Table)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// adopt gives a table the complete structure, where it does not have it yet.
func adopt(tx *Tx, v *waybill.TableVersion) error {
	there, err := tx.Version(v.Table)
	if err != nil {
		return err
	}
	after := *v
	after.ID = there.ID
	if len(there.Key) == len(v.Key) && len(there.Constraints) == len(v.Constraints) && len(there.Indexes) == len(v.Indexes) {
		return nil
	}
	return tx.Alter(v.Table, &after, nil)
}

func (k *sink) Forget(ctx context.Context, name waybill.TableName) error {
	return k.write(ctx, func(*Tx) error { return nil }, func(r *record) { delete(r.copied, name) })
}

// SetSequences implements [waybill.SequenceSetter].
func (k *sink) SetSequences(ctx context.Context, states []waybill.SequenceState) error {
	if err := k.ready(ctx); err != nil {
		return err
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	for _, state := range states {
		now, there := k.store.sequences[state.Name]
		if there && (now.Last > state.Last || now.Last == state.Last && now.Called) {
			continue
		}
		k.store.sequences[state.Name] = state
	}
	return nil
}

func (k *sink) Close() error {
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	k.session.close()
	return nil
}
