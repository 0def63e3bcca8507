package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/ledger"
)

// differencesCode is the stable code of the alarm that a comparison with differences raises.
const differencesCode = "compare.differences"

// The kinds of an alarm's entries.
const (
	alarmRaised   = "alarm.raised"
	alarmRepeated = "alarm.repeated"
	alarmCleared  = "alarm.cleared"
)

// alarmRecord is what an entry says of an alarm.
type alarmRecord struct {
	Code   string              `json:"code"`
	Tables []waybill.TableName `json:"tables,omitzero"` // that are known to differ
	Rows   int64               `json:"rows,omitzero"`   // that the last comparison found
	Since  int64               `json:"since,omitzero"`  // the entry that raised it
	Times  int                 `json:"times,omitzero"`  // raised and repeated
}

// shownAlarm is an alarm as it is now.
type shownAlarm struct {
	Subject string `json:"subject"`
	State   string `json:"state"` // raised or cleared
	At      string `json:"at"`
	Run     int64  `json:"run,omitzero"`
	Entry   int64  `json:"entry"`
	alarmRecord
}

// lastAlarms returns the newest entry of each subject's alarm, of one subject if it is named.
func lastAlarms(ctx context.Context, l *ledger.Ledger, subject string) ([]shownAlarm, error) {
	last := map[string]shownAlarm{}
	for _, kind := range []string{alarmRaised, alarmRepeated, alarmCleared} {
		entries, err := l.Entries(ctx, ledger.EntryFilter{Kind: kind, Subject: subject})
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			a := shownAlarm{Subject: e.Subject, State: "raised", At: stamp(e.At), Run: e.Run, Entry: e.ID}
			if kind == alarmCleared {
				a.State = "cleared"
			}
			if err := json.Unmarshal(e.Detail, &a.alarmRecord); err != nil {
				return nil, fmt.Errorf("entry %d of the ledger: %w", e.ID, err)
			}
			if kind == alarmRaised {
				a.Since = e.ID
			}
			if a.Code == differencesCode && e.ID > last[e.Subject].Entry {
				last[e.Subject] = a
			}
		}
	}
	var all []shownAlarm
	for _, name := range keys(last) {
		all = append(all, last[name])
	}
	return all, nil
}

// alarm records what a comparison, a repair or a reset says about tables: whether each differs. A table that it
// says nothing about stays as it was, so a clean comparison of some tables does not clear an alarm about others.
func (a *app) alarm(ctx context.Context, l *ledger.Ledger, name string, run int64, differs map[waybill.TableName]bool, rows int64) error {
	known, err := lastAlarms(ctx, l, name)
	if err != nil {
		return err
	}
	was := shownAlarm{State: "cleared"}
	if len(known) == 1 {
		was = known[0]
	}
	now := alarmRecord{Code: differencesCode, Rows: rows}
	if was.State == "raised" {
		now.Since, now.Times = was.Since, was.Times
		now.Tables = slices.DeleteFunc(slices.Clone(was.Tables), func(t waybill.TableName) bool { _, said := differs[t]; return said })
	}
	for table, differs := range differs {
		if differs {
			now.Tables = append(now.Tables, table)
		}
	}
	slices.SortFunc(now.Tables, func(a, b waybill.TableName) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	kind := alarmRaised
	switch {
	case len(now.Tables) == 0 && was.State == "cleared":
		return nil
	case len(now.Tables) == 0:
		kind = alarmCleared
	case was.State == "raised":
		kind = alarmRepeated
	}
	if kind != alarmCleared {
		now.Times++
	}
	return l.Record(ctx, waybill.Entry{Kind: kind, Subject: name, Run: run, Detail: now})
}

// unequal says of every table whether it differs; of one that could not be compared nothing is known.
func unequal(r *compare.Result) map[waybill.TableName]bool {
	differs := map[waybill.TableName]bool{}
	for _, t := range r.Tables {
		if t.State == compare.Refused || t.Clean() && !t.Whole() {
			continue // of the table, or the rest of it, nothing is known
		}
		differs[t.Table] = t.State != compare.Equal
	}
	return differs
}

func (a *app) ledgerAlarmsCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "alarms", Short: "List the alarms that comparisons raised", Args: cobra.NoArgs,
		Long: `alarms lists comparisons whose tables are known to differ: a comparison that finds differences raises its alarm or repeats
it, and one that finds its tables equal clears it. Each of the three is an entry of the hash chain.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withLedger(c.Context(), false, func(l *ledger.Ledger) error {
				alarms, err := lastAlarms(c.Context(), l, "")
				if err != nil {
					return err
				}
				if !all {
					alarms = slices.DeleteFunc(alarms, func(s shownAlarm) bool { return s.State == "cleared" })
				}
				return printList(a, alarms, "SUBJECT CODE STATE AT RUN TIMES ROWS TABLES", func(s shownAlarm) []any {
					return []any{s.Subject, s.Code, s.State, s.At, s.Run, s.Times, s.Rows, fmt.Sprint(s.Tables)}
				})
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that were cleared, too")
	return c
}
