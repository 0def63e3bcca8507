package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/mattn/go-isatty"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/config"
)

// The exit codes. Callers may rely on them; unknown ones mean failure.
const (
	exitOK        = 0
	exitRuntime   = 1
	exitUsage     = 2 // or configuration
	exitSetup     = 3 // unreachable, rights, disk
	exitFindings  = 4 // differences, failed checks
	exitResumable = 5 // stopped on what goes away by itself; run it again
	exitSignal    = 128
)

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(err error) error { return &usageError{err} }

// exitError ends a command whose result, already shown, asks for a code.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// failure is what is shown of an error.
type failure struct {
	Where  string            `json:"where,omitzero"`
	Table  waybill.TableName `json:"table,omitzero"`
	What   string            `json:"what"`
	Fault  string            `json:"fault"`
	Fix    string            `json:"fix,omitzero"`
	Exit   int               `json:"exit"`
	Places []config.Problem  `json:"places,omitempty"`
}

// exit shows an error and returns the code for it.
func (a *app) exit(err error) int {
	shown, isShown := errors.AsType[*exitError](err)
	if signal := a.signals.received(); signal != 0 {
		if err != nil && !errors.Is(err, context.Canceled) && !isShown {
			a.show(a.describe(err))
		}
		return exitSignal + signal
	}
	switch {
	case err == nil:
		return exitOK
	case isShown:
		return shown.code
	}
	f := a.describe(err)
	a.show(f)
	return f.Exit
}

func (a *app) describe(err error) failure {
	f := failure{What: err.Error(), Exit: exitRuntime, Fault: waybill.FaultOf(err).String(), Fix: waybill.HintOf(err)}
	if e, ok := errors.AsType[*waybill.Error](err); ok {
		f.Where, f.Table = e.Op, e.Table
		if e.Err != nil {
			f.What = e.Err.Error()
		}
		switch e.Fault {
		case waybill.Setup:
			f.Exit = exitSetup
		case waybill.Passing:
			f.Exit = exitSetup
			if a.resumable {
				f.Exit = exitResumable
			}
		}
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		f.Places, f.Exit, f.Fault = problems, exitUsage, "configuration"
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		f.What, f.Exit, f.Fault, f.Fix = u.Error(), exitUsage, "usage", "waybill --help"
	}
	return f
}

// show writes what, where and what to do to standard error.
func (a *app) show(f failure) {
	if a.output != "table" && a.output != "" {
		text, err := json.Marshal(map[string]failure{"error": f})
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(a.err, "%s\n", text)
		return
	}
	if len(f.Places) > 0 {
		for _, p := range f.Places {
			fmt.Fprintln(a.err, p)
		}
		return
	}
	fmt.Fprintf(a.err, "%s %s\n", a.alarming("error:"), f.What)
	if f.Where != "" {
		fmt.Fprintf(a.err, "  while:  %s\n", f.Where)
	}
	if f.Table != (waybill.TableName{}) {
		fmt.Fprintf(a.err, "  table:  %s\n", f.Table)
	}
	fmt.Fprintf(a.err, "  class:  %s\n", f.Fault)
	if f.Fix != "" {
		fmt.Fprintf(a.err, "  do:     %s\n", f.Fix)
	}
}

// alarming colours a word on a terminal, unless colours are not wanted.
func (a *app) alarming(word string) string {
	file, isFile := a.err.(*os.File)
	if a.noColor || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isFile || !isatty.IsTerminal(file.Fd()) {
		return word
	}
	return "\x1b[1;31m" + word + "\x1b[0m"
}
