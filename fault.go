package waybill

import (
	"errors"
	"fmt"
	"strings"
)

// Fault is the class of an error, chosen by the connector that met it and obeyed by the engines.
type Fault uint8

// The classes of errors.
const (
	Bug     Fault = iota // ours, or unclassified: stop and report
	Passing              // gone by itself: lost connection, deadlock, restart; tried again
	Setup                // rights, settings, login, disk: stop; never retried
	Data                 // a value or row that cannot be carried: stop or set aside, by policy
	Drift                // structure or position no longer match: stop and offer the repair
)

// String returns the lower-case name of the fault.
func (f Fault) String() string {
	return [...]string{"bug", "passing", "setup", "data", "drift"}[f]
}

// Error is an error with what a person needs: the operation, the table, the class and what to do about it.
type Error struct {
	Op    string    // what was being done, lower case: "open slot waybill_shop"
	Table TableName // the table it was about, if any
	Fault Fault
	Hint  string // what to do, as an instruction
	Err   error
}

// Error returns operation, table and cause; the hint is shown apart.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Table != (TableName{}) {
		if e.Op != "" {
			b.WriteByte(' ')
		}
		b.WriteString(e.Table.String())
	}
	if e.Err != nil {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FaultOf returns the class of the outermost classified error in the chain, Bug where none is classified.
func FaultOf(err error) Fault {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Fault
	}
	return Bug
}

// HintOf returns the first hint in the chain, outermost first.
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Errorf returns an [Error] without table or hint.
func Errorf(fault Fault, op, format string, args ...any) *Error {
	return &Error{Op: op, Fault: fault, Err: fmt.Errorf(format, args...)}
}
