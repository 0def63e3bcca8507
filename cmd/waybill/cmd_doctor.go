package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/config"
	"github.com/waybill-data/waybill/ledger"
)

// diagnosis is one finding of doctor.
type diagnosis struct {
	Endpoint string       `json:"endpoint"`
	Role     waybill.Role `json:"role,omitzero"`
	Link     string       `json:"link,omitzero"`
	waybill.Finding
}

// probe is one look at an endpoint in one role.
type probe struct {
	endpoint waybill.Endpoint
	role     waybill.Role
	link     config.Link
}

func (a *app) doctorCommand() *cobra.Command {
	var limit time.Duration
	c := &cobra.Command{
		Use: "doctor [LINK...]", Short: "Probe endpoints, rights and settings, with a fix for each finding",
		Long: `doctor logs in to each endpoint once for every role it plays in the links and looks for what would keep a link
from working. It changes nothing. A login that is refused is not tried again.

Exit code 3 where an endpoint or the ledger could not be probed, 4 where a probe found a blocker.`,
		ValidArgsFunction: a.completeLinks,
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := a.load()
			if err != nil {
				return err
			}
			probes, err := probesOf(conf, args)
			if err != nil {
				return err
			}
			all := []diagnosis{a.probeLedger(c.Context())}
			all = append(all, probeSpill(probes)...)
			unreachable := slices.ContainsFunc(all, func(d diagnosis) bool { return d.Severity == waybill.Blocker })
			more, failed := a.probeAll(c.Context(), probes, limit)
			return a.finishDoctor(append(all, more...), unreachable || failed)
		},
	}
	c.Flags().DurationVar(&limit, "timeout", 15*time.Second, "longest time for one probe")
	return c
}

func (a *app) finishDoctor(all []diagnosis, unreachable bool) error {
	err := printList(a, all, "SEVERITY ENDPOINT ROLE LINK CODE TABLE FOUND FIX", func(d diagnosis) []any {
		table := ""
		if d.Table != (waybill.TableName{}) {
			table = d.Table.String()
		}
		return []any{d.Severity, d.Endpoint, d.Role, d.Link, d.Code, table, d.What, d.Fix}
	})
	blocked := slices.ContainsFunc(all, func(d diagnosis) bool { return d.Severity == waybill.Blocker })
	switch {
	case err != nil:
		return err
	case unreachable:
		return &exitError{exitSetup}
	case blocked:
		return &exitError{exitFindings}
	}
	return nil
}

// probesOf lists what to probe: the ends of the named links, or of all; an endpoint without a link as both.
func probesOf(c *config.Config, links []string) ([]probe, error) {
	var probes []probe
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Links)) {
		link := c.Links[name]
		if len(links) > 0 && !slices.Contains(links, name) {
			continue
		}
		probes = append(probes, probe{c.Endpoints[link.Source], waybill.AsSource, link}, probe{c.Endpoints[link.Target], waybill.AsTarget, link})
		used[link.Source], used[link.Target] = true, true
	}
	for _, name := range links {
		if _, known := c.Links[name]; !known {
			return nil, usage(fmt.Errorf("%s has no link %q; it has %s", c.File, name, names(c.Links)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		if len(links) == 0 && !used[name] {
			probes = append(probes, probe{endpoint: c.Endpoints[name], role: waybill.AsSource}, probe{endpoint: c.Endpoints[name], role: waybill.AsTarget})
		}
	}
	slices.SortStableFunc(probes, func(x, y probe) int { return cmp.Compare(x.endpoint.Name, y.endpoint.Name) })
	return probes, nil
}

// probeAll runs the probes one after the other. An endpoint that refused a login is left alone from then on
// (invariant 8).
func (a *app) probeAll(ctx context.Context, probes []probe, limit time.Duration) (all []diagnosis, failed bool) {
	refused := map[string]bool{}
	for _, p := range probes {
		if refused[p.endpoint.Name] {
			continue
		}
		found, err := a.probeOne(ctx, p, limit)
		if err != nil {
			failed, refused[p.endpoint.Name] = true, true
			found = append(found, unprobed("endpoint.probe", err))
		}
		for _, finding := range found {
			all = append(all, diagnosis{p.endpoint.Name, p.role, p.link.Name, finding})
		}
	}
	return all, failed
}

func (a *app) probeOne(ctx context.Context, p probe, limit time.Duration) ([]waybill.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	connector := a.kind(p.endpoint)
	if connector.Probe == nil {
		return []waybill.Finding{{Code: "endpoint.probe", Severity: waybill.Warning, What: p.endpoint.Kind + " cannot be probed"}}, nil
	}
	found, err := connector.Probe(ctx, p.endpoint, p.role, p.link.Tables)
	if err != nil || p.role != waybill.AsSource || connector.Capture == nil {
		return found, err
	}
	installed, err := connector.Capture.Installed(ctx, p.endpoint)
	switch {
	case err != nil:
		return found, err
	case installed:
		return append(found, waybill.Finding{Code: "capture.installed", Severity: waybill.Fine, What: "structure changes are reported in the log"}), nil
	}
	return append(found, waybill.Finding{Code: "capture.missing", Severity: waybill.Warning,
		What: "structure changes are not reported in the log: a link stops at those that the log alone does not tell",
		Fix:  "waybill schema install " + p.endpoint.Name}), nil
}

func (a *app) probeLedger(ctx context.Context) diagnosis {
	finding := waybill.Finding{Code: "ledger.open", Severity: waybill.Fine, What: "it opens and can be written"}
	if err := a.withLedger(ctx, true, func(l *ledger.Ledger) error { return l.Probe(ctx) }); err != nil {
		finding = unprobed("ledger.open", err)
	}
	return diagnosis{Endpoint: "(ledger)", Finding: finding}
}

func unprobed(code string, err error) waybill.Finding {
	what := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		what = "no answer in time: " + what
	}
	return waybill.Finding{Code: code, Severity: waybill.Blocker, What: what, Fix: waybill.HintOf(err)}
}
