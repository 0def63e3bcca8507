-- Every table of the shop with its columns as one JSON document; partitions are seen through their root only.
SELECT coalesce(json_agg(json_build_object(
  'oid', c.oid::text,
  'schema', n.nspname,
  'name', c.relname,
  'partitioned', c.relkind = 'p',
  'referenced', EXISTS (SELECT FROM pg_constraint f WHERE f.confrelid = c.oid AND f.contype = 'f'),
  'key_name', (SELECT conname FROM pg_constraint p WHERE p.conrelid = c.oid AND p.contype = 'p'),
  'checks', (SELECT json_agg(conname) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'u') AND k.conname LIKE 'rule%'),
  'indexes', (SELECT json_agg(ix.relname) FROM pg_index i JOIN pg_class ix ON ix.oid = i.indexrelid
               WHERE i.indrelid = c.oid AND ix.relname LIKE 'by%'),
  'key', (SELECT json_agg(k.attnum ORDER BY k.place)
            FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
           WHERE i.indrelid = c.oid AND i.indisprimary),
  'parts', (SELECT json_agg(json_build_object('name', p.relname, 'bound', pg_get_expr(p.relpartbound, p.oid)) ORDER BY p.relname)
              FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhrelid WHERE h.inhparent = c.oid),
  'columns', (SELECT json_agg(json_build_object(
      'number', a.attnum,
      'name', a.attname,
      'type', format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END),
      'enum', CASE t.typtype WHEN 'e' THEN format_type(t.oid, NULL) END,
      'labels', (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
      'not_null', a.attnotnull,
      'has_default', a.atthasdef OR a.attidentity <> '',
      'identity', a.attidentity <> '',
      'generated', a.attgenerated <> '',
      'unique', EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey)),
      'used', EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
                      AND NOT EXISTS (SELECT FROM pg_constraint o WHERE d.classid = 'pg_constraint'::regclass AND o.oid = d.objid AND o.contype = 'n')),
      'refers', (SELECT json_build_object('oid', f.confrelid::text, 'number', f.confkey[1])
                   FROM pg_constraint f WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum] LIMIT 1)
    ) ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
) ORDER BY c.oid), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('shop', 'archive') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
