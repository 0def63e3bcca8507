package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
)

// sample is a condition that picks about n random rows of a table by its key, or by their place where it has none.
func (t *table) sample(r *rand.Rand, n int) string {
	share := 100.0
	if size := t.size.Load(); size > 0 {
		share = min(100, 300*float64(n)/float64(size))
	}
	picked := "ctid"
	if len(t.Key) > 0 {
		picked = "(" + strings.Join(t.keyNames(), ", ") + ")"
	}
	return fmt.Sprintf("%s IN (SELECT %s FROM %s TABLESAMPLE BERNOULLI (%.4f) REPEATABLE (%d) LIMIT %d)",
		picked, strings.Trim(picked, "()"), t.quoted(), share, r.IntN(1<<30), n)
}

// value makes a value for a column. A reference is looked up when the statement runs.
func (w *World) value(r *rand.Rand, t *table, c *column) field {
	wide := c.Unique || t.isKey(c.Number)
	if c.Refers != nil {
		target := w.find(c.Refers.OID)
		if target == nil || !c.NotNull && r.IntN(8) == 0 {
			return field{null: true}
		}
		name := quoteName(target.column(c.Refers.Number).Name)
		share := min(100, 500/float64(max(target.size.Load(), 1)))
		return field{sql: true, text: fmt.Sprintf("coalesce((SELECT %s FROM %s TABLESAMPLE BERNOULLI (%.4f) REPEATABLE (%d) LIMIT 1), (SELECT %[1]s FROM %[2]s LIMIT 1))",
			name, target.quoted(), share, r.IntN(1<<30))}
	}
	if !c.NotNull && !wide && r.IntN(7) == 0 {
		return field{null: true}
	}
	if t.Partitioned && t.isKey(c.Number) && c.Type == "date" {
		return field{text: t.partDay(r)}
	}
	switch {
	case c.Name == "body":
		return field{text: largeText(r)}
	case c.Name == "email":
		return field{text: word(r) + "@example.com"}
	case t.Name == "audit" && c.Type == "text":
		return field{text: pieces[r.IntN(3)]} // few different rows, so that many are equal
	case t.Name == "audit" && c.Type == "smallint":
		return field{text: fmt.Sprint(r.IntN(3))}
	case t.Name == "audit" && c.Type == "date":
		return field{text: "2026-11-20"}
	}
	text, known := literal(r, c.Type, c.Labels, wide)
	if !known {
		return field{sql: true, text: "(no value is known for type " + c.Type + ")"}
	}
	return field{text: text}
}

// partDay picks a day that has a partition.
func (t *table) partDay(r *rand.Rand) string {
	from := boundDay(t.Parts[r.IntN(len(t.Parts))].Bound)
	return from[:8] + fmt.Sprintf("%02d", 1+r.IntN(28))
}

// boundDay reads the first day out of FOR VALUES FROM ('2026-01-01') TO ('2026-02-01').
func boundDay(bound string) string {
	parts := strings.Split(bound, "'")
	if len(parts) < 2 {
		return "2026-01-01"
	}
	return parts[1]
}

// insertColumns leaves out what the database makes itself, and now and then what has a default.
func (t *table) insertColumns(r *rand.Rand) []*column {
	var chosen []*column
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Generated || c.Identity || c.HasDefault && r.IntN(4) == 0 {
			continue
		}
		chosen = append(chosen, c)
	}
	return chosen
}

func names(columns []*column) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quoteName(c.Name)
	}
	return strings.Join(quoted, ", ")
}

// insert adds rows in one statement.
func (w *World) insert(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table, rows int) (int64, error) {
	columns := t.insertColumns(r)
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t.quoted(), names(columns))
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		for j, c := range columns {
			b.WriteString([...]string{"(", ", "}[min(j, 1)])
			b.WriteString(w.value(r, t, c).expression())
		}
		b.WriteByte(')')
	}
	if len(t.Key) > 0 {
		b.WriteString(" ON CONFLICT DO NOTHING")
	}
	n, err := count(ctx, conn, b.String())
	t.size.Add(n)
	return n, err
}

// copyIn adds rows with COPY, whose changes share places in the log.
func (w *World) copyIn(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table, rows int) (int64, error) {
	columns := t.insertColumns(r)
	var b strings.Builder
	for range rows {
		for j, c := range columns {
			if j > 0 {
				b.WriteByte(',')
			}
			f := w.value(r, t, c)
			if f.sql {
				f = field{null: true}
			}
			b.WriteString(f.csv())
		}
		b.WriteByte('\n')
	}
	tag, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(b.String()),
		fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT csv)", t.quoted(), names(columns)))
	t.size.Add(tag.RowsAffected())
	return tag.RowsAffected(), err
}

// copyable reports whether rows can be given without looking anything up.
func (t *table) copyable() bool {
	for _, c := range t.Columns {
		if c.Refers != nil && c.NotNull {
			return false
		}
	}
	return len(t.Columns) > 0
}

// changeable are the columns that an update may set without touching the key.
func (t *table) changeable() []*column {
	var chosen []*column
	for i := range t.Columns {
		if c := &t.Columns[i]; !c.Generated && !t.isKey(c.Number) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// update sets one to three columns of about n rows; a column that must be unique is set on one row only.
func (w *World) update(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table, n int) (int64, error) {
	columns := t.changeable()
	if len(columns) == 0 {
		return 0, nil
	}
	var sets []string
	r.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	for _, c := range columns[:min(len(columns), 1+r.IntN(3))] {
		if c.Unique {
			n = 1
		}
		sets = append(sets, quoteName(c.Name)+" = "+w.value(r, t, c).expression())
	}
	return count(ctx, conn, fmt.Sprintf("UPDATE %s SET %s WHERE %s", t.quoted(), strings.Join(sets, ", "), t.sample(r, n)))
}

func (w *World) remove(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table, n int) (int64, error) {
	rows, err := count(ctx, conn, fmt.Sprintf("DELETE FROM %s WHERE %s", t.quoted(), t.sample(r, n)))
	t.size.Add(-rows)
	return rows, err
}

// changeKey gives one row another key. Where rows refer to it by a rule without ON UPDATE CASCADE the
// database refuses.
func (w *World) changeKey(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table) (int64, error) {
	if len(t.Key) == 0 {
		return 0, nil
	}
	c := t.column(t.Key[r.IntN(len(t.Key))])
	return count(ctx, conn, fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s",
		t.quoted(), quoteName(c.Name), w.value(r, t, c).expression(), t.sample(r, 1)))
}

// swapKeys exchanges the keys of two rows in three statements of one transaction, by way of a third key.
func (w *World) swapKeys(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table) (int64, error) {
	if len(t.Key) != 1 {
		return w.changeKey(ctx, conn, r, t)
	}
	c := t.column(t.Key[0])
	key := quoteName(c.Name)
	share := min(100, 800/float64(max(t.size.Load(), 1)))
	results, err := conn.PgConn().Exec(ctx, fmt.Sprintf("SELECT %s FROM %s TABLESAMPLE BERNOULLI (%.4f) REPEATABLE (%d) LIMIT 2",
		key, t.quoted(), share, r.IntN(1<<30))).ReadAll()
	if err != nil || len(results[0].Rows) < 2 {
		return 0, err
	}
	a, b := quote(string(results[0].Rows[0][0])), quote(string(results[0].Rows[1][0]))
	free := w.value(r, t, c).expression()
	var rows int64
	for _, step := range [][2]string{{free, a}, {a, b}, {b, free}} {
		n, err := count(ctx, conn, fmt.Sprintf("UPDATE %s SET %s = %s WHERE %[2]s = %s", t.quoted(), key, step[0], step[1]))
		if err != nil {
			return 0, err
		}
		rows += n
	}
	return rows, nil
}

// truncate empties a table that nothing refers to.
func (w *World) truncate(ctx context.Context, conn *pgx.Conn, r *rand.Rand, t *table) (int64, error) {
	if t.Referenced {
		return 0, nil
	}
	option := [...]string{"", " RESTART IDENTITY", " CASCADE"}[r.IntN(3)]
	err := execute(ctx, conn, "TRUNCATE "+t.quoted()+option)
	t.size.Store(0)
	return 0, err
}
