package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/config"
)

// checked is the result of check.
type checked struct {
	File      string           `json:"file"`
	Valid     bool             `json:"valid"`
	Endpoints int              `json:"endpoints"`
	Links     int              `json:"links"`
	Problems  []config.Problem `json:"problems,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Validate the configuration without touching any database", Args: cobra.NoArgs,
		Long: "check reads the configuration and shows all that is wrong with it as file:line:column. It needs the secrets, but no database.",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.load()
			problems, ok := errors.AsType[config.Problems](err)
			if err != nil && !ok {
				return err
			}
			result := checked{File: a.configFile, Valid: err == nil, Problems: problems}
			if c != nil {
				result.Endpoints, result.Links = len(c.Endpoints), len(c.Links)
			}
			printed := printOne(a, result, func(w io.Writer) {
				for _, p := range problems {
					fmt.Fprintln(w, p)
				}
				if result.Valid {
					fmt.Fprintf(w, "%s is valid: %d endpoints, %d links\n", result.File, result.Endpoints, result.Links)
				}
			})
			if printed == nil && !result.Valid {
				return &exitError{exitUsage}
			}
			return printed
		},
	}
}
