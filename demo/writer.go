package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// WriteOptions say how the shop is written to.
type WriteOptions struct {
	Writers int     // at the same time; 0: 4
	Rate    float64 // transactions per second by all of them; 0: 100
	// Crashes says that the server may go away and come back: writers connect again instead of failing.
	Crashes bool
}

// Write runs writers until the context ends, which is no error. Whoever is inside a transaction ends it first.
func (w *World) Write(ctx context.Context, o WriteOptions) error {
	if o.Writers == 0 {
		o.Writers = 4
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	group, ctx := errgroup.WithContext(ctx)
	turns := make(chan struct{}, o.Writers)
	group.Go(func() error { return pace(ctx, o.Rate, turns) })
	for i := range o.Writers {
		group.Go(func() error {
			r := w.random(uint64(i) + 1)
			return w.session(ctx, "writer", o.Crashes, func(conn *pgx.Conn) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-turns:
					return w.transaction(context.WithoutCancel(ctx), conn, r)
				}
			})
		})
	}
	return group.Wait()
}

// pace hands out turns. Turns that nobody takes in time are not made up for.
func pace(ctx context.Context, rate float64, turns chan<- struct{}) error {
	ticker := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		select {
		case turns <- struct{}{}:
		default:
		}
	}
}

// session calls step on one connection until the context ends. A refusal by a rule of the database ends the
// transaction only; a lost connection is opened again where the server may crash.
func (w *World) session(ctx context.Context, purpose string, crashes bool, step func(*pgx.Conn) error) error {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for ctx.Err() == nil {
		var err error
		if conn == nil || conn.IsClosed() {
			if conn, err = w.connect(ctx, purpose); err != nil {
				conn = nil
			}
		}
		if err == nil {
			err = step(conn)
		}
		switch {
		case err == nil || ctx.Err() != nil:
		case refused(err):
			w.Tally.Refused.Add(1)
			if err := execute(context.WithoutCancel(ctx), conn, "ROLLBACK"); err != nil && !crashes {
				return err
			}
		case crashes && (conn == nil || conn.IsClosed()):
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		default:
			return fmt.Errorf("%s: %w", purpose, err)
		}
	}
	return nil
}

// act is one kind of transaction over the tables chosen for it. It ends its transaction itself.
type act struct {
	weight int
	tables int // how many it wants
	run    func(*World, context.Context, *pgx.Conn, *rand.Rand, []*table) (int64, error)
}

var acts = [...]act{
	{weight: 45, tables: 1, run: actSingle},
	{weight: 25, tables: 3, run: actSeveral},
	{weight: 8, tables: 2, run: actSavepoints},
	{weight: 4, tables: 2, run: actAbandoned},
	{weight: 6, tables: 1, run: actSameRow},
	{weight: 4, tables: 1, run: actCopy},
	{weight: 3, tables: 2, run: actPrepared},
	{weight: 1, tables: 1, run: actTruncate},
	{weight: 1, tables: 1, run: actLarge},
}

// transaction runs one transaction of a random kind on random tables.
func (w *World) transaction(ctx context.Context, conn *pgx.Conn, r *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	total := 0
	for _, a := range acts {
		total += a.weight
	}
	n := r.IntN(total)
	for _, a := range acts {
		if n -= a.weight; n >= 0 {
			continue
		}
		tables, leave := w.enter(r, a.tables)
		defer leave()
		if len(tables) == 0 {
			return nil
		}
		rows, err := a.run(w, ctx, conn, r, tables)
		if err != nil {
			return err
		}
		w.Tally.Rows.Add(rows)
		return nil
	}
	return nil
}

// enter picks up to n tables and holds their gates and those of the tables they refer to, shared. Only the
// tables that still are and that can be written are returned.
func (w *World) enter(r *rand.Rand, n int) (chosen []*table, leave func()) {
	all := w.list()
	wanted := map[*table]bool{}
	for range n {
		wanted[all[r.IntN(len(all))]] = true
	}
	need := map[*table]bool{}
	var hold []*table
	// References change only while their table's gate is held alone, so reading them without it could race:
	// every gate is entered, in order, and left again where it turns out not to be needed.
	for _, t := range all {
		t.gate.RLock()
		hold = append(hold, t)
	}
	for t := range wanted {
		need[t] = true
		for _, c := range t.Columns {
			if c.Refers != nil {
				if target := w.find(c.Refers.OID); target != nil {
					need[target] = true
				}
			}
		}
	}
	kept := hold[:0]
	for _, t := range hold {
		if need[t] {
			kept = append(kept, t)
		} else {
			t.gate.RUnlock()
		}
	}
	for t := range wanted {
		if !t.gone && len(t.Columns) > 0 {
			chosen = append(chosen, t)
		}
	}
	slices.SortFunc(chosen, func(a, b *table) int { return int(int64(a.OID) - int64(b.OID)) })
	return chosen, func() {
		for _, t := range kept {
			t.gate.RUnlock()
		}
	}
}

// operate does one statement, leaning towards the size a table should have.
func (w *World) operate(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table) (int64, error) {
	if r.IntN(100) == 0 {
		if err := w.measure(ctx, conn, t); err != nil {
			return 0, err
		}
	}
	size, wanted := int(t.size.Load()), startRows(t.Name)*5/4
	choice := r.IntN(100)
	switch {
	case size > wanted && choice < 30:
		return w.remove(ctx, conn, r, t, min(size-wanted, 40)+1)
	case size < 10 || choice < 35:
		return w.insert(ctx, conn, r, t, 1+r.IntN(6)*r.IntN(2))
	case choice < 80:
		return w.update(ctx, conn, r, t, 1+r.IntN(4))
	case choice < 90:
		return w.remove(ctx, conn, r, t, 1+r.IntN(2))
	case choice < 96:
		return w.changeKey(ctx, conn, r, t)
	}
	return w.swapKeys(ctx, conn, r, t)
}

func (w *World) measure(ctx context.Context, conn *pgx.Conn, t *table) error {
	results, err := conn.PgConn().Exec(ctx, "SELECT count(*) FROM "+t.quoted()).ReadAll()
	if err != nil {
		return err
	}
	var n int64
	if _, err := fmt.Sscan(string(results[0].Rows[0][0]), &n); err != nil {
		return err
	}
	t.size.Store(n)
	return nil
}
