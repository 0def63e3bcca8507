package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/compare/repair"
	"github.com/waybill-data/waybill/ledger"
)

// repairStream is what the target knows a repair by. No link can have the name: it has a space.
const repairStream = "waybill repair"

// repairing is one call of compare repair.
type repairing struct {
	comparing
	apply, dry  bool
	plan, undo  string
	limit       int64
	batch, rate int
	yes         bool
}

func (a *app) compareRepairCommand() *cobra.Command {
	q := &repairing{comparing: comparing{app: a}}
	c := &cobra.Command{
		Use: "repair RUN", Short: "Make the target's rows equal to the source's where a comparison found them different",
		Args: cobra.ExactArgs(1),
		Long: `repair compares the tables that a finished run found different once more, and writes the statements that would make the
target equal: the plan. With --apply it does it. The source is never written.

With --apply the rows of both sides are read again right before each write, and only what still differs is written, in
transactions of --batch rows. A row of the target is deleted only where the source, read after the comparison, does not have it.
If a link writes the target it is held for about a second around each write, so that the repair has its place in the stream.
Afterwards every row is compared once more, and the ledger says which differences are closed. A repair that was stopped or
killed is run again: it finds what is left.

--undo writes what was there before to files, one for each transaction, before it is overwritten. In the order of their names
they take the repair back: cat DIR/*.sql | psql -v ON_ERROR_STOP=1 URL

Exit code 4 when something still differs, or when more rows than --limit would be touched.`,
		RunE: func(c *cobra.Command, args []string) error {
			number, err := runNumber(args[0])
			if err == nil {
				err = q.check()
			}
			if err != nil {
				return err
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error { return q.run(c.Context(), l, number) })
		},
	}
	flags := c.Flags()
	flags.BoolVar(&q.apply, "apply", false, "write to the target; without it only the plan is made")
	flags.StringVar(&q.plan, "plan", "", "write the plan's statements to this file instead of standard output")
	flags.BoolVar(&q.dry, "dry-run", false, "only tell how many rows would be touched")
	flags.StringVar(&q.undo, "undo", "", "with --apply: directory for files that take the repair back")
	flags.Int64Var(&q.limit, "limit", 10_000, "with --apply: ask, or refuse where nobody can be asked, before more rows than this are touched")
	flags.BoolVar(&q.yes, "yes", false, "do not ask, whatever the number of rows")
	flags.IntVar(&q.batch, "batch", 0, "rows in one transaction; 0: 5000, with a running link 10000")
	flags.IntVar(&q.rate, "rate", 0, "rows a second at most; 0: as fast as it goes")
	flags.StringArrayVar(&q.tables, "tables", nil, `only these, as in "public.*" or "!public.log*"; may be repeated`)
	flags.IntVar(&q.workers, "workers", 0, "tables compared at once; 0: 4")
	flags.DurationVar(&q.settle, "settle", 5*time.Second, "of two endpoints, read rows that differ again after this time, as compare run does; 0: take them as they are")
	flags.IntVar(&q.looks, "looks", 0, "how often at most; 0: 10")
	flags.DurationVar(&q.wait, "wait", time.Minute, "how long to wait for a running link at each step")
	return c
}

func (q *repairing) check() error {
	switch {
	case q.apply && (q.plan != "" || q.dry), q.plan != "" && q.dry:
		return usage(errors.New("choose one of --plan, --dry-run and --apply"))
	case q.undo != "" && !q.apply:
		return usage(errors.New("--undo goes with --apply"))
	case q.limit < 0 || q.batch < 0 || q.rate < 0:
		return usage(errors.New("--limit, --batch and --rate are 0 or more"))
	case !q.apply && !q.dry && q.plan == "" && q.app.output != "table":
		return usage(errors.New("statements are no JSON; name a file with --plan"))
	}
	if err := waybill.Selection(q.tables).Check(); err != nil {
		return usage(err)
	}
	return nil
}

func (q *repairing) run(ctx context.Context, l *ledger.Ledger, number int64) error {
	v, err := readVerdict(ctx, l, number)
	if err == nil {
		err = v.finished()
	}
	if err != nil {
		return err
	}
	tables := v.openTables(q.tables)
	if len(tables) == 0 {
		fmt.Fprintf(q.app.err, "run %d has no open differences\n", number)
		return nil
	}
	s, err := q.sidesOf(l, v.Run.Name)
	if err != nil {
		return err
	}
	terms, err := readTerms(ctx, l, v)
	if err != nil {
		return err
	}
	if q.apply {
		if err := s.findLink(ctx, atTarget(tables, terms.As)); err != nil {
			return err
		}
	}
	return q.between(ctx, l, s, v, tables, terms)
}

// between finds what differs between the two sides, and plans or does its repair.
func (q *repairing) between(ctx context.Context, l *ledger.Ledger, s *sides, v *verdict, tables []waybill.TableName, terms compare.Options) (err error) {
	m, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if s.link == nil && q.settle > 0 {
		terms.Again, terms.Delay, terms.Looks = s.again, q.settle, q.looks
	}
	found, err := q.find(ctx, m, tables, terms)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	if !q.apply {
		return q.write(ctx, s, m, found)
	}
	if err := m.Close(); err != nil {
		return err
	}
	if err := q.ask(found, v.Run.Name); err != nil {
		return err
	}
	return q.repair(ctx, l, s, found, v)
}

// atTarget returns the names that tables have at the target.
func atTarget(tables []waybill.TableName, as map[waybill.TableName]waybill.TableName) []waybill.TableName {
	named := slices.Clone(tables)
	for i, t := range named {
		if name, renamed := as[t]; renamed {
			named[i] = name
		}
	}
	return named
}

// find compares the tables anew.
func (q *repairing) find(ctx context.Context, m *repair.Moment, tables []waybill.TableName, terms compare.Options) (*repair.Found, error) {
	shown := q.app.newCompareProgress()
	defer shown.close()
	return repair.Find(ctx, repair.FindOptions{Source: m.Source, Target: m.Target, Tables: tables, Terms: terms, Workers: q.workers,
		Report: shown.report, Log: slog.New(q.app.handler(shown.writer()))})
}

// ask stops before more rows are touched than the limit says, unless a person at a terminal wants it.
func (q *repairing) ask(found *repair.Found, name string) error {
	rows := found.Rows()
	if rows <= q.limit || q.yes {
		return nil
	}
	if file, isFile := q.app.in.(*os.File); isFile && isatty.IsTerminal(file.Fd()) {
		return q.app.confirm(false, fmt.Sprintf("%s rows of the target differ and would be written.", grouped(rows)), name)
	}
	q.app.show(failure{What: fmt.Sprintf("%s rows would be touched, the limit is %s: nothing was done", grouped(rows), grouped(q.limit)),
		Fault: "findings", Fix: fmt.Sprintf("look at the plan, then give --limit %d or --yes", rows), Exit: exitFindings})
	return &exitError{exitFindings}
}

// planned is the result of a plan or a dry run.
type planned struct {
	repair.Counts
	Tables []plannedTable `json:"tables"`
	Moment string         `json:"moment"`
	Plan   string         `json:"plan,omitzero"` // the file
}

type plannedTable struct {
	Table   waybill.TableName `json:"table"`
	Missing int64             `json:"missing"`
	Extra   int64             `json:"extra"`
	Changed int64             `json:"changed"`
	Cause   string            `json:"cause,omitzero"` // why no statement repairs it
}

// write makes the plan, or only counts.
func (q *repairing) write(ctx context.Context, s *sides, m *repair.Moment, found *repair.Found) (err error) {
	result := planned{Moment: m.Words, Plan: q.plan}
	beyond := 0
	for _, t := range found.Tables {
		result.Tables = append(result.Tables, plannedTable{Table: t.Name, Missing: t.Missing, Extra: t.Extra, Changed: t.Changed})
	}
	for _, t := range found.Beyond {
		cause := t.Cause
		if cause == "" {
			cause = string(t.State)
		}
		beyond++
		result.Tables = append(result.Tables, plannedTable{Table: t.Table, Missing: t.Missing, Extra: t.Extra, Changed: t.Changed, Cause: cause})
	}
	if q.dry {
		for _, t := range found.Tables {
			result.Inserted, result.Deleted, result.Updated = result.Inserted+t.Missing, result.Deleted+t.Extra, result.Updated+t.Changed
		}
	} else if result.Counts, err = q.statements(ctx, s, m, found); err != nil {
		return err
	}
	if err := q.printPlan(result); err != nil || beyond == 0 {
		return err
	}
	return &exitError{exitFindings}
}

func (q *repairing) statements(ctx context.Context, s *sides, m *repair.Moment, found *repair.Found) (n repair.Counts, err error) {
	text := s.targetKind.Statements
	if text == nil {
		return n, usage(fmt.Errorf("endpoint %s is a %s, for which no statements can be written; use --dry-run or --apply", s.target.Name, s.target.Kind))
	}
	out := q.app.out
	if q.plan != "" {
		file, err := os.OpenFile(q.plan, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return n, &waybill.Error{Op: "write plan", Fault: waybill.Setup, Err: err}
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	w := bufio.NewWriterSize(out, 1<<20)
	for _, line := range []string{"makes endpoint " + s.target.Name + " equal to endpoint " + s.source.Name, m.Words,
		"written " + stamp(time.Now()) + "; a statement does nothing to a row that was changed since"} {
		if _, err := w.Write(text.Comment(nil, line)); err != nil {
			return n, &waybill.Error{Op: "write plan", Fault: waybill.Setup, Err: err}
		}
	}
	n, err = found.Plan(ctx, m, text, w, cmp.Or(q.batch, 5000), "")
	return n, errors.Join(err, w.Flush())
}

// printPlan shows what was counted: on standard error where the statements are on standard output.
func (q *repairing) printPlan(p planned) error {
	if q.app.output != "table" {
		return printOne(q.app, p, func(io.Writer) {})
	}
	w := q.app.out
	if q.plan == "" && !q.dry {
		w = q.app.err
	}
	for _, t := range p.Tables {
		if t.Cause != "" {
			fmt.Fprintf(w, "%s: no row repairs it: %s\n", t.Table, t.Cause)
			continue
		}
		fmt.Fprintf(w, "%s: %s missing, %s extra, %s changed\n", t.Table, grouped(t.Missing), grouped(t.Extra), grouped(t.Changed))
	}
	fmt.Fprintf(w, "%s to insert, %s to update, %s to delete at the target; nothing was written to it\n%s\n", grouped(p.Inserted),
		grouped(p.Updated), grouped(p.Deleted), p.Moment)
	return nil
}

// repair writes to the target, compares again and shows what came of it.
func (q *repairing) repair(ctx context.Context, l *ledger.Ledger, s *sides, found *repair.Found, v *verdict) (err error) {
	if q.undo != "" && s.targetKind.Statements == nil {
		return usage(fmt.Errorf("endpoint %s is a %s, for which no undo files can be written", s.target.Name, s.target.Kind))
	}
	if s.targetKind.OpenSink == nil {
		return usage(fmt.Errorf("endpoint %s is a %s, which cannot be written", s.target.Name, s.target.Kind))
	}
	sink, err := s.targetKind.OpenSink(ctx, s.target, waybill.SinkOptions{Stream: repairStream, Takeover: true, Log: q.app.log()})
	if err != nil {
		return err
	}
	batch := cmp.Or(q.batch, 5000)
	if q.batch == 0 && s.link != nil {
		batch = 10_000
	}
	shown := &repairProgress{w: q.app.signals.guard(q.app.err), last: time.Now()}
	q.app.resumable = true // a repair that is run again finds what is left
	var patience time.Duration
	if s.link != nil {
		patience = 2 * q.wait // shorter than the link's lease
	}
	report, err := repair.Run(ctx, found, repair.Options{Open: s.openHeld, Sink: sink, Statements: s.targetKind.Statements, Undo: q.undo,
		Patience: patience, Name: v.Run.Name, Of: v.Run.Number, By: who(), Batch: batch, Rate: q.rate, Ledger: l, Report: shown.report, Log: q.app.log()})
	err = errors.Join(err, sink.Close())
	if err == nil && s.targetKind.Release != nil {
		err = s.targetKind.Release(ctx, s.target, repairStream)
	}
	if err != nil {
		return err
	}
	if err := q.app.alarm(ctx, l, v.Run.Name, report.Run, v.after(&report, found.Equal), report.Left()); err != nil {
		return err
	}
	if err := q.printReport(report); err != nil {
		return err
	}
	if !report.Clean() {
		return &exitError{exitFindings}
	}
	return nil
}

func (q *repairing) printReport(r repair.Report) error {
	if q.app.output != "table" {
		return printOne(q.app, r, func(io.Writer) {})
	}
	if err := printList(q.app, r.Tables, "TABLE DIFFERED INSERTED UPDATED DELETED LEFT", func(t repair.TableReport) []any {
		return []any{t.Table, grouped(t.Found), grouped(t.Inserted), grouped(t.Updated), grouped(t.Deleted), grouped(t.Left)}
	}); err != nil {
		return err
	}
	w := q.app.out
	for _, t := range r.Tables {
		if t.Cause != "" {
			fmt.Fprintf(w, "\n%s: %s\n", t.Table, t.Cause)
		}
		if t.Hint != "" {
			fmt.Fprintf(w, "  do: %s\n", t.Hint)
		}
		for _, line := range t.Structure {
			fmt.Fprintf(w, "\n%s: %s\n", t.Table, line)
		}
	}
	fmt.Fprintf(w, "\n%s differences left after %s", grouped(r.Left()), r.Took.Round(time.Millisecond))
	if n := r.NotEqual(); n > 0 {
		fmt.Fprintf(w, "; %d of %d tables are not equal", n, len(r.Tables))
	}
	fmt.Fprintln(w)
	if r.Moment != "" {
		fmt.Fprintln(w, r.Moment)
	}
	for _, dir := range r.Undo {
		fmt.Fprintf(w, "to take it back: cat %s/*.sql | psql -v ON_ERROR_STOP=1 URL\n", dir)
	}
	fmt.Fprintf(w, "recorded as run %d: waybill ledger show %d\n", r.Run, r.Run)
	return nil
}

// repairProgress writes a line every ten seconds.
type repairProgress struct {
	w     io.Writer
	meter meter
	last  time.Time
	phase bool
}

func (p *repairProgress) report(r repair.Progress) {
	now := time.Now()
	if r.Checking != p.phase {
		p.phase, p.meter = r.Checking, meter{}
	}
	p.meter.add(now, r.Places)
	if now.Sub(p.last) < 10*time.Second {
		return
	}
	p.last = now
	what := "repairing"
	if r.Checking {
		what = "comparing again"
	}
	line := fmt.Sprintf("%s: %s of %s rows, %s rows/s, at %s", what, grouped(r.Places), grouped(r.Expected), grouped(int64(p.meter.rate())), r.Table)
	if end := p.meter.end(r.Expected); !end.IsZero() {
		line += ", ends about " + end.Local().Format("15:04:05")
	}
	fmt.Fprintln(p.w, line)
}
