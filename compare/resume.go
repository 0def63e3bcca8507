package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/waybill-data/waybill"
)

// The kinds of the ledger's entries, beside EntryKind, that an unfinished run is resumed from.
const (
	termsKind = "compare.terms" // what the run was about
	partKind  = "compare.part"  // a part of a table that was equal
)

// Resumed is what an earlier run has proved. Only what was equal is taken over, each table and part as of the
// moment that it was proved at; the rest is compared anew.
type Resumed struct {
	run    int64
	terms  *terms
	tables map[waybill.TableName]finding
	parts  map[waybill.TableName][]part
}

// Resume returns an empty memory of a run, to which its entries are added.
func Resume(run int64) *Resumed {
	return &Resumed{run: run, tables: map[waybill.TableName]finding{}, parts: map[waybill.TableName][]part{}}
}

// Add takes an entry of the run; those of other kinds are ignored.
func (m *Resumed) Add(kind string, table waybill.TableName, detail json.RawMessage) error {
	var err error
	switch kind {
	case termsKind:
		m.terms = new(terms)
		err = json.Unmarshal(detail, m.terms)
	case partKind:
		var p part
		err = json.Unmarshal(detail, &p)
		m.parts[table] = append(m.parts[table], p)
	case EntryKind:
		var f finding
		err = json.Unmarshal(detail, &f)
		if f.State == Equal {
			m.tables[table] = f
		}
	}
	if err != nil {
		return &waybill.Error{Op: fmt.Sprintf("read run %d", m.run), Table: table, Fault: waybill.Drift, Err: fmt.Errorf("entry %s of the ledger: %w", kind, err)}
	}
	return nil
}

// terms are what two runs must have in common for one to go on where the other stopped.
type terms struct {
	Name    string            `json:"name"`
	Tables  waybill.Selection `json:"tables,omitzero"`
	As      map[string]string `json:"as,omitzero"`
	Columns []string          `json:"columns,omitzero"`
	Without []string          `json:"without,omitzero"`
	Rules   []string          `json:"rules,omitzero"`
	Where   string            `json:"where,omitzero"`
	Window  []string          `json:"window,omitzero"`
	Quick   bool              `json:"quick,omitzero"`
}

func termsOf(o *Options) terms {
	t := terms{Name: o.Name, Tables: o.Tables, Where: o.Where, Quick: o.Quick}
	for source, target := range o.As {
		if t.As == nil {
			t.As = map[string]string{}
		}
		t.As[source.String()] = target.String()
	}
	for _, c := range o.Columns {
		t.Columns = append(t.Columns, c.String())
	}
	for _, c := range o.Without {
		t.Without = append(t.Without, c.String())
	}
	for _, r := range o.Rules {
		t.Rules = append(t.Rules, r.Name.String()+"="+string(r.Rule))
	}
	if o.Window.Column != "" {
		t.Window = []string{o.Window.Column, o.Window.From.UTC().String(), o.Window.To.UTC().String()}
	}
	return t
}

// agree writes down what the run is about and makes sure that a resumed one was about the same.
func (r *run) agree(ctx context.Context) error {
	now := termsOf(&r.Options)
	if r.Resumed != nil {
		text, err := json.Marshal(now)
		if err != nil {
			return err
		}
		var same terms
		if err := json.Unmarshal(text, &same); err != nil {
			return err
		}
		// A run that was killed before it said what it was about has proved nothing.
		if r.Resumed.terms == nil && len(r.Resumed.tables)+len(r.Resumed.parts) > 0 || r.Resumed.terms != nil && !reflect.DeepEqual(*r.Resumed.terms, same) {
			return &waybill.Error{Op: fmt.Sprintf("resume run %d", r.Resumed.run), Fault: waybill.Setup,
				Hint: "give the same tables, columns, rules and times as then; a time ago is another time today",
				Err:  fmt.Errorf("it was about something else than %s", text)}
		}
	}
	if r.Ledger == nil {
		return nil
	}
	return r.Ledger.Record(ctx, waybill.Entry{Kind: termsKind, Subject: r.Name, Run: r.number, Detail: now})
}

// takeOver gives a table the verdict that the resumed run has proved.
func (r *run) takeOver(p *plan) bool {
	if r.Resumed == nil || p.result.State != "" {
		return false
	}
	f, ok := r.Resumed.tables[p.result.Table]
	if !ok {
		return false
	}
	t := &p.result
	t.State, t.SourceRows, t.TargetRows, t.FromRun = Equal, f.SourceRows, f.TargetRows, r.Resumed.run
	if f.FromRun != 0 {
		t.FromRun = f.FromRun
	}
	if len(t.Structure) > 0 {
		t.State = Different
	}
	p.proof = &f
	return true
}

// part is a run of places that is compared by itself: those whose upper bits are Number.
type part struct {
	Shift      uint   `json:"shift"`
	Number     uint64 `json:"number"`
	SourceRows int64  `json:"source_rows"`
	TargetRows int64  `json:"target_rows"`
}

func (s part) span() span {
	return span{first: s.Number << s.Shift, last: (s.Number+1)<<s.Shift - 1}
}

// proved returns a part as the resumed run has proved it.
func (r *run) proved(p *plan, of part) (part, bool) {
	if r.Resumed == nil {
		return part{}, false
	}
	parts := r.Resumed.parts[p.result.Table]
	at := slices.IndexFunc(parts, func(s part) bool { return s.Shift == of.Shift && s.Number == of.Number })
	if at < 0 {
		return part{}, false
	}
	return parts[at], true
}

// saved records a part that is equal.
func (r *run) saved(ctx context.Context, p *plan, s part) error {
	if r.Ledger == nil {
		return nil
	}
	return r.Ledger.Record(ctx, waybill.Entry{Kind: partKind, Subject: r.Name, Run: r.number, Table: p.result.Table, Detail: s})
}
