CREATE SCHEMA IF NOT EXISTS waybill;
CREATE TABLE IF NOT EXISTS waybill.stream (
  stream text PRIMARY KEY,
  epoch bigint NOT NULL,
  position text NOT NULL,
  committed_at timestamptz,
  updated_at timestamptz NOT NULL,
  holder_host text NOT NULL,
  holder_process bigint NOT NULL,
  holder_since timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS waybill.copied (
  stream text NOT NULL,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  state text NOT NULL,
  created boolean NOT NULL,
  position text NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (stream, schema_name, table_name)
);
CREATE TABLE IF NOT EXISTS waybill.loaded (
  stream text NOT NULL,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  slice bigint NOT NULL,
  row_count bigint NOT NULL,
  PRIMARY KEY (stream, schema_name, table_name, slice)
);
CREATE TABLE IF NOT EXISTS waybill.version (
  stream text NOT NULL,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  structure text NOT NULL,
  PRIMARY KEY (stream, schema_name, table_name)
);
COMMENT ON TABLE waybill.stream IS 'One row per stream of changes into this database: how far it is, and which process writes it';
COMMENT ON TABLE waybill.copied IS 'Tables of a stream: copying, copied as of a position, or forgotten and to be copied again';
COMMENT ON TABLE waybill.loaded IS 'Slices of unfinished first copies that are in their tables';
COMMENT ON TABLE waybill.version IS 'Structure of each table at the source as of the last applied change';
