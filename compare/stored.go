package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
)

// EntryKind is the kind of the ledger's entries that hold a table's verdict.
const EntryKind = "compare.table"

// TermsKind is the kind of the ledger's entry that says what a run was about.
const TermsKind = termsKind

// StoredTerms reads back what a run was about: As, Columns, Without, Rules, Where and Window.
func StoredTerms(detail json.RawMessage) (o Options, err error) {
	var t terms
	err = json.Unmarshal(detail, &t)
	for from, to := range t.As {
		source, e := waybill.ParseTableName(from)
		target, f := waybill.ParseTableName(to)
		if o.As == nil {
			o.As = map[waybill.TableName]waybill.TableName{}
		}
		o.As[source], err = target, errors.Join(err, e, f)
	}
	names := func(texts []string) (all []ColumnName) {
		for _, text := range texts {
			name, e := ParseColumnName(text)
			all, err = append(all, name), errors.Join(err, e)
		}
		return all
	}
	o.Columns, o.Without, o.Where = names(t.Columns), names(t.Without), t.Where
	for _, text := range t.Rules {
		at := max(0, strings.LastIndexByte(text, '='))
		o.Rules = append(o.Rules, ColumnRule{names([]string{text[:at]})[0], Rule(text[at+1:])})
	}
	if len(t.Window) == 3 {
		var e, f error
		o.Window.Column = t.Window[0]
		o.Window.From, e = time.Parse(printedTime, t.Window[1])
		o.Window.To, f = time.Parse(printedTime, t.Window[2])
		err = errors.Join(err, e, f)
	}
	if err != nil {
		return o, &waybill.Error{Op: "read what was compared", Fault: waybill.Drift, Err: fmt.Errorf("entry of the ledger: %w", err)}
	}
	return o, nil
}

// printedTime is how time.Time prints itself, in UTC.
const printedTime = "2006-01-02 15:04:05.999999999 -0700 MST"

// Stored reads back the verdict on a table from the detail of its entry, and what was said of the moment.
// Differences have keys and names of columns only: the ledger keeps no other values.
func Stored(table waybill.TableName, detail json.RawMessage) (t TableResult, moment string, err error) {
	var f finding
	if err := json.Unmarshal(detail, &f); err != nil {
		return t, "", &waybill.Error{Op: "read verdict on", Table: table, Fault: waybill.Drift, Err: fmt.Errorf("entry of the ledger: %w", err)}
	}
	t = TableResult{Table: table, State: f.State, Key: f.Key, SourceRows: f.SourceRows, TargetRows: f.TargetRows, Missing: f.Missing,
		Extra: f.Extra, Changed: f.Changed, Structure: f.Structure, Part: f.Part, Rules: f.Rules, LeftOut: f.LeftOut, Cause: f.Cause}
	for _, r := range f.Differences {
		d := Difference{Table: table, Kind: r.Kind, Key: r.Key, Count: 1}
		for _, c := range r.Columns {
			d.Columns = append(d.Columns, Cell{Column: c})
		}
		t.Differences = append(t.Differences, d)
	}
	return t, f.Moment, nil
}
