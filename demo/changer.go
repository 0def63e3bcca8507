package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// ReshapeOptions say how structures are changed while the shop is written to.
type ReshapeOptions struct {
	Every   time.Duration // between two changes; 0: 1 s
	Without []string      // kinds that are left out
	Crashes bool          // as in WriteOptions
	// Large, if set, is where large transactions are asked for; each comes before the next change.
	Large <-chan LargeOptions
}

// Kinds lists the kinds of structure changes, as they are counted.
func Kinds() []string {
	var kinds []string
	for _, m := range moves {
		kinds = append(kinds, m.kind)
	}
	return kinds
}

// move is one kind of structure change. Its run picks the tables and returns false where there was nothing
// to do it to.
type move struct {
	kind string
	run  func(context.Context, *changer) (bool, error)
}

// changer makes one structure change after the other on a connection of its own.
type changer struct {
	w      *World
	conn   *pgx.Conn
	r      *rand.Rand
	number int // of the next new name
	kind   string
	round  []move // what is left of it
}

// Reshape changes structures until the context ends, which is no error. Each round makes every kind of change
// once, in random order.
func (w *World) Reshape(ctx context.Context, o ReshapeOptions) error {
	if o.Every == 0 {
		o.Every = time.Second
	}
	c := &changer{w: w, r: w.random(1 << 32)}
	group, ctx := errgroup.WithContext(ctx)
	turns := make(chan struct{})
	group.Go(func() error { return pace(ctx, float64(time.Second)/float64(o.Every), turns) })
	group.Go(func() error {
		return w.session(ctx, "changer", o.Crashes, func(conn *pgx.Conn) error {
			c.conn = conn
			select {
			case <-ctx.Done():
				return ctx.Err()
			case large := <-o.Large:
				return c.large(context.WithoutCancel(ctx), large)
			case <-turns:
				return c.next(ctx, o.Without)
			}
		})
	})
	return group.Wait()
}

// next makes the next change of the round that there is something to make it to.
func (c *changer) next(ctx context.Context, without []string) error {
	for ctx.Err() == nil {
		if len(c.round) == 0 {
			c.round = c.shuffled(without)
		}
		m := c.round[0]
		c.round, c.kind = c.round[1:], m.kind
		done, err := m.run(context.WithoutCancel(ctx), c)
		if done || err != nil {
			return err
		}
	}
	return nil
}

func (c *changer) shuffled(without []string) []move {
	round := slices.DeleteFunc(slices.Clone(moves[:]), func(m move) bool { return slices.Contains(without, m.kind) })
	c.r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
	return round
}

// do holds the tables alone, runs the statements in one transaction and reads the catalogue again. Statements
// are made once the tables are held; none means that there is nothing to do.
func (c *changer) do(ctx context.Context, tables []*table, statements func() []string) (bool, error) {
	return c.hold(ctx, tables, func() (bool, error) {
		list := statements()
		if len(list) == 0 {
			return false, nil
		}
		return true, c.transact(ctx, func() error { return c.steps(ctx, list, tables) })
	})
}

// transact runs an action in one transaction and ends it as its kind says.
func (c *changer) transact(ctx context.Context, action func() error) error {
	if err := execute(ctx, c.conn, "BEGIN"); err != nil {
		return err
	}
	if err := action(); err != nil {
		return err
	}
	if c.kind == kindRolledBack {
		return execute(ctx, c.conn, "ROLLBACK")
	}
	return execute(ctx, c.conn, "COMMIT")
}

func (c *changer) steps(ctx context.Context, statements []string, tables []*table) error {
	for _, statement := range statements {
		if err := c.step(ctx, statement, tables); err != nil {
			return err
		}
	}
	return nil
}

// rowsHere stands, in a list of statements, for writes to the table under the structure it has at that point.
const rowsHere = "-- rows"

func (c *changer) step(ctx context.Context, statement string, tables []*table) error {
	if statement != rowsHere {
		return execute(ctx, c.conn, statement)
	}
	if err := c.w.refresh(ctx, c.conn, tables[0]); err != nil {
		return err
	}
	if _, err := c.w.insert(ctx, c.conn, c.r, tables[0], 5); err != nil {
		return err
	}
	_, err := c.w.update(ctx, c.conn, c.r, tables[0], 5)
	return err
}

// hold runs an action with the gates of the tables held alone. Whatever becomes of it, even if the server
// goes away in the middle, the catalogue is read again before the gates open.
func (c *changer) hold(ctx context.Context, tables []*table, action func() (bool, error)) (done bool, err error) {
	ordered := slices.Clone(tables)
	slices.SortFunc(ordered, func(a, b *table) int { return int(int64(a.OID) - int64(b.OID)) })
	ordered = slices.Compact(ordered)
	for _, t := range ordered {
		t.gate.Lock()
		defer t.gate.Unlock()
	}
	done, err = action()
	if err == nil && !done {
		return false, nil
	}
	if refused(err) {
		c.w.Tally.Refused.Add(1)
		if err = execute(ctx, c.conn, "ROLLBACK"); err == nil {
			return false, c.w.refresh(ctx, c.conn)
		}
	}
	if err == nil {
		if c.kind == kindRolledBack {
			c.w.Tally.RolledBack.Add(1)
		} else {
			c.w.Tally.Committed.Add(1)
		}
		c.w.Tally.reshaped(c.kind)
	}
	return done, c.reread(ctx, err)
}

// reread reads the catalogue, on a new connection where the old one is gone.
func (c *changer) reread(ctx context.Context, cause error) error {
	if !c.conn.IsClosed() {
		if cause != nil {
			return cause
		}
		return c.w.refresh(ctx, c.conn)
	}
	for try := 0; ; try++ {
		conn, err := c.w.connect(ctx, "changer")
		if err == nil {
			err = c.w.refresh(ctx, conn)
			conn.Close(ctx)
		}
		if err == nil {
			return cause
		}
		if try == 300 {
			return fmt.Errorf("%w (and then %w)", cause, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// name makes a new name; no name is used twice.
func (c *changer) name(stem string) string {
	c.number++
	if i := strings.LastIndex(stem, "_r"); i > 0 {
		stem = stem[:i]
	}
	return fmt.Sprintf("%s_r%d", stem, c.number)
}

// pick chooses a table at random among those that satisfy the condition. Detached partitions are left as they
// are, so that they can be attached again.
func (c *changer) pick(condition func(*table) bool) *table {
	var fit []*table
	for _, t := range c.w.list() {
		if !isDetached(t) && condition(t) {
			fit = append(fit, t)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[c.r.IntN(len(fit))]
}

func isDetached(t *table) bool { return strings.HasPrefix(t.Name, "visit_20") }

func isExtra(t *table) bool { return strings.HasPrefix(t.Name, "extra") }

func always(*table) bool { return true }

// columnOf chooses a column at random among those that satisfy the condition.
func (c *changer) columnOf(t *table, condition func(*column) bool) *column {
	var fit []*column
	for i := range t.Columns {
		if condition(&t.Columns[i]) {
			fit = append(fit, &t.Columns[i])
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[c.r.IntN(len(fit))]
}

// isAdded reports whether the changer added the column, so that it may go again.
func isAdded(c *column) bool { return strings.HasPrefix(c.Name, "x_r") }

// isPlain reports whether nothing hangs on the column but its own rows.
func isPlain(c *column) bool {
	return !c.Used && !c.Generated && !c.Identity && c.Refers == nil && c.Name != "body" && c.Name != "email"
}
