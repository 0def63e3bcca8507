package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// rig is a stream under test: what came by it is kept as text, one line per change.
type rig struct {
	t        testing.TB
	url      string
	options  waybill.ChangeOptions
	endpoint waybill.Endpoint
	source   *changes
	lines    []string
	last     waybill.Position
	versions map[waybill.TableName]*waybill.TableVersion
	beats    int
	batches  []waybill.ChangeBatch // without their changes
}

// newRig prepares a stream over a new database with the given statements run.
func newRig(t testing.TB, major int, setup ...string) *rig {
	t.Helper()
	url := dbtest.Database(t, major)
	dbtest.Exec(t, url, setup...)
	return rigAt(t, url)
}

func rigAt(t testing.TB, url string) *rig {
	r := &rig{t: t, url: url, endpoint: waybill.Endpoint{Name: "shop", Kind: kind, URL: waybill.NewSecret(url), Settings: map[string]string{}},
		options:  waybill.ChangeOptions{Stream: "s" + fmt.Sprint(time.Now().UnixNano()), SpillDir: t.TempDir(), Heartbeat: 50 * time.Millisecond},
		versions: map[waybill.TableName]*waybill.TableVersion{}}
	if testing.Verbose() {
		r.options.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Cleanup(func() {
		if r.source != nil {
			r.close()
		}
	})
	return r
}

// open opens the stream where it was left, or anew.
func (r *rig) open() {
	r.t.Helper()
	if err := r.tryOpen(); err != nil {
		r.t.Fatalf("open: %v (%s)", err, waybill.HintOf(err))
	}
}

func (r *rig) tryOpen() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	o := r.options
	o.Position = r.last
	o.Versions = r.versions
	source, err := openChanges(ctx, r.endpoint, o)
	if err != nil {
		return err
	}
	r.source = source
	if r.last == "" {
		return r.describe(ctx)
	}
	return nil
}

// describe learns the structures at the beginning, as a target would from the view.
func (r *rig) describe(ctx context.Context) error {
	conn, err := connect(ctx, r.endpoint, "test", nil)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	tables, err := listTables(ctx, conn)
	if err != nil {
		return err
	}
	versions, err := describe(ctx, conn, tables)
	for _, v := range versions {
		r.versions[v.Table] = v
	}
	return err
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.source.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
	r.source = nil
}

func (r *rig) exec(statements ...string) {
	r.t.Helper()
	dbtest.Exec(r.t, r.url, statements...)
}

// until takes batches until a line has the text, and confirms each.
func (r *rig) until(text string) {
	r.t.Helper()
	if err := r.tryUntil(text); err != nil {
		r.t.Fatalf("until %q: %v (%s)\ngot %s", text, err, waybill.HintOf(err), strings.Join(r.lines, "\n    "))
	}
}

func (r *rig) tryUntil(text string) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 60*time.Second, errors.New("nothing came for a minute"))
	defer cancel()
	for from := 0; ; {
		for ; from < len(r.lines); from++ {
			if strings.Contains(r.lines[from], text) {
				return nil
			}
		}
		if err := r.next(ctx); err != nil {
			return err
		}
	}
}

// next takes one batch.
func (r *rig) next(ctx context.Context) error {
	b, err := r.source.Next(ctx)
	if err != nil {
		return err
	}
	for _, c := range b.Changes {
		r.lines = append(r.lines, changeLine(c))
		if c.Op == waybill.Reshape {
			r.learn(c.Shape)
		}
	}
	if b.Heartbeat {
		r.beats++
	}
	b.Changes = nil
	r.batches = append(r.batches, b)
	if b.Position == "" {
		return nil
	}
	if r.last != "" {
		if order, err := comparePositions(r.last, b.Position); err != nil || order > 0 {
			r.t.Errorf("position went from %s to %s (%v)", r.last, b.Position, err)
		}
	}
	r.last = b.Position
	return r.source.Confirm(ctx, b.Position)
}

func (r *rig) learn(s *waybill.Shape) {
	if s.Before != nil {
		delete(r.versions, s.Before.Table)
	}
	if s.After != nil {
		r.versions[s.After.Table] = s.After
	}
}

// barrier makes a change that is seen when everything before it was.
func (r *rig) barrier() {
	r.t.Helper()
	mark := fmt.Sprintf("barrier %d", time.Now().UnixNano())
	r.exec("INSERT INTO public.barrier VALUES ('" + mark + "')")
	r.until(mark)
	r.lines = r.lines[:len(r.lines)-1]
}

const barrierTable = "CREATE TABLE public.barrier (t text PRIMARY KEY)"

func changeLine(c waybill.Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", c.Op, c.Version.Table.Name)
	if c.Op == waybill.Reshape {
		for _, step := range c.Shape.Steps() {
			fmt.Fprintf(&b, " | %s %s %s", step.Kind, step.Name, step.New)
		}
		if c.Shape.Inferred {
			b.WriteString(" (inferred)")
		}
		return b.String()
	}
	if c.Cut != nil {
		fmt.Fprintf(&b, " restart=%t cascade=%t", c.Cut.RestartIdentity, c.Cut.Cascade)
	}
	if c.Before != nil {
		fmt.Fprintf(&b, " %s ->", rowText(c.Before))
	}
	if c.After != nil {
		b.WriteString(" " + rowText(c.After))
	}
	return b.String()
}

func rowText(row waybill.Row) string {
	texts := make([]string, len(row))
	for i, v := range row {
		switch text := v.String(); {
		case v.IsAbsent():
			texts[i] = "?"
		case len(text) > 40:
			texts[i] = fmt.Sprintf("%.10s..%d", text, len(text))
		default:
			texts[i] = text
		}
	}
	return "(" + strings.Join(texts, ", ") + ")"
}

// expect compares all lines but barriers.
func (r *rig) expect(want ...string) {
	r.t.Helper()
	got := r.lines
	r.lines = nil
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("changes:\n    got  %s\n    want %s", strings.Join(got, "\n         "), strings.Join(want, "\n         "))
	}
}
