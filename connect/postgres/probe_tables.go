package postgres

import (
	"context"
	"strings"

	"github.com/waybill-data/waybill"
)

// sourceTables checks every table that the selection takes, and says which it leaves out for a reason.
func (x *examination) sourceTables(ctx context.Context) error {
	rows, err := query(ctx, x.conn, `WITH RECURSIVE tree AS (
		  SELECT c.oid AS root, c.oid AS id FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
		    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'waybill') AND n.nspname !~ '^pg_(toast|temp)'
		  UNION ALL
		  SELECT t.root, h.inhrelid FROM tree t JOIN pg_class c ON c.oid = t.id AND c.relkind = 'p' JOIN pg_inherits h ON h.inhparent = t.id),
		parts AS (SELECT root, bool_or(c.relkind = 'f') AS remote, bool_or(c.relpersistence = 'u') AS unlogged,
		    bool_or(c.relkind IN ('r', 'p') AND (c.relreplident = 'n'
		      OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate)
		      OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident))) AS nameless,
		    string_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname), ' ' ORDER BY c.oid) AS names
		  FROM tree t JOIN pg_class c ON c.oid = t.id JOIN pg_namespace n ON n.oid = c.relnamespace GROUP BY root)
		SELECT n.nspname, c.relname, p.remote, p.unlogged, p.nameless, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
		  pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid),
		  (SELECT string_agg(format('%I (%s)', a.attname, y.typname), ', ' ORDER BY a.attnum) FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
		   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND y.typnamespace = 'pg_catalog'::regnamespace AND y.typname IN (`+unreadableTypes+`)),
		  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
		   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND y.typname = 'lo'),
		  quote_ident(pg_get_userbyid(c.relowner))
		FROM parts p JOIN pg_class c ON c.oid = p.root JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2`)
	if err != nil {
		return err
	}
	carried := 0
	for _, row := range rows {
		table := waybill.TableName{Schema: string(row[0]), Name: string(row[1])}
		if x.tables.Has(table) {
			carried++
			x.sourceTable(table, row)
		}
	}
	if carried == 0 {
		x.add(waybill.Blocker, "tables.none", "correct the patterns, which are of the form schema.table", "the selection %q takes no table of this database", x.tables)
		return nil
	}
	x.add(waybill.Fine, "tables.selected", "", "%d tables are selected", carried)
	return nil
}

func (x *examination) sourceTable(table waybill.TableName, row [][]byte) {
	name, user := quoteTable(table), quoteName(x.user)
	remote, unlogged, nameless, readable, owned, hidden := isTrue(row[2]), isTrue(row[3]), isTrue(row[4]), isTrue(row[5]), isTrue(row[6]), isTrue(row[7])
	if unlogged {
		x.addTable(waybill.Warning, "table.unlogged", table, "ALTER TABLE "+name+" SET LOGGED", "it, or a part of it, is unlogged, so a link does not carry it")
		return
	}
	if remote {
		x.addTable(waybill.Blocker, "table.foreign", table, "leave the table out of the selection, or detach the partition", "a partition is a foreign table, whose rows are in no log here")
	}
	if len(row[8]) > 0 {
		x.addTable(waybill.Blocker, "table.type", table, "leave the table out of the selection, or drop the column", "no server takes values of %s as input", row[8])
	}
	if len(row[9]) > 0 {
		x.addTable(waybill.Warning, "table.largeobject", table, "move the content into a bytea column", "%s refers to large objects, which no log carries", row[9])
	}
	if !readable {
		x.addTable(waybill.Blocker, "table.select", table, "GRANT USAGE ON SCHEMA "+quoteName(table.Schema)+" TO "+user+"; GRANT SELECT ON "+name+" TO "+user,
			"role %s may not read it", x.user)
	}
	if !owned {
		x.addTable(waybill.Blocker, "table.owner", table, "GRANT "+string(row[10])+" TO "+user, "only its owner may add it to a publication, and role %s is not", x.user)
	}
	if hidden {
		x.addTable(waybill.Blocker, "table.rowsecurity", table, "ALTER ROLE "+user+" BYPASSRLS", "a row security policy hides rows of it from role %s", x.user)
	}
	if nameless {
		severity, what := waybill.Blocker, "it, or a part of it, has no key that its rows can be told by: once published, the server would refuse every UPDATE and DELETE on it"
		if x.endpoint.Settings[fullIdentity] == "full" {
			severity, what = waybill.Note, "it has no key that its rows can be told by: the link will set REPLICA IDENTITY FULL, as the endpoint's setting says"
		}
		x.addTable(severity, "table.identity", table, "ALTER TABLE "+name+" ADD PRIMARY KEY (...), or "+"ALTER TABLE "+name+
			" REPLICA IDENTITY FULL (for a partitioned table: each partition), or set "+fullIdentity+": full on the endpoint", "%s", what)
	}
}

// unreadableTypes are the types whose output nothing takes as input.
const unreadableTypes = `'pg_node_tree', 'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list', 'pg_ddl_command', 'pg_brin_bloom_summary', 'pg_brin_minmax_multi_summary'`

// targetRights checks what a link creates at the target.
func (x *examination) targetRights(ctx context.Context) error {
	row, err := x.row(ctx, `SELECT has_database_privilege(current_database(), 'CREATE'),
		(SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'waybill')`)
	if err != nil {
		return err
	}
	grant := "GRANT CREATE ON DATABASE " + quoteName(x.database) + " TO " + quoteName(x.user)
	switch {
	case row[1] == "f":
		x.add(waybill.Blocker, "right.control", "ALTER SCHEMA waybill OWNER TO "+quoteName(x.user), "role %s may not use schema waybill, which somebody else made", x.user)
	case row[0] == "t":
		x.add(waybill.Fine, "right.create", "", "role %s may create schemas", x.user)
	case row[1] == "t":
		x.add(waybill.Note, "right.create", grant, "role %s may not create schemas: those of new tables must be there already", x.user)
	default:
		x.add(waybill.Blocker, "right.create", grant, "role %s may not create schema waybill, where a link keeps its place", x.user)
	}
	return nil
}

// triggersOff tries to switch triggers and foreign keys off, as a link does for itself.
func (x *examination) triggersOff(ctx context.Context) error {
	err := exec(ctx, x.conn, "BEGIN; SET LOCAL session_replication_role = replica")
	if rollback := exec(ctx, x.conn, "ROLLBACK"); rollback != nil {
		return rollback
	}
	switch {
	case err == nil:
		x.add(waybill.Fine, "right.triggers", "", "role %s may switch triggers off for its own session", x.user)
	case sqlState(err) == "42501":
		fix := "GRANT SET ON PARAMETER session_replication_role TO " + quoteName(x.user)
		if serverVersion(x.conn) < 150000 {
			fix = "use a superuser (with managed servers: the provider's administrator role)"
		}
		x.add(waybill.Warning, "right.triggers", fix, "role %s may not switch triggers off: triggers of the target fire a second time for rows whose changes are in the log already, and its foreign keys see each row by itself", x.user)
	default:
		return err
	}
	return nil
}

// targetTables checks the tables of the selection that are there already.
func (x *examination) targetTables(ctx context.Context) error {
	rows, err := query(ctx, x.conn, `SELECT n.nspname, c.relname, pg_has_role(c.relowner, 'USAGE'), quote_ident(pg_get_userbyid(c.relowner)),
		  (SELECT string_agg(quote_ident(g.tgname), ', ' ORDER BY g.tgname) FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('A', 'R')),
		  c.relrowsecurity AND row_security_active(c.oid), c.relkind
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'waybill')
		  AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 1, 2`)
	if err != nil {
		return err
	}
	for _, row := range rows {
		table := waybill.TableName{Schema: string(row[0]), Name: string(row[1])}
		if !x.tables.Has(table) {
			continue
		}
		if relkind := string(row[6]); !strings.Contains("rp", relkind) {
			x.addTable(waybill.Note, "table.kind", table, "", "it is no table here, so a table of that name cannot be copied to it")
			continue
		}
		if !isTrue(row[2]) {
			x.addTable(waybill.Blocker, "table.owner", table, "GRANT "+string(row[3])+" TO "+quoteName(x.user),
				"it belongs to somebody else: role %s can neither fill it nor follow changes of its structure", x.user)
		}
		if len(row[4]) > 0 {
			x.addTable(waybill.Warning, "table.trigger", table, "ALTER TABLE "+quoteTable(table)+" ENABLE TRIGGER ... (not ALWAYS or REPLICA)", "trigger %s fires for rows that a link writes, too", row[4])
		}
		if isTrue(row[5]) {
			x.addTable(waybill.Blocker, "table.rowsecurity", table, "ALTER ROLE "+quoteName(x.user)+" BYPASSRLS", "a row security policy hides rows of it from role %s", x.user)
		}
	}
	return nil
}
