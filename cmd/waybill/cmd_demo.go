package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var o demo.Options
	var seconds int
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on throw-away local servers, with a proof",
		Long: `demo starts two PostgreSQL servers of its own, fills one with a shop of ten tables, and runs a real link between
them while the shop is written to, its tables are changed in structure, and the link is killed again and again.
Then it compares both sides row by row and prints a report.

It exits with 0 only if everything held, with 4 if there is a difference. Servers and files are removed; with
--keep they stay, and the report says how to look at them and how to remove them.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Span = time.Duration(seconds) * time.Second
			return a.runDemo(c.Context(), o)
		},
	}
	flags := c.Flags()
	flags.IntVar(&seconds, "seconds", 40, "how long the shop is written to")
	flags.Float64Var(&o.Rate, "rate", 100, "transactions per second")
	flags.IntVar(&o.Kills, "kills", 3, "how often the link is killed")
	flags.Uint64Var(&o.Seed, "seed", 0, "of everything random (0: from the clock)")
	flags.BoolVar(&o.Keep, "keep", false, "leave the servers running, for a look")
	return c
}

func (a *app) runDemo(ctx context.Context, o demo.Options) error {
	if o.Span <= 0 || o.Rate <= 0 || o.Kills < 1 {
		return usage(errors.New("--seconds, --rate and --kills must be more than 0"))
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o.Program = program
	started := time.Now()
	o.Say = func(what string) { fmt.Fprintf(a.err, "%5.1f s  %s\n", time.Since(started).Seconds(), what) }
	report, err := demo.Run(ctx, o)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	show := func(w io.Writer) {
		report.Print(w)
		if o.Keep {
			report.PrintLook(w, program)
		} else if report.Holds() {
			fmt.Fprintf(w, "\nEverything held. Servers and files are gone; `waybill demo --keep` leaves them for a look.\n")
		}
	}
	if a.output == "table" {
		show(a.out)
	} else if err := printOne(a, report, nil); err != nil {
		return err
	}
	if !report.Holds() {
		fmt.Fprintf(a.err, "\nNot everything held. Logs are in %s; the seed is %d.\n", report.Dir, report.Seed)
		return &exitError{exitFindings}
	}
	return nil
}
