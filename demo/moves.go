package demo

import (
	"context"
	"fmt"
	"strings"
)

const kindRolledBack = "rolled back"

var moves = [...]move{
	{"add column", addPlain},
	{"add column, constant default", addConstant},
	{"add column, volatile default", addVolatile},
	{"drop column", dropColumn},
	{"rename column", renameColumn},
	{"swap column names", swapColumns},
	{"change type", changeType},
	{"set not null", setNotNull},
	{"drop not null", dropNotNull},
	{"set default", setDefault},
	{"change key", changeKeyColumns},
	{"create index", createIndex},
	{"drop index", dropIndex},
	{"add check", addCheck},
	{"add unique", addUnique},
	{"drop constraint", dropConstraint},
	{"comment and storage", comment},
	{"enum value", addEnumValue},
	{"several with rows between", severalWithRows},
	{kindRolledBack, rolledBack},
	{"new table", newTable},
	{"new table from a query", newTableFromQuery},
	{"drop table", dropTable},
	{"drop and recreate table", recreateTable},
	{"rename table", renameTable},
	{"swap table names", swapTables},
	{"move to schema", moveToSchema},
	{"create partition", createPartition},
	{"attach partition", attachPartition},
	{"detach partition", detachPartition},
	{"drop partition", dropPartition},
}

// alter makes ALTER TABLE statements for one random table that satisfies the condition.
func (c *changer) alter(ctx context.Context, condition func(*table) bool, actions func(*table) []string) (bool, error) {
	t := c.pick(condition)
	if t == nil {
		return false, nil
	}
	return c.do(ctx, []*table{t}, func() []string {
		var statements []string
		for _, action := range actions(t) {
			if !strings.HasPrefix(action, "--") {
				action = strings.ReplaceAll(action, "$t", t.quoted())
			}
			statements = append(statements, action)
		}
		return statements
	})
}

func roomy(t *table) bool { return len(t.Columns) < 14 }

var addedTypes = [...]string{"int", "bigint", "smallint", "text", "varchar(20)", "numeric(12,3)", "numeric", "date", "timestamptz", "timestamp",
	"boolean", "uuid", "jsonb", "bytea", "double precision", "real", "text[]", "interval", "inet"}

func addPlain(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, roomy, func(*table) []string {
		return []string{"ALTER TABLE $t ADD COLUMN " + c.name("x") + " " + addedTypes[c.r.IntN(len(addedTypes))]}
	})
}

func addConstant(ctx context.Context, c *changer) (bool, error) {
	constants := [...]string{"int NOT NULL DEFAULT -7", "text DEFAULT 'it''s \\ new'", "numeric DEFAULT 12.3400", "boolean NOT NULL DEFAULT true",
		"timestamptz DEFAULT '2026-11-20 10:00+03'", "text[] DEFAULT '{a,NULL,\"b c\"}'", "jsonb DEFAULT '{\"k\": [1, null]}'",
		"date DEFAULT '0044-03-15 BC'", "bytea DEFAULT '\\x00ff'", "shop.tier DEFAULT 'gold'"}
	return c.alter(ctx, roomy, func(*table) []string {
		return []string{"ALTER TABLE $t ADD COLUMN " + c.name("x") + " " + constants[c.r.IntN(len(constants))]}
	})
}

func addVolatile(ctx context.Context, c *changer) (bool, error) {
	volatile := [...]string{"uuid DEFAULT gen_random_uuid()", "timestamptz NOT NULL DEFAULT clock_timestamp()", "double precision DEFAULT random()"}
	return c.alter(ctx, roomy, func(*table) []string {
		return []string{"ALTER TABLE $t ADD COLUMN " + c.name("x") + " " + volatile[c.r.IntN(len(volatile))]}
	})
}

func dropColumn(ctx context.Context, c *changer) (bool, error) {
	return c.alterColumn(ctx, func(t *table, x *column) bool { return isAdded(x) && !t.isKey(x.Number) }, "ALTER TABLE $t DROP COLUMN $c CASCADE")
}

// alterColumn runs actions on one random column that satisfies the condition.
func (c *changer) alterColumn(ctx context.Context, condition func(*table, *column) bool, actions ...string) (bool, error) {
	fits := func(t *table) func(*column) bool { return func(x *column) bool { return condition(t, x) } }
	return c.alter(ctx, func(t *table) bool { return c.columnOf(t, fits(t)) != nil }, func(t *table) []string {
		x := c.columnOf(t, fits(t))
		var statements []string
		for _, action := range actions {
			action = strings.NewReplacer("$c", quoteName(x.Name), "$new", c.newName(action, x)).Replace(action)
			if strings.Contains(action, "$v") {
				full := *x
				full.NotNull = true
				action = strings.ReplaceAll(action, "$v", c.w.value(c.r, t, &full).expression())
			}
			statements = append(statements, action)
		}
		return statements
	})
}

func (c *changer) newName(action string, x *column) string {
	if !strings.Contains(action, "$new") {
		return ""
	}
	return c.name(x.Name)
}

func renameColumn(ctx context.Context, c *changer) (bool, error) {
	return c.alterColumn(ctx, func(_ *table, x *column) bool { return x.Name != "body" && x.Name != "email" },
		"ALTER TABLE $t RENAME COLUMN $c TO $new")
}

func swapColumns(ctx context.Context, c *changer) (bool, error) {
	fits := func(x *column) bool { return !x.Generated && x.Name != "body" && x.Name != "email" }
	return c.alter(ctx, always, func(t *table) []string {
		a := c.columnOf(t, fits)
		b := c.columnOf(t, func(x *column) bool { return fits(x) && x != a && a != nil && isAdded(x) == isAdded(a) })
		if b == nil {
			return nil
		}
		return []string{
			"ALTER TABLE $t RENAME COLUMN " + quoteName(a.Name) + " TO between",
			"ALTER TABLE $t RENAME COLUMN " + quoteName(b.Name) + " TO " + quoteName(a.Name),
			"ALTER TABLE $t RENAME COLUMN between TO " + quoteName(b.Name),
		}
	})
}

// wider says what a type may become without losing a row.
func wider(typ string) string {
	typ, _, _ = strings.Cut(typ, "(")
	return map[string]string{"smallint": "int", "integer": "bigint", "bigint": "numeric", "numeric": "text", "character varying": "text",
		"boolean": "text", "uuid": "text", "jsonb": "text", "date": "timestamp", "real": "double precision", "interval": "text"}[typ]
}

func changeType(ctx context.Context, c *changer) (bool, error) {
	fits := func(t *table) func(*column) bool {
		return func(x *column) bool { return isPlain(x) && wider(x.Type) != "" && !t.isKey(x.Number) }
	}
	return c.alter(ctx, func(t *table) bool { return c.columnOf(t, fits(t)) != nil }, func(t *table) []string {
		x := c.columnOf(t, fits(t))
		return []string{fmt.Sprintf("ALTER TABLE $t ALTER COLUMN %s TYPE %s", quoteName(x.Name), wider(x.Type))}
	})
}

func setNotNull(ctx context.Context, c *changer) (bool, error) {
	return c.alterColumn(ctx, func(t *table, x *column) bool { return isAdded(x) && !x.NotNull && !x.Unique && !t.Partitioned },
		"UPDATE $t SET $c = $v WHERE $c IS NULL", "ALTER TABLE $t ALTER COLUMN $c SET NOT NULL")
}

func dropNotNull(ctx context.Context, c *changer) (bool, error) {
	return c.alterColumn(ctx, func(t *table, x *column) bool { return x.NotNull && isPlain(x) && !t.isKey(x.Number) && !t.Partitioned },
		"ALTER TABLE $t ALTER COLUMN $c DROP NOT NULL")
}

func setDefault(ctx context.Context, c *changer) (bool, error) {
	return c.alterColumn(ctx, func(_ *table, x *column) bool { return isAdded(x) && !x.Generated && !x.Identity },
		"ALTER TABLE $t ALTER COLUMN $c SET DEFAULT $v")
}

// changeKeyColumns widens a key by a column, narrows it to its first, or lets whole old rows travel for a while.
func changeKeyColumns(ctx context.Context, c *changer) (bool, error) {
	fits := func(t *table) bool { return !t.Referenced && !t.Partitioned && t.KeyName != "" }
	return c.alter(ctx, fits, func(t *table) []string {
		drop := "ALTER TABLE $t DROP CONSTRAINT " + quoteName(t.KeyName)
		first := quoteName(t.column(t.Key[0]).Name)
		if len(t.Key) > 1 {
			return []string{drop, "ALTER TABLE $t ADD PRIMARY KEY (" + first + ")"}
		}
		more := c.columnOf(t, func(x *column) bool { return x.NotNull && isPlain(x) && !t.isKey(x.Number) && orderable(x.Type) })
		if more == nil || c.r.IntN(4) == 0 {
			return []string{"ALTER TABLE $t REPLICA IDENTITY FULL", rowsHere, "ALTER TABLE $t REPLICA IDENTITY DEFAULT"}
		}
		return []string{drop, "ALTER TABLE $t ADD PRIMARY KEY (" + first + ", " + quoteName(more.Name) + ")"}
	})
}

func orderable(typ string) bool {
	typ, _, _ = strings.Cut(typ, "(")
	return typ == "integer" || typ == "bigint" || typ == "text" || typ == "character varying" || typ == "numeric" || typ == "date"
}

func createIndex(ctx context.Context, c *changer) (bool, error) {
	fits := func(x *column) bool { return orderable(x.Type) && x.Name != "body" }
	return c.alter(ctx, func(t *table) bool { return len(t.Indexes) < 3 && c.columnOf(t, fits) != nil }, func(t *table) []string {
		return []string{fmt.Sprintf("CREATE INDEX %s ON $t (%s)", c.name("by"), quoteName(c.columnOf(t, fits).Name))}
	})
}

func dropIndex(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, func(t *table) bool { return len(t.Indexes) > 0 }, func(t *table) []string {
		return []string{"DROP INDEX " + quoteName(t.Schema) + "." + quoteName(t.Indexes[0])}
	})
}

func addCheck(ctx context.Context, c *changer) (bool, error) {
	return c.alterColumn(ctx, func(t *table, x *column) bool { return isAdded(x) && !t.Partitioned && len(t.Checks) < 3 },
		"ALTER TABLE $t ADD CONSTRAINT "+c.name("rule")+" CHECK ($c IS NULL OR length($c::text) >= 0)")
}

func addUnique(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, func(t *table) bool { return roomy(t) && !t.Partitioned && t.Name != "audit" }, func(t *table) []string {
		column := c.name("x")
		return []string{"ALTER TABLE $t ADD COLUMN " + column + " uuid",
			"ALTER TABLE $t ADD CONSTRAINT " + c.name("rule") + " UNIQUE (" + column + ")"}
	})
}

func dropConstraint(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, func(t *table) bool { return len(t.Checks) > 0 }, func(t *table) []string {
		return []string{"ALTER TABLE $t DROP CONSTRAINT " + quoteName(t.Checks[0])}
	})
}

func comment(ctx context.Context, c *changer) (bool, error) {
	fits := func(t *table, x *column) bool { return x.Type == "text" && !t.Partitioned }
	return c.alterColumn(ctx, fits, "COMMENT ON TABLE $t IS 'it''s a table'", "COMMENT ON COLUMN $t.$c IS 'a column'",
		"ALTER TABLE $t ALTER COLUMN $c SET STORAGE EXTERNAL", "ALTER TABLE $t SET (fillfactor = 90)", "ALTER TABLE $t ALTER COLUMN $c SET STATISTICS 50")
}

func severalWithRows(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, func(t *table) bool { return roomy(t) && !isExtra(t) }, func(*table) []string {
		added := c.name("x")
		return []string{rowsHere, "ALTER TABLE $t ADD COLUMN " + added + " int DEFAULT 5", rowsHere, "SAVEPOINT s",
			"ALTER TABLE $t DROP COLUMN " + added, "ROLLBACK TO s", rowsHere,
			"ALTER TABLE $t ALTER COLUMN " + added + " TYPE text", rowsHere,
			"ALTER TABLE $t RENAME COLUMN " + added + " TO " + c.name("x"), rowsHere}
	})
}

func rolledBack(ctx context.Context, c *changer) (bool, error) {
	return c.alter(ctx, always, func(*table) []string {
		return []string{"ALTER TABLE $t ADD COLUMN " + c.name("x") + " text DEFAULT 'never'", rowsHere,
			"CREATE TABLE shop." + c.name("never") + " (id int PRIMARY KEY)"}
	})
}
