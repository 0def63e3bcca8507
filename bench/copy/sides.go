package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/bench"
)

// tables are pgbench's, with the definition of the key of those that have one.
var tables = []struct{ name, key string }{
	{"pgbench_accounts", "aid"}, {"pgbench_branches", "bid"}, {"pgbench_tellers", "tid"}, {"pgbench_history", ""},
}

// pipe is what a person would type: COPY out, COPY in, in binary, each stream a range of the largest table's
// blocks, and the keys afterwards.
func (m *meter) pipe(ctx context.Context, database string, streams int) (figures, error) {
	target := m.stage.Target.URL(database)
	if err := m.stage.Shell(ctx, fmt.Sprintf("pg_dump --schema-only --section=pre-data --no-publications %q | psql -q -v ON_ERROR_STOP=1 %q", m.source(), target)); err != nil {
		return figures{}, err
	}
	text, err := bench.Text(ctx, m.source(), "SELECT pg_relation_size('pgbench_accounts') / 8192")
	if err != nil {
		return figures{}, err
	}
	blocks, err := strconv.Atoi(text)
	if err != nil {
		return figures{}, err
	}
	started := time.Now()
	g, piped := errgroup.WithContext(ctx)
	stream := func(from, into string) {
		g.Go(func() error {
			return m.stage.Shell(piped, fmt.Sprintf(`psql -q -v ON_ERROR_STOP=1 %q -c "COPY %s TO STDOUT (FORMAT binary)" | psql -q -v ON_ERROR_STOP=1 %q -c "COPY %s FROM STDIN (FORMAT binary)"`,
				m.source(), from, target, into))
		})
	}
	for i := range streams {
		where := fmt.Sprintf("ctid >= '(%d,0)'", blocks*i/streams)
		if i < streams-1 {
			where += fmt.Sprintf(" AND ctid < '(%d,0)'", blocks*(i+1)/streams)
		}
		from := "(SELECT * FROM pgbench_accounts WHERE " + where + ")"
		if streams == 1 {
			from = "pgbench_accounts"
		}
		stream(from, "pgbench_accounts")
	}
	for _, t := range tables[1:] {
		stream(t.name, t.name)
	}
	if err := g.Wait(); err != nil {
		return figures{}, err
	}
	f := figures{data: time.Since(started)}
	for _, t := range tables {
		if t.key == "" {
			continue
		}
		if err := bench.Exec(ctx, target, fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", t.name, t.key)); err != nil {
			return f, err
		}
	}
	f.all = time.Since(started)
	return f, nil
}

// pgcopydb does all by itself; its rows are there when it starts no COPY any more, which it does not say, so
// that only the whole counts.
func (m *meter) pgcopydb(ctx context.Context, database string, streams int) (figures, error) {
	started := time.Now()
	err := m.stage.Shell(ctx, fmt.Sprintf("pgcopydb clone --source %q --target %q --table-jobs %d --index-jobs %d --no-acl --no-owner --split-tables-larger-than %s --dir %q",
		m.source(), m.stage.Target.URL(database), streams, streams, split(streams), filepath.Join(m.stage.Dir, "pgcopydb-"+database)))
	f := figures{all: time.Since(started)}
	f.data = f.all
	return f, err
}

// split makes pgcopydb use its streams for the one large table.
func split(streams int) string {
	if streams == 1 {
		return "10GB"
	}
	return "200MB"
}

// waybill measures from the start of the process: the rows are there when the largest table's key is being
// built, and all is done when the last key is.
func (m *meter) waybill(ctx context.Context, database string, streams int) (f figures, err error) {
	link := "link" + database
	config, err := m.stage.Configure(link, database, streams)
	if err != nil {
		return f, err
	}
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started := time.Now()
	child, err := m.stage.Start(ctx, config, link)
	if err != nil {
		return f, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := child.Await(func(waybill.LinkStatus) bool { return false })
		cancel(err)
	}()
	url := m.stage.Target.URL(database)
	err = bench.Until(watched, url, building, "yes")
	f.data = time.Since(started)
	if err == nil {
		err = bench.Until(watched, url, "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace", "3")
	}
	f.all = time.Since(started)
	peak, stopErr := child.Stop()
	<-ended
	f.peak = peak
	if err := errors.Join(err, stopErr); err != nil {
		return f, err
	}
	return f, m.stage.Waybill(ctx, config, "link", "drop", link, "--yes")
}

// building says yes once the largest table's key is being built or is there.
const building = `SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database() AND relid = to_regclass('public.pgbench_accounts'))
	OR EXISTS (SELECT FROM pg_constraint WHERE contype = 'p' AND conrelid = to_regclass('public.pgbench_accounts')) THEN 'yes' ELSE 'no' END`
