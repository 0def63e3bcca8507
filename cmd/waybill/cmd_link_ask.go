package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
)

func (a *app) linkResyncCommand() *cobra.Command {
	q := &asking{app: a}
	var all bool
	c := &cobra.Command{
		Use: "resync LINK [TABLE]", Short: "Copy a table again beside the running stream", Args: cobra.RangeArgs(1, 2),
		Long:              "resync has a link copy a table again while its stream goes on: one table, or every table with --all.",
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 2) {
				return usage(fmt.Errorf("name one table, or give --all"))
			}
			r := waybill.Request{Link: args[0], Verb: "resync"}
			if !all {
				var err error
				if r.Table, err = waybill.ParseTableName(args[1]); err != nil {
					return usage(err)
				}
			}
			return q.ask(c.Context(), r)
		},
	}
	q.flags(c)
	c.Flags().BoolVar(&all, "all", false, "copy every table again")
	return c
}

func (a *app) linkDecideCommand() *cobra.Command {
	q := &asking{app: a}
	c := &cobra.Command{
		Use: "decide LINK follow|ignore|stop", Short: "Decide about the structure change that a link waits with", Args: cobra.ExactArgs(2),
		Long: `decide answers a link that is waiting because its policy for a structure change is to ask: follow makes the change at the
target, ignore leaves the target as it is, stop ends the link before the change. What it waits with is in link status.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			action := args[1]
			if action != "follow" && action != "ignore" && action != "stop" {
				return usage(fmt.Errorf("%q is no decision; write follow, ignore or stop", action))
			}
			word, err := json.Marshal(action)
			if err != nil {
				return err
			}
			return q.ask(c.Context(), waybill.Request{Link: args[0], Verb: "decide", Args: word})
		},
	}
	q.flags(c)
	return c
}
