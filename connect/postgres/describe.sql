json_build_object(
  'oid', c.oid::text,
  'schema', n.nspname,
  'name', c.relname,
  'kind', c.relkind,
  'persistence', c.relpersistence,
  'replica', c.relreplident,
  'comment', (SELECT d.description FROM pg_description d WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0),
  'columns', (
    SELECT json_agg(json_build_object(
      'id', a.attnum,
      'name', a.attname,
      'type', format_type(a.atttypid, a.atttypmod),
      'base', CASE WHEN t.typtype = 'd' THEN (
        WITH RECURSIVE b AS (
          SELECT t.typbasetype AS id, t.typtypmod AS modifier
          UNION ALL
          SELECT d.typbasetype, d.typtypmod FROM b JOIN pg_type d ON d.oid = b.id WHERE d.typtype = 'd')
        SELECT CASE WHEN d.typtype = 'e' THEN 'text' ELSE format_type(b.id, b.modifier) END
          FROM b JOIN pg_type d ON d.oid = b.id WHERE d.typtype <> 'd')
        WHEN t.typtype = 'e' THEN 'text'
        ELSE format_type(a.atttypid, a.atttypmod) END,
      'not_null', a.attnotnull
{{- if ge .Major 18}} AND NOT EXISTS (
        SELECT FROM pg_constraint k
         WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey[1] = a.attnum AND NOT k.convalidated){{end}},
      'default', (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum),
{{- if ge .Major 11}}
      'missing', CASE WHEN a.atthasmissing THEN
        CASE WHEN t.typdelim = ',' THEN (a.attmissingval::text::text[])[1] ELSE btrim(a.attmissingval::text, '{}') END
        -- A partitioned table has no rows of its own: its partitions know what their older rows hold.
        WHEN c.relkind = 'p' AND a.atthasdef THEN (
          WITH RECURSIVE tree AS (
            SELECT c.oid AS id
            UNION ALL
            SELECT h.inhrelid FROM tree JOIN pg_inherits h ON h.inhparent = tree.id)
          SELECT CASE WHEN t.typdelim = ',' THEN (m.attmissingval::text::text[])[1] ELSE btrim(m.attmissingval::text, '{}') END
            FROM tree JOIN pg_attribute m ON m.attrelid = tree.id AND m.attname = a.attname
           WHERE m.atthasmissing LIMIT 1) END,
{{- end}}
      'identity', a.attidentity,
{{- if ge .Major 12}}
      'generated', a.attgenerated,
{{- end}}
      'collation', CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0 THEN (
        SELECT quote_ident(ln.nspname) || '.' || quote_ident(l.collname)
          FROM pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace WHERE l.oid = a.attcollation) END,
      'comment', (SELECT d.description FROM pg_description d WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum)
    ) ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'key', (
    SELECT json_build_object('columns', k.conkey, 'immediate', i.indimmediate)
      FROM pg_constraint k JOIN pg_index i ON i.indexrelid = k.conindid
     WHERE k.conrelid = c.oid AND k.contype = 'p'),
  'replica_index', (
    SELECT json_agg(u.attnum ORDER BY u.place)
      FROM pg_index i, unnest(string_to_array(i.indkey::text, ' ')::int[]) WITH ORDINALITY u(attnum, place)
     WHERE i.indrelid = c.oid AND i.indisreplident AND u.place <= i.{{if ge .Major 11}}indnkeyatts{{else}}indnatts{{end}}),
  'constraints', (
    SELECT json_agg(json_build_object(
      'name', k.conname,
      'kind', k.contype,
      'definition', pg_get_constraintdef(k.oid),
      'columns', (
        SELECT json_agg(a.attname ORDER BY u.place)
          FROM unnest(k.conkey) WITH ORDINALITY u(attnum, place)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum),
      'references', CASE WHEN k.contype = 'f' THEN (
        SELECT json_build_object('schema', fn.nspname, 'name', f.relname)
          FROM pg_class f JOIN pg_namespace fn ON fn.oid = f.relnamespace WHERE f.oid = k.confrelid) END,
      'comment', (SELECT d.description FROM pg_description d WHERE d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass AND d.objsubid = 0)
    ) ORDER BY k.contype <> 'p', k.conname)
    FROM pg_constraint k
    WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x'){{if ge .Major 11}} AND k.conparentid = 0{{end}}),
  'indexes', (
    SELECT json_agg(json_build_object(
      'name', x.relname,
      'definition', replace(pg_get_indexdef(i.indexrelid),
        ' INDEX ' || quote_ident(x.relname) || ' ON ONLY ', ' INDEX ' || quote_ident(x.relname) || ' ON '),
      'unique', i.indisunique,
      'columns', CASE WHEN i.indexprs IS NULL THEN (
        SELECT json_agg(a.attname ORDER BY u.place)
          FROM unnest(string_to_array(i.indkey::text, ' ')::int[]) WITH ORDINALITY u(attnum, place)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
         WHERE u.place <= i.{{if ge .Major 11}}indnkeyatts{{else}}indnatts{{end}}) END,
      'comment', (SELECT d.description FROM pg_description d WHERE d.objoid = x.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0)
    ) ORDER BY x.relname)
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND i.indisvalid AND NOT EXISTS (
      SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))),
{{- if not .Lean}}
  'types', (
    WITH RECURSIVE uses AS (
      SELECT a.atttypid AS id, 0 AS depth
        FROM pg_attribute a
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 10000
      UNION
      SELECT m.id, u.depth + 1
        FROM uses u JOIN pg_type t ON t.oid = u.id CROSS JOIN LATERAL (
          SELECT t.typelem AS id WHERE t.typelem <> 0
          UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
          UNION ALL SELECT a.atttypid FROM pg_attribute a
                     WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid
{{- if ge .Major 14}}
          UNION ALL SELECT r.rngtypid FROM pg_range r WHERE t.typtype = 'm' AND r.rngmultitypid = t.oid
{{- end}}
        ) m
       WHERE m.id >= 10000 AND u.depth < 32),
    deepest AS (SELECT id, max(depth) AS depth FROM uses GROUP BY id)
    SELECT json_agg(json_build_object(
      'schema', tn.nspname,
      'name', t.typname,
      'kind', t.typtype,
      'extension', e.extname,
      'labels', CASE t.typtype WHEN 'e' THEN (
        SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid)
        WHEN 'd' THEN (
        SELECT json_agg(l.clause ORDER BY l.place, l.clause) FROM (
          SELECT 1 AS place, 'DEFAULT ' || pg_get_expr(t.typdefaultbin, 0) AS clause
          UNION ALL SELECT 2, 'NOT NULL' WHERE t.typnotnull
          UNION ALL SELECT 3, 'CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
            FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') l WHERE l.clause IS NOT NULL)
        WHEN 'c' THEN (
        SELECT json_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
          FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END,
      'definition', CASE WHEN e.extname IS NOT NULL THEN NULL
        WHEN t.typtype = 'e' THEN 'CREATE TYPE ' || quote_ident(tn.nspname) || '.' || quote_ident(t.typname) || ' AS ENUM (' || (
          SELECT coalesce(string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder), '')
            FROM pg_enum l WHERE l.enumtypid = t.oid) || ')'
        WHEN t.typtype = 'd' THEN 'CREATE DOMAIN ' || quote_ident(tn.nspname) || '.' || quote_ident(t.typname) || ' AS '
          || format_type(t.typbasetype, t.typtypmod)
          || coalesce((SELECT ' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname)
                         FROM pg_type b, pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace
                        WHERE b.oid = t.typbasetype AND l.oid = t.typcollation AND l.oid <> b.typcollation), '')
          || coalesce(' DEFAULT ' || pg_get_expr(t.typdefaultbin, 0), '')
          || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
          || coalesce((SELECT string_agg(' CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
                         FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '')
        WHEN t.typtype = 'c' AND tc.relkind = 'c' THEN 'CREATE TYPE ' || quote_ident(tn.nspname) || '.' || quote_ident(t.typname) || ' AS (' || (
          SELECT coalesce(string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
            || coalesce((SELECT ' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname)
                           FROM pg_type b, pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace
                          WHERE b.oid = a.atttypid AND l.oid = a.attcollation AND l.oid <> b.typcollation), ''),
            ', ' ORDER BY a.attnum), '')
            FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) || ')'
        WHEN t.typtype = 'r' THEN (
          SELECT 'CREATE TYPE ' || quote_ident(tn.nspname) || '.' || quote_ident(t.typname) || ' AS RANGE (SUBTYPE = '
            || format_type(r.rngsubtype, NULL)
            || CASE WHEN o.opcdefault THEN '' ELSE ', SUBTYPE_OPCLASS = ' || quote_ident(on_.nspname) || '.' || quote_ident(o.opcname) END
            || CASE WHEN r.rngcollation <> 0 AND r.rngcollation <> b.typcollation
                 THEN ', COLLATION = ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname) ELSE '' END
            || CASE WHEN r.rngcanonical <> 0 THEN ', CANONICAL = ' || r.rngcanonical::text ELSE '' END
            || CASE WHEN r.rngsubdiff <> 0 THEN ', SUBTYPE_DIFF = ' || r.rngsubdiff::text ELSE '' END
{{- if ge .Major 14}}
            || ', MULTIRANGE_TYPE_NAME = ' || format_type(r.rngmultitypid, NULL)
{{- end}}
            || ')'
            FROM pg_range r JOIN pg_type b ON b.oid = r.rngsubtype
            JOIN pg_opclass o ON o.oid = r.rngsubopc JOIN pg_namespace on_ ON on_.oid = o.opcnamespace
            LEFT JOIN pg_collation l ON l.oid = r.rngcollation LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
           WHERE r.rngtypid = t.oid)
        END
    ) ORDER BY deepest.depth DESC, tn.nspname, t.typname)
    FROM deepest JOIN pg_type t ON t.oid = deepest.id JOIN pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_class tc ON tc.oid = t.typrelid
    LEFT JOIN pg_depend de ON de.classid = 'pg_type'::regclass AND de.objid = t.oid AND de.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = de.refobjid
    WHERE tn.nspname NOT IN ('pg_catalog', 'information_schema')
      AND NOT (t.typelem <> 0 AND t.typtype = 'b' AND t.typcategory = 'A') AND t.typtype NOT IN ({{if ge .Major 14}}'m', {{end}}'p')),
{{- end}}
  'sequences', (
    SELECT json_agg(json_build_object(
      'schema', sn.nspname,
      'name', s.relname,
      'column', (
        SELECT a.attname FROM pg_depend o JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
         WHERE o.classid = 'pg_class'::regclass AND o.objid = s.oid AND o.refclassid = 'pg_class'::regclass
           AND o.refobjid = c.oid AND o.deptype IN ('a', 'i')),
      'definition', 'AS ' || format_type(q.seqtypid, NULL) || ' INCREMENT BY ' || q.seqincrement || ' MINVALUE ' || q.seqmin
        || ' MAXVALUE ' || q.seqmax || ' START WITH ' || q.seqstart || ' CACHE ' || q.seqcache || CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END
    ) ORDER BY sn.nspname, s.relname)
    FROM (
      SELECT o.objid AS id FROM pg_depend o
       WHERE o.refclassid = 'pg_class'::regclass AND o.refobjid = c.oid AND o.classid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')
      UNION
      SELECT o.refobjid FROM pg_attrdef d JOIN pg_depend o ON o.classid = 'pg_attrdef'::regclass AND o.objid = d.oid
       WHERE d.adrelid = c.oid AND o.refclassid = 'pg_class'::regclass) u
    JOIN pg_class s ON s.oid = u.id AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid)
{{- if not .Lean}},
  'parts', CASE WHEN c.relkind = 'p' THEN (
    WITH RECURSIVE tree AS (
      SELECT c.oid AS id, 0::oid AS parent
      UNION ALL
      SELECT h.inhrelid, h.inhparent FROM tree JOIN pg_inherits h ON h.inhparent = tree.id
{{- if ge .Major 14}} WHERE NOT h.inhdetachpending{{end}})
    SELECT json_agg(json_build_object(
      'oid', tree.id::text,
      'parent', tree.parent::text,
      'schema', pn.nspname,
      'name', p.relname,
      'kind', p.relkind,
      'bound', pg_get_expr(p.relpartbound, p.oid),
      'by', CASE WHEN p.relkind = 'p' THEN pg_get_partkeydef(p.oid) END
    ) ORDER BY pn.nspname, p.relname)
    FROM tree JOIN pg_class p ON p.oid = tree.id JOIN pg_namespace pn ON pn.oid = p.relnamespace) END
{{- end}}
)
