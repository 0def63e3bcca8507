package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

const (
	defaultWorkers   = 4
	progressInterval = 500 * time.Millisecond
)

// job is what one table needs: statements one after the other, then its indexes side by side, then the rest.
type job struct {
	version *waybill.TableVersion
	first   []string
	indexes []string
	last    string
	size    int64 // of the table, in bytes
}

// Complete builds keys, indexes and constraints, tables side by side and the largest first, and then records
// the tables as copied: until then a restart copies again. Foreign keys follow when both their ends allow it.
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
	var records []string
	for _, v := range versions {
		records = append(records, s.outgrown(v)...)
	}
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
	if err := s.transact(ctx, "record copied tables", waybill.TableName{}, records...); err != nil {
		return err
	}
	return s.buildForeignKeys(ctx)
}

// outgrown removes what is recorded of a table under names that it had before it was copied again.
func (s *sink) outgrown(v *waybill.TableVersion) []string {
	if v.ID == "" {
		return nil
	}
	older := " WHERE stream = " + quoteLiteral(s.options.Stream) + " AND (schema_name, table_name) IN (SELECT schema_name, table_name FROM waybill.version WHERE stream = " +
		quoteLiteral(s.options.Stream) + " AND structure::pg_catalog.json->>'id' = " + quoteLiteral(v.ID) + " AND (schema_name, table_name) <> (" +
		quoteLiteral(v.Table.Schema) + ", " + quoteLiteral(v.Table.Name) + "))"
	return []string{"DELETE FROM waybill.loaded" + older, "DELETE FROM waybill.copied" + older, "DELETE FROM waybill.version" + older}
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
		bare := *v
		bare.Indexes = nil
		jobs[i] = job{version: v, first: completeStatements(&bare), last: "ANALYZE " + quoteTable(v.Table), size: size}
		for _, x := range v.Indexes {
			jobs[i].indexes = append(jobs[i].indexes, createIndex(v.Table, x))
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return int(min(1, max(-1, b.size-a.size))) })
	return jobs, nil
}

// build runs jobs on a few sessions and reports how far the server is with their indexes.
func (s *sink) build(ctx context.Context, jobs []job) error {
	if len(jobs) == 0 {
		return nil
	}
	b := builder{sink: s, workers: s.options.Workers}
	if b.workers <= 0 {
		b.workers = defaultWorkers
	}
	b.places = make(chan struct{}, b.workers)
	watching, done := context.WithCancel(ctx)
	var watcher errgroup.Group
	watcher.Go(func() error { s.watchBuilds(watching); return nil })
	group, within := errgroup.WithContext(ctx)
	for _, j := range jobs {
		group.Go(func() error { return b.build(within, j) })
	}
	err := group.Wait()
	done()
	return errors.Join(err, watcher.Wait())
}

// builder runs statements on no more sessions than it has places.
type builder struct {
	sink    *sink
	workers int
	places  chan struct{}
}

func (b *builder) build(ctx context.Context, j job) error {
	if err := b.run(ctx, j.version.Table, j.first...); err != nil {
		return err
	}
	group, within := errgroup.WithContext(ctx)
	for _, sql := range j.indexes {
		group.Go(func() error { return b.run(within, j.version.Table, sql) })
	}
	if err := group.Wait(); err != nil || j.last == "" {
		return err
	}
	return b.run(ctx, j.version.Table, j.last)
}

func (b *builder) run(ctx context.Context, table waybill.TableName, statements ...string) error {
	select {
	case b.places <- struct{}{}:
		defer func() { <-b.places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	conn, err := b.sink.borrow(ctx)
	if err != nil {
		return err
	}
	defer b.sink.giveBack(ctx, conn)
	if err := exec(ctx, conn, buildSettings(serverVersion(conn), b.workers)); err != nil {
		return classify("complete", table, err)
	}
	for _, sql := range statements {
		if err := exec(ctx, conn, sql); err != nil {
			return b.sink.explain("complete", table, err)
		}
	}
	return nil
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
func (s *sink) watchBuilds(ctx context.Context) {
	conn, err := s.borrow(ctx)
	if err != nil {
		return // the builds meet the same trouble and report it
	}
	defer s.giveBack(ctx, conn)
	if serverVersion(conn) < 120000 {
		return
	}
	name := conn.ParameterStatus("application_name")
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
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
		rows, err := query(ctx, s.session.conn, "SELECT pg_catalog.to_regclass("+literal+") IS NULL")
		if err != nil {
			return classify("look up sequence", state.Name, err)
		}
		if isTrue(rows[0][0]) {
			s.log.Warn("sequence is not at the target yet", "sequence", state.Name.String())
			continue
		}
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
