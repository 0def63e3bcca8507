// Command waybill carries rows between databases and keeps the evidence. main.go wires; every command has a
// file of its own, cmd_<verb>.go. Results go to standard output, progress and logs to standard error; the exit
// codes are in exit.go.
package main

import (
	"context"
	"io"
	"os"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run(connect.All(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it.
func run(connectors []*waybill.Connector, args []string, in io.Reader, out, err io.Writer) int {
	a := &app{in: in, out: out, err: err, connectors: connectors}
	ctx, stop := a.watchSignals(context.Background())
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	return a.exit(root.ExecuteContext(ctx))
}

// app is what all commands share: the streams, the global flags and how to open what they name.
type app struct {
	in         io.Reader
	out, err   io.Writer
	connectors []*waybill.Connector

	configFile string
	ledgerDSN  string
	output     string
	logLevel   string
	noColor    bool

	signals   signals
	resumable bool // what the command was at goes on where it stopped when it is run again
}
