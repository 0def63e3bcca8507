package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/compare/repair"
	"github.com/waybill-data/waybill/ledger"
)

func (a *app) compareListCommand() *cobra.Command {
	filter := ledger.RunFilter{Kind: "compare"}
	c := &cobra.Command{
		Use: "list", Short: "List comparisons, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				runs, err := l.Runs(c.Context(), filter)
				if err != nil {
					return err
				}
				var all []listedRun
				for _, r := range runs {
					v, err := readVerdict(c.Context(), l, r.Number)
					if err != nil {
						return err
					}
					all = append(all, listedRun{Run: r, Tables: len(v.Tables), Open: v.Open})
				}
				return printList(a, all, "RUN NAME STATE STARTED TABLES DIFFERENCES OPEN", func(r listedRun) []any {
					return []any{r.Number, r.Name, r.State, r.Started, r.Tables, grouped(r.Counts["missing"] + r.Counts["extra"] + r.Counts["changed"]), grouped(r.Open)}
				})
			})
		},
	}
	c.Flags().StringVar(&filter.Name, "name", "", "only of this link or comparison")
	c.Flags().IntVarP(&filter.Limit, "limit", "n", 20, "at most so many; 0: all")
	return c
}

type listedRun struct {
	waybill.Run
	Tables int   `json:"tables"`
	Open   int64 `json:"open"`
}

func (a *app) compareShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show what a comparison found and what is still open; exit code 4 when something is", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			number, err := runNumber(args[0])
			if err != nil {
				return err
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				v, err := readVerdict(c.Context(), l, number)
				if err == nil {
					err = a.printVerdict(v)
				}
				if err == nil && v.Open > 0 {
					err = &exitError{exitFindings}
				}
				return err
			})
		},
	}
}

func (a *app) printVerdict(v *verdict) error {
	switch a.output {
	case "json":
		return a.printJSON(v)
	case "jsonl":
		return printList(a, v.Tables, "", func(tableVerdict) []any { return nil })
	}
	if err := printList(a, v.Tables, "TABLE STATE SOURCE TARGET MISSING EXTRA CHANGED OPEN", func(t tableVerdict) []any {
		return []any{t.Table, t.State, grouped(t.SourceRows), grouped(t.TargetRows), t.Missing, t.Extra, t.Changed, grouped(t.Open)}
	}); err != nil {
		return err
	}
	for i := range v.Tables {
		t := &v.Tables[i]
		a.printStored(t)
		for _, c := range t.Closed {
			fmt.Fprintf(a.out, "  %s (%s): %s left, %s %s, entry %d\n", c.How, c.At, grouped(c.Left), c.By, visible(&c.Reason), c.Entry)
		}
	}
	fmt.Fprintf(a.out, "\nrun %d, %s, %s: %s open differences\n", v.Run.Number, v.Run.Name, v.Run.State, grouped(v.Open))
	if v.Moment != "" {
		fmt.Fprintln(a.out, v.Moment)
	}
	return nil
}

// printStored lists the differences that the ledger keeps of a table: keys and columns.
func (a *app) printStored(t *tableVerdict) {
	if t.State == compare.Equal {
		return
	}
	fmt.Fprintf(a.out, "\n%s: %s\n", t.Table, t.State)
	if t.Cause != "" {
		fmt.Fprintf(a.out, "  %s\n", t.Cause)
	}
	for _, line := range t.Structure {
		fmt.Fprintf(a.out, "  %s\n", line)
	}
	for _, d := range t.Differences {
		line := string(d.Kind)
		for _, f := range d.Key {
			line += " " + f.Column + "=" + visible(f.Value)
		}
		for i, c := range d.Columns {
			separator := ", "
			if i == 0 {
				separator = " in "
			}
			line += separator + c.Column
		}
		fmt.Fprintf(a.out, "  %s\n", line)
	}
	if more := t.Rows() - int64(len(t.Differences)); more > 0 {
		fmt.Fprintf(a.out, "  and %s more rows\n", grouped(more))
	}
}

func (a *app) compareResetCommand() *cobra.Command {
	var tables []string
	var reason string
	c := &cobra.Command{
		Use: "reset RUN", Short: "Close a comparison's differences by hand, with a reason", Args: cobra.ExactArgs(1),
		Long: `reset says that a comparison's open differences are dealt with: it closes them in the ledger, with the reason, and clears the
alarm about their tables. It changes nothing at either side, and the next comparison judges anew.`,
		RunE: func(c *cobra.Command, args []string) error {
			number, err := runNumber(args[0])
			if err != nil {
				return err
			}
			if reason == "" {
				return usage(errors.New("say why with --reason"))
			}
			if err := waybill.Selection(tables).Check(); err != nil {
				return usage(err)
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error { return a.reset(c.Context(), l, number, tables, reason) })
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why the differences are no concern any more, for the record")
	c.Flags().StringArrayVar(&tables, "tables", nil, `only these, as in "public.*"; may be repeated`)
	return c
}

// resetResult is what was closed.
type resetResult struct {
	Table  waybill.TableName `json:"table"`
	Closed int64             `json:"closed"`
}

func (a *app) reset(ctx context.Context, l *ledger.Ledger, number int64, chosen waybill.Selection, reason string) error {
	v, err := readVerdict(ctx, l, number)
	if err != nil {
		return err
	}
	if v.Run.State == "running" && time.Since(v.Run.Started) < 24*time.Hour {
		return v.finished()
	}
	tables := v.openTables(chosen)
	var closed []resetResult
	differs := map[waybill.TableName]bool{}
	for _, t := range v.Tables {
		if !slices.Contains(tables, t.Table) {
			continue
		}
		if err := l.Record(ctx, waybill.Entry{Kind: repair.ClosedKind, Subject: v.Run.Name, Run: number, Table: t.Table,
			Detail: repair.Closed{Of: number, How: "by hand", Rows: t.Open, By: who(), Reason: reason}}); err != nil {
			return err
		}
		closed = append(closed, resetResult{t.Table, t.Open})
		differs[t.Table] = false
	}
	if err := a.alarm(ctx, l, v.Run.Name, number, differs, 0); err != nil {
		return err
	}
	return printList(a, closed, "TABLE CLOSED", func(r resetResult) []any { return []any{r.Table, grouped(r.Closed)} })
}
