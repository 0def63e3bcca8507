package compare

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/waybill-data/waybill"
)

// finding is a table's verdict as the ledger keeps it: which rows differ in which columns, but no values
// other than keys.
type finding struct {
	State       State            `json:"state"`
	Key         []string         `json:"key,omitzero"`
	SourceRows  int64            `json:"source_rows"`
	TargetRows  int64            `json:"target_rows"`
	Missing     int64            `json:"missing"`
	Extra       int64            `json:"extra"`
	Changed     int64            `json:"changed"`
	Structure   []string         `json:"structure,omitzero"`
	Part        string           `json:"part,omitzero"`
	InFlight    int64            `json:"in_flight,omitzero"`
	FromRun     int64            `json:"from_run,omitzero"`
	Rules       []string         `json:"rules,omitzero"`
	LeftOut     []string         `json:"left_out,omitzero"`
	Cause       string           `json:"cause,omitzero"`
	Source      waybill.Position `json:"source_position,omitzero"`
	Target      waybill.Position `json:"target_position,omitzero"`
	Moment      string           `json:"moment,omitzero"`
	Differences []row            `json:"differences,omitzero"`
}

type row struct {
	Kind    DifferenceKind `json:"kind"`
	Key     []Field        `json:"key,omitzero"`
	Columns []string       `json:"columns,omitzero"`
}

func (r *run) begin(ctx context.Context) (err error) {
	if r.Ledger == nil {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r.number, err = r.Ledger.BeginRun(ctx, waybill.Run{Kind: "compare", Name: r.Name, Started: r.started, Host: host, Process: os.Getpid()})
	return err
}

// end closes the run, also when the run was interrupted.
func (r *run) end(ctx context.Context, result *Result, cause error) error {
	if r.Ledger == nil {
		return cause
	}
	stopped := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	state, text := "done", ""
	if cause != nil {
		state, text = "failed", cause.Error()
	}
	if stopped {
		state = "stopped"
	}
	return errors.Join(cause, r.Ledger.EndRun(ctx, result.Run, state, text, result.Counts()))
}

func (r *run) entry(p *plan, t *TableResult) waybill.Entry {
	f := finding{State: t.State, Key: t.Key, SourceRows: t.SourceRows, TargetRows: t.TargetRows, Missing: t.Missing,
		Extra: t.Extra, Changed: t.Changed, Structure: t.Structure, Part: t.Part, InFlight: t.InFlight, Rules: t.Rules, LeftOut: t.LeftOut, Cause: t.Cause,
		Source: r.Source.Position(), Target: r.Target.Position(), Moment: r.Moment}
	if p.proof != nil { // it is as of then, not of now
		f.Source, f.Target, f.Moment, f.FromRun = p.proof.Source, p.proof.Target, p.proof.Moment, t.FromRun
	}
	for _, d := range t.Differences {
		kept := row{Kind: d.Kind}
		if len(t.Key) > 0 {
			kept.Key = d.Key
		}
		for _, c := range d.Columns {
			kept.Columns = append(kept.Columns, c.Column)
		}
		f.Differences = append(f.Differences, kept)
	}
	return waybill.Entry{Kind: "compare.table", Subject: r.Name, Run: r.number, Table: t.Table, Detail: f}
}
