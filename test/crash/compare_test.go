package crash

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// comparedTable is large enough that a kill meets a comparison in the middle of it, which reads slowly.
const comparedTable = `
CREATE TABLE parcels (id bigint PRIMARY KEY, note text);
INSERT INTO parcels SELECT i * 3, 'parcel ' || i FROM generate_series(1, 200000) i;
ANALYZE;`

var comparison = []string{"compare", "run", "--source", "shop", "--target", "lake", "--settle", "100ms", "--part-rows", "10000", "-o", "json"}

// TestComparisonIsKilled kills a comparison at random moments, and each that goes on where it was. The last one
// finds what a comparison that nobody kills finds. WAYBILL_COMPARE_KILLS sets how many.
func TestComparisonIsKilled(t *testing.T) {
	kills, seed := number(t, "WAYBILL_COMPARE_KILLS", 5), uint64(number(t, "WAYBILL_SEED", int(time.Now().UnixNano()>>10)))
	r := newRepairTrial(t, seed)
	for _, url := range []string{r.source, r.target} {
		r.sql(url, comparedTable)
	}
	r.sql(r.target, "UPDATE parcels SET note = 'other' WHERE id IN (3, 300000, 600000); DELETE FROM parcels WHERE id = 299997; UPDATE shops SET name = 'x' WHERE id = 7")
	want, _ := r.verdict(comparison...)
	arguments := append(append([]string(nil), comparison...), "--rate", "100000")
	var fromRun int
	for left := kills; ; {
		resumed := arguments
		if last := r.lastRun(); last > 1 {
			resumed = append(resumed, "--resume", fmt.Sprint(last))
		}
		if left == 0 {
			var got string
			if got, fromRun = r.verdict(resumed...); got != want {
				t.Errorf("after %d kills:\n%s\nwant\n%s", kills, got, want)
			}
			break
		}
		if r.interrupt(resumed) {
			left--
		} else {
			arguments[len(arguments)-1] = "50000" // it is too fast to be met
		}
	}
	if fromRun == 0 {
		t.Errorf("nothing was taken over from %d killed runs", kills)
	}
	r.run(0, "ledger", "verify")
	t.Logf("compare: %d kills, %d parts and tables were taken over at the end, seed %d", kills, fromRun, seed)
}

// interrupt kills a comparison after a random time, and reports whether it was still at work.
func (r *repairTrial) interrupt(arguments []string) bool {
	command := exec.CommandContext(r.t.Context(), r.program, arguments...)
	command.Dir = r.dir
	if err := command.Start(); err != nil {
		r.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(500+r.random.IntN(1500))*time.Millisecond, func() { _ = command.Process.Kill() })
	defer timer.Stop()
	err := command.Wait()
	return err != nil && !command.ProcessState.Exited()
}

// verdict runs a comparison to its end and returns what it found, and how much of it an earlier run had.
func (r *repairTrial) verdict(arguments ...string) (found string, fromRun int) {
	var result struct {
		Tables []struct {
			Table, State            string
			Missing, Extra, Changed int
			SourceRows              int `json:"source_rows"`
			TargetRows              int `json:"target_rows"`
			FromRun                 int `json:"from_run"`
			PartsFromRun            int `json:"parts_from_run"`
			Differences             []json.RawMessage
		}
	}
	if err := json.Unmarshal(r.run(4, arguments...), &result); err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, t := range result.Tables {
		fromRun += t.PartsFromRun
		if t.FromRun != 0 {
			fromRun++
		}
		lines = append(lines, fmt.Sprint(t.Table, " ", t.State, " ", t.SourceRows, t.TargetRows, t.Missing, t.Extra, t.Changed))
		for _, d := range t.Differences {
			lines = append(lines, "  "+string(d))
		}
	}
	return strings.Join(lines, "\n"), fromRun
}

// lastRun returns the number of the last comparison.
func (r *repairTrial) lastRun() int64 {
	var runs []struct {
		Number int64
		Kind   string
	}
	if err := json.Unmarshal(r.run(0, "ledger", "runs", "-o", "json"), &runs); err != nil {
		r.t.Fatal(err)
	}
	var last int64
	for _, run := range runs {
		if run.Kind == "compare" {
			last = max(last, run.Number)
		}
	}
	return last
}
