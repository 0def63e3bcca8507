package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
)

// within runs statements between BEGIN and the ending.
func (w *World) within(ctx context.Context, conn *pgx.Conn, ending string, statements func() (int64, error)) (int64, error) {
	if err := execute(ctx, conn, "BEGIN"); err != nil {
		return 0, err
	}
	rows, err := statements()
	if err != nil {
		return 0, err
	}
	if err := execute(ctx, conn, ending); err != nil {
		return 0, err
	}
	if ending == "ROLLBACK" {
		w.Tally.RolledBack.Add(1)
		return 0, nil
	}
	w.Tally.Committed.Add(1)
	return rows, nil
}

func actSingle(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	return w.within(ctx, conn, "COMMIT", func() (int64, error) { return w.operate(ctx, conn, r, tables[0]) })
}

func (w *World) several(ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table, n int) (rows int64, err error) {
	for range n {
		done, err := w.operate(ctx, conn, r, tables[r.IntN(len(tables))])
		if err != nil {
			return 0, err
		}
		rows += done
	}
	return rows, nil
}

func actSeveral(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	return w.within(ctx, conn, "COMMIT", func() (int64, error) { return w.several(ctx, conn, r, tables, 2+r.IntN(6)) })
}

func actAbandoned(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	return w.within(ctx, conn, "ROLLBACK", func() (int64, error) { return w.several(ctx, conn, r, tables, 1+r.IntN(4)) })
}

// actSavepoints keeps the first and the last part of a transaction and rolls the nested middle back.
func actSavepoints(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	return w.within(ctx, conn, "COMMIT", func() (rows int64, err error) {
		for _, step := range []string{"", "SAVEPOINT one", "SAVEPOINT two", "ROLLBACK TO two", "RELEASE one", "SAVEPOINT three"} {
			if step != "" {
				if err := execute(ctx, conn, step); err != nil {
					return 0, err
				}
			}
			done, err := w.several(ctx, conn, r, tables, 1+r.IntN(2))
			if err != nil {
				return 0, err
			}
			if step != "SAVEPOINT two" {
				rows += done
			}
		}
		return rows, nil
	})
}

func actPrepared(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	name := quote(word(r))
	rows, err := w.within(ctx, conn, "PREPARE TRANSACTION "+name, func() (int64, error) {
		return w.several(ctx, conn, r, tables, 1+r.IntN(3))
	})
	if err != nil {
		return 0, err
	}
	if r.IntN(4) == 0 {
		w.Tally.Committed.Add(-1)
		w.Tally.RolledBack.Add(1)
		return 0, execute(ctx, conn, "ROLLBACK PREPARED "+name)
	}
	return rows, execute(ctx, conn, "COMMIT PREPARED "+name)
}

func actTruncate(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	return w.within(ctx, conn, "COMMIT", func() (int64, error) {
		rows, err := w.operate(ctx, conn, r, tables[0])
		if err != nil {
			return 0, err
		}
		if _, err := w.truncate(ctx, conn, r, tables[0]); err != nil {
			return 0, err
		}
		more, err := w.insert(ctx, conn, r, tables[0], 20)
		return rows + more, err
	})
}

func actCopy(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	if !tables[0].copyable() {
		return actSingle(w, ctx, conn, r, tables)
	}
	return w.within(ctx, conn, "COMMIT", func() (int64, error) { return w.copyIn(ctx, conn, r, tables[0], 3+r.IntN(30)) })
}

// actLarge touches a whole table and adds many rows in one transaction.
func actLarge(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	t := tables[0]
	return w.within(ctx, conn, "COMMIT", func() (int64, error) {
		rows, err := w.update(ctx, conn, r, t, startRows(t.Name))
		if err != nil {
			return 0, err
		}
		for range 3 {
			more, err := w.insert(ctx, conn, r, t, min(startRows(t.Name)/6, 400))
			if err != nil {
				return 0, err
			}
			rows += more
		}
		return rows, nil
	})
}

// actSameRow inserts, updates, deletes and inserts one key in one transaction.
func actSameRow(w *World, ctx context.Context, conn *pgx.Conn, r *rand.Rand, tables []*table) (int64, error) {
	t := tables[0]
	if len(t.Key) == 0 {
		return actSingle(w, ctx, conn, r, tables)
	}
	key := map[int]string{}
	var where []string
	for _, number := range t.Key {
		c := t.column(number)
		if c.Refers != nil || c.Generated {
			return actSeveral(w, ctx, conn, r, tables)
		}
		key[number] = w.value(r, t, c).expression()
		where = append(where, quoteName(c.Name)+" = "+key[number])
	}
	insert := func() string {
		var columns, values []string
		for i := range t.Columns {
			c := &t.Columns[i]
			if c.Generated {
				continue
			}
			value, isKey := key[c.Number]
			if !isKey {
				value = w.value(r, t, c).expression()
			}
			columns, values = append(columns, quoteName(c.Name)), append(values, value)
		}
		return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.quoted(), strings.Join(columns, ", "), strings.Join(values, ", "))
	}
	condition := strings.Join(where, " AND ")
	statements := []string{insert(), "DELETE FROM " + t.quoted() + " WHERE " + condition}
	if columns := t.changeable(); len(columns) > 0 {
		c := columns[r.IntN(len(columns))]
		set := fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", t.quoted(), quoteName(c.Name), w.value(r, t, c).expression(), condition)
		statements = []string{statements[0], set, statements[1]}
	}
	if r.IntN(2) == 0 {
		statements = append(statements, insert())
	}
	return w.within(ctx, conn, "COMMIT", func() (rows int64, err error) {
		for _, statement := range statements {
			n, err := count(ctx, conn, statement)
			if err != nil {
				return 0, err
			}
			rows += n
		}
		return rows, nil
	})
}
