package config

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/waybill-data/waybill"
)

var update = flag.Bool("update", false, "write what is got to the golden files")

// kinds are a connector that plays all roles and one that is only a target.
func kinds() []*waybill.Connector {
	sink := func(context.Context, waybill.Endpoint, waybill.SinkOptions) (waybill.Sink, error) { return nil, nil }
	return []*waybill.Connector{
		{Kind: "postgres", OpenSink: sink,
			OpenChanges: func(context.Context, waybill.Endpoint, waybill.ChangeOptions) (waybill.ChangeSource, error) {
				return nil, nil
			},
			Settings: []waybill.Setting{{Name: "publication_owner"}, {Name: "slot_kind"}}},
		{Kind: "memory", OpenSink: sink},
	}
}

// load reads a text as waybill.yaml in an environment where SET is "s3cret", EMPTY is empty and file
// conf/secret holds "from file".
func load(text string) (*Config, error) {
	return Load("conf/waybill.yaml", Options{
		Connectors: kinds(),
		Lookup: func(name string) (string, bool) {
			value, found := map[string]string{"SET": "s3cret", "EMPTY": ""}[name]
			return value, found
		},
		ReadFile: func(name string) ([]byte, error) {
			switch name {
			case "conf/waybill.yaml":
				return []byte(text), nil
			case "conf/secret":
				return []byte("from file\n"), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	})
}

func TestBrokenFiles(t *testing.T) {
	const golden = "testdata/broken.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for i := 0; i+1 < len(archive.Files); i += 2 {
		in, want := archive.Files[i], &archive.Files[i+1]
		name := strings.TrimSuffix(in.Name, ".yaml")
		t.Run(name, func(t *testing.T) {
			c, err := load(string(in.Data))
			problems, ok := errors.AsType[Problems](err)
			if !ok || c != nil {
				t.Fatalf("config %v, error %v, want problems only", c, err)
			}
			got := problems.Error() + "\n"
			if strings.Contains(got, "s3cret") || strings.Contains(got, "hunter2") {
				t.Errorf("a secret is shown: %s", got)
			}
			if *update {
				want.Data = []byte(got)
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Error(diff)
			}
		})
		count++
	}
	if count < 40 {
		t.Errorf("%d files, want at least 40", count)
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestValidFile(t *testing.T) {
	c, err := load(`# comment
ledger: sqlite:sub/l.db
endpoints:
  shop:
    kind: postgres
    url: "postgres://u:${env:SET}@h/d?x=$${y}"
    settings: {slot_kind: 5, publication_owner: "${file:secret}"}
  lake: {kind: memory, url: 'm'}
links:
  all: {source: shop, target: lake, tables: public.*}
  some:
    source: shop
    target: lake
    tables: ["public.*", "!public.tmp_*"]
    on_reshape: {drop table: ask, drop column: stop, others: ignore}
    workers: 3
    slice_rows: 1000
    heartbeat: 500ms
    patience: 5m
    spill_dir: /var/tmp
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Ledger.Reveal(); got != "sqlite:conf/sub/l.db" {
		t.Errorf("ledger %q", got)
	}
	shop := c.Endpoints["shop"]
	if got := shop.URL.Reveal(); got != "postgres://u:s3cret@h/d?x=${y}" {
		t.Errorf("url %q", got)
	}
	if diff := cmp.Diff(map[string]string{"slot_kind": "5", "publication_owner": "from file"}, shop.Settings); diff != "" {
		t.Error(diff)
	}
	all := Link{Name: "all", Source: "shop", Target: "lake", Tables: waybill.Selection{"public.*"}, OnReshape: map[waybill.StepKind]string{}}
	if diff := cmp.Diff(all, c.Links["all"]); diff != "" {
		t.Error(diff)
	}
	some := c.Links["some"]
	actions := map[waybill.StepKind]string{}
	for _, kind := range waybill.StepKinds {
		actions[kind] = "ignore"
	}
	actions[waybill.DropTable], actions[waybill.DropColumn] = "ask", "stop"
	want := Link{Name: "some", Source: "shop", Target: "lake", Tables: waybill.Selection{"public.*", "!public.tmp_*"}, OnReshape: actions,
		Workers: 3, SliceRows: 1000, Heartbeat: 500 * time.Millisecond, Patience: 5 * time.Minute, SpillDir: "/var/tmp"}
	if diff := cmp.Diff(want, some); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "endpoints:\nlinks:\n", "---\n", "{}\n"} {
		c, err := load(text)
		if err != nil || c.Ledger.Reveal() != "sqlite:conf/waybill.db" || len(c.Links) != 0 {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load("conf/other.yaml", Options{ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist }})
	if waybill.FaultOf(err) != waybill.Setup || !strings.Contains(waybill.HintOf(err), "waybill init") {
		t.Errorf("error %v, hint %q", err, waybill.HintOf(err))
	}
}

// TestSecretsStayHidden prints a whole configuration in every way that prints.
func TestSecretsStayHidden(t *testing.T) {
	c, err := load("ledger: postgres://u:${env:SET}@h/d\nendpoints: {shop: {kind: postgres, url: \"${env:SET}\"}}\n")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cret") || !strings.Contains(string(text), "***") {
		t.Errorf("JSON: %s", text)
	}
}

// FuzzLoad looks for texts that end in neither a configuration nor located problems.
func FuzzLoad(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/broken.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load(text)
		problems, located := errors.AsType[Problems](err)
		if (c == nil) == (err == nil) || err != nil && !located {
			t.Fatalf("config %v, error %v", c, err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.What == "" {
				t.Errorf("problem %+v has no place", p)
			}
		}
	})
}
