package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/spill"
)

// keptInMemory is how many bytes of the places of one table are held before a file is made.
const keptInMemory = 256 << 10

// FindOptions say what is compared anew.
type FindOptions struct {
	Source, Target waybill.View        // not closed
	Tables         []waybill.TableName // by their names at the source
	// Terms are what the tables were compared under: As, Columns, Without, Rules, Where, Window, Again, Delay and
	// Looks are taken from it.
	Terms   compare.Options
	Dir     string // where places go that do not fit in memory; empty: the system's
	Workers int
	Report  func(compare.Progress)
	Log     *slog.Logger
}

// Found is where rows differ. Close removes what it keeps.
type Found struct {
	// Tables are those whose rows can be written, each after those it refers to.
	Tables []*Table
	// Beyond are the tables that differ in a way that no row repairs.
	Beyond []compare.TableResult
	// Equal are the tables that do not differ any more.
	Equal []waybill.TableName
}

// Table is one table whose rows differ.
type Table struct {
	Name    waybill.TableName
	Missing int64 // rows
	Extra   int64
	Changed int64
	// Structure is what differs beside the rows; repairing rows does not heal it.
	Structure []string

	shape  *shape
	places *spill.Log
}

// Rows returns how many rows differ.
func (t *Table) Rows() int64 { return t.Missing + t.Extra + t.Changed }

// Rows returns how many rows differ in all tables.
func (f *Found) Rows() int64 {
	var n int64
	for _, t := range f.Tables {
		n += t.Rows()
	}
	return n
}

// Close removes what is kept.
func (f *Found) Close() error {
	var errs []error
	for _, t := range f.Tables {
		errs = append(errs, t.places.Discard())
	}
	return errors.Join(errs...)
}

// The tags of kept places: what the comparison found there.
const (
	tagMissing uint32 = iota
	tagExtra
	tagChanged
)

var tags = map[compare.DifferenceKind]uint32{compare.Missing: tagMissing, compare.Extra: tagExtra, compare.Changed: tagChanged}

// Find compares the tables and keeps where their rows differ.
func Find(ctx context.Context, o FindOptions) (*Found, error) {
	logs := map[waybill.TableName]*spill.Log{}
	pairs := map[waybill.TableName][]string{}
	c := compare.Options{Source: o.Source, Target: o.Target, Tables: exactly(o.Tables), Workers: o.Workers, Keep: 1, Report: o.Report,
		Log: o.Log, SpillDir: o.Dir, As: o.Terms.As, Columns: o.Terms.Columns, Without: o.Terms.Without, Rules: o.Terms.Rules,
		Where: o.Terms.Where, Window: o.Terms.Window, Again: o.Terms.Again, Delay: o.Terms.Delay, Looks: o.Terms.Looks}
	result, err := compare.Run(ctx, o.keeping(c, logs, pairs))
	f := &Found{}
	for i := range result.Tables {
		if err != nil {
			break
		}
		t := &result.Tables[i]
		err = f.take(ctx, o, t, logs[t.Table], pairs[t.Table])
	}
	if err != nil {
		for _, l := range logs {
			err = errors.Join(err, l.Discard())
		}
		return nil, err
	}
	f.gone(o.Tables, result.Tables)
	f.Tables = order(f.Tables)
	return f, nil
}

// keeping has the comparison keep the places of all differences.
func (o *FindOptions) keeping(c compare.Options, logs map[waybill.TableName]*spill.Log, pairs map[waybill.TableName][]string) compare.Options {
	var record []byte
	c.Found = func(d compare.Difference) error {
		l := logs[d.Table]
		if l == nil {
			l = spill.New(o.Dir, "waybill-repair-*", keptInMemory)
			logs[d.Table] = l
			for _, f := range d.Key {
				pairs[d.Table] = append(pairs[d.Table], f.Column)
			}
		}
		record = encode(record[:0], d.Place)
		if err := l.Append(tags[d.Kind], record); err != nil {
			return &waybill.Error{Op: "keep differences of", Table: d.Table, Fault: waybill.Setup, Err: err,
				Hint: "free disk space where temporary files go, or name another place in TMPDIR"}
		}
		return nil
	}
	return c
}

// exactly selects the named tables and no others.
func exactly(tables []waybill.TableName) waybill.Selection {
	chosen := waybill.Selection{}
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	for _, t := range tables {
		chosen = append(chosen, quote(t.Schema)+"."+quote(t.Name))
	}
	return chosen
}

func (f *Found) take(ctx context.Context, o FindOptions, t *compare.TableResult, l *spill.Log, pairs []string) error {
	switch {
	case t.State == compare.Equal:
		f.Equal = append(f.Equal, t.Table)
		return nil
	case l == nil && t.State == compare.Unsettled:
		beyond := *t
		beyond.Cause = "rows that differ did not stand still for as long as they were looked at"
		f.Beyond = append(f.Beyond, beyond)
		return nil
	case l == nil:
		f.Beyond = append(f.Beyond, *t)
		return nil
	}
	source, err := o.Source.Version(ctx, t.Table)
	if err != nil {
		return err
	}
	name, renamed := o.Terms.As[t.Table]
	if !renamed {
		name = t.Table
	}
	target, err := o.Target.Version(ctx, name)
	if err != nil {
		return err
	}
	s, err := newShape(source, target, pairs, len(t.Key) > 0, &o.Terms)
	if err == nil && t.State == compare.Refused {
		err = errors.New(t.Cause) // some of it was compared before that came to light
	}
	if err != nil {
		beyond := *t
		beyond.Cause = err.Error()
		f.Beyond = append(f.Beyond, beyond)
		return l.Discard()
	}
	f.Tables = append(f.Tables, &Table{Name: t.Table, Missing: t.Missing, Extra: t.Extra, Changed: t.Changed,
		Structure: t.Structure, shape: s, places: l})
	return nil
}

// gone adds the tables that neither side has any more.
func (f *Found) gone(asked []waybill.TableName, compared []compare.TableResult) {
	for _, name := range asked {
		if !slices.ContainsFunc(compared, func(t compare.TableResult) bool { return t.Table == name }) {
			f.Beyond = append(f.Beyond, compare.TableResult{Table: name, State: compare.MissingAtSource,
				Cause: fmt.Sprintf("the source has no table %s", name)})
		}
	}
}
