package postgres

import (
	"fmt"
	"slices"
	"testing"

	"github.com/waybill-data/waybill"
)

// TestMarkBeforeALargeTransaction: a mark is reached before the first part of the transaction after it. Between two
// parts it would make the target keep half a transaction.
func TestMarkBeforeALargeTransaction(t *testing.T) {
	version := &waybill.TableVersion{Table: waybill.TableName{Schema: "public", Name: "t"}}
	rows := func(n int) []waybill.Change {
		return slices.Repeat([]waybill.Change{{Op: waybill.Insert, Version: version}}, n)
	}
	for name, test := range map[string]struct {
		marked bool // before the first part, not after it
		want   []string
	}{
		"before it": {true, []string{"10: 1 change", "15: 0 changes", "inside: 2 changes", "inside: 3 changes", "40: 1 change"}},
		"within it": {false, []string{"10: 1 change", "inside: 2 changes", "inside: 3 changes", "40: 1 change"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &changes{slabs: newSlabs()}
			c.slabs.queue = []*slab{
				{changes: rows(3), commits: []ending{{to: 1, lsn: 10}}, opens: 31},
				{changes: rows(3), opens: 31},
				{changes: rows(1), commits: []ending{{to: 1, lsn: 40, parted: true}}},
			}
			if test.marked {
				c.Mark(c.server.at(15))
			}
			var got []string
			for len(got) == 0 || got[len(got)-1][:2] != "40" {
				b, err := c.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if b.Position == "" && !test.marked {
					c.Mark(c.server.at(15))
				}
				got = append(got, told(t, b))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func told(t *testing.T, b waybill.ChangeBatch) string {
	at, plural := "inside", "s"
	if b.Position != "" {
		at = fmt.Sprint(lsnOfPosition(t, b.Position))
	}
	if len(b.Changes) == 1 {
		plural = ""
	}
	return fmt.Sprintf("%s: %d change%s", at, len(b.Changes), plural)
}
