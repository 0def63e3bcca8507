package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	return group("ledger", "Look at what happened, and prove that the record is whole",
		a.ledgerRunsCommand(), a.ledgerShowCommand(), a.ledgerAlarmsCommand(), a.ledgerVerifyCommand())
}

func (a *app) ledgerRunsCommand() *cobra.Command {
	var filter ledger.RunFilter
	c := &cobra.Command{
		Use: "runs", Short: "List runs, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				runs, err := l.Runs(c.Context(), filter)
				if err != nil {
					return err
				}
				return printList(a, runs, "RUN KIND NAME STATE STARTED ENDED COUNTS CAUSE", func(r waybill.Run) []any {
					return []any{r.Number, r.Kind, r.Name, r.State, r.Started, r.Ended, counts(r.Counts), r.Cause}
				})
			})
		},
	}
	c.Flags().StringVar(&filter.Name, "name", "", "only runs of this link or job")
	c.Flags().StringVar(&filter.Kind, "kind", "", "only runs of this kind: link, compare")
	c.Flags().IntVarP(&filter.Limit, "limit", "n", 50, "at most so many; 0: all")
	return c
}

// shownRun is the result of ledger show.
type shownRun struct {
	Run     waybill.Run          `json:"run"`
	Entries []ledger.StoredEntry `json:"entries"`
}

func (a *app) ledgerShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show a run and every entry recorded in it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			number, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || number < 1 {
				return usage(fmt.Errorf("%q is no number of a run", args[0]))
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				var shown shownRun
				if shown.Run, err = l.Run(c.Context(), number); err != nil {
					return err
				}
				if shown.Entries, err = l.Entries(c.Context(), ledger.EntryFilter{Run: number}); err != nil {
					return err
				}
				return printOne(a, shown, shown.text)
			})
		},
	}
}

func (s shownRun) text(w io.Writer) {
	r := s.Run
	writeLines(w, [][2]any{{"run", r.Number}, {"kind", r.Kind}, {"name", r.Name}, {"state", r.State}, {"started", r.Started},
		{"ended", r.Ended}, {"counts", counts(r.Counts)}, {"cause", r.Cause}, {"program", r.Version}, {"host", r.Host}, {"process", r.Process}})
	fmt.Fprintln(w, "\nENTRY\tAT\tKIND\tTABLE\tDETAIL")
	for _, e := range s.Entries {
		table := "-"
		if e.Table != (waybill.TableName{}) {
			table = e.Table.String()
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", e.ID, stamp(e.At), e.Kind, table, oneLine(string(e.Detail)))
	}
}

func (a *app) ledgerVerifyCommand() *cobra.Command {
	var expect string
	c := &cobra.Command{
		Use: "verify", Short: "Check that no entry was changed, removed or moved", Args: cobra.NoArgs,
		Long: `verify computes the chain of hashes anew, compares stored table structures with it and, in a file, checks the pages.
It shows the head, COUNT:HASH. Kept elsewhere and given to --expect later, it proves that nothing up to it was removed.

Exit code 4 where something is not as it was recorded.`,
		RunE: func(c *cobra.Command, _ []string) error {
			head, err := parseHead(expect)
			if err != nil {
				return usage(err)
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				v, err := l.Verify(c.Context(), head)
				if err != nil {
					return err
				}
				if err := printOne(a, v, func(w io.Writer) { verification(w, v) }); err != nil {
					return err
				}
				if len(v.Problems) > 0 {
					return &exitError{exitFindings}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&expect, "expect", "", "a head noted earlier, COUNT:HASH")
	return c
}

func verification(w io.Writer, v ledger.Verification) {
	for _, p := range v.Problems {
		if p.Entry == 0 {
			fmt.Fprintln(w, p.What)
		} else {
			fmt.Fprintf(w, "entry %d: %s\n", p.Entry, p.What)
		}
	}
	if len(v.Problems) == 0 {
		fmt.Fprintf(w, "%d entries are as they were recorded\n", v.Head.Entries)
	}
	fmt.Fprintf(w, "head: %d:%s\nnot proved: %s\n", v.Head.Entries, v.Head.Hash, v.Limit)
}

func parseHead(text string) (ledger.Head, error) {
	if text == "" {
		return ledger.Head{}, nil
	}
	count, hash, ok := strings.Cut(text, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if !ok || err != nil || n < 1 || len(hash) != 64 {
		return ledger.Head{}, fmt.Errorf("--expect is %q; write COUNT:HASH as verify shows it", text)
	}
	return ledger.Head{Entries: n, Hash: hash}, nil
}

// counts prints counts in a fixed order.
func counts(m map[string]int64) string {
	parts := make([]string, 0, len(m))
	for _, name := range keys(m) {
		parts = append(parts, fmt.Sprintf("%s %s", grouped(m[name]), name))
	}
	return strings.Join(parts, ", ")
}
