package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
)

//go:embed waybill.yaml
var template string

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Write a commented waybill.yaml", Args: cobra.NoArgs,
		Long: "init writes a commented configuration to the file that --config names. It never replaces a file.",
		RunE: func(*cobra.Command, []string) error {
			file, err := os.OpenFile(a.configFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return usage(fmt.Errorf("%s is there already; remove it or name another file with --config", a.configFile))
			}
			if err == nil {
				_, err = io.WriteString(file, template)
				err = errors.Join(err, file.Close())
			}
			if err != nil {
				return &waybill.Error{Op: "write configuration", Fault: waybill.Setup, Err: err,
					Hint: "name a file in a directory that exists and can be written"}
			}
			result := struct {
				File string `json:"file"`
			}{a.configFile}
			return printOne(a, result, func(w io.Writer) {
				fmt.Fprintf(w, "%s is written. Edit it, then run `waybill check` and `waybill doctor`.\n", a.configFile)
			})
		},
	}
}
