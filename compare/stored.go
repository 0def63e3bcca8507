package compare

import (
	"encoding/json"
	"fmt"

	"github.com/waybill-data/waybill"
)

// EntryKind is the kind of the ledger's entries that hold a table's verdict.
const EntryKind = "compare.table"

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
