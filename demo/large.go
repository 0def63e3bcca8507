package demo

import (
	"context"
	"fmt"
	"strings"
)

// LargeOptions say how the changer makes a transaction that a server sends long before its commit and that does
// not fit in a reader's memory.
type LargeOptions struct {
	Bytes    int    // about how much it writes
	Reshape  bool   // it changes the structure of its table in the middle
	RollBack bool   // it ends with ROLLBACK
	Midway   func() // if set, called with half of it written; the transaction is open meanwhile
}

// large fills the only column that holds large texts again and again, with other changes of the table between.
// The structure is changed with the table held alone; else the writers go on around the transaction.
func (c *changer) large(ctx context.Context, o LargeOptions) error {
	c.kind = "large transaction"
	if o.RollBack {
		c.kind = kindRolledBack
	}
	t := c.pick(func(t *table) bool { return t.body() != nil })
	if t == nil {
		return nil
	}
	if o.Reshape {
		_, err := c.hold(ctx, []*table{t}, func() (bool, error) { return true, c.transactLarge(ctx, t, o) })
		return err
	}
	t.gate.RLock()
	defer t.gate.RUnlock()
	return c.transactLarge(ctx, t, o)
}

func (c *changer) transactLarge(ctx context.Context, t *table, o LargeOptions) error {
	const rounds = 16
	var before, after []string
	for i := range rounds {
		half := &before
		if i >= rounds/2 {
			half = &after
		}
		*half = append(*half, t.fill(string(rune('a'+i)), o.Bytes/rounds), rowsHere)
	}
	before = append(before, "SAVEPOINT s")
	if o.Reshape {
		before = append(before, "ALTER TABLE "+t.quoted()+" ADD COLUMN "+c.name("x")+" int DEFAULT 3", rowsHere)
		after = append(c.reshapeBetween(t), after...)
	}
	before = append(before, t.fill("-", o.Bytes/rounds), "DELETE FROM "+t.quoted(), "ROLLBACK TO s", rowsHere)
	after = append(after, fmt.Sprintf("UPDATE %s SET %s = left(%[2]s, 2500)", t.quoted(), quoteName(t.body().Name)))
	return c.transact(ctx, func() error {
		if err := c.steps(ctx, before, []*table{t}); err != nil {
			return err
		}
		if o.Midway != nil {
			o.Midway()
		}
		return c.steps(ctx, after, []*table{t})
	})
}

// fill gives every row a text, all together of so many bytes.
func (t *table) fill(letter string, bytes int) string {
	return fmt.Sprintf("UPDATE %s SET %s = repeat('%s', (%d / (SELECT count(*) + 1 FROM %[1]s))::int)",
		t.quoted(), quoteName(t.body().Name), letter, bytes)
}

// reshapeBetween adds a column, or drops one where there are many.
func (c *changer) reshapeBetween(t *table) []string {
	if x := c.columnOf(t, func(x *column) bool { return isAdded(x) && !t.isKey(x.Number) }); x != nil && !roomy(t) {
		return []string{"ALTER TABLE " + t.quoted() + " DROP COLUMN " + quoteName(x.Name) + " CASCADE", rowsHere}
	}
	kinds := [...]string{"int DEFAULT 5", "text", "uuid DEFAULT gen_random_uuid()"}
	return []string{"ALTER TABLE " + t.quoted() + " ADD COLUMN " + c.name("x") + " " + kinds[c.r.IntN(len(kinds))], rowsHere}
}

// body returns the column of large texts, which is never renamed.
func (t *table) body() *column {
	for i := range t.Columns {
		if x := &t.Columns[i]; x.Name == "body" && strings.HasPrefix(x.Type, "text") {
			return x
		}
	}
	return nil
}
