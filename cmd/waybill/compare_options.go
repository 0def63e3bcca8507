package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
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
