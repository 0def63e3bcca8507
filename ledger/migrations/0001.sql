CREATE TABLE run (
    number  BIGINT PRIMARY KEY,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    state   TEXT NOT NULL,
    started TEXT NOT NULL,
    ended   TEXT NOT NULL,
    cause   TEXT NOT NULL,
    counts  TEXT NOT NULL,
    version TEXT NOT NULL,
    host    TEXT NOT NULL,
    process BIGINT NOT NULL
);

CREATE INDEX run_name ON run (kind, name, number);

CREATE TABLE entry (
    id           BIGINT PRIMARY KEY,
    at           TEXT NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    run          BIGINT NOT NULL,
    table_schema TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    detail       TEXT NOT NULL,
    previous     TEXT NOT NULL,
    hash         TEXT NOT NULL
);

CREATE INDEX entry_run ON entry (run, id);

CREATE TABLE head (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    entries BIGINT NOT NULL,
    hash    TEXT NOT NULL
);

INSERT INTO head VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE stream_position (
    stream TEXT PRIMARY KEY,
    place  TEXT NOT NULL,
    at     TEXT NOT NULL
);

CREATE TABLE table_version (
    id           BIGINT PRIMARY KEY,
    stream       TEXT NOT NULL,
    table_schema TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    table_id     TEXT NOT NULL,
    number       BIGINT NOT NULL,
    as_of        TEXT NOT NULL,
    at           TEXT NOT NULL,
    structure    TEXT NOT NULL
);

CREATE INDEX table_version_name ON table_version (stream, table_schema, table_name, id);

CREATE TABLE link_status (
    link    TEXT PRIMARY KEY,
    updated TEXT NOT NULL,
    status  TEXT NOT NULL
);

CREATE TABLE request (
    id           BIGINT PRIMARY KEY,
    link         TEXT NOT NULL,
    verb         TEXT NOT NULL,
    table_schema TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    place        TEXT NOT NULL,
    args         TEXT NOT NULL,
    asked_by     TEXT NOT NULL,
    asked        TEXT NOT NULL,
    answered     TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    error        TEXT NOT NULL
);

CREATE INDEX request_open ON request (link, answered, id);
