// Package config reads waybill.yaml: the only reader of configuration files and of the environment. [Load]
// gives a [Config] whose parts are valid and whose secrets are filled in, or [Problems]: all that is wrong,
// each at its place with what to do.
package config

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
)

// Config is a valid configuration.
type Config struct {
	File      string         // where it was read from
	Ledger    waybill.Secret // DSN: a server's may hold a password
	Endpoints map[string]waybill.Endpoint
	Links     map[string]Link
}

// Link is one flow as configured.
type Link struct {
	Name      string
	Source    string // names of endpoints
	Target    string
	Tables    waybill.Selection
	OnReshape map[waybill.StepKind]string // an action of Actions for each kind
	Workers   int                         // 0: the engine's default
	SliceRows int                         // 0: the engine's default
	Patience  time.Duration               // 0: for ever
	Heartbeat time.Duration               // 0: the engine's default
	SpillDir  string                      // empty: the system's temporary directory
}

// Actions are what a link may do about a structure change.
var Actions = []string{"follow", "ask", "ignore", "stop"}

// Options are what Load reads with. The zero value reads the process's environment and knows no kind of endpoint.
type Options struct {
	Connectors []*waybill.Connector         // the kinds of endpoints there are
	Lookup     func(string) (string, bool)  // of environment variables; nil: os.LookupEnv
	ReadFile   func(string) ([]byte, error) // nil: os.ReadFile
}

// Problem is one thing that is wrong with a file.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	What   string `json:"what"`
	Fix    string `json:"fix,omitzero"`
}

// String returns file:line:column: what; fix.
func (p Problem) String() string {
	text := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.What)
	if p.Fix != "" {
		text += "; " + p.Fix
	}
	return text
}

// Problems are all that is wrong, in the order of the file.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads and checks a file. The error is Problems where the file could be read. Relative paths in it are
// relative to it.
func Load(file string, o Options) (*Config, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	text, err := o.ReadFile(file)
	if err != nil {
		return nil, &waybill.Error{Op: "read configuration", Fault: waybill.Setup, Err: err,
			Hint: "write one with `waybill init`, or name it with --config"}
	}
	r := &reader{file: file, options: o}
	c := r.config(string(text))
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, r.problems
	}
	return c, nil
}
