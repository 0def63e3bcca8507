package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/ledger"
)

// narrowing is what a person says of what is compared and how.
type narrowing struct {
	as, columns, without, rules []string
	where                       string
	column, since, until        string
	quick                       bool
}

func (n *narrowing) flags(f *pflag.FlagSet) {
	f.BoolVar(&n.quick, "quick", false, "compare structures and counts only, which proves nothing equal")
	f.StringArrayVar(&n.as, "as", nil, `a table has another name at the target: "public.a=archive.a"; may be repeated`)
	f.StringArrayVar(&n.columns, "columns", nil, `compare only these columns beside the keys: "name" or "public.a.name"; may be repeated`)
	f.StringArrayVar(&n.without, "without", nil, "leave this column out; may be repeated")
	f.StringArrayVar(&n.rules, "rule", nil, `when values of a column are equal: "price=number"; may be repeated. Rules: `+ruleNames())
	f.StringVar(&n.where, "where", "", "compare only rows for which this SQL condition holds, at both sides")
	f.StringVar(&n.column, "column", "", "time column of --since and --until")
	f.StringVar(&n.since, "since", "", "compare only rows at or after this time: 2026-11-20, 2026-11-20T15:04:05Z, or a time ago: 36h")
	f.StringVar(&n.until, "until", "", "compare only rows before this time")
}

func ruleNames() string {
	names := make([]string, len(compare.Rules))
	for i, r := range compare.Rules {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// into puts it into the options of a comparison.
func (n *narrowing) into(o *compare.Options, now time.Time) error {
	o.Where, o.Quick = n.where, n.quick
	for _, text := range n.as {
		from, to, ok := strings.Cut(text, "=")
		source, err := waybill.ParseTableName(from)
		target, otherErr := waybill.ParseTableName(to)
		if err = errors.Join(err, otherErr); !ok || err != nil {
			return fmt.Errorf("--as %q: want source=target: %w", text, err)
		}
		if o.As == nil {
			o.As = map[waybill.TableName]waybill.TableName{}
		}
		o.As[source] = target
	}
	for _, list := range []struct {
		texts []string
		to    *[]compare.ColumnName
	}{{n.columns, &o.Columns}, {n.without, &o.Without}} {
		for _, text := range list.texts {
			name, err := compare.ParseColumnName(text)
			if err != nil {
				return err
			}
			*list.to = append(*list.to, name)
		}
	}
	for _, text := range n.rules {
		at := strings.LastIndexByte(text, '=')
		name, err := compare.ParseColumnName(text[:max(at, 0)])
		rule := compare.Rule(text[at+1:])
		if at <= 0 || err != nil || !slices.Contains(compare.Rules, rule) {
			return fmt.Errorf("--rule %q: want column=rule with one of %s", text, ruleNames())
		}
		o.Rules = append(o.Rules, compare.ColumnRule{Name: name, Rule: rule})
	}
	return n.window(o, now)
}

func (n *narrowing) window(o *compare.Options, now time.Time) (err error) {
	if (n.column != "") != (n.since != "" || n.until != "") {
		return errors.New("--since and --until go with --column")
	}
	o.Window.Column = n.column
	if o.Window.From, err = moment(n.since, now); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if o.Window.To, err = moment(n.until, now); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	return nil
}

// moment reads a day, a time, or how long ago it was.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want 2026-11-20, 2026-11-20T15:04:05Z or 36h", text)
}

// sparing is what a person says of how a comparison goes about.
type sparing struct {
	rate, partRows, resume int64
	maxDelay               time.Duration
}

func (s *sparing) flags(f *pflag.FlagSet) {
	f.Int64Var(&s.rate, "rate", 0, "rows read a second at each side at most; 0: as many as come")
	f.DurationVar(&s.maxDelay, "max-delay", 0, "of a running link, read on only while its delay is below this; 0: always")
	f.Int64Var(&s.partRows, "part-rows", 0, "prove tables of more rows, with an integer or UUID key, in ranges of it of about so many rows, so that --resume goes on there; 0: each table as a whole")
	f.Int64Var(&s.resume, "resume", 0, "go on where this run was interrupted: what it proved equal is taken over as of then")
}

// into puts it into the options of a comparison; link is empty where there is none.
func (s *sparing) into(ctx context.Context, l *ledger.Ledger, o *compare.Options, link string) error {
	o.Rate, o.PartRows = s.rate, s.partRows
	if s.maxDelay > 0 {
		if link == "" {
			return usage(errors.New("--max-delay goes with a link"))
		}
		o.Hold = (&lagging{ledger: l, link: link, limit: s.maxDelay}).wait
	}
	if s.resume == 0 {
		return nil
	}
	run, err := l.Run(ctx, s.resume)
	if err != nil {
		return err
	}
	if run.Kind != "compare" || run.Name != o.Name {
		return usage(fmt.Errorf("run %d is no comparison of %s", s.resume, o.Name))
	}
	entries, err := l.Entries(ctx, ledger.EntryFilter{Run: s.resume})
	if err != nil {
		return err
	}
	o.Resumed = compare.Resume(s.resume)
	for _, e := range entries {
		if err := o.Resumed.Add(e.Kind, e.Table, e.Detail); err != nil {
			return err
		}
	}
	return nil
}

// lagging holds readers up while a link is late.
type lagging struct {
	ledger *ledger.Ledger
	link   string
	limit  time.Duration
	mu     sync.Mutex
	seen   time.Time
}

// wait returns once the link's delay is below the limit. One reader looks, at most once a second; the others
// wait for it.
func (g *lagging) wait(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for time.Since(g.seen) > time.Second {
		status, err := statusOf(ctx, g.ledger, g.link)
		if err != nil {
			return err
		}
		if now := time.Now(); !alive(status, now) || status.State != "streaming" || status.Delay < g.limit.Seconds() {
			g.seen = now
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
