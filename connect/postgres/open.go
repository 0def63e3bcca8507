package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// createTries is how often a slot is made anew while tables are made at the same time.
const createTries = 3

// preparation is what a stream needs before it can start.
type preparation struct {
	publication *publication
	shapes      *shapes
	heartbeat   string
}

// openChanges opens a stream: anew, which makes its publication and its slot, or after a position.
func openChanges(ctx context.Context, e waybill.Endpoint, o waybill.ChangeOptions) (*changes, error) {
	if o.Stream == "" {
		return nil, waybill.Errorf(waybill.Bug, "open stream", "the stream has no name")
	}
	if err := o.Tables.Check(); err != nil {
		return nil, &waybill.Error{Op: "open stream " + o.Stream, Fault: waybill.Setup, Err: err, Hint: "correct the pattern"}
	}
	o.Log = logOf(o.Log)
	if o.Heartbeat <= 0 {
		o.Heartbeat = time.Second
	}
	c := &changes{endpoint: e, options: o, after: map[string]uint64{}, held: map[waybill.TableName]bool{}, joined: map[string]bool{},
		side: &side{endpoint: e, stream: o.Stream, log: o.Log}}
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *changes) open(ctx context.Context) error {
	walk, err := connect(ctx, c.endpoint, "stream "+c.options.Stream, map[string]string{"replication": "database"})
	if err != nil {
		return err
	}
	if c.server, err = identify(ctx, walk); err != nil {
		closeConn(walk)
		return err
	}
	p := &preparation{shapes: newShapes(c.options, c.side)}
	var from uint64
	err = c.side.use(ctx, func(conn *pgconn.PgConn) error {
		if p.publication, err = openPublication(ctx, conn, c.options.Stream); err != nil {
			return err
		}
		if c.options.Position == "" {
			from, err = c.begin(ctx, conn, p)
		} else {
			from, err = c.resume(ctx, conn, walk, p)
		}
		if err != nil {
			return err
		}
		p.heartbeat, err = heartbeatStatement(ctx, conn, c.options.Stream, p.publication.name)
		return classify("prepare heartbeat", waybill.TableName{}, err)
	})
	if err != nil {
		closeConn(walk)
		return err
	}
	for _, table := range c.options.Hold {
		c.held[table] = true
	}
	c.delivered = from
	for table, after := range c.options.After {
		v := c.options.Versions[table]
		if v == nil {
			return waybill.Errorf(waybill.Bug, "open stream "+c.options.Stream, "table %s is followed after a position without a version", table)
		}
		c.Follow(v, after)
	}
	return c.start(ctx, walk, from, p)
}

// begin makes publication and slot. What an earlier, unfinished beginning left is replaced; a slot that was read
// from is not, because that would drop changes that somebody may still need.
func (c *changes) begin(ctx context.Context, conn *pgconn.PgConn, p *preparation) (uint64, error) {
	slot, err := awaitSlot(ctx, conn, p.publication.name)
	if err != nil {
		return 0, err
	}
	if slot.exists {
		if err := slot.checkUsable(p.publication.name, c.server.database); err != nil {
			return 0, err
		}
		if err := slot.checkUnread(p.publication); err != nil {
			return 0, err
		}
		if err := dropSlot(ctx, conn, p.publication.name); err != nil {
			return 0, err
		}
	}
	for range createTries {
		made, again, err := c.create(ctx, conn, p)
		if err != nil || !again {
			return made, err
		}
	}
	return 0, waybill.Errorf(waybill.Passing, "open stream "+c.options.Stream, "tables are made faster than the stream can begin")
}

// create makes a slot over the tables that are there. It asks to be called again when a table was made meanwhile that
// the publication does not hold.
func (c *changes) create(ctx context.Context, conn *pgconn.PgConn, p *preparation) (from uint64, again bool, err error) {
	if err := c.publishSelected(ctx, conn, p); err != nil {
		return 0, false, err
	}
	standby, err := query(ctx, conn, "SELECT pg_is_in_recovery()")
	if err != nil {
		return 0, false, classify("open stream", waybill.TableName{}, err)
	}
	walk, err := connect(ctx, c.endpoint, "snapshot of "+c.options.Stream, map[string]string{"replication": "database"})
	if err != nil {
		return 0, false, err
	}
	made, err := createSlot(ctx, walk, p.publication.name, !isTrue(standby[0][0]))
	if err != nil {
		closeConn(walk)
		return 0, false, err
	}
	c.export = &exported{walk, made.snapshot, made.consistent}
	versions, err := c.structures(ctx, made.snapshot)
	if err == nil {
		again, err = c.missed(ctx, conn, p, versions)
	}
	if err != nil || again {
		err = errors.Join(err, c.export.close(), dropSlot(ctx, conn, p.publication.name))
		c.export = nil
		return 0, again, err
	}
	for _, v := range versions {
		if err := p.shapes.follow(v); err != nil {
			return 0, false, err
		}
	}
	return made.consistent, false, p.publication.setComment(ctx, conn, madeNote+formatLSN(made.consistent))
}

// publishSelected makes the publication, or extends one that is left from an unfinished beginning.
func (c *changes) publishSelected(ctx context.Context, conn *pgconn.PgConn, p *preparation) error {
	tables, err := c.selected(ctx, conn)
	if err != nil {
		return err
	}
	if err := p.publication.extend(ctx, conn, tables, c.endpoint.Settings[fullIdentity] == "full"); err != nil {
		return err
	}
	// With capture every table made from here on joins the publication by itself.
	if err := enlistPublication(ctx, conn, p.publication.name, c.options.Tables); err != nil {
		return err
	}
	return p.publication.setComment(ctx, conn, beginningNote)
}

// selected lists the tables of the stream as they are now.
func (c *changes) selected(ctx context.Context, conn *pgconn.PgConn) ([]waybill.TableName, error) {
	tables, err := listTables(ctx, conn)
	return c.options.Tables.Pick(tables), err
}

// structures describes the selected tables as the slot's snapshot sees them: the one time that structures are read
// from the catalogue, and it is the catalogue of exactly the stream's beginning.
func (c *changes) structures(ctx context.Context, snapshot string) ([]*waybill.TableVersion, error) {
	conn, err := connect(ctx, c.endpoint, "structures of "+c.options.Stream, nil)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	if err := exec(ctx, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT "+quoteLiteral(snapshot)); err != nil {
		return nil, classify("join snapshot", waybill.TableName{}, err)
	}
	tables, err := c.selected(ctx, conn)
	if err != nil {
		return nil, err
	}
	versions, err := describe(ctx, conn, tables)
	return slices.DeleteFunc(versions, func(v *waybill.TableVersion) bool { return v == nil }), err
}

// missed reports whether one of the tables is not published.
func (c *changes) missed(ctx context.Context, conn *pgconn.PgConn, p *preparation, versions []*waybill.TableVersion) (bool, error) {
	names := make([]waybill.TableName, len(versions))
	for i, v := range versions {
		names[i] = v.Table
	}
	p.publication.members = nil
	if err := p.publication.readMembers(ctx, conn); err != nil {
		return false, err
	}
	missing, err := p.publication.missing(ctx, conn, names)
	return len(missing) > 0, err
}

// resume checks that everything after the position is still to be had, and takes in tables that are new.
func (c *changes) resume(ctx context.Context, conn, walk *pgconn.PgConn, p *preparation) (uint64, error) {
	at, err := parsePosition(c.options.Position)
	if err != nil {
		return 0, waybill.Errorf(waybill.Setup, "resume stream "+c.options.Stream, "%w", err)
	}
	if err := c.server.checkHistory(ctx, walk, at); err != nil {
		return 0, err
	}
	slot, err := awaitSlot(ctx, conn, p.publication.name)
	if err != nil {
		return 0, err
	}
	if err := slot.checkResume(p.publication.name, at); err != nil {
		return 0, err
	}
	if err := slot.checkUsable(p.publication.name, c.server.database); err != nil {
		return 0, err
	}
	if !p.publication.exists {
		return 0, lost("publication %s is gone", p.publication.name)
	}
	for _, table := range slices.SortedFunc(maps.Keys(c.options.Versions), compareTables) {
		if err := p.shapes.follow(c.options.Versions[table]); err != nil {
			return 0, err
		}
		// The version of a table that was copied later than the stream has come is that of its copy.
		if after, err := parsePosition(c.options.After[table]); err == nil {
			p.shapes.since(c.options.Versions[table], after.LSN)
		}
	}
	followed, err := c.present(ctx, conn, p)
	if err != nil {
		return 0, err
	}
	if err := enlistPublication(ctx, conn, p.publication.name, c.options.Tables); err != nil {
		return 0, err
	}
	return at.LSN, c.takeIn(ctx, conn, p, followed)
}

func compareTables(a, b waybill.TableName) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// present returns what the followed tables are called now, by oid; those that are gone are missing. The publication is
// read at the same moment: else a table that is renamed between would seem to be taken out of it.
func (c *changes) present(ctx context.Context, conn *pgconn.PgConn, p *preparation) (followed map[string]waybill.TableName, err error) {
	if err := exec(ctx, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return nil, classify("look for followed tables", waybill.TableName{}, err)
	}
	p.publication.members = nil
	err = p.publication.readMembers(ctx, conn)
	if err == nil {
		followed, err = c.followed(ctx, conn)
	}
	if err == nil {
		err = c.checkRemoved(ctx, conn, p, slices.Collect(maps.Values(followed)))
	}
	rollback(ctx, conn)
	return followed, err
}

func (c *changes) followed(ctx context.Context, conn *pgconn.PgConn) (map[string]waybill.TableName, error) {
	now := map[string]waybill.TableName{}
	var ids []string
	for _, v := range c.options.Versions {
		ids = append(ids, v.ID) // follow has made sure that it is a number
	}
	if len(ids) == 0 {
		return now, nil
	}
	rows, err := query(ctx, conn, `SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.oid IN (`+strings.Join(ids, ", ")+")")
	if err != nil {
		return nil, classify("look for followed tables", waybill.TableName{}, err)
	}
	for _, row := range rows {
		now[string(row[0])] = waybill.TableName{Schema: string(row[1]), Name: string(row[2])}
	}
	return now, nil
}

// checkRemoved refuses to go on when a followed table was taken out of the publication.
func (c *changes) checkRemoved(ctx context.Context, conn *pgconn.PgConn, p *preparation, followed []waybill.TableName) error {
	missing, err := p.publication.missing(ctx, conn, followed)
	if err != nil {
		return err
	}
	for _, table := range slices.SortedFunc(maps.Keys(missing), compareTables) {
		return &waybill.Error{Op: "resume stream " + c.options.Stream, Table: table, Fault: waybill.Setup,
			Err: fmt.Errorf("the table was taken out of publication %s; its changes since then are not in the log", p.publication.name),
			Hint: "ALTER PUBLICATION " + quoteName(p.publication.name) + " ADD TABLE ONLY " + quoteTable(missing[table][0]) +
				"; then copy the table again (waybill link resync)"}
	}
	return nil
}

// takeIn publishes selected tables that are not published yet. They and others that no version was given for are
// newcomers: what the log says of them up to now is not for this stream, unless it tells of their making. Followed
// tables that are gone are noted too, for a log without reports never tells it.
func (c *changes) takeIn(ctx context.Context, conn *pgconn.PgConn, p *preparation, followed map[string]waybill.TableName) error {
	tables, err := c.selected(ctx, conn)
	if err != nil {
		return err
	}
	if err := p.publication.extend(ctx, conn, tables, c.endpoint.Settings[fullIdentity] == "full"); err != nil {
		return err
	}
	known := map[waybill.TableName]bool{}
	for _, table := range followed {
		known[table] = true
	}
	tables = slices.DeleteFunc(tables, func(t waybill.TableName) bool { return known[t] })
	versions, err := describe(ctx, conn, tables)
	if err != nil {
		return err
	}
	rows, err := query(ctx, conn, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return classify("take in tables", waybill.TableName{}, err)
	}
	end, err := parseLSN(string(rows[0][0]))
	if err != nil {
		return err
	}
	for _, v := range versions {
		if v == nil {
			continue
		}
		if err := p.shapes.meet(v, end); err != nil {
			return err
		}
	}
	for _, v := range c.options.Versions {
		if _, there := followed[v.ID]; !there {
			p.shapes.miss(v, end)
		}
	}
	return nil
}

// startStatement asks for the stream in the newest protocol that the server speaks.
func startStatement(name string, from uint64, version int) string {
	options := "proto_version '1'"
	switch {
	case version >= 160000:
		options = "proto_version '4', streaming 'on', messages 'true'"
	case version >= 150000:
		options = "proto_version '3', streaming 'on', messages 'true'"
	case version >= 140000:
		options = "proto_version '2', streaming 'on', messages 'true'"
	}
	return "START_REPLICATION SLOT " + quoteName(name) + " LOGICAL " + formatLSN(from) + " (" + options +
		", publication_names " + quoteLiteral(quoteName(name)) + ")"
}

// senderTimeout returns after how long a silence the server ends a stream.
func senderTimeout(ctx context.Context, conn *pgconn.PgConn) (time.Duration, error) {
	rows, err := query(ctx, conn, "SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'")
	if err != nil {
		return 0, classify("read wal_sender_timeout", waybill.TableName{}, err)
	}
	millis, err := strconv.Atoi(string(rows[0][0]))
	if err != nil || millis <= 0 { // 0: it never does
		return time.Minute, err
	}
	return time.Duration(millis) * time.Millisecond, nil
}
