package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printList writes a result of many items: a table with one row each, a JSON array, or one JSON line each.
func printList[T any](a *app, items []T, heads string, row func(T) []any) error {
	switch a.output {
	case "json":
		if items == nil {
			items = []T{}
		}
		return a.printJSON(items)
	case "jsonl":
		for _, item := range items {
			if err := json.NewEncoder(a.out).Encode(item); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heads, " ", "\t"))
	for _, item := range items {
		var cells []string
		for _, cell := range row(item) {
			cells = append(cells, oneLine(cell))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// printOne writes a result that is one thing: as text, or as JSON.
func printOne(a *app, item any, text func(w io.Writer)) error {
	switch a.output {
	case "json":
		return a.printJSON(item)
	case "jsonl":
		return json.NewEncoder(a.out).Encode(item)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// oneLine is a cell of a table.
func oneLine(v any) string {
	text := fmt.Sprint(v)
	if at, ok := v.(time.Time); ok {
		text = stamp(at)
	}
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return "-"
	}
	return text
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
