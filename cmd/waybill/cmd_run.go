package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/ledger"
	"github.com/waybill-data/waybill/link"
)

func (a *app) runCommand() *cobra.Command {
	var patience time.Duration
	var profile string
	c := &cobra.Command{
		Use: "run LINK", Short: "Run a link in the foreground: the first copy, then every change", Args: cobra.ExactArgs(1),
		Long: `run carries a link until it is interrupted, asked to stop, or meets a fault that does not pass. It starts where the target
is: run it again after whatever ended it. The first Ctrl-C stops between two transactions, the second at once.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) (err error) {
			a.resumable = true
			r, err := a.route(args[0])
			if err != nil {
				return err
			}
			if c.Flags().Changed("patience") {
				r.Patience = patience
			}
			stop, err := startProfile(profile)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			return a.withLedger(c.Context(), true, func(l *ledger.Ledger) error { return a.runLink(c.Context(), l, r) })
		},
	}
	c.Flags().DurationVar(&patience, "patience", 0, "give up when faults that pass have kept the link from moving for so long; 0: never")
	c.Flags().StringVar(&profile, "pprof", "", "write a CPU profile to this file and the heap's to FILE.heap")
	if err := c.Flags().MarkHidden("pprof"); err != nil {
		panic(err)
	}
	return c
}

func (a *app) runLink(ctx context.Context, l *ledger.Ledger, r route) error {
	fail, err := failPoint(os.Getenv("WAYBILL_FAILPOINT"))
	if err != nil {
		return usage(err)
	}
	shown := a.newProgress(r.Name)
	var last atomic.Pointer[waybill.LinkStatus]
	policy := map[waybill.StepKind]link.Action{}
	for kind, action := range r.OnReshape {
		policy[kind] = link.Action(action)
	}
	err = link.Run(ctx, link.Options{
		Name: r.Name, Source: link.Side{Connector: r.sourceKind, Endpoint: r.source}, Target: link.Side{Connector: r.targetKind, Endpoint: r.target},
		Tables: r.Tables, Policy: policy, Workers: r.Workers, SliceRows: r.SliceRows, Heartbeat: r.Heartbeat, SpillDir: r.SpillDir,
		Patience: r.Patience, Ledger: l.Ordered(r.sourceKind.ComparePositions), Recall: recall(l, r.Name), Version: version,
		Log: a.logTo(shown), FailPoint: fail,
		Report: func(s waybill.LinkStatus) {
			last.Store(&s)
			shown.report(s)
		},
	})
	shown.close()
	return errors.Join(err, a.printEnd(r.Name, last.Load()))
}

// printEnd says how far the link got and how to go on.
func (a *app) printEnd(name string, s *waybill.LinkStatus) error {
	if s == nil {
		return nil
	}
	if a.output == "table" {
		fmt.Fprintf(a.err, "%s: %s at %s; go on with `waybill run %s`\n", name, s.State, oneLine(s.Position), name)
	}
	return printOne(a, s, func(w io.Writer) {
		writeLines(w, [][2]any{{"link", s.Link}, {"run", s.Run}, {"state", s.State}, {"position", s.Position}, {"rows copied", s.RowsCopied},
			{"changes", s.Changes}, {"transactions", s.Transactions}, {"reshapes", s.Reshapes}, {"delay", seconds(s.Delay)}})
	})
}

// recall reads a link's structures back from the ledger.
func recall(l *ledger.Ledger, name string) func(context.Context) ([]link.Structure, error) {
	return func(ctx context.Context) ([]link.Structure, error) {
		versions, err := l.Versions(ctx, name, waybill.TableName{})
		structures := make([]link.Structure, len(versions))
		for i, v := range versions {
			structures[i] = link.Structure{Version: v.Structure, AsOf: v.AsOf}
		}
		return structures, err
	}
}

// failPoint reads the hook of the crash tests, name or name:n: the process kills itself the n-th time it
// passes the point.
func failPoint(hook string) (func(string), error) {
	if hook == "" {
		return nil, nil
	}
	point, count, counted := strings.Cut(hook, ":")
	n := int64(1)
	if counted {
		var err error
		if n, err = strconv.ParseInt(count, 10, 64); err != nil || n < 1 {
			return nil, fmt.Errorf("WAYBILL_FAILPOINT is %q: want NAME or NAME:N", hook)
		}
	}
	if !slices.Contains(link.FailPoints, point) {
		return nil, fmt.Errorf("WAYBILL_FAILPOINT names %q: known are %s", point, strings.Join(link.FailPoints, ", "))
	}
	var passed atomic.Int64
	return func(name string) {
		if name != point || passed.Add(1) != n {
			return
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {} // nothing more may happen before the signal arrives
	}, nil
}
