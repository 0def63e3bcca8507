package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// cut is what a Slice's Range says: which table, and which part of it. The zero cut is the whole table.
type cut struct {
	leaf     waybill.TableName // the partition it is in; zero: the table itself
	blocks   bool              // from first to last, the last not included; last < 0: to the end
	first    int64
	last     int64
	keys     bool // from low to high, high not included; nil: open
	low      *string
	high     *string
	keyNulls bool // NULLs are here too
	where    string
}

// String is the Range: "blocks 0-100 of public.orders_2024", "keys "5" to "10"", "all of public.leaf",
// "where "\"n\" > 5" blocks 0-100".
func (c cut) String() string {
	var text string
	switch {
	case c.blocks && c.last < 0:
		text = fmt.Sprintf("blocks %d-", c.first)
	case c.blocks:
		text = fmt.Sprintf("blocks %d-%d", c.first, c.last)
	case c.keys:
		text = "keys"
		if c.low != nil {
			text += " from " + strconv.Quote(*c.low)
		}
		if c.high != nil {
			text += " to " + strconv.Quote(*c.high)
		}
		if c.keyNulls {
			text += " or null"
		}
	}
	if c.leaf != (waybill.TableName{}) {
		if text == "" {
			text = "all"
		}
		text += " of " + c.leaf.String()
	}
	if c.where != "" {
		if text != "" {
			text = " " + text
		}
		text = "where " + strconv.Quote(c.where) + text
	}
	return text
}

// parseRange reads what cut.String writes.
func parseRange(text string) (cut, error) {
	var c cut
	rest := text
	err := c.parseWhere(&rest)
	if err == nil {
		err = c.parsePart(&rest)
	}
	if after, ok := strings.CutPrefix(rest, "of "); ok && err == nil {
		c.leaf, err = waybill.ParseTableName(after)
		rest = ""
	}
	if err == nil && rest != "" {
		err = fmt.Errorf("cannot read %q", rest)
	}
	if err != nil {
		return cut{}, fmt.Errorf("range %q: %w", text, err)
	}
	return c, nil
}

func (c *cut) parseWhere(rest *string) error {
	quoted, ok := strings.CutPrefix(*rest, "where ")
	if !ok {
		return nil
	}
	prefix, err := strconv.QuotedPrefix(quoted)
	if err != nil {
		return err
	}
	*rest = strings.TrimPrefix(quoted[len(prefix):], " ")
	c.where, err = strconv.Unquote(prefix)
	return err
}

func (c *cut) parsePart(rest *string) error {
	word, after, _ := strings.Cut(*rest, " ")
	switch word {
	case "all":
		*rest = after
	case "blocks":
		var bounds, last string
		bounds, *rest, _ = strings.Cut(after, " ")
		bounds, last, c.blocks = strings.Cut(bounds, "-")
		var err error
		if c.first, err = strconv.ParseInt(bounds, 10, 64); err != nil {
			return err
		}
		if c.last = -1; last != "" {
			c.last, err = strconv.ParseInt(last, 10, 64)
		}
		return err
	case "keys":
		c.keys, *rest = true, after
		for _, bound := range []struct {
			word string
			to   **string
		}{{"from ", &c.low}, {"to ", &c.high}} {
			quoted, ok := strings.CutPrefix(*rest, bound.word)
			if !ok {
				continue
			}
			prefix, err := strconv.QuotedPrefix(quoted)
			if err != nil {
				return err
			}
			value, err := strconv.Unquote(prefix)
			if err != nil {
				return err
			}
			*bound.to, *rest = &value, strings.TrimPrefix(quoted[len(prefix):], " ")
		}
		if after, ok := strings.CutPrefix(*rest, "or null"); ok {
			c.keyNulls, *rest = true, strings.TrimPrefix(after, " ")
		}
	}
	return nil
}

// source is what to select from. Children by inheritance are tables of their own, so all but a partitioned
// root is read with ONLY.
func (c cut) source(v *waybill.TableVersion) string {
	switch {
	case c.leaf != (waybill.TableName{}):
		return "ONLY " + quoteTable(c.leaf)
	case v.Partitions != nil:
		return quoteTable(v.Table)
	}
	return "ONLY " + quoteTable(v.Table)
}

func (c cut) condition(v *waybill.TableVersion) string {
	var terms []string
	switch {
	case c.blocks && c.last < 0:
		terms = append(terms, fmt.Sprintf("ctid >= '(%d,0)'", c.first))
	case c.blocks:
		terms = append(terms, fmt.Sprintf("ctid >= '(%d,0)' AND ctid < '(%d,0)'", c.first, c.last))
	case c.keys && len(v.Key) == 1:
		terms = append(terms, c.keyCondition(quoteName(v.Columns[v.Key[0]].Name)))
	}
	if c.where != "" {
		terms = append(terms, c.where)
	}
	return strings.Join(slices.DeleteFunc(terms, func(t string) bool { return t == "" }), " AND ")
}

func (c cut) keyCondition(name string) string {
	var terms []string
	if c.low != nil {
		terms = append(terms, name+" >= "+quoteLiteral(*c.low))
	}
	if c.high != nil {
		terms = append(terms, name+" < "+quoteLiteral(*c.high))
	}
	text := strings.Join(terms, " AND ")
	if c.keyNulls && text != "" {
		text = "(" + text + " OR " + name + " IS NULL)"
	}
	return text
}

// storage is what slices are planned from.
type storage struct {
	table  waybill.TableName
	leaf   bool
	blocks int64
	rows   float64
	heap   bool
}

// Slices cuts the table, and each of its partitions, by ranges of blocks, which costs the server nothing to
// find and to read. Servers before 14 cannot read such a range by itself: there a table with a key of one
// column is cut by its values.
func (w *view) Slices(ctx context.Context, v *waybill.TableVersion, rows int) ([]waybill.Slice, error) {
	if err := w.pin(ctx, v.Table); err != nil {
		return nil, err
	}
	var all []waybill.Slice
	for _, table := range storedTables(v) {
		s, err := w.storage(ctx, v, table)
		if err != nil {
			return nil, err
		}
		if rows <= 0 {
			all = append(all, waybill.Slice{Version: v, Rows: int64(s.rows)})
			continue
		}
		cuts, err := w.cuts(ctx, v, s, rows)
		if err != nil {
			return nil, err
		}
		for _, c := range cuts {
			all = append(all, waybill.Slice{Version: v, Number: len(all), Range: c.String(), Rows: int64(s.rows) / int64(len(cuts))})
		}
	}
	return whole(v, all, rows), nil
}

// whole makes one slice out of none, and where one was asked for out of several.
func whole(v *waybill.TableVersion, all []waybill.Slice, rows int) []waybill.Slice {
	if rows > 0 && len(all) > 0 {
		return all
	}
	one := waybill.Slice{Version: v}
	for _, s := range all {
		one.Rows += s.Rows
	}
	return []waybill.Slice{one}
}

// storedTables returns the tables that hold the rows: the table itself, or its partitions at the lowest level.
func storedTables(v *waybill.TableVersion) []waybill.TableName {
	if v.Partitions == nil {
		return []waybill.TableName{v.Table}
	}
	var tables []waybill.TableName
	var visit func(p *waybill.Partitioning)
	visit = func(p *waybill.Partitioning) {
		for _, part := range p.Parts {
			if part.Nested != nil {
				visit(part.Nested)
			} else {
				tables = append(tables, part.Table)
			}
		}
	}
	visit(v.Partitions)
	return tables
}

func (w *view) storage(ctx context.Context, v *waybill.TableVersion, table waybill.TableName) (storage, error) {
	s := storage{table: table, leaf: table != v.Table}
	rows, err := w.readers.query(ctx, `SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint,
		  CASE WHEN c.relpages > 0 THEN greatest(c.reltuples, 0) / c.relpages ELSE -1 END, coalesce(m.amname = 'heap', true)
		FROM pg_class c LEFT JOIN pg_am m ON m.oid = c.relam WHERE c.oid = $1::regclass`, quoteTable(table))
	if err != nil {
		return s, classify("plan slices of", v.Table, err)
	}
	if len(rows) == 0 {
		return s, changedSince(v.Table)
	}
	density, err := strconv.ParseFloat(string(rows[0][1]), 64)
	if err != nil {
		return s, fmt.Errorf("plan slices of %s: %w", v.Table, err)
	}
	if s.blocks, err = strconv.ParseInt(string(rows[0][0]), 10, 64); err != nil {
		return s, fmt.Errorf("plan slices of %s: %w", v.Table, err)
	}
	s.heap, s.rows = isTrue(rows[0][2]), density*float64(s.blocks)
	if density < 0 && s.blocks > 0 {
		s.rows, err = w.estimate(ctx, table)
	}
	return s, err
}

// estimate asks the planner how many rows a table that was never analyzed may have: it knows their width.
func (w *view) estimate(ctx context.Context, table waybill.TableName) (float64, error) {
	rows, err := w.readers.query(ctx, "EXPLAIN (FORMAT JSON) SELECT FROM ONLY "+quoteTable(table))
	if err != nil {
		return 0, classify("estimate", table, err)
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	var doc []byte
	for _, row := range rows {
		doc = append(doc, row[0]...)
	}
	if err := json.Unmarshal(doc, &plans); err != nil || len(plans) != 1 {
		return 0, waybill.Errorf(waybill.Bug, "estimate "+table.String(), "plan %q: %w", doc, err)
	}
	return plans[0].Plan.Rows, nil
}

func (w *view) cuts(ctx context.Context, v *waybill.TableVersion, s storage, rows int) ([]cut, error) {
	var one cut
	if s.leaf {
		one.leaf = s.table
	}
	n := int64(s.rows)/int64(rows) + 1
	switch {
	case n == 1 || !s.heap:
		return []cut{one}, nil
	case w.version < 140000:
		return w.keyCuts(ctx, v, s, one, int(n))
	}
	return blockCuts(one, s.blocks, n), nil
}

// blockCuts cuts by blocks. The last cut has no end, so that it does not matter how the table grew.
func blockCuts(one cut, blocks, n int64) []cut {
	n = max(1, min(n, blocks))
	cuts := make([]cut, n)
	for i := range n {
		c := one
		c.blocks, c.first, c.last = true, blocks*i/n, blocks*(i+1)/n
		if i == n-1 {
			c.last = -1
		}
		cuts[i] = c
	}
	return cuts
}
