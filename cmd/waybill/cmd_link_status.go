package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/config"
	"github.com/waybill-data/waybill/ledger"
)

// silence is how long a process on another machine may say nothing before it is taken for gone.
const silence = 30 * time.Second

// shownStatus is one link of link status.
type shownStatus struct {
	waybill.LinkStatus
	Note   string               `json:"note,omitzero"` // what the status does not say itself
	Source *waybill.StreamState `json:"source,omitempty"`
}

func (a *app) linkStatusCommand() *cobra.Command {
	var offline, tables bool
	c := &cobra.Command{
		Use: "status [LINK...]", Short: "Show how far links are",
		Long: `status shows what the ledger knows of links and, unless --offline, asks each source once how much log it keeps for them.
A link whose process is gone is shown as stopped.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := a.statusConfig(args)
			if err != nil {
				return err
			}
			var shown []shownStatus
			err = a.withLedger(c.Context(), conf != nil, func(l *ledger.Ledger) error {
				statuses, err := l.Statuses(c.Context())
				shown = merge(statuses, conf, args, time.Now())
				return err
			})
			if err != nil {
				return err
			}
			if conf != nil && !offline {
				a.askSources(c.Context(), conf, shown)
			}
			return a.printStatuses(shown, tables)
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "do not ask the sources")
	c.Flags().BoolVar(&tables, "tables", false, "show the tables of each link")
	return c
}

// statusConfig reads the configuration, but does without one where a ledger is named.
func (a *app) statusConfig(links []string) (*config.Config, error) {
	if _, err := os.Stat(a.configFile); err != nil && a.ledgerDSN != "" {
		return nil, nil
	}
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	for _, name := range links {
		if _, known := c.Links[name]; !known {
			return nil, usage(fmt.Errorf("%s has no link %q; it has %s", c.File, name, names(c.Links)))
		}
	}
	return c, nil
}

// merge adds configured links that never ran and marks those whose process is gone.
func merge(statuses []waybill.LinkStatus, c *config.Config, only []string, now time.Time) []shownStatus {
	all := map[string]shownStatus{}
	for _, s := range statuses {
		all[s.Link] = settle(s, now)
	}
	if c != nil {
		for name := range c.Links {
			if _, ran := all[name]; !ran {
				all[name] = shownStatus{LinkStatus: waybill.LinkStatus{Link: name, State: "never run"}}
			}
		}
	}
	var shown []shownStatus
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(only) == 0 || slices.Contains(only, name) {
			shown = append(shown, all[name])
		}
	}
	return shown
}

// settle shows a link as stopped when its process is gone without having said so.
func settle(s waybill.LinkStatus, now time.Time) shownStatus {
	shown := shownStatus{LinkStatus: s}
	if ended(s.State) || alive(s, now) {
		return shown
	}
	shown.Note = fmt.Sprintf("process %d on %s is gone; it was %s at %s", s.Process, s.Host, s.State, stamp(s.Updated))
	shown.State, shown.Rate = "stopped", 0
	return shown
}

func ended(state string) bool { return state == "stopped" || state == "failed" || state == "" }

// alive reports whether a link's process is there: on this machine by its number, elsewhere by its last word.
func alive(s waybill.LinkStatus, now time.Time) bool {
	if ended(s.State) {
		return false
	}
	host, err := os.Hostname()
	if err != nil || host != s.Host {
		return now.Sub(s.Updated) < silence
	}
	// The number may have gone to another process since, so a long silence counts too.
	err = syscall.Kill(s.Process, 0)
	return (err == nil || errors.Is(err, syscall.EPERM)) && now.Sub(s.Updated) < 10*silence
}

// askSources asks each source about its links. One that does not answer is asked once, not for every link
// (invariant 8).
func (a *app) askSources(ctx context.Context, c *config.Config, shown []shownStatus) {
	failed := map[string]string{}
	for i := range shown {
		l, known := c.Links[shown[i].Link]
		if !known {
			continue
		}
		e := c.Endpoints[l.Source]
		connector := a.kind(e)
		if connector.State == nil {
			continue
		}
		if note, before := failed[e.Name]; before {
			shown[i].add(note)
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		state, err := connector.State(ctx, e, l.Name)
		cancel()
		if err != nil {
			failed[e.Name] = "source " + e.Name + " does not answer: " + err.Error()
			shown[i].add(failed[e.Name])
			continue
		}
		shown[i].Source = &state
		if state.Note != "" {
			shown[i].add(state.Note)
		}
	}
}

func (s *shownStatus) add(note string) {
	if s.Note != "" {
		s.Note += "; "
	}
	s.Note += note
}

func (a *app) printStatuses(shown []shownStatus, tables bool) error {
	err := printList(a, shown, "LINK STATE DELAY P99 RATE CHANGES COPIED BEHIND UPDATED NOTE", func(s shownStatus) []any {
		behind := ""
		if s.Source != nil && s.Source.Exists {
			behind = size(s.Source.Behind)
		}
		note := s.Note
		for _, more := range []string{s.Waiting, s.Error, s.Hint} {
			if more != "" {
				note += " " + more
			}
		}
		return []any{s.Link, s.State, seconds(s.Delay), seconds(s.DelayP99), fmt.Sprintf("%.0f/s", s.Rate), s.Changes, s.RowsCopied, behind, s.Updated, note}
	})
	if err != nil || !tables || a.output != "table" {
		return err
	}
	for _, s := range shown {
		fmt.Fprintf(a.out, "\n%s\n", s.Link)
		if err := printList(a, s.Tables, "TABLE STATE ROWS EXPECTED VERSION", func(t waybill.TableStatus) []any {
			return []any{t.Table, t.State, t.Rows, t.Expected, t.Version}
		}); err != nil {
			return err
		}
	}
	return nil
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// size prints a size in powers of 1024.
func size(n int64) string {
	amount, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for amount >= 1024 && unit < len(units)-1 {
		amount, unit = amount/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", amount, units[unit])
}

func writeLines(w io.Writer, pairs [][2]any) {
	for _, p := range pairs {
		fmt.Fprintf(w, "%s:\t%s\n", p[0], oneLine(p[1]))
	}
}
