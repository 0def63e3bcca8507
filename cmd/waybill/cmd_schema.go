package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/ledger"
)

func (a *app) schemaCommand() *cobra.Command {
	return group("schema", "Follow structures of tables: their history, and how a source reports their changes",
		a.schemaHistoryCommand(), a.schemaDiffCommand(), a.schemaInstallCommand(), a.schemaRemoveCommand())
}

func (a *app) schemaHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history LINK [TABLE]", Short: "List every structure that a link's tables had", Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			var table waybill.TableName
			if len(args) == 2 {
				var err error
				if table, err = waybill.ParseTableName(args[1]); err != nil {
					return usage(err)
				}
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				versions, err := l.Versions(c.Context(), args[0], table)
				if err != nil {
					return err
				}
				if len(versions) == 0 {
					return usage(fmt.Errorf("the ledger has no structures of %s", strings.Join(args, " ")))
				}
				previous := map[string]*waybill.TableVersion{}
				return printList(a, versions, "TABLE VERSION AT POSITION COLUMNS CHANGES", func(v ledger.StoredVersion) []any {
					identity := v.Structure.ID
					if identity == "" {
						identity = v.Table.String()
					}
					steps := (&waybill.Shape{Before: previous[identity], After: v.Structure}).Steps()
					previous[identity] = v.Structure
					return []any{v.Table, v.Number, v.At, v.AsOf, len(v.Structure.Columns), stepsText(steps, "; ")}
				})
			})
		},
	}
}

// difference is the result of schema diff.
type difference struct {
	Link  string            `json:"link"`
	Table waybill.TableName `json:"table"`
	From  int               `json:"from"`
	To    int               `json:"to"`
	Steps []waybill.Step    `json:"steps"`
}

func (a *app) schemaDiffCommand() *cobra.Command {
	var from, to int
	c := &cobra.Command{
		Use: "diff LINK TABLE", Short: "Show what changed between two structures of a table", Args: cobra.ExactArgs(2),
		Long:              "diff shows the steps from one version of a table to another; without --from and --to, from the last but one to the last.",
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			table, err := waybill.ParseTableName(args[1])
			if err != nil {
				return usage(err)
			}
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				d, err := diff(c.Context(), l, args[0], table, from, to)
				if err != nil {
					return err
				}
				return printOne(a, d, func(w io.Writer) {
					fmt.Fprintf(w, "%s from version %d to %d\n", d.Table, d.From, d.To)
					if len(d.Steps) == 0 {
						fmt.Fprintln(w, "no change")
					}
					for _, s := range d.Steps {
						fmt.Fprintln(w, stepsText([]waybill.Step{s}, ""))
					}
				})
			})
		},
	}
	c.Flags().IntVar(&from, "from", 0, "number of the older version")
	c.Flags().IntVar(&to, "to", 0, "number of the newer version")
	return c
}

func diff(ctx context.Context, l *ledger.Ledger, link string, table waybill.TableName, from, to int) (difference, error) {
	versions, err := l.Versions(ctx, link, table)
	if err != nil {
		return difference{}, err
	}
	if to == 0 && len(versions) > 0 {
		to = versions[len(versions)-1].Number
	}
	if from == 0 {
		from = max(1, to-1)
	}
	var before, after *waybill.TableVersion
	for _, v := range versions {
		if v.Number == from {
			before = v.Structure
		}
		if v.Number == to {
			after = v.Structure
		}
	}
	if before == nil || after == nil {
		return difference{}, usage(fmt.Errorf("the ledger does not have versions %d and %d of %s in %s; see `waybill schema history %s`",
			from, to, table, link, link))
	}
	steps := (&waybill.Shape{Before: before, After: after}).Steps()
	return difference{link, table, from, to, steps}, nil
}

func stepsText(steps []waybill.Step, separator string) string {
	texts := make([]string, len(steps))
	for i, s := range steps {
		texts[i] = string(s.Kind) + " " + s.Name
		if s.Old != "" || s.New != "" {
			texts[i] += fmt.Sprintf(" (%s -> %s)", oneLine(s.Old), oneLine(s.New))
		}
	}
	return strings.Join(texts, separator)
}

// captureChange is the result of schema install and remove.
type captureChange struct {
	Endpoint string `json:"endpoint"`
	Script   string `json:"script"`
	Applied  bool   `json:"applied"`
}

func (a *app) schemaInstallCommand() *cobra.Command {
	return a.captureCommand("install", "Make a source report structure changes in its log; shows the statements unless --apply",
		func(k *waybill.Capture) (script func(context.Context, waybill.Endpoint) (string, error), apply func(context.Context, waybill.Endpoint) error) {
			return k.Script, k.Install
		})
}

func (a *app) schemaRemoveCommand() *cobra.Command {
	return a.captureCommand("remove", "Take away what schema install left at a source; shows the statements unless --apply",
		func(k *waybill.Capture) (script func(context.Context, waybill.Endpoint) (string, error), apply func(context.Context, waybill.Endpoint) error) {
			return k.RemoveScript, k.Remove
		})
}

type captureParts func(*waybill.Capture) (script func(context.Context, waybill.Endpoint) (string, error),
	apply func(context.Context, waybill.Endpoint) error)

func (a *app) captureCommand(verb, short string, parts captureParts) *cobra.Command {
	var applied bool
	c := &cobra.Command{
		Use: verb + " ENDPOINT", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeEndpoints,
		RunE: func(c *cobra.Command, args []string) error {
			e, connector, err := a.endpoint(args[0])
			if err != nil {
				return err
			}
			if connector.Capture == nil {
				return usage(fmt.Errorf("%s sources report structure changes by themselves: there is nothing to %s", e.Kind, verb))
			}
			script, apply := parts(connector.Capture)
			change := captureChange{Endpoint: e.Name, Applied: applied}
			if change.Script, err = script(c.Context(), e); err != nil {
				return err
			}
			if applied {
				if err := apply(c.Context(), e); err != nil {
					return err
				}
			}
			return printOne(a, change, func(w io.Writer) {
				if !applied {
					fmt.Fprintln(w, strings.TrimRight(change.Script, "\n"))
					return
				}
				fmt.Fprintf(w, "%s is done at %s\n", verb, e.Name)
			})
		},
	}
	c.Flags().BoolVar(&applied, "apply", false, "run the statements instead of showing them")
	return c
}
