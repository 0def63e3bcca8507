package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waybill-data/waybill"
)

// Verification is what [Ledger.Verify] found.
type Verification struct {
	Head     Head      `json:"head"`
	Problems []Problem `json:"problems,omitempty"`
	// Limit says what a chain without problems does not prove.
	Limit string `json:"limit"`
}

// Problem is one thing that is not as it was recorded. Entry is 0 where it is not about one.
type Problem struct {
	Entry int64  `json:"entry,omitzero"`
	What  string `json:"what"`
}

const unproved = "a chain whose last entries were removed together with the matching head, or that was computed anew from some " +
	"entry on, looks whole; only a head that was kept elsewhere shows it: note the count and hash, and give them to --expect later"

const maxProblems = 100

// Verify checks the whole chain, the structures it vouches for and, in a SQLite file, the pages. Earlier is a
// head noted before, or zero. It reads one moment while others go on writing.
func (l *Ledger) Verify(ctx context.Context, earlier Head) (Verification, error) {
	const op = "verify"
	result := Verification{Limit: unproved}
	options := &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
	if l.store.kind == sqlite {
		options = nil
	}
	tx, err := l.store.read.BeginTx(ctx, options)
	if err != nil {
		return result, l.store.classify(op, err)
	}
	if result.Head, err = readHead(ctx, tx); err == nil {
		check := chainCheck{earlier: earlier, hashes: map[string]int64{}, previous: genesis, versions: map[versionKey]string{}}
		if err = l.checkPages(ctx, tx, &check); err == nil {
			err = check.run(ctx, tx, result.Head)
		}
		result.Problems = check.problems
	}
	return result, l.store.classify(op, errors.Join(err, rollback(tx)))
}

// genesis stands for the hash before the first entry.
const genesis = "0000000000000000000000000000000000000000000000000000000000000000"

func (l *Ledger) checkPages(ctx context.Context, tx *sql.Tx, check *chainCheck) error {
	if l.store.kind != sqlite {
		return nil
	}
	rows, err := tx.QueryContext(ctx, "PRAGMA integrity_check(20)")
	if err != nil {
		return err
	}
	lines, err := scanAll(rows, scanText)
	for _, line := range lines {
		if line != "ok" {
			check.add(0, "file: %s", line)
		}
	}
	return err
}

func scanText(rows *sql.Rows) (text string, err error) {
	err = rows.Scan(&text)
	return text, err
}

type versionKey struct {
	stream, schema, name string
	number               int
}

type chainCheck struct {
	earlier  Head
	last     int64
	previous string
	doubted  bool             // the last entry is not as it was recorded
	hashes   map[string]int64 // where each hash of the chain stands, to tell a moved entry from a changed one
	versions map[versionKey]string
	problems []Problem
}

func (c *chainCheck) add(entry int64, format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{entry, fmt.Sprintf(format, args...)})
	}
}

func (c *chainCheck) run(ctx context.Context, tx *sql.Tx, head Head) error {
	rows, err := tx.QueryContext(ctx, "SELECT id, hash FROM entry")
	if err != nil {
		return err
	}
	if _, err = scanAll(rows, func(rows *sql.Rows) (none struct{}, err error) {
		var id int64
		var hash string
		err = rows.Scan(&id, &hash)
		c.hashes[hash] = id
		return none, err
	}); err != nil {
		return err
	}
	if rows, err = tx.QueryContext(ctx, selectEntries+" ORDER BY id", 0); err != nil {
		return err
	}
	if _, err = scanAll(rows, func(rows *sql.Rows) (none struct{}, err error) {
		e, err := scanEntry(rows)
		if e.ID != 0 && err != nil {
			c.add(e.ID, "cannot be read: %v", err)
			c.last, c.previous, c.doubted = e.ID, e.Hash, true
			return none, nil
		}
		c.entry(&e)
		return none, err
	}); err != nil {
		return err
	}
	c.end(head)
	return c.structures(ctx, tx)
}

func (c *chainCheck) entry(e *StoredEntry) {
	if e.ID == c.last+2 {
		c.add(c.last+1, "it was removed")
	} else if e.ID > c.last+2 {
		c.add(c.last+1, "entries %d to %d were removed", c.last+1, e.ID-1)
	}
	gap, doubted := e.ID-c.last-1, c.doubted
	c.doubted = e.digest() != e.Hash
	switch {
	case c.doubted:
		c.mismatch(e)
	case e.Previous != c.previous && gap == 0 && !doubted:
		c.add(e.ID, "it does not follow entry %d: that one was replaced, or the two were joined by hand", c.last)
	}
	if e.ID == c.earlier.Entries && e.Hash != c.earlier.Hash {
		c.add(e.ID, "its hash is not the expected %s: the chain was computed anew", c.earlier.Hash)
	}
	c.remember(e)
	c.last, c.previous = e.ID, e.Hash
}

// mismatch tells an entry that was given another number from one whose content changed.
func (c *chainCheck) mismatch(e *StoredEntry) {
	around := []int64{e.ID}
	if before, known := c.hashes[e.Previous]; known {
		around = append(around, before+1) // which may itself have been moved, so it is only a hint
	}
	moved := *e
	for _, middle := range around {
		for moved.ID = max(1, middle-maxProblems); moved.ID <= middle+maxProblems; moved.ID++ {
			if moved.digest() == e.Hash {
				c.add(e.ID, "it was moved: it was recorded as entry %d", moved.ID)
				return
			}
		}
	}
	c.add(e.ID, "it was changed after it was recorded (%s of %s)", e.Kind, e.Subject)
}

func (c *chainCheck) end(head Head) {
	switch {
	case c.last < head.Entries:
		c.add(c.last+1, "entries %d to %d were removed from the end", c.last+1, head.Entries)
	case c.last > head.Entries:
		c.add(head.Entries+1, "the head says there are %d entries, but there are %d", head.Entries, c.last)
	case c.previous != head.Hash:
		c.add(c.last, "the head has another hash than the last entry")
	}
	if c.earlier.Entries > c.last {
		c.add(c.last+1, "entries up to %d were expected: the end was removed together with its head", c.earlier.Entries)
	}
}

func (c *chainCheck) remember(e *StoredEntry) {
	if e.Kind != "table.version" {
		return
	}
	var v versionEntry
	if err := json.Unmarshal(e.Detail, &v); err != nil {
		c.add(e.ID, "its detail cannot be read: %v", err)
		return
	}
	c.versions[versionKey{e.Subject, e.Table.Schema, e.Table.Name, v.Number}] = v.Hash
}

// structures compares the stored structures with the hashes that the chain holds of them.
func (c *chainCheck) structures(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT stream, table_schema, table_name, number, structure FROM table_version ORDER BY id")
	if err != nil {
		return err
	}
	_, err = scanAll(rows, func(rows *sql.Rows) (none struct{}, err error) {
		var key versionKey
		var structure string
		if err = rows.Scan(&key.stream, &key.schema, &key.name, &key.number, &structure); err != nil {
			return none, err
		}
		table := waybill.TableName{Schema: key.schema, Name: key.name}
		switch hash, known := c.versions[key]; {
		case !known:
			c.add(0, "version %d of %s in %s was never recorded", key.number, table, key.stream)
		case hash != structureHash(structure):
			c.add(0, "version %d of %s in %s was changed after it was recorded", key.number, table, key.stream)
		}
		delete(c.versions, key)
		return none, nil
	})
	for key := range c.versions {
		c.add(0, "version %d of %s in %s was removed", key.number, waybill.TableName{Schema: key.schema, Name: key.name}, key.stream)
	}
	return err
}

// Probe checks that the ledger can be written, without changing it.
func (l *Ledger) Probe(ctx context.Context) error {
	return l.change(ctx, "try to write", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE head SET entries = entries")
		return err
	})
}
