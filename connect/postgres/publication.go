package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// fullIdentity is the endpoint setting that lets a stream set REPLICA IDENTITY FULL on tables without a key.
const fullIdentity = "set_replica_identity"

// publication is a stream's publication as it is and as it must be.
type publication struct {
	name     string
	stream   string
	exists   bool
	comment  string
	captured bool // the capture tables are there
	members  []waybill.TableName
}

// openPublication reads the publication of a stream and refuses one that would hold changes back.
func openPublication(ctx context.Context, conn *pgconn.PgConn, stream string) (*publication, error) {
	p := &publication{name: streamName(stream), stream: stream}
	op := "read publication " + p.name
	version := serverVersion(conn)
	truncates, roots := "true", "true"
	if version >= 110000 {
		truncates = "pubtruncate"
	}
	if version >= 130000 {
		roots = "pubviaroot"
	}
	rows, err := query(ctx, conn, `SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND `+truncates+`, `+roots+`,
		obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = `+quoteLiteral(p.name))
	if err != nil {
		return nil, classify(op, waybill.TableName{}, err)
	}
	capture, err := query(ctx, conn, `SELECT count(*) = 2 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'waybill' AND c.relname IN ('event', 'publication') AND c.relkind = 'r'`)
	if err != nil {
		return nil, classify(op, waybill.TableName{}, err)
	}
	p.captured = isTrue(capture[0][0])
	if len(rows) == 0 {
		return p, nil
	}
	p.exists, p.comment = true, string(rows[0][3])
	if err := p.check(ctx, conn, rows[0]); err != nil {
		return nil, err
	}
	return p, p.readMembers(ctx, conn)
}

// check refuses what somebody altered so that changes would be missing without a word.
func (p *publication) check(ctx context.Context, conn *pgconn.PgConn, flags [][]byte) error {
	refuse := func(fix, format string, args ...any) error {
		return &waybill.Error{Op: "use publication " + p.name, Fault: waybill.Setup, Err: fmt.Errorf(format, args...),
			Hint: fix + "; then copy the tables that had changes since (waybill link resync)"}
	}
	alter := "ALTER PUBLICATION " + quoteName(p.name)
	switch {
	case isTrue(flags[0]):
		return refuse("DROP PUBLICATION "+quoteName(p.name), "it was made for all tables by somebody else")
	case !isTrue(flags[1]):
		return refuse(alter+" SET (publish = 'insert, update, delete, truncate')", "it does not publish every kind of change")
	case !isTrue(flags[2]):
		return refuse(alter+" SET (publish_via_partition_root = true)", "it publishes partitions under their own names")
	}
	if serverVersion(conn) < 150000 {
		return nil
	}
	rows, err := query(ctx, conn, `SELECT n.nspname, c.relname, r.prqual IS NOT NULL, r.prattrs IS NOT NULL
		FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE p.pubname = `+quoteLiteral(p.name)+` AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)`)
	if err != nil {
		return classify("read publication "+p.name, waybill.TableName{}, err)
	}
	if len(rows) == 0 {
		return nil
	}
	table := waybill.TableName{Schema: string(rows[0][0]), Name: string(rows[0][1])}
	what := "a column list"
	if isTrue(rows[0][2]) {
		what = "a row filter"
	}
	return refuse(alter+" DROP TABLE "+quoteTable(table)+"; "+alter+" ADD TABLE ONLY "+quoteTable(table), "table %s has %s there", table, what)
}

func (p *publication) readMembers(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := query(ctx, conn, `SELECT n.nspname, c.relname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = `+quoteLiteral(p.name))
	if err != nil {
		return classify("read publication "+p.name, waybill.TableName{}, err)
	}
	for _, row := range rows {
		p.members = append(p.members, waybill.TableName{Schema: string(row[0]), Name: string(row[1])})
	}
	return nil
}

// missing returns which of the tables the publication does not hold: as they are to be named in it.
func (p *publication) missing(ctx context.Context, conn *pgconn.PgConn, tables []waybill.TableName) (map[waybill.TableName][]waybill.TableName, error) {
	missing := map[waybill.TableName][]waybill.TableName{}
	leaves := map[waybill.TableName][]waybill.TableName{}
	if serverVersion(conn) < 130000 { // which cannot publish a partitioned table
		var err error
		if leaves, err = readLeaves(ctx, conn); err != nil {
			return nil, err
		}
	}
	for _, table := range tables {
		members, partitioned := leaves[table]
		if !partitioned {
			members = []waybill.TableName{table}
		}
		for _, member := range members {
			if !slices.Contains(p.members, member) {
				missing[table] = append(missing[table], member)
			}
		}
	}
	return missing, nil
}

// readLeaves returns the partitions with rows of every partitioned table.
func readLeaves(ctx context.Context, conn *pgconn.PgConn) (map[waybill.TableName][]waybill.TableName, error) {
	rows, err := query(ctx, conn, `WITH RECURSIVE tree AS (
		  SELECT c.oid AS root, c.oid AS id FROM pg_class c WHERE c.relkind = 'p' AND NOT c.relispartition
		  UNION ALL SELECT t.root, h.inhrelid FROM tree t JOIN pg_inherits h ON h.inhparent = t.id)
		SELECT rn.nspname, r.relname, n.nspname, c.relname, c.relkind = 'r' FROM tree t
		JOIN pg_class r ON r.oid = t.root JOIN pg_namespace rn ON rn.oid = r.relnamespace
		JOIN pg_class c ON c.oid = t.id JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2, 3, 4`)
	if err != nil {
		return nil, classify("list partitions", waybill.TableName{}, err)
	}
	leaves := map[waybill.TableName][]waybill.TableName{}
	for _, row := range rows {
		root := waybill.TableName{Schema: string(row[0]), Name: string(row[1])}
		if leaves[root] = leaves[root][:len(leaves[root]):len(leaves[root])]; isTrue(row[4]) {
			leaves[root] = append(leaves[root], waybill.TableName{Schema: string(row[2]), Name: string(row[3])})
		} else if leaves[root] == nil {
			leaves[root] = []waybill.TableName{}
		}
	}
	return leaves, nil
}

// extend takes tables into the publication, which is made if it is not there. A table whose updates the log could
// not tell is refused, because the server would refuse those updates to its users.
func (p *publication) extend(ctx context.Context, conn *pgconn.PgConn, tables []waybill.TableName, setIdentity bool) error {
	op := "publish tables for " + p.stream
	wanted := tables
	if p.captured {
		wanted = append(slices.Clone(tables), waybill.TableName{Schema: ownSchema, Name: "event"})
		if serverVersion(conn) < 140000 {
			wanted = append(wanted, waybill.TableName{Schema: ownSchema, Name: "heartbeat"})
		}
	}
	missing, err := p.missing(ctx, conn, wanted)
	if err != nil {
		return err
	}
	var names []string
	for _, table := range wanted {
		for _, member := range missing[table] {
			if err := p.ensureIdentity(ctx, conn, member, setIdentity); err != nil {
				return err
			}
			names = append(names, "ONLY "+quoteTable(member))
		}
	}
	list := strings.Join(names, ", ")
	switch {
	case p.exists && len(names) == 0:
		return nil
	case p.exists:
		err = exec(ctx, conn, "ALTER PUBLICATION "+quoteName(p.name)+" ADD TABLE "+list)
	default:
		err = exec(ctx, conn, p.createStatement(serverVersion(conn), list))
	}
	if err != nil {
		return publicationRefusal(op, err)
	}
	p.exists = true
	for _, members := range missing {
		p.members = append(p.members, members...)
	}
	return nil
}

func (p *publication) createStatement(version int, tables string) string {
	statement := "CREATE PUBLICATION " + quoteName(p.name)
	if tables != "" {
		statement += " FOR TABLE " + tables
	}
	switch {
	case version >= 130000:
		statement += " WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
	case version >= 110000:
		statement += " WITH (publish = 'insert, update, delete, truncate')"
	}
	return statement
}

func publicationRefusal(op string, err error) error {
	known, ok := errors.AsType[*waybill.Error](classify(op, waybill.TableName{}, err))
	if !ok {
		return err
	}
	switch sqlState(err) {
	case "42710", "42P01", "3F000": // somebody renamed, moved or dropped a table after it was looked up
		known.Fault, known.Hint = waybill.Passing, ""
	case "42501":
		known.Fault, known.Hint = waybill.Setup, "the user of the url must own the tables and have CREATE on the database: GRANT CREATE ON DATABASE ... TO <user of the url>; ALTER TABLE ... OWNER TO <user of the url> (or a role it is a member of)"
	}
	return known
}

// ensureIdentity makes sure that updates and deletes of the table can go on once it is published. The partitions of a
// partitioned table have identities of their own.
func (p *publication) ensureIdentity(ctx context.Context, conn *pgconn.PgConn, table waybill.TableName, set bool) error {
	if table.Schema == ownSchema {
		return nil
	}
	rows, err := query(ctx, conn, `WITH RECURSIVE tree AS (
		  SELECT c.oid AS id FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		  WHERE n.nspname = `+quoteLiteral(table.Schema)+` AND c.relname = `+quoteLiteral(table.Name)+`
		  UNION ALL SELECT h.inhrelid FROM tree t JOIN pg_inherits h ON h.inhparent = t.id JOIN pg_class i ON i.oid = h.inhrelid WHERE i.relispartition)
		SELECT n.nspname, c.relname FROM tree t JOIN pg_class c ON c.oid = t.id JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relreplident = 'n'
		  OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate)
		  OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)`)
	if err != nil {
		return classify("look up", table, err)
	}
	var statements []string
	for _, row := range rows {
		name := waybill.TableName{Schema: string(row[0]), Name: string(row[1])}
		statements = append(statements, "ALTER TABLE ONLY "+quoteTable(name)+" REPLICA IDENTITY FULL")
	}
	if len(statements) == 0 {
		return nil
	}
	fix := strings.Join(statements, "; ")
	if set {
		return classify("set replica identity of", table, exec(ctx, conn, fix))
	}
	return &waybill.Error{Op: "publish", Table: table, Fault: waybill.Setup,
		Err:  fmt.Errorf("the table has no key that its rows can be told by, so the server would refuse every UPDATE and DELETE on it"),
		Hint: fix + ". Or let Waybill do it: set " + fullIdentity + ": full on the endpoint. Or leave the table out of the selection"}
}

// setComment keeps a note on the publication.
func (p *publication) setComment(ctx context.Context, conn *pgconn.PgConn, comment string) error {
	p.comment = comment
	return classify("note on publication "+p.name, waybill.TableName{}, exec(ctx, conn, "COMMENT ON PUBLICATION "+quoteName(p.name)+" IS "+quoteLiteral(comment)))
}

// drop removes the publication and its registration.
func (p *publication) drop(ctx context.Context, conn *pgconn.PgConn) error {
	if err := delistPublication(ctx, conn, p.name); err != nil {
		return err
	}
	return classify("drop publication "+p.name, waybill.TableName{}, exec(ctx, conn, "DROP PUBLICATION IF EXISTS "+quoteName(p.name)))
}
