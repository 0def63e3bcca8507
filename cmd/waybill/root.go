package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/config"
	"github.com/waybill-data/waybill/ledger"
)

// root returns the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "waybill",
		Short: "Carry rows between databases, follow every change, prove both sides equal",
		Long: `waybill carries rows between databases, follows every change of a table's structure in its exact place in
the stream, proves both sides equal, and keeps the evidence.

Results go to standard output, progress and logs to standard error.
Exit codes: 0 ok, 1 runtime, 2 usage or configuration, 3 environment (unreachable, rights, disk),
4 findings (differences, failed check), 5 partial and resumable, 130 and 143 signals.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Version:           version,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkFlags() },
		Args:              cobra.NoArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.configFile, "config", "c", "waybill.yaml", "configuration file")
	flags.StringVar(&a.ledgerDSN, "ledger", "", "ledger instead of the configured one: sqlite:FILE or postgres://...")
	flags.StringVarP(&a.output, "output", "o", "table", "form of the result: table, json or jsonl")
	flags.StringVar(&a.logLevel, "log-level", "info", "least level of logs: debug, info, warn or error")
	flags.BoolVar(&a.noColor, "no-color", false, "no colours; NO_COLOR in the environment does the same")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	for _, command := range a.commands() {
		root.AddCommand(command)
	}
	markUsage(root)
	return root
}

// commands lists the verbs, in the order of their help.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.demoCommand(), a.initCommand(), a.checkCommand(), a.doctorCommand(), a.runCommand(), a.linkCommand(), a.compareCommand(),
		a.schemaCommand(), a.ledgerCommand(), a.versionCommand(),
	}
}

// markUsage makes wrong arguments of every command a usage error. A command without its own action lists
// what is below it.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage(err)
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		markUsage(below)
	}
}

// group is a command that only holds others; an unknown one below it is a usage error.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage(fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()))
		}
		return c.Help()
	}}
	c.AddCommand(below...)
	return c
}

func (a *app) checkFlags() error {
	if !slices.Contains([]string{"table", "json", "jsonl"}, a.output) {
		return usage(fmt.Errorf("--output is %q; write table, json or jsonl", a.output))
	}
	if err := new(slog.Level).UnmarshalText([]byte(a.logLevel)); err != nil {
		return usage(fmt.Errorf("--log-level is %q; write debug, info, warn or error", a.logLevel))
	}
	return nil
}

// log returns where commands log: lines on standard error, as JSON where the result is JSON.
func (a *app) log() *slog.Logger { return slog.New(a.handler(a.signals.guard(a.err))) }

func (a *app) handler(w io.Writer) slog.Handler {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if a.output == "table" {
		return slog.NewTextHandler(w, options)
	}
	return slog.NewJSONHandler(w, options)
}

// load reads the configuration.
func (a *app) load() (*config.Config, error) {
	return config.Load(a.configFile, config.Options{Connectors: a.connectors})
}

// dsn returns the ledger that --ledger names or else the configured one. With --ledger the configuration is
// not read, so that a ledger can be looked at wherever it is.
func (a *app) dsn() (string, error) {
	if a.ledgerDSN != "" {
		return a.ledgerDSN, nil
	}
	c, err := a.load()
	if err != nil {
		return "", err
	}
	return c.Ledger.Reveal(), nil
}

// withLedger opens the ledger for f; create says whether one that is not there is made.
func (a *app) withLedger(ctx context.Context, create bool, f func(*ledger.Ledger) error) (err error) {
	dsn, err := a.dsn()
	if err != nil {
		return err
	}
	open := ledger.OpenExisting
	if create {
		open = ledger.Open
	}
	l, err := open(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return f(l)
}

// route is a configured link with what its ends are played by.
type route struct {
	config.Link
	source, target         waybill.Endpoint
	sourceKind, targetKind *waybill.Connector
}

func (a *app) route(name string) (route, error) {
	c, err := a.load()
	if err != nil {
		return route{}, err
	}
	link, known := c.Links[name]
	if !known {
		return route{}, usage(fmt.Errorf("%s has no link %q; it has %s", c.File, name, names(c.Links)))
	}
	r := route{Link: link, source: c.Endpoints[link.Source], target: c.Endpoints[link.Target]}
	r.sourceKind, r.targetKind = a.kind(r.source), a.kind(r.target)
	return r, nil
}

// endpoint returns a configured endpoint, by its own name or as the source of a link.
func (a *app) endpoint(name string) (waybill.Endpoint, *waybill.Connector, error) {
	c, err := a.load()
	if err != nil {
		return waybill.Endpoint{}, nil, err
	}
	if e, known := c.Endpoints[name]; known {
		return e, a.kind(e), nil
	}
	return waybill.Endpoint{}, nil, usage(fmt.Errorf("%s has no endpoint %q; it has %s", c.File, name, names(c.Endpoints)))
}

// kind returns an endpoint's connector; the configuration was checked to name a known one.
func (a *app) kind(e waybill.Endpoint) *waybill.Connector {
	for _, c := range a.connectors {
		if c.Kind == e.Kind {
			return c
		}
	}
	return nil
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func names[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	return strings.Join(keys(m), ", ")
}

// who names the person for the record.
func who() string {
	user := os.Getenv("USER")
	if user == "" {
		user = fmt.Sprintf("uid %d", os.Getuid())
	}
	if host, err := os.Hostname(); err == nil {
		return user + "@" + host
	}
	return user
}
