-- Waybill: take back what reports structure changes, and leave nothing behind. Links that go on afterwards
-- follow rows only, and stop where a structure change cannot be told from the rows.
--
-- Run this in the database {{.Database}}, as the role that installed it or a superuser. It may be run again.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '10s';
DROP EVENT TRIGGER IF EXISTS waybill_command;
DROP EVENT TRIGGER IF EXISTS waybill_drop;
DROP EVENT TRIGGER IF EXISTS waybill_rewrite;
DROP FUNCTION IF EXISTS waybill.on_command();
DROP FUNCTION IF EXISTS waybill.on_drop();
DROP FUNCTION IF EXISTS waybill.on_rewrite();
DROP FUNCTION IF EXISTS waybill.report(text, oid[], json[]);
DROP FUNCTION IF EXISTS waybill.confess(text, text);
DROP FUNCTION IF EXISTS waybill.publish(oid);
DROP FUNCTION IF EXISTS waybill.leaves(oid, boolean);
DROP FUNCTION IF EXISTS waybill.roots(oid[]);
DROP FUNCTION IF EXISTS waybill.dependents(oid, oid);
DROP FUNCTION IF EXISTS waybill.structure(oid);
DROP TABLE IF EXISTS waybill.event;
DROP TABLE IF EXISTS waybill.publication;
DROP TABLE IF EXISTS waybill.heartbeat;
-- The schema stays where this database is also the target of a link, which keeps its positions in it.
DO $remove$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'waybill')
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::regclass
       AND refobjid = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'waybill')) THEN
    DROP SCHEMA waybill;
  END IF;
END
$remove$;
COMMIT;
