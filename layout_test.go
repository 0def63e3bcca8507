package waybill_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/waybill-data/waybill"

// allowed says what each folder may import of this module, tests excepted. A folder without a line fails:
// adding the line is the design review. "root" is the root package; a trailing /... allows a subtree.
var allowed = map[string][]string{
	".":                         {},
	"link":                      {"root"},
	"compare":                   {"root", "internal/spill"},
	"compare/repair":            {"root", "compare", "internal/spill"},
	"compare/report":            {"root", "compare"},
	"ledger":                    {"root"},
	"layer":                     {"root"},
	"config":                    {"root"},
	"connect":                   {"root", "connect/memory", "connect/postgres"},
	"connect/memory":            {"root"},
	"connect/connecttest":       {"root"},
	"connect/postgres":          {"root", "connect/postgres/...", "internal/spill"},
	"connect/postgres/pgoutput": {},
	"cmd/waybill":               {"root", "link", "compare", "compare/repair", "compare/report", "ledger", "layer", "config", "connect", "internal/...", "demo"},
	"demo":                      {"root", "internal/..."},
	"bench":                     {"root", "internal/pgserver"},
	"bench/link":                {"bench"},
	"bench/copy":                {"root", "bench"},
	"bench/compare":             {"bench"},
	"internal/pgserver":         {},
	"internal/dbtest":           {"internal/pgserver"},
	"internal/spill":            {},
}

func TestLayout(t *testing.T) {
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && file != ".") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		checkImports(t, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, file string) {
	t.Helper()
	folder := filepath.ToSlash(filepath.Dir(file))
	may, declared := allowed[folder]
	if !declared {
		t.Errorf("%s: folder %s has no line in layout_test.go", file, folder)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range parsed.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		if folder == "." && strings.Contains(strings.Split(imported, "/")[0], ".") {
			t.Errorf("%s: the vocabulary imports %s; it may import the standard library only", file, imported)
		}
		name, ours := strings.CutPrefix(imported, module)
		if !ours {
			continue
		}
		name = strings.TrimPrefix(name, "/")
		if name == "" {
			name = "root"
		}
		if !slices.ContainsFunc(may, func(pattern string) bool { return covers(pattern, name) }) {
			t.Errorf("%s: %s may not import %s", file, folder, name)
		}
	}
}

func covers(pattern, name string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == tree || strings.HasPrefix(name, tree+"/")
	}
	return path.Clean(pattern) == name
}
