package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// Report is what the demonstration showed.
type Report struct {
	Source   string           `json:"source_version"`
	Target   string           `json:"target_version"`
	Seed     uint64           `json:"seed"`
	Tables   int              `json:"tables"`
	Loaded   int64            `json:"rows_loaded"`
	Written  Written          `json:"written"`
	Carried  Carried          `json:"carried"`
	Kills    int              `json:"kills"`
	Reshapes int64            `json:"structure_changes"`
	Kinds    map[string]int64 `json:"structure_change_kinds"`
	// RolledBack are structure changes that must leave no trace.
	RolledBack int64          `json:"structure_changes_rolled_back"`
	Versions   map[string]int `json:"table_versions"`
	CatchUp    float64        `json:"catch_up_seconds"` // after the last write
	Verdict    Verdict        `json:"verdict"`
	Ledger     string         `json:"ledger"`
	Seconds    float64        `json:"seconds"`
	Dir        string         `json:"dir"`
	Config     string         `json:"config"`
	SourceURL  string         `json:"source_url"`
	TargetURL  string         `json:"target_url"`
}

// Written is what was done to the source.
type Written struct {
	Committed  int64 `json:"transactions"`
	RolledBack int64 `json:"rolled_back"`
	Refused    int64 `json:"refused"`
	Rows       int64 `json:"rows"`
}

// Carried is what the link says it carried, over all its runs. What a run did between its last word and its
// end by a kill is not in it.
type Carried struct {
	Runs         int     `json:"runs"`
	RowsCopied   int64   `json:"rows_copied"`
	Changes      int64   `json:"changes"`
	Transactions int64   `json:"transactions"`
	Rate         float64 `json:"changes_per_second"` // the highest seen over a minute
	DelayP50     float64 `json:"delay_p50_seconds"`
	DelayP99     float64 `json:"delay_p99_seconds"`
}

// Verdict is what the comparison found.
type Verdict struct {
	Compared    int      `json:"tables"`
	SourceRows  int64    `json:"source_rows"`
	TargetRows  int64    `json:"target_rows"`
	Differences int64    `json:"differences"` // rows
	Unequal     []string `json:"unequal,omitempty"`
}

// Holds reports whether everything that must hold did.
func (r *Report) Holds() bool {
	return r.Verdict.Compared > 0 && len(r.Verdict.Unequal) == 0 && r.Verdict.Differences == 0 && r.Ledger == "whole"
}

// counter adds up what the runs of a link say of themselves.
type counter struct{ last map[int64]waybill.LinkStatus }

func (c *counter) add(text []byte) {
	var status waybill.LinkStatus
	var list []waybill.LinkStatus
	if json.Unmarshal(text, &status) != nil {
		if json.Unmarshal(text, &list) != nil || len(list) == 0 {
			return
		}
		status = list[0]
	}
	if c.last == nil {
		c.last = map[int64]waybill.LinkStatus{}
	}
	status.Rate = max(status.Rate, c.last[status.Run].Rate)
	c.last[status.Run] = status
}

func (c *counter) totals() Carried {
	t := Carried{Runs: len(c.last)}
	var newest int64
	for run, s := range c.last {
		t.RowsCopied += s.RowsCopied
		t.Changes += s.Changes
		t.Transactions += s.Transactions
		t.Rate = max(t.Rate, s.Rate)
		if run > newest {
			newest, t.DelayP50, t.DelayP99 = run, s.DelayP50, s.DelayP99
		}
	}
	return t
}

// Compare compares both ends with the program's own command, which exits with 4 when they differ.
func (s *Stage) Compare(ctx context.Context) (*Verdict, error) {
	text, err := s.Output(ctx, "compare", "run", Link, "-o", "json")
	var exit *exec.ExitError
	differ := errors.As(err, &exit) && exit.ExitCode() == 4
	if err != nil && !differ {
		return nil, err
	}
	var result struct {
		Tables []struct {
			Table      waybill.TableName `json:"table"`
			State      string            `json:"state"`
			SourceRows int64             `json:"source_rows"`
			TargetRows int64             `json:"target_rows"`
			Missing    int64             `json:"missing"`
			Extra      int64             `json:"extra"`
			Changed    int64             `json:"changed"`
			Structure  []string          `json:"structure"`
			Cause      string            `json:"cause"`
			Found      []json.RawMessage `json:"differences"`
		} `json:"tables"`
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return nil, fmt.Errorf("read the comparison's result: %w: %.300s", err, text)
	}
	v := &Verdict{Compared: len(result.Tables)}
	for _, t := range result.Tables {
		v.SourceRows += t.SourceRows
		v.TargetRows += t.TargetRows
		v.Differences += t.Missing + t.Extra + t.Changed
		if t.State != "equal" {
			line := fmt.Sprintf("%s: %s: %d missing, %d extra, %d changed of %d %s %s", t.Table, t.State, t.Missing, t.Extra, t.Changed, t.SourceRows,
				t.Cause, strings.Join(t.Structure, "; "))
			for _, found := range t.Found[:min(3, len(t.Found))] {
				line += fmt.Sprintf("\n    %.400s", compact(found))
			}
			v.Unequal = append(v.Unequal, line)
		}
	}
	return v, nil
}

func compact(text json.RawMessage) string { return strings.Join(strings.Fields(string(text)), " ") }

// Versions counts the versions that the ledger holds of each table.
func (s *Stage) Versions(ctx context.Context) (map[string]int, error) {
	text, err := s.Output(ctx, "schema", "history", Link, "-o", "json")
	if err != nil {
		return nil, err
	}
	var history []struct {
		Table     waybill.TableName `json:"table"`
		Number    int               `json:"number"`
		Structure struct {
			ID string `json:"id"`
		} `json:"structure"`
	}
	if err := json.Unmarshal(text, &history); err != nil {
		return nil, fmt.Errorf("read the schema history: %w", err)
	}
	// A renamed table goes on counting: it is shown once, under its last name.
	names, numbers := map[string]string{}, map[string]int{}
	for _, entry := range history {
		if id := entry.Structure.ID; entry.Number > numbers[id] {
			names[id], numbers[id] = entry.Table.String(), entry.Number
		}
	}
	versions := map[string]int{}
	for id, name := range names {
		versions[name] = max(versions[name], numbers[id])
	}
	return versions, nil
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-18s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "\nPostgreSQL %s to PostgreSQL %s, seed %d\n\n", r.Source, r.Target, r.Seed)
	line("copied", "%s rows while they were being changed: the first copy, and tables that had to be copied again", thousands(r.Carried.RowsCopied))
	line("written", "%s rows in %s transactions; %s rolled back, %s refused by a rule", thousands(r.Written.Rows),
		thousands(r.Written.Committed), thousands(r.Written.RolledBack), thousands(r.Written.Refused))
	line("carried", "%s row changes in %s transactions, %s changes/s (as fast as they were made)", thousands(r.Carried.Changes),
		thousands(r.Carried.Transactions), thousands(int64(r.Carried.Rate)))
	line("delay", "p50 %s, p99 %s, from commit at the source to durable at the target, since the last kill",
		duration(r.Carried.DelayP50), duration(r.Carried.DelayP99))
	line("caught up", "%s after the last write", duration(r.CatchUp))
	line("structure changes", "%d of %d kinds, each in its place between the rows; %d rolled back", r.Reshapes, len(r.Kinds), r.RolledBack)
	line("", "%s", strings.Join(wrap(sorted(r.Kinds), 90), "\n"+strings.Repeat(" ", 21)))
	line("table versions", "%s", strings.Join(wrap(sorted(r.Versions), 90), "\n"+strings.Repeat(" ", 21)))
	line("kills survived", "%d", r.Kills)
	line("compared", "%s rows in %d tables, both sides at one moment, row by row", thousands(r.Verdict.SourceRows), r.Verdict.Compared)
	line("ledger", "%s", r.Ledger)
	line("time", "%.0f s", r.Seconds)
	for _, unequal := range r.Verdict.Unequal {
		fmt.Fprintf(w, "\n  %s", unequal)
	}
	fmt.Fprintf(w, "\n  %d differences\n", r.Verdict.Differences)
}

// PrintLook says how to look at what was kept, and how to remove it.
func (r *Report) PrintLook(w io.Writer, program string) {
	fmt.Fprintf(w, "\nThe servers are still running. To look:\n\n")
	for _, command := range []string{
		fmt.Sprintf("psql '%s'                      # the source", r.SourceURL),
		fmt.Sprintf("psql '%s'                      # the target", r.TargetURL),
		fmt.Sprintf("cd %s", r.Dir),
		fmt.Sprintf("%s schema history %s", program, Link),
		fmt.Sprintf("%s ledger runs", program),
		fmt.Sprintf("%s run %s                      # goes on where it was", program, Link),
		fmt.Sprintf("%s compare run %s", program, Link),
	} {
		fmt.Fprintf(w, "  %s\n", command)
	}
	fmt.Fprintf(w, "\nTo remove it all:\n\n  for d in %s/waybill-pg-*; do kill -QUIT $(head -n 1 $d/data/postmaster.pid); done; rm -rf %[1]s\n", r.Dir)
}

func sorted[N int | int64](counts map[string]N) []string {
	var parts []string
	for name, n := range counts {
		text := name
		if n > 1 {
			text += " " + strconv.FormatInt(int64(n), 10)
		}
		parts = append(parts, text)
	}
	slices.Sort(parts)
	return parts
}

// wrap joins parts with " · " into lines of about the given width.
func wrap(parts []string, width int) []string {
	lines := []string{""}
	for _, part := range parts {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = part
		case len(*last)+len(part) > width:
			lines = append(lines, part)
		default:
			*last += " · " + part
		}
	}
	return lines
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func duration(seconds float64) string {
	if seconds < 1 {
		return fmt.Sprintf("%.0f ms", seconds*1000)
	}
	return fmt.Sprintf("%.1f s", seconds)
}
