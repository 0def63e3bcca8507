package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/waybill-data/waybill"
)

// Apply writes a batch. A transaction that the target has already is left out as a whole; as that shows only
// at its end, what its parts run into counts only then.
func (k *sink) Apply(ctx context.Context, b waybill.ChangeBatch) error {
	if err := k.ready(ctx); err != nil {
		return err
	}
	tx, err := k.transaction()
	if err != nil {
		return err
	}
	if k.failed == nil {
		k.failed = k.apply(tx, b.Changes)
	}
	if b.Position == "" {
		return nil
	}
	defer k.abandon(tx)
	k.store.mu.Lock()
	skip, err := k.known(b.Position)
	k.store.mu.Unlock()
	if err != nil || skip {
		return err
	}
	if k.failed != nil {
		return k.failed
	}
	_, err = tx.commit(func() error { return k.keep(b.Position) })
	return err
}

// transaction returns the open transaction, or a new one.
func (k *sink) transaction() (*Tx, error) {
	k.store.mu.Lock()
	open := k.session.open
	k.store.mu.Unlock()
	if open != nil {
		return open, nil
	}
	tx := k.store.Begin()
	k.edits, k.failed = nil, nil
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	if err := k.check(); err != nil {
		tx.Rollback()
		return nil, err
	}
	k.session.open = tx
	return tx, nil
}

// abandon ends the open transaction; what it committed stays.
func (k *sink) abandon(tx *Tx) {
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	tx.Rollback()
	if k.session.open == tx {
		k.session.open = nil
	}
}

// known reports whether the target has everything up to the position. The caller holds the store's mu.
func (k *sink) known(p waybill.Position) (bool, error) {
	if p == "" || k.record.position == "" {
		return false, nil
	}
	order, err := comparePositions(p, k.record.position)
	return order <= 0, err
}

func (k *sink) apply(tx *Tx, changes []waybill.Change) error {
	for i, change := range changes {
		if err := k.change(tx, change); err != nil {
			return fmt.Errorf("apply change %d, %s of %s: %w", i, change.Op, change.Version.Table, err)
		}
	}
	return nil
}

// keep records what the transaction that commits brings. The caller holds mu.
func (k *sink) keep(p waybill.Position) error {
	if err := k.check(); err != nil {
		return err
	}
	for _, edit := range k.edits {
		edit(k.record, p)
	}
	k.record.position = p
	return nil
}

func (k *sink) change(tx *Tx, c waybill.Change) error {
	if c.Op == waybill.Reshape {
		return k.reshape(tx, c.Shape)
	}
	name := c.Version.Table
	there, err := tx.Version(name)
	if err != nil {
		return err
	}
	if len(there.Columns) != len(c.Version.Columns) || !slices.Equal(there.Key, c.Version.Key) {
		return &waybill.Error{Op: "apply", Table: name, Fault: waybill.Drift,
			Err: fmt.Errorf("the change was made under another structure")}
	}
	switch c.Op {
	case waybill.Insert:
		return tx.Insert(name, c.After.Clone())
	case waybill.Update:
		old := c.Before
		if old == nil {
			old = c.After
		}
		return tx.Update(name, old.Clone(), c.After.Clone())
	case waybill.Delete:
		return tx.Delete(name, c.Before)
	case waybill.Truncate:
		return tx.Truncate(name)
	}
	return waybill.Errorf(waybill.Bug, "apply", "unknown operation %d", c.Op)
}

func (k *sink) reshape(tx *Tx, s *waybill.Shape) error {
	before, after := s.Before, s.After
	k.edits = append(k.edits, func(r *record, p waybill.Position) {
		at := p
		if before != nil {
			at = r.copied[before.Table]
			delete(r.copied, before.Table)
			delete(r.versions, before.Table)
		}
		if after != nil {
			r.versions[after.Table] = after
		}
		if after != nil && at != "" {
			r.copied[after.Table] = at
		}
	})
	switch {
	case after == nil:
		return tx.Drop(before.Table)
	case before == nil:
		created := *after
		created.ID = ""
		return tx.Create(&created)
	}
	return tx.Alter(before.Table, after, nil)
}
