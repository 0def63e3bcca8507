package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/ledger"
)

func (a *app) compareCommand() *cobra.Command {
	return group("compare", "Prove that two sides are equal, and make them so", a.compareRunCommand(), a.compareListCommand(),
		a.compareShowCommand(), a.compareReportCommand(), a.compareRepairCommand(), a.compareResetCommand())
}

// comparing is one call of compare run.
type comparing struct {
	app            *app
	source, target string
	tables         []string
	workers, keep  int
	file           string
	wait           time.Duration
	closed         bool
	of             string // the link
	settle         time.Duration
	looks          int
	narrowing
	sparing
}

func (a *app) compareRunCommand() *cobra.Command {
	q := &comparing{app: a}
	c := &cobra.Command{
		Use: "run [LINK]", Short: "Compare tables row by row; exit code 4 when they differ", Args: cobra.MaximumNArgs(1),
		Long: `compare run reads every row of the chosen tables at both sides. Digests of 128 bits prove ranges of rows equal; where they
differ, the rows are compared value by value. Nothing is sampled. Values are equal when they are identical, unless a --rule says
otherwise: 1.0 is not 1.00, an empty text is not NULL, 0 is not -0.

With a LINK both sides are read at one moment, while the link runs: it is paused, the source is read as of a position, the
link goes on exactly up to that position, the target is read there, and the link goes on. The link stands still for about a
second. If the link is not running, both sides are read as they are, and the result says whether that is one moment.

With --source and --target two endpoints are compared as they are; nothing makes the two moments one. So what differs is read
again after --settle, until both sides stand still there: what is equal then was in flight, and only what still differs is told.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (q.source != "" || q.target != "") || (q.source == "") != (q.target == "") {
				return usage(errors.New("name a link, or give --source and --target"))
			}
			if err := waybill.Selection(q.tables).Check(); err != nil {
				return usage(err)
			}
			if err := q.narrowing.into(&compare.Options{}, time.Now()); err != nil {
				return usage(err)
			}
			return a.withLedger(c.Context(), true, func(l *ledger.Ledger) error {
				if len(args) == 1 {
					return q.link(c.Context(), l, args[0])
				}
				return q.endpoints(c.Context(), l)
			})
		},
	}
	flags := c.Flags()
	q.narrowing.flags(flags)
	q.sparing.flags(flags)
	flags.StringVar(&q.source, "source", "", "endpoint to take for right, instead of a link's")
	flags.StringVar(&q.target, "target", "", "endpoint to compare with it")
	flags.StringArrayVar(&q.tables, "tables", nil, `only these, as in "public.*" or "!public.log*"; may be repeated`)
	flags.IntVar(&q.workers, "workers", 0, "tables compared at once; 0: 4")
	flags.IntVar(&q.keep, "keep", 0, "differences shown and recorded for each table; 0: 100. All are counted")
	flags.StringVar(&q.file, "differences", "", "write all differences to this file as they are found, one JSON object a line")
	flags.DurationVar(&q.settle, "settle", 5*time.Second, "of two endpoints, read rows that differ again after this time, which must be longer than a change takes from one side to the other; 0: tell at once")
	flags.IntVar(&q.looks, "looks", 0, "how often at most; 0: 10")
	flags.DurationVar(&q.wait, "wait", time.Minute, "how long to wait for a running link at each step")
	flags.BoolVar(&q.closed, "closed", false, "take tables that only --target has for differences too")
	for _, name := range []string{"source", "target"} {
		if err := c.RegisterFlagCompletionFunc(name, a.completeEndpoints); err != nil {
			panic(err)
		}
	}
	return c
}

// endpoints compares two endpoints as they are.
func (q *comparing) endpoints(ctx context.Context, l *ledger.Ledger) (err error) {
	source, sourceKind, err := q.app.endpoint(q.source)
	if err != nil {
		return err
	}
	target, targetKind, err := q.app.endpoint(q.target)
	if err != nil {
		return err
	}
	options := compare.Options{Name: endpointsName(q.source, q.target), Moment: "each side as it was when it was opened"}
	if q.closed {
		options.Owned = func(waybill.TableName) bool { return true }
	}
	both := func(ctx context.Context) (a, b waybill.View, err error) {
		if a, err = openView(ctx, sourceKind, source, waybill.ViewOptions{Log: q.app.log()}); err != nil {
			return nil, nil, err
		}
		if b, err = openView(ctx, targetKind, target, waybill.ViewOptions{Log: q.app.log()}); err != nil {
			return nil, nil, errors.Join(err, a.Close())
		}
		return a, b, nil
	}
	if options.Source, options.Target, err = both(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, options.Source.Close(), options.Target.Close()) }()
	options.Tables = q.tables
	if q.settle > 0 {
		options.Again, options.Delay, options.Looks = both, q.settle, q.looks
		options.Moment += "; rows that differed were read again until both sides stood still there"
	}
	return q.compare(ctx, l.Ordered(sourceKind.ComparePositions), options)
}

func openView(ctx context.Context, kind *waybill.Connector, e waybill.Endpoint, o waybill.ViewOptions) (waybill.View, error) {
	if kind.OpenView == nil {
		return nil, usage(fmt.Errorf("endpoint %s is a %s, which cannot be read", e.Name, e.Kind))
	}
	return kind.OpenView(ctx, e, o)
}

// link compares both sides of a link.
func (q *comparing) link(ctx context.Context, l *ledger.Ledger, name string) (err error) {
	q.of = name
	r, err := q.app.route(name)
	if err != nil {
		return err
	}
	if q.closed {
		return usage(errors.New("--closed goes with --target; of a link, tables that it carried are always expected at both sides"))
	}
	carried, err := l.Versions(ctx, name, waybill.TableName{})
	if err != nil {
		return err
	}
	both, err := q.openBoth(ctx, l, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, both.Close()) }()
	return q.compare(ctx, l.Ordered(r.sourceKind.ComparePositions), compare.Options{
		Source: both.source, Target: both.target, Name: name, Tables: q.tables, Moment: both.moment,
		// A table that this link carried and that its source has no more must be gone from the target, unless
		// the link's policy is to leave it.
		Owned: func(t waybill.TableName) bool {
			return r.OnReshape[waybill.DropTable] != "ignore" && r.OnReshape[waybill.RenameTable] != "ignore" &&
				slices.ContainsFunc(carried, func(v ledger.StoredVersion) bool { return v.Structure.Table == t })
		},
	})
}

// compare runs a comparison and shows what it found.
func (q *comparing) compare(ctx context.Context, l *ledger.Ledger, o compare.Options) (err error) {
	found, closeFile, err := q.writer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	shown := q.app.newCompareProgress()
	o.Workers, o.Keep, o.Ledger, o.Found, o.Report = q.workers, q.keep, l, found, shown.report
	o.Log = slog.New(q.app.handler(shown.writer()))
	if err := q.narrowing.into(&o, time.Now()); err != nil {
		return usage(err)
	}
	if err := q.sparing.into(ctx, l, &o, q.of); err != nil {
		return err
	}
	result, err := compare.Run(ctx, o)
	shown.close()
	if err != nil {
		if result.Run != 0 {
			fmt.Fprintf(q.app.err, "run %d was interrupted: the same command with --resume %d goes on after what it has proved equal\n", result.Run, result.Run)
		}
		return err
	}
	if err := q.app.alarm(ctx, l, o.Name, result.Run, unequal(&result), result.Differences()); err != nil {
		return err
	}
	if err := q.print(result); err != nil {
		return err
	}
	if !result.Clean() {
		return &exitError{exitFindings}
	}
	return nil
}

// writer returns where differences go as they are found: to the file, and to the result where it is lines.
func (q *comparing) writer() (found func(compare.Difference) error, closeFile func() error, err error) {
	var out []*json.Encoder
	closeFile = func() error { return nil }
	if q.file != "" {
		file, err := os.Create(q.file)
		if err != nil {
			return nil, nil, &waybill.Error{Op: "write differences", Fault: waybill.Setup, Err: err}
		}
		closeFile = file.Close
		out = append(out, json.NewEncoder(file))
	}
	if q.app.output == "jsonl" {
		out = append(out, json.NewEncoder(q.app.out))
	}
	return func(d compare.Difference) error {
		for _, e := range out {
			if err := e.Encode(d); err != nil {
				return &waybill.Error{Op: "write differences", Table: d.Table, Fault: waybill.Setup, Err: err}
			}
		}
		return nil
	}, closeFile, nil
}

// print shows the result. As lines, the differences have gone out already, so that one line for each table
// and one for the whole follow.
func (q *comparing) print(r compare.Result) error {
	switch q.app.output {
	case "json":
		return q.app.printJSON(r)
	case "jsonl":
		lines := json.NewEncoder(q.app.out)
		for _, t := range r.Tables {
			t.Differences = nil
			if err := lines.Encode(t); err != nil {
				return err
			}
		}
		r.Tables = nil
		return lines.Encode(r)
	}
	if err := printList(q.app, r.Tables, "TABLE STATE SOURCE TARGET MISSING EXTRA CHANGED TIME", func(t compare.TableResult) []any {
		return []any{t.Table, t.State, grouped(t.SourceRows), grouped(t.TargetRows), t.Missing, t.Extra, t.Changed, t.Took.Round(time.Millisecond)}
	}); err != nil {
		return err
	}
	for i := range r.Tables {
		printDifferences(q.app.out, &r.Tables[i])
	}
	printVerdict(q.app.out, &r)
	return nil
}

func printVerdict(w io.Writer, r *compare.Result) {
	counts := r.Counts()
	fmt.Fprintf(w, "\n%s differences: %s rows in %d tables compared in %s", grouped(r.Differences()), grouped(counts["source_rows"]), len(r.Tables),
		r.Took.Round(time.Millisecond))
	if n := counts["tables_not_equal"]; n > 0 {
		fmt.Fprintf(w, "; %d of %d tables are not equal", n, len(r.Tables))
	}
	fmt.Fprintln(w)
	if r.Moment != "" {
		fmt.Fprintln(w, r.Moment)
	}
	if r.Run != 0 {
		fmt.Fprintf(w, "recorded as run %d: waybill ledger show %d\n", r.Run, r.Run)
	}
}
