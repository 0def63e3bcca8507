package demo

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestReportReadsWell(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
	if got := wrap([]string{"aaa", "bbb", "ccc"}, 8); strings.Join(got, "|") != "aaa · bbb|ccc" {
		t.Errorf("wrap = %q", got)
	}
	if got := strings.Join(sorted(map[string]int{"b": 2, "a": 1}), "|"); got != "a|b 2" {
		t.Errorf("sorted = %q, want a|b 2", got)
	}
}

func TestCounterAddsRunsUp(t *testing.T) {
	var c counter
	for _, text := range []string{
		`[{"run": 1, "changes": 10, "rows_copied": 7, "changes_per_second": 9, "delay_p99_seconds": 3}]`,
		`[{"run": 1, "changes": 15, "rows_copied": 7, "changes_per_second": 2}]`,
		`[]`, `nonsense`,
		`[{"run": 3, "changes": 4, "delay_p99_seconds": 0.5}]`,
	} {
		c.add([]byte(text))
	}
	got := c.totals()
	if got.Runs != 2 || got.Changes != 19 || got.RowsCopied != 7 || got.Rate != 9 || got.DelayP99 != 0.5 {
		t.Errorf("totals = %+v, want 2 runs, 19 changes, 7 rows copied, rate 9, p99 0.5", got)
	}
}

func TestReportHoldsOnlyWithProof(t *testing.T) {
	good := Report{Ledger: "whole", Verdict: Verdict{Compared: 10}}
	if !good.Holds() {
		t.Error("a report without differences does not hold")
	}
	for name, spoil := range map[string]func(*Report){
		"nothing compared": func(r *Report) { r.Verdict.Compared = 0 },
		"a difference":     func(r *Report) { r.Verdict.Differences = 1 },
		"an unequal table": func(r *Report) { r.Verdict.Unequal = []string{"shop.a: missing at target"} },
		"a broken ledger":  func(r *Report) { r.Ledger = "" },
	} {
		r := good
		spoil(&r)
		if r.Holds() {
			t.Errorf("the report holds in spite of %s", name)
		}
	}
}

func TestLiteralsFitTheirTypes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		if text := decimal(r, 5, 2); len(strings.TrimLeft(text, "-")) > 6 {
			t.Fatalf("decimal(5,2) = %s", text)
		}
	}
	if text, known := literal(r, "character varying(3)", nil, true); !known || len(text) > 3 {
		t.Errorf("varchar(3) = %q, %v", text, known)
	}
	if _, known := literal(r, "box", nil, false); known {
		t.Error("box is known")
	}
	if got := quote(`a'b\c`); got != `E'a''b\\c'` {
		t.Errorf("quote = %s", got)
	}
}
