package main

import (
	"context"
	"fmt"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/ledger"
)

// readTerms reads under which terms a run compared. A verdict that is not about whole tables by identity needs them.
func readTerms(ctx context.Context, l *ledger.Ledger, v *verdict) (o compare.Options, err error) {
	entries, err := l.Entries(ctx, ledger.EntryFilter{Run: v.Run.Number, Kind: compare.TermsKind})
	if err != nil {
		return o, err
	}
	if len(entries) > 0 {
		return compare.StoredTerms(entries[len(entries)-1].Detail)
	}
	for _, t := range v.Tables {
		if !t.Whole() {
			return o, &waybill.Error{Op: fmt.Sprintf("read terms of run %d", v.Run.Number), Table: t.Table, Fault: waybill.Drift,
				Hint: "compare again", Err: fmt.Errorf("the ledger does not say what of the table was compared")}
		}
	}
	return o, nil
}
