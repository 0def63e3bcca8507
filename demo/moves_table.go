package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

func addEnumValue(ctx context.Context, c *changer) (bool, error) {
	name := [...]string{"shop.tier", "shop.state"}[c.r.IntN(2)]
	var users []*table
	labels := 0
	for _, t := range c.w.list() {
		for _, x := range t.Columns {
			if x.Enum == name {
				users, labels = append(users, t), max(labels, len(x.Labels))
			}
		}
	}
	if len(users) == 0 || labels > 12 {
		return false, nil
	}
	// Outside a transaction block, as PostgreSQL before 12 wants it.
	return c.hold(ctx, users, func() (bool, error) {
		return true, execute(ctx, c.conn, fmt.Sprintf("ALTER TYPE %s ADD VALUE '%s'", name, c.name("level")))
	})
}

func (c *changer) extras() int {
	n := 0
	for _, t := range c.w.list() {
		if isExtra(t) {
			n++
		}
	}
	return n
}

// extraTable makes the statements for a new table with one of several kinds of key, and some rows.
func (c *changer) extraTable(name string) []string {
	keys := [...]string{"id bigint PRIMARY KEY", "id uuid PRIMARY KEY", "id text PRIMARY KEY", "id int, part text, PRIMARY KEY (id, part)",
		"id bigint"}
	choice := c.r.IntN(len(keys))
	values := [...]string{"i", "md5(i::text)::uuid", "'k' || i", "i, 'p' || i % 3", "i % 4"}[choice]
	statements := []string{fmt.Sprintf("CREATE TABLE %s (%s, a text, b numeric(20,6), c timestamptz, d jsonb)", name, keys[choice])}
	if choice == len(keys)-1 {
		statements = append(statements, "ALTER TABLE "+name+" REPLICA IDENTITY FULL")
	}
	if c.r.IntN(3) > 0 {
		statements = append(statements, fmt.Sprintf("INSERT INTO %s SELECT %s, 'row ' || i %% 5, (i %% 5) / 7.0, '2026-11-20', '{}' FROM generate_series(1, 200) i",
			name, values))
	}
	return statements
}

func newTable(ctx context.Context, c *changer) (bool, error) {
	if c.extras() > 5 {
		return false, nil
	}
	return c.do(ctx, nil, func() []string { return c.extraTable("shop." + c.name("extra")) })
}

func newTableFromQuery(ctx context.Context, c *changer) (bool, error) {
	if c.extras() > 5 {
		return false, nil
	}
	return c.do(ctx, nil, func() []string {
		name := "shop." + c.name("extra")
		return []string{"CREATE TABLE " + name + " AS SELECT i % 50 AS n, 'q' || i % 9 AS t, now() AS at FROM generate_series(1, 300) i",
			"ALTER TABLE " + name + " REPLICA IDENTITY FULL"}
	})
}

func dropTable(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, isExtra, func(*table) []string { return []string{"DROP TABLE $t"} })
}

func recreateTable(ctx context.Context, c *changer) (bool, error) {
	t := c.pick(isExtra)
	if t == nil {
		return false, nil
	}
	return c.do(ctx, []*table{t}, func() []string { return append([]string{"DROP TABLE " + t.quoted()}, c.extraTable(t.quoted())...) })
}

// movable are the tables whose name means nothing to the writers.
func movable(t *table) bool { return !t.Partitioned && t.Name != "audit" }

func renameTable(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, movable, func(t *table) []string { return []string{"ALTER TABLE $t RENAME TO " + c.name(t.Name)} })
}

func swapTables(ctx context.Context, c *changer) (bool, error) {
	a := c.pick(movable)
	b := c.pick(func(t *table) bool { return movable(t) && t.Schema == a.Schema && isExtra(t) == isExtra(a) && t != a })
	if b == nil {
		return false, nil
	}
	return c.do(ctx, []*table{a, b}, func() []string {
		return []string{"ALTER TABLE " + a.quoted() + " RENAME TO between", "ALTER TABLE " + b.quoted() + " RENAME TO " + quoteName(a.Name),
			"ALTER TABLE " + quoteName(a.Schema) + ".between RENAME TO " + quoteName(b.Name)}
	})
}

func moveToSchema(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, movable, func(t *table) []string {
		to := "archive"
		if t.Schema == to {
			to = "shop"
		}
		return []string{"ALTER TABLE $t SET SCHEMA " + to}
	})
}

func (c *changer) root() *table { return c.w.named("visit") }

// freeMonth is the first month from 2026-01 on that has no partition, attached or not.
func (c *changer) freeMonth(root *table) (name, bound string) {
	taken := func(name string) bool {
		return c.w.named(name) != nil || slices.ContainsFunc(root.Parts, func(p part) bool { return p.Name == name })
	}
	for month := 0; month < 36; month++ {
		year, m := 2026+month/12, month%12+1
		name := fmt.Sprintf("visit_%d_%02d", year, m)
		if !taken(name) {
			return name, monthBound(year, m)
		}
	}
	return "", ""
}

func monthBound(year, month int) string {
	return fmt.Sprintf("FROM ('%d-%02d-01') TO ('%d-%02d-01')", year, month, year+month/12, month%12+1)
}

func createPartition(ctx context.Context, c *changer) (bool, error) {
	root := c.root()
	if root == nil || len(root.Parts) > 8 {
		return false, nil
	}
	return c.do(ctx, []*table{root}, func() []string {
		name, bound := c.freeMonth(root)
		return []string{"CREATE TABLE shop." + name + " PARTITION OF " + root.quoted() + " FOR VALUES " + bound, rowsHere}
	})
}

// attachPartition attaches a table that has rows: one that was detached before, or else a new one.
func attachPartition(ctx context.Context, c *changer) (bool, error) {
	root := c.root()
	if root == nil {
		return false, nil
	}
	for _, t := range c.w.list() {
		if isDetached(t) && alike(t, root) {
			return c.do(ctx, []*table{root, t}, func() []string { return c.attach(root, t.quoted(), t.Name) })
		}
	}
	return c.do(ctx, []*table{root}, func() []string {
		name, bound := c.freeMonth(root)
		columns := names(root.changeable())
		day := strings.Split(bound, "'")[1]
		key := root.keyNames()
		fill := fmt.Sprintf("INSERT INTO shop.%s (%s, %s, %s) SELECT DISTINCT ON (%[3]s) date '%[5]s', %[3]s, %[4]s FROM %[6]s LIMIT 100",
			name, key[0], key[1], columns, day, root.quoted())
		create := fmt.Sprintf("CREATE TABLE shop.%s (LIKE %s INCLUDING ALL)", name, root.quoted())
		return append([]string{create, fill}, c.attach(root, "shop."+name, name)...)
	})
}

func (c *changer) attach(root *table, quoted, name string) []string {
	var year, month int
	if _, err := fmt.Sscanf(name, "visit_%d_%d", &year, &month); err != nil {
		return nil
	}
	bound := monthBound(year, month)
	days := strings.Split(bound, "'")
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE NOT (%s >= '%s' AND %[2]s < '%s')", quoted, root.keyNames()[0], days[1], days[3]),
		fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s", root.quoted(), quoted, bound),
	}
}

// alike reports whether a detached partition still has the columns of its root.
func alike(t, root *table) bool {
	describe := func(t *table) []string {
		var columns []string
		for _, c := range t.Columns {
			columns = append(columns, fmt.Sprint(c.Name, c.Type, c.NotNull))
		}
		slices.Sort(columns)
		return columns
	}
	return slices.Equal(describe(t), describe(root)) && slices.Equal(t.keyNames(), root.keyNames())
}

func detachPartition(ctx context.Context, c *changer) (bool, error) {
	root := c.root()
	if root == nil || len(root.Parts) < 3 {
		return false, nil
	}
	return c.do(ctx, []*table{root}, func() []string {
		gone := root.Parts[c.r.IntN(len(root.Parts))]
		return []string{"ALTER TABLE " + root.quoted() + " DETACH PARTITION shop." + quoteName(gone.Name)}
	})
}

// dropPartition drops a detached partition, or an attached one where there is none.
func dropPartition(ctx context.Context, c *changer) (bool, error) {
	for _, t := range c.w.list() {
		if isDetached(t) {
			return c.do(ctx, []*table{t}, func() []string { return []string{"DROP TABLE " + t.quoted()} })
		}
	}
	root := c.root()
	if root == nil || len(root.Parts) < 4 {
		return false, nil
	}
	return c.do(ctx, []*table{root}, func() []string {
		return []string{"DROP TABLE shop." + quoteName(root.Parts[0].Name)}
	})
}
