package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/compare/report"
	"github.com/waybill-data/waybill/ledger"
)

// reporting is one call of compare report.
type reporting struct {
	app         *app
	html        string
	differences string
	limit       int
}

func (a *app) compareReportCommand() *cobra.Command {
	q := &reporting{app: a}
	c := &cobra.Command{
		Use: "report RUN --html FILE", Short: "Write a comparison as one HTML page that needs nothing beside itself", Args: cobra.ExactArgs(1),
		Long: `report writes a comparison as a page to hand on: the verdict, each table, and the rows and columns that differ.

The ledger keeps keys and names of columns of the first differences, but no other values. With the file that compare run wrote
with --differences, the page has all of them with the values of both sides, up to --limit.`,
		RunE: func(c *cobra.Command, args []string) error {
			number, err := runNumber(args[0])
			if err != nil {
				return err
			}
			if q.html == "" {
				return usage(errors.New("name the file with --html"))
			}
			if q.limit < 1 {
				return usage(errors.New("--limit is 1 or more"))
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				v, err := readVerdict(c.Context(), l, number)
				if err != nil {
					return err
				}
				return q.write(v)
			})
		},
	}
	c.Flags().StringVar(&q.html, "html", "", "the file to write")
	c.Flags().StringVar(&q.differences, "differences", "", "the file that compare run --differences wrote in this run")
	c.Flags().IntVar(&q.limit, "limit", 100_000, "differences in the page at most")
	return c
}

// written is the result of a report.
type written struct {
	File        string `json:"file"`
	Differences int    `json:"differences"` // in the page
	Found       int64  `json:"found"`       // by the comparison, in rows
}

func (q *reporting) write(v *verdict) (err error) {
	if q.differences != "" {
		if err := q.belongs(v); err != nil {
			return err
		}
	}
	p := report.Page{Run: v.Run, Moment: v.Moment, Written: time.Now(), Limit: q.limit, Values: q.differences != "", Differences: kept(v)}
	if q.differences != "" {
		p.Differences = fromFile(q.differences)
	}
	for _, t := range v.Tables {
		of := report.Table{TableResult: t.TableResult, Open: t.Open}
		for _, c := range t.Closed {
			text := fmt.Sprintf("%s (%s, %s): %s left", c.How, c.At, c.By, grouped(c.Left))
			if c.Reason != "" {
				text += ", " + c.Reason
			}
			of.Closed = append(of.Closed, text)
		}
		p.Tables = append(p.Tables, of)
	}
	file, err := os.OpenFile(q.html, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return &waybill.Error{Op: "write report", Fault: waybill.Setup, Err: err}
	}
	n, err := report.Write(file, p)
	if err = errors.Join(err, file.Close()); err != nil {
		return &waybill.Error{Op: "write report", Fault: waybill.Setup, Err: err}
	}
	result := written{File: q.html, Differences: n}
	for _, t := range v.Tables {
		result.Found += t.Rows()
	}
	return printOne(q.app, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s of %s differing rows are in it\n", q.html, grouped(int64(n)), grouped(result.Found))
	})
}

// kept gives the differences that the ledger keeps.
func kept(v *verdict) iter.Seq2[compare.Difference, error] {
	return func(yield func(compare.Difference, error) bool) {
		for _, t := range v.Tables {
			for _, d := range t.Differences {
				if !yield(d, nil) {
					return
				}
			}
		}
	}
}

// fromFile reads differences as compare run wrote them.
func fromFile(name string) iter.Seq2[compare.Difference, error] {
	return func(yield func(compare.Difference, error) bool) {
		file, err := os.Open(name)
		if err != nil {
			yield(compare.Difference{}, err)
			return
		}
		defer file.Close()
		lines := json.NewDecoder(bufio.NewReaderSize(file, 1<<20))
		for {
			var d compare.Difference
			switch err := lines.Decode(&d); {
			case err == io.EOF:
				return
			case err != nil:
				yield(d, fmt.Errorf("%s: %w", name, err))
				return
			case !yield(d, nil):
				return
			}
		}
	}
}

// belongs refuses a file that is not of this run: as many rows of each table as were found.
func (q *reporting) belongs(v *verdict) error {
	rows := map[waybill.TableName]int64{}
	for d, err := range fromFile(q.differences) {
		if err != nil {
			return &waybill.Error{Op: "read differences", Fault: waybill.Setup, Err: err}
		}
		rows[d.Table] += d.Count
	}
	for _, t := range v.Tables {
		if rows[t.Table] != t.Rows() {
			return usage(fmt.Errorf("%s is not of run %d: it has %d rows of %s, the run found %d", q.differences, v.Run.Number, rows[t.Table], t.Table, t.Rows()))
		}
		delete(rows, t.Table)
	}
	for table := range rows {
		return usage(fmt.Errorf("%s is not of run %d: it has rows of %s", q.differences, v.Run.Number, table))
	}
	return nil
}
