package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// pendingKeys says when foreign keys are to be looked at again. Two tables that were copied at different
// moments may contradict each other until the stream has passed both, so a foreign key is built only where
// both its ends stand at one moment.
type pendingKeys struct {
	due bool             // something changed: look at the next occasion
	at  waybill.Position // not before the stream has reached this; empty: nothing waits
}

// ready reports whether it is time to look, with the stream at p.
func (k *pendingKeys) ready(p waybill.Position) (bool, error) {
	if k.due || k.at == "" {
		return k.due, nil
	}
	order, err := comparePositions(p, k.at)
	return order >= 0, err
}

// buildForeignKeys builds what is missing where both ends stand at one moment, and notes what has to wait.
func (s *sink) buildForeignKeys(ctx context.Context) error {
	progress, err := readProgress(ctx, s.session.conn, s.options.Stream)
	if err != nil {
		return err
	}
	present, err := s.foreignKeys(ctx)
	if err != nil {
		return err
	}
	s.keys = pendingKeys{}
	var jobs []job
	for name, v := range progress.Versions {
		if _, complete := progress.Copied[name]; !complete {
			continue // it is to be copied again, and may have another name by now
		}
		missing := *v
		missing.Constraints = nil
		for _, c := range v.Constraints {
			if c.Kind != waybill.ForeignKey || c.References == nil || present[v.Table.String()+" "+c.Name] {
				continue
			}
			if _, complete := progress.Copied[*c.References]; !complete {
				continue // it is looked at again when the other end is complete
			}
			wait, err := meeting(progress, v.Table, *c.References)
			if err != nil {
				return err
			}
			if wait == "" {
				missing.Constraints = append(missing.Constraints, c)
			} else if s.keys.at, err = later(s.keys.at, wait); err != nil {
				return err
			}
		}
		if len(missing.Constraints) > 0 {
			jobs = append(jobs, job{version: v, first: foreignKeyStatements(&missing)})
		}
	}
	slices.SortFunc(jobs, func(a, b job) int { return strings.Compare(a.version.Table.String(), b.version.Table.String()) })
	return s.build(ctx, jobs)
}

// foreignKeys lists the foreign keys that the target has, as "schema.table name".
func (s *sink) foreignKeys(ctx context.Context) (map[string]bool, error) {
	rows, err := query(ctx, s.session.conn, `SELECT n.nspname, c.relname, k.conname FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f'`)
	if err != nil {
		return nil, classify("look up foreign keys", waybill.TableName{}, err)
	}
	present := map[string]bool{}
	for _, row := range rows {
		present[waybill.TableName{Schema: string(row[0]), Name: string(row[1])}.String()+" "+string(row[2])] = true
	}
	return present, nil
}

// meeting returns the position that the stream must reach before two copied tables stand at one moment, empty
// where they do.
func meeting(p waybill.Progress, a, b waybill.TableName) (waybill.Position, error) {
	copiedA, copiedB := p.Copied[a], p.Copied[b]
	if copiedA == copiedB {
		return "", nil
	}
	latest, err := later(copiedA, copiedB)
	if err != nil || p.Position == "" {
		return latest, err
	}
	order, err := comparePositions(p.Position, latest)
	if order >= 0 {
		return "", err
	}
	return latest, err
}

func later(a, b waybill.Position) (waybill.Position, error) {
	if a == "" || b == "" {
		return max(a, b), nil
	}
	order, err := comparePositions(a, b)
	if order < 0 {
		return b, err
	}
	return a, err
}
