package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/ledger"
)

// termsKind is the kind of the entry that says under which terms a run compared, where they are not the usual ones.
const termsKind = "compare.terms"

// storedTerms are the terms of a run as the ledger keeps them: a repair finds the same differences under them. Times
// that were given as how long ago are kept as what they meant.
type storedTerms struct {
	As      []string `json:"as,omitzero"`
	Columns []string `json:"columns,omitzero"`
	Without []string `json:"without,omitzero"`
	Rules   []string `json:"rules,omitzero"`
	Where   string   `json:"where,omitzero"`
	Column  string   `json:"column,omitzero"`
	Since   string   `json:"since,omitzero"`
	Until   string   `json:"until,omitzero"`
}

func (n *narrowing) record(ctx context.Context, l *ledger.Ledger, o *compare.Options, run int64) error {
	t := storedTerms{As: n.as, Columns: n.columns, Without: n.without, Rules: n.rules, Where: n.where, Column: n.column,
		Since: exactTime(o.Window.From), Until: exactTime(o.Window.To)}
	if run == 0 || reflect.DeepEqual(t, storedTerms{}) {
		return nil
	}
	return l.Record(ctx, waybill.Entry{Kind: termsKind, Subject: o.Name, Run: run, Detail: t})
}

func exactTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// readTerms reads the terms of a run. A verdict that is not about whole tables by identity needs them.
func readTerms(ctx context.Context, l *ledger.Ledger, v *verdict) (o compare.Options, err error) {
	entries, err := l.Entries(ctx, ledger.EntryFilter{Run: v.Run.Number, Kind: termsKind})
	if err != nil {
		return o, err
	}
	for _, t := range v.Tables {
		if len(entries) == 0 && (t.Part != "" || len(t.Rules) > 0 || len(t.LeftOut) > 0) {
			return o, &waybill.Error{Op: fmt.Sprintf("read terms of run %d", v.Run.Number), Table: t.Table, Fault: waybill.Drift,
				Hint: "compare again", Err: fmt.Errorf("the ledger does not say what of the table was compared")}
		}
	}
	if len(entries) == 0 {
		return o, nil
	}
	var t storedTerms
	if err := json.Unmarshal(entries[len(entries)-1].Detail, &t); err != nil {
		return o, fmt.Errorf("terms of run %d: %w", v.Run.Number, err)
	}
	n := narrowing{as: t.As, columns: t.Columns, without: t.Without, rules: t.Rules, where: t.Where, column: t.Column, since: t.Since, until: t.Until}
	return o, n.into(&o, time.Time{})
}
