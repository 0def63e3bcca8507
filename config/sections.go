package config

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/waybill-data/waybill"
)

// config reads the whole file.
func (r *reader) config(text string) *Config {
	c := &Config{File: r.file, Endpoints: map[string]waybill.Endpoint{}, Links: map[string]Link{}}
	c.Ledger = waybill.NewSecret("sqlite:" + r.beside("waybill.db"))
	var endpoints, links ast.Node
	for _, f := range r.fields(r.parse(text), "the file") {
		switch f.key {
		case "ledger":
			c.Ledger = waybill.NewSecret(r.ledger(f))
		case "endpoints":
			endpoints = f.value
		case "links":
			links = f.value
		default:
			r.unknown(f, "", []string{"ledger", "endpoints", "links"})
		}
	}
	for _, f := range r.fields(endpoints, `"endpoints"`) {
		r.checkName(f, "an endpoint")
		c.Endpoints[f.key] = r.endpoint(f)
	}
	for _, f := range r.fields(links, `"links"`) {
		r.checkName(f, "a link")
		c.Links[f.key] = r.link(f, c.Endpoints)
	}
	return c
}

// beside makes a path that is relative to the file one that is relative to the working directory.
func (r *reader) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.file), path)
}

var nameShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

func (r *reader) checkName(f field, what string) {
	if !nameShape.MatchString(f.key) {
		r.add(f.at, "use up to 63 letters, digits, - and _, a letter or digit first", "%q cannot name %s", f.key, what)
	}
}

// unknown reports a key that is not known in a place; prefix says which place.
func (r *reader) unknown(f field, prefix string, known []string) {
	r.add(f.at, suggest(f.key, known), "%s%q is not known", prefix, f.key)
}

func (r *reader) ledger(f field) string {
	s, ok := r.expanded(f)
	if !ok {
		return ""
	}
	path, isFile := strings.CutPrefix(s, "sqlite:")
	switch {
	case isFile && path != "" && path != ":memory:":
		return "sqlite:" + r.beside(path)
	case strings.HasPrefix(s, "postgres://"), strings.HasPrefix(s, "postgresql://"):
		return s
	}
	r.add(at(f.value), "write sqlite:waybill.db or postgres://user@host/database", `"ledger" names neither a file nor a server`)
	return ""
}

func (r *reader) endpoint(f field) waybill.Endpoint {
	e := waybill.Endpoint{Name: f.key}
	var connector *waybill.Connector
	var settings ast.Node
	keys := r.fields(f.value, "endpoint "+f.key)
	for _, k := range keys {
		switch k.key {
		case "kind":
			connector = r.kind(k)
		case "url":
			url, _ := r.expanded(k)
			e.URL = waybill.NewSecret(url)
		case "settings":
			settings = k.value
		default:
			r.unknown(k, "endpoint key ", []string{"kind", "url", "settings"})
		}
	}
	r.require(f, keys, "kind", "url")
	if connector != nil {
		e.Kind = connector.Kind
		e.Settings = r.settings(settings, connector)
	}
	return e
}

func (r *reader) require(f field, keys []field, names ...string) {
	if !f.empty() && !isMapping(f.value) {
		return // said already
	}
	for _, name := range names {
		if !slices.ContainsFunc(keys, func(k field) bool { return k.key == name }) {
			r.add(f.at, "add `"+name+": ...`", "%q has no %s", f.key, name)
		}
	}
}

func (r *reader) kind(f field) *waybill.Connector {
	s, ok := r.text(f)
	if !ok {
		return nil
	}
	var kinds []string
	for _, c := range r.options.Connectors {
		if c.Kind == s.text {
			return c
		}
		kinds = append(kinds, c.Kind)
	}
	r.add(s.at, suggest(s.text, kinds), "endpoint kind %q is not known", s.text)
	return nil
}

func (r *reader) settings(n ast.Node, connector *waybill.Connector) map[string]string {
	var known []string
	for _, s := range connector.Settings {
		known = append(known, s.Name)
	}
	values := map[string]string{}
	for _, f := range r.fields(n, `"settings"`) {
		if !slices.Contains(known, f.key) {
			r.unknown(f, connector.Kind+" setting ", known)
			continue
		}
		if value, ok := r.expanded(f); ok {
			values[f.key] = value
		}
	}
	return values
}

var linkKeys = []string{"source", "target", "tables", "on_reshape", "workers", "slice_rows", "heartbeat", "patience", "spill_dir"}

func (r *reader) link(f field, endpoints map[string]waybill.Endpoint) Link {
	l := Link{Name: f.key, OnReshape: map[waybill.StepKind]string{}}
	keys := r.fields(f.value, "link "+f.key)
	for _, k := range keys {
		switch k.key {
		case "source":
			l.Source = r.reference(k, endpoints, func(c *waybill.Connector) bool { return c.OpenChanges != nil })
		case "target":
			l.Target = r.reference(k, endpoints, func(c *waybill.Connector) bool { return c.OpenSink != nil })
			if l.Target != "" && l.Target == l.Source {
				r.add(at(k.value), "name another endpoint", "source and target are the same endpoint %q", l.Target)
			}
		case "tables":
			l.Tables = r.tables(k)
		case "on_reshape":
			l.OnReshape = r.onReshape(k)
		case "workers":
			l.Workers = r.number(k, 1, 256)
		case "slice_rows":
			l.SliceRows = r.number(k, 1000, 1_000_000_000)
		case "patience":
			l.Patience = r.duration(k, time.Second, 30*24*time.Hour)
		case "heartbeat":
			l.Heartbeat = r.duration(k, 10*time.Millisecond, time.Hour)
		case "spill_dir":
			if dir, ok := r.expanded(k); ok {
				l.SpillDir = r.beside(dir)
			}
		default:
			r.unknown(k, "link key ", linkKeys)
		}
	}
	r.require(f, keys, "source", "target", "tables")
	return l
}

// reference reads the name of an endpoint whose kind can play the role of the key.
func (r *reader) reference(f field, endpoints map[string]waybill.Endpoint, plays func(*waybill.Connector) bool) string {
	s, ok := r.text(f)
	if !ok {
		return ""
	}
	e, known := endpoints[s.text]
	if !known {
		r.add(s.at, suggest(s.text, slices.Sorted(maps.Keys(endpoints))), "%s %q is no endpoint", f.key, s.text)
	}
	for _, c := range r.options.Connectors {
		if c.Kind == e.Kind && !plays(c) {
			r.add(s.at, "name an endpoint of another kind", "%s %q is a %s, which cannot be the %s of a link", f.key, s.text, e.Kind, f.key)
		}
	}
	return s.text
}

func (r *reader) tables(f field) waybill.Selection {
	var all waybill.Selection
	for _, s := range r.items(f) {
		if err := (waybill.Selection{s.text}).Check(); err != nil {
			r.add(s.at, `write schema.table, where * stands for any text: "public.*"`, "%v", err)
			continue
		}
		all = append(all, s.text)
	}
	return all
}

func (r *reader) duration(f field, low, high time.Duration) time.Duration {
	s, ok := r.text(f)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s.text)
	if err != nil || d < low || d > high {
		r.add(s.at, "write a time from "+low.String()+" to "+high.String()+", such as 1s or 500ms", "%q is %q", f.key, s.text)
	}
	return d
}

// others is the key of the action for all kinds that are not named.
const others = "others"

// onReshape reads one action for all kinds of structure changes, or one per kind.
func (r *reader) onReshape(f field) map[waybill.StepKind]string {
	actions := map[waybill.StepKind]string{}
	if !isMapping(f.value) {
		action := r.action(f)
		for _, kind := range waybill.StepKinds {
			actions[kind] = action
		}
		return actions
	}
	known := []string{others}
	for _, kind := range waybill.StepKinds {
		known = append(known, string(kind))
	}
	rest := ""
	for _, k := range r.fields(f.value, `"on_reshape"`) {
		switch {
		case k.key == others:
			rest = r.action(k)
		case slices.Contains(known, k.key):
			actions[waybill.StepKind(k.key)] = r.action(k)
		default:
			r.unknown(k, "kind of structure change ", known)
		}
	}
	for _, kind := range waybill.StepKinds {
		if _, named := actions[kind]; !named && rest != "" {
			actions[kind] = rest
		}
	}
	return actions
}

func (r *reader) action(f field) string {
	s, ok := r.text(f)
	if ok && !slices.Contains(Actions, s.text) {
		r.add(s.at, suggest(s.text, Actions), "action %q is not known", s.text)
	}
	return s.text
}
