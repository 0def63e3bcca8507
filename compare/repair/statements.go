package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/spill"
)

// steps are what corrections become where statements are run one by one: rows that may have exchanged unique
// values go with the first and come back with the last, so that no value is ever there twice.
type steps struct{ removals, updates, inserts []waybill.Correction }

func (s *shape) steps(all []waybill.Correction) steps {
	var st steps
	for _, c := range all {
		switch {
		case !s.keyed && c.Wanted < c.Was, s.keyed && c.After == nil:
			st.removals = append(st.removals, c)
		case !s.keyed, c.Before == nil:
			st.inserts = append(st.inserts, c)
		case s.exchanges(&c) || s.replaces(&c):
			out, in := c, c
			out.After, in.Before = nil, nil
			st.removals, st.inserts = append(st.removals, out), append(st.inserts, in)
		case len(s.changed(&c)) > 0:
			st.updates = append(st.updates, c)
		}
	}
	return st
}

// undo writes what takes a batch back, one file for each. Files are numbered downwards, so that in the order of
// their names the newest comes first, which is the order to run them in.
type undo struct {
	dir  string
	next int
	text *waybill.Statements
}

const undoFiles = 999_999_999

func openUndo(dir string, text *waybill.Statements) (*undo, error) {
	if dir == "" {
		return nil, nil
	}
	refuse := func(err error) error {
		return &waybill.Error{Op: "write undo files", Fault: waybill.Setup, Err: err, Hint: "name a directory that can be written"}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, refuse(err)
	}
	u := &undo{dir: dir, next: undoFiles, text: text}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, refuse(err)
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".sql")); err == nil {
			u.next = min(u.next, n-1)
		}
	}
	return u, nil
}

// write makes the file durable before it returns: the corrections are written to the target after it.
func (u *undo) write(groups []group) (path string, err error) {
	if u == nil {
		return "", nil
	}
	text := []byte(u.text.Begin)
	var all steps
	for _, g := range groups {
		inverse := make([]waybill.Correction, len(g.corrections))
		for i, c := range g.corrections {
			inverse[i] = c.Inverse()
		}
		s := g.table.shape.steps(inverse)
		all.removals, all.updates, all.inserts = append(all.removals, s.removals...), append(all.updates, s.updates...), append(all.inserts, s.inserts...)
	}
	for _, c := range slices.Concat(all.removals, all.updates, all.inserts) {
		if text, err = u.text.Append(text, c); err != nil {
			return "", err
		}
	}
	text = append(text, u.text.End...)
	path = filepath.Join(u.dir, fmt.Sprintf("%09d.sql", u.next))
	if err := writeDurably(u.dir, path, text); err != nil {
		return "", &waybill.Error{Op: "write undo file " + path, Fault: waybill.Setup, Err: err, Hint: "free disk space, or name another directory"}
	}
	u.next--
	return path, nil
}

func writeDurably(dir, path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Counts are how many rows statements or writes are about.
type Counts struct {
	Inserted int64 `json:"inserted"`
	Updated  int64 `json:"updated"`
	Deleted  int64 `json:"deleted"`
}

func (n *Counts) add(m Counts) {
	n.Inserted, n.Updated, n.Deleted = n.Inserted+m.Inserted, n.Updated+m.Updated, n.Deleted+m.Deleted
}

// Rows returns how many rows were touched.
func (n Counts) Rows() int64 { return n.Inserted + n.Updated + n.Deleted }

func count(c *waybill.Correction) Counts {
	switch {
	case c.Wanted < c.Was:
		return Counts{Deleted: c.Was - c.Wanted}
	case c.Wanted > c.Was:
		return Counts{Inserted: c.Wanted - c.Was}
	}
	return Counts{Updated: 1}
}

// Plan writes what a repair would do as one script: removals first, those who refer before those they refer
// to, then changes and inserts the other way round.
func (f *Found) Plan(ctx context.Context, m *Moment, text *waybill.Statements, out io.Writer, batch int, dir string) (Counts, error) {
	p := &planning{found: f, moment: m, text: text, batch: batch}
	defer p.close()
	for _, t := range f.Tables {
		if err := p.table(ctx, t, dir); err != nil {
			return Counts{}, fmt.Errorf("plan repair of %s: %w", t.Name, err)
		}
	}
	return p.counts, p.print(out)
}

type planning struct {
	found  *Found
	moment *Moment
	text   *waybill.Statements
	batch  int
	tables []*planned
	counts Counts
	buffer []byte
}

// planned are the statements for a table, in three piles.
type planned struct {
	table  *Table
	counts Counts
	piles  [3]*spill.Log
}

func (p *planning) close() {
	for _, t := range p.tables {
		for _, l := range t.piles {
			_ = l.Discard() // temporary files without a name
		}
	}
}

func (p *planning) table(ctx context.Context, t *Table, dir string) error {
	of := &planned{table: t}
	for i := range of.piles {
		of.piles[i] = spill.New(dir, "waybill-plan-*", keptInMemory)
	}
	p.tables = append(p.tables, of)
	err := t.batches(p.batch, anyPlace, func(places []waybill.Row) error {
		return halving(places, func(places []waybill.Row) error {
			corrections, err := newReading(t.shape, places).run(ctx, places, p.moment)
			if err != nil {
				return err
			}
			corrections = slices.DeleteFunc(corrections, func(c waybill.Correction) bool { return t.shape.computed(&c) })
			for i := range corrections {
				of.counts.add(count(&corrections[i]))
			}
			s := t.shape.steps(corrections)
			for i, pile := range [][]waybill.Correction{s.removals, s.updates, s.inserts} {
				if err := p.pile(of.piles[i], pile); err != nil {
					return err
				}
			}
			return nil
		})
	})
	p.counts.add(of.counts)
	return err
}

func (p *planning) pile(l *spill.Log, corrections []waybill.Correction) (err error) {
	for _, c := range corrections {
		if p.buffer, err = p.text.Append(p.buffer[:0], c); err != nil {
			return err
		}
		if err := l.Append(0, p.buffer); err != nil {
			return err
		}
	}
	return nil
}

func (p *planning) print(out io.Writer) (err error) {
	write := func(text []byte) {
		if err == nil {
			_, err = out.Write(text)
		}
	}
	for _, t := range p.tables {
		write(p.text.Comment(nil, fmt.Sprintf("%s: %d to insert, %d to update, %d to delete", t.table.Name, t.counts.Inserted, t.counts.Updated, t.counts.Deleted)))
	}
	write([]byte(p.text.Begin))
	print := func(pile int, t *planned) {
		if e := t.piles[pile].Each(func(_ uint32, record []byte) error { write(record); return err }); err == nil {
			err = e
		}
	}
	for _, t := range slices.Backward(p.tables) {
		print(0, t)
	}
	for _, t := range p.tables {
		print(1, t)
		print(2, t)
	}
	write([]byte(p.text.End))
	if err != nil {
		return &waybill.Error{Op: "write plan", Fault: waybill.Setup, Err: err}
	}
	return nil
}
