-- +goose Up

-- Times are microseconds since 1970 (UTC), 0 for never. Text is UTF-8. Digests are 32 raw bytes.

CREATE TABLE devices (
    row          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    stale_at     INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    silenced     INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    profile      BLOB    NOT NULL, -- digest over all columns below that a report seldom changes
    status       TEXT    NOT NULL,
    level        TEXT    NOT NULL,
    label        TEXT    NOT NULL,
    grouping     TEXT    NOT NULL,
    labels       TEXT,             -- JSON object
    vendor       TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    firmware     TEXT    NOT NULL,
    agent        TEXT    NOT NULL,
    ek_public    BLOB,
    ek_issuer    TEXT    NOT NULL,
    ak_public    BLOB,
    tls_public   BLOB,
    cert_serial  TEXT    NOT NULL,
    cert_expires INTEGER NOT NULL,
    enrolled_at  INTEGER NOT NULL,
    search       TEXT    NOT NULL, -- label, model, vendor and id in lower case (Unicode), one a line
    -- changed by every report
    shared       INTEGER NOT NULL, -- 1: result is the EAR of the newest row of results, not kept twice
    record       BLOB,
    result       BLOB,
    -- minute in which the state becomes stale, -1 for never
    minute       INTEGER GENERATED ALWAYS AS (
        CASE WHEN state = 'never-attested' OR stale_at = 0 THEN -1 ELSE stale_at / 60000000 END) VIRTUAL,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX devices_by_id ON devices (id, tenant);
CREATE INDEX devices_by_state ON devices (tenant, state, stale_at, id);
CREATE INDEX devices_overdue ON devices (stale_at, id) WHERE silenced = 0 AND stale_at > 0 AND state <> 'never-attested';
CREATE INDEX devices_by_status ON devices (tenant, status, id);
CREATE INDEX devices_by_model ON devices (tenant, model, id);
CREATE INDEX devices_by_group ON devices (tenant, grouping, id);
CREATE INDEX devices_by_text ON devices (tenant, id, search);
CREATE INDEX devices_by_label ON devices (tenant, label);

-- How many devices are in each state until each minute: counting a million devices takes a few thousand rows.
CREATE TABLE device_counts (
    tenant TEXT    NOT NULL,
    state  TEXT    NOT NULL,
    minute INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, state, minute)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER devices_count_insert AFTER INSERT ON devices BEGIN
    INSERT INTO device_counts (tenant, state, minute, n) VALUES (new.tenant, new.state, new.minute, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_count_delete AFTER DELETE ON devices BEGIN
    UPDATE device_counts SET n = n - 1 WHERE tenant = old.tenant AND state = old.state AND minute = old.minute;
    DELETE FROM device_counts WHERE tenant = old.tenant AND state = old.state AND minute = old.minute AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_count_update AFTER UPDATE OF state, stale_at ON devices
WHEN old.state <> new.state OR old.minute <> new.minute BEGIN
    UPDATE device_counts SET n = n - 1 WHERE tenant = old.tenant AND state = old.state AND minute = old.minute;
    DELETE FROM device_counts WHERE tenant = old.tenant AND state = old.state AND minute = old.minute AND n = 0;
    INSERT INTO device_counts (tenant, state, minute, n) VALUES (new.tenant, new.state, new.minute, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- Finds devices by any three characters of search.
CREATE VIRTUAL TABLE devices_text USING fts5 (
    search, content = 'devices', content_rowid = 'row', tokenize = 'trigram case_sensitive 1', detail = 'none', columnsize = 0
);

-- +goose StatementBegin
CREATE TRIGGER devices_text_insert AFTER INSERT ON devices BEGIN
    INSERT INTO devices_text (rowid, search) VALUES (new.row, new.search);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_text_delete AFTER DELETE ON devices BEGIN
    INSERT INTO devices_text (devices_text, rowid, search) VALUES ('delete', old.row, old.search);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_text_update AFTER UPDATE OF search ON devices WHEN old.search <> new.search BEGIN
    INSERT INTO devices_text (devices_text, rowid, search) VALUES ('delete', old.row, old.search);
    INSERT INTO devices_text (rowid, search) VALUES (new.row, new.search);
END;
-- +goose StatementEnd

-- Versions of removed devices, so that a writer who read the removed one cannot overwrite its successor.
CREATE TABLE removed (
    tenant  TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE results (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    result BLOB    NOT NULL, -- CBOR
    ear    TEXT    NOT NULL
) STRICT;

CREATE INDEX results_by_device ON results (device, seq);

CREATE TABLE evidence (
    device  INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    digest  BLOB    NOT NULL,
    message BLOB    NOT NULL,
    PRIMARY KEY (device, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    tenant TEXT    NOT NULL,
    device TEXT    NOT NULL, -- not a foreign key: events outlive their device
    kind   TEXT    NOT NULL,
    actor  TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;

CREATE INDEX events_by_tenant ON events (tenant, seq);
CREATE INDEX events_by_device ON events (tenant, device, seq);

CREATE TABLE contents (
    row     INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL UNIQUE,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE reference_values (
    tenant   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    document BLOB    NOT NULL,
    created  INTEGER NOT NULL,
    retired  INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

CREATE TABLE tokens (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    tenant   TEXT    NOT NULL,
    hash     BLOB    NOT NULL,
    uses     INTEGER NOT NULL CHECK (uses >= 0),
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    revoked  INTEGER NOT NULL,
    operator INTEGER NOT NULL
) STRICT;

CREATE INDEX tokens_by_tenant ON tokens (tenant, created, row);

CREATE TABLE token_devices (
    token  INTEGER NOT NULL REFERENCES tokens (row) ON DELETE CASCADE,
    device TEXT    NOT NULL,
    PRIMARY KEY (token, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row that Ping writes.
CREATE TABLE heartbeat (
    row  INTEGER PRIMARY KEY CHECK (row = 1),
    beat INTEGER NOT NULL
) STRICT;

INSERT INTO heartbeat (row, beat) VALUES (1, 0);

-- +goose Down

DROP TABLE heartbeat;
DROP TABLE settings;
DROP TABLE token_devices;
DROP TABLE tokens;
DROP TABLE reference_values;
DROP TABLE contents;
DROP TABLE events;
DROP TABLE evidence;
DROP TABLE results;
DROP TABLE removed;
DROP TABLE devices_text;
DROP TABLE device_counts;
DROP TABLE devices;
