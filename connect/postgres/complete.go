package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

const (
	defaultWorkers   = 4
	progressInterval = 500 * time.Millisecond
)

// job is statements of one table that are run one after the other; jobs of one stage run side by side.
type job struct {
	version    *waybill.TableVersion
	statements []string
	size       int64 // of the table, in bytes
}

// Complete builds keys, indexes and constraints, tables side by side and the largest first, then the foreign
// keys whose both ends are complete, and records the tables as copied last: until then a restart copies again.
func (s *sink) Complete(ctx context.Context, versions []*waybill.TableVersion, asOf waybill.Position) error {
	if err := s.idleSession(); err != nil {
		return err
	}
	jobs, err := s.completeJobs(ctx, versions)
	if err != nil {
		return err
	}
	if err := s.build(ctx, jobs); err != nil {
		return err
	}
	keys, err := s.foreignKeyJobs(ctx, versions)
	if err != nil {
		return err
	}
	if err := s.build(ctx, keys); err != nil {
		return err
	}
	var records []string
	for _, v := range versions {
		record, err := recordSQL(s.options.Stream, v, stateCopied, false, asOf)
		if err != nil {
			return err
		}
		loaded := "DELETE FROM waybill.loaded WHERE stream = " + quoteLiteral(s.options.Stream) + " AND schema_name = " +
			quoteLiteral(v.Table.Schema) + " AND table_name = " + quoteLiteral(v.Table.Name)
		records = append(records, record, loaded)
		s.forgetTarget(v.Table)
	}
	return s.transact(ctx, "record copied tables", waybill.TableName{}, records...)
}

func (s *sink) completeJobs(ctx context.Context, versions []*waybill.TableVersion) ([]job, error) {
	jobs := make([]job, len(versions))
	for i, v := range versions {
		rows, err := query(ctx, s.session.conn, "SELECT pg_catalog.pg_table_size("+quoteLiteral(quoteTable(v.Table))+"::pg_catalog.regclass)")
		if err != nil {
			return nil, classify("look at size of", v.Table, err)
		}
		size, err := strconv.ParseInt(string(rows[0][0]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("size of %s: %w", v.Table, err)
		}
		jobs[i] = job{v, append(completeStatements(v), "ANALYZE "+quoteTable(v.Table)), size}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return int(min(1, max(-1, b.size-a.size))) })
	return jobs, nil
}

// foreignKeyJobs collects the foreign keys between tables that are complete, those of tables completed
// earlier included: the other end may have become complete just now.
func (s *sink) foreignKeyJobs(ctx context.Context, versions []*waybill.TableVersion) ([]job, error) {
	progress, err := readProgress(ctx, s.session.conn, s.options.Stream)
	if err != nil {
		return nil, err
	}
	complete := map[waybill.TableName]*waybill.TableVersion{}
	for table, v := range progress.Versions {
		complete[table] = v
	}
	for _, v := range versions {
		complete[v.Table] = v
	}
	var jobs []job
	for _, v := range complete {
		ready := *v
		ready.Constraints = slices.DeleteFunc(slices.Clone(v.Constraints), func(c waybill.Constraint) bool {
			return c.Kind == waybill.ForeignKey && (c.References == nil || complete[*c.References] == nil)
		})
		if statements := foreignKeyStatements(&ready); len(statements) > 0 {
			jobs = append(jobs, job{version: v, statements: statements})
		}
	}
	slices.SortFunc(jobs, func(a, b job) int { return strings.Compare(a.version.Table.String(), b.version.Table.String()) })
	return jobs, nil
}

// build runs jobs on a few sessions and reports how far the server is with their indexes.
func (s *sink) build(ctx context.Context, jobs []job) error {
	if len(jobs) == 0 {
		return nil
	}
	workers := s.options.Workers
	if workers <= 0 {
		workers = defaultWorkers
	}
	group, within := errgroup.WithContext(ctx)
	watching, done := context.WithCancel(within)
	var watcher errgroup.Group
	watcher.Go(func() error { return s.watchBuilds(watching) })
	group.SetLimit(workers)
	for _, j := range jobs {
		group.Go(func() error { return s.runJob(within, j, workers) })
	}
	err := group.Wait()
	done()
	if watchErr := watcher.Wait(); err == nil {
		err = watchErr
	}
	return err
}

func (s *sink) runJob(ctx context.Context, j job, workers int) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	conn, err := s.borrow(ctx)
	if err != nil {
		return err
	}
	defer s.giveBack(ctx, conn)
	if err := exec(ctx, conn, buildSettings(serverVersion(conn), workers)); err != nil {
		return classify("complete", j.version.Table, err)
	}
	for _, sql := range j.statements {
		if err := exec(ctx, conn, sql); err != nil {
			return s.explain("complete", j.version.Table, err)
		}
	}
	return exec(ctx, conn, "RESET maintenance_work_mem")
}

// buildSettings share about one gigabyte between the sessions that build.
func buildSettings(version, workers int) string {
	sql := fmt.Sprintf("SELECT set_config('maintenance_work_mem', greatest(%d, pg_size_bytes(current_setting('maintenance_work_mem')) / 1024 / 1024) || 'MB', false);",
		max(64, 1024/workers))
	if version >= 110000 {
		sql += "SELECT set_config('max_parallel_maintenance_workers', greatest(2, current_setting('max_parallel_maintenance_workers')::int)::text, false);"
	}
	return sql
}

const buildsSQL = `SELECT coalesce(i.relname, c.relname), p.phase,
  CASE WHEN p.blocks_total > 0 THEN p.blocks_done::float8 / p.blocks_total WHEN p.tuples_total > 0 THEN p.tuples_done::float8 / p.tuples_total ELSE -1 END
FROM pg_catalog.pg_stat_progress_create_index p
JOIN pg_catalog.pg_class c ON c.oid = p.relid LEFT JOIN pg_catalog.pg_class i ON i.oid = p.index_relid
JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid AND a.application_name = $1 ORDER BY 1`

// watchBuilds reports the indexes being built until its context ends. Servers before 12 do not tell.
func (s *sink) watchBuilds(ctx context.Context) error {
	conn, err := s.borrow(ctx)
	if err != nil {
		return nil // the builds meet the same trouble and report it
	}
	defer s.giveBack(ctx, conn)
	if serverVersion(conn) < 120000 {
		return nil
	}
	name := conn.ParameterStatus("application_name")
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.reportBuilds(context.WithoutCancel(ctx), conn, name)
	}
}

// reportBuilds asks once. What it cannot learn is not reported: progress is for people only.
func (s *sink) reportBuilds(ctx context.Context, conn *pgconn.PgConn, name string) {
	rows, err := query(ctx, conn, buildsSQL, name)
	if err != nil {
		return
	}
	for _, row := range rows {
		part, err := strconv.ParseFloat(string(row[2]), 64)
		if err != nil {
			part = -1
		}
		s.options.Report("index "+string(row[0])+" ("+string(row[1])+")", part)
	}
}

// SetSequences moves sequences forward; one that is further already, in its own direction, is left alone.
func (s *sink) SetSequences(ctx context.Context, states []waybill.SequenceState) error {
	if err := s.idleSession(); err != nil {
		return err
	}
	for _, state := range states {
		name := quoteTable(state.Name)
		literal := quoteLiteral(name)
		sql := fmt.Sprintf(`SELECT pg_catalog.setval(%s::pg_catalog.regclass, %d, %t) FROM %s AS now, pg_catalog.pg_sequence AS q
WHERE q.seqrelid = %s::pg_catalog.regclass AND CASE WHEN q.seqincrement > 0
  THEN (%d, %t) > (now.last_value, now.is_called) ELSE (%d, %t) > (-now.last_value::numeric, now.is_called) END`,
			literal, state.Last, state.Called, name, literal, state.Last, state.Called, -state.Last, state.Called)
		if err := exec(ctx, s.session.conn, sql); err != nil {
			return classify("set sequence", state.Name, err)
		}
	}
	return nil
}
