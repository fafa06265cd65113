-- +goose Up

-- GUIDs that boot logs name, as digests are in indexed_digests. There are few, so that every content has all of its own.
CREATE TABLE indexed_guids (
    guid    BLOB    NOT NULL, -- 16 bytes in the order of its text
    indexed INTEGER NOT NULL REFERENCES indexed (row),
    place   TEXT    NOT NULL,
    PRIMARY KEY (guid, indexed)
) STRICT, WITHOUT ROWID;

-- The names of places where digests are, each once, found by any three characters.
CREATE TABLE places (
    row   INTEGER PRIMARY KEY,
    place TEXT NOT NULL UNIQUE
) STRICT;

CREATE VIRTUAL TABLE places_text USING fts5 (
    place, content = 'places', content_rowid = 'row', tokenize = 'trigram', detail = 'none', columnsize = 0
);

-- +goose StatementBegin
CREATE TRIGGER places_text_insert AFTER INSERT ON places BEGIN
    INSERT INTO places_text (rowid, place) VALUES (new.row, new.place);
END;
-- +goose StatementEnd

INSERT INTO places (place) SELECT DISTINCT place FROM indexed_digests WHERE lacks = 0;

-- +goose StatementBegin
CREATE TRIGGER indexed_digests_place AFTER INSERT ON indexed_digests WHEN new.lacks = 0 BEGIN
    INSERT INTO places (place) VALUES (new.place) ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

CREATE INDEX indexed_digests_by_place ON indexed_digests (place) WHERE lacks = 0;

-- How many devices of each vendor and model there are.
CREATE TABLE model_counts (
    tenant TEXT    NOT NULL,
    vendor TEXT    NOT NULL,
    model  TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, vendor, model)
) STRICT, WITHOUT ROWID;

INSERT INTO model_counts (tenant, vendor, model, n)
    SELECT tenant, vendor, model, count(*) FROM devices GROUP BY tenant, vendor, model;

-- +goose StatementBegin
CREATE TRIGGER model_counts_insert AFTER INSERT ON devices BEGIN
    INSERT INTO model_counts (tenant, vendor, model, n) VALUES (new.tenant, new.vendor, new.model, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER model_counts_delete AFTER DELETE ON devices BEGIN
    UPDATE model_counts SET n = n - 1 WHERE tenant = old.tenant AND vendor = old.vendor AND model = old.model;
    DELETE FROM model_counts WHERE tenant = old.tenant AND vendor = old.vendor AND model = old.model AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER model_counts_update AFTER UPDATE OF vendor, model ON devices
WHEN old.vendor <> new.vendor OR old.model <> new.model BEGIN
    UPDATE model_counts SET n = n - 1 WHERE tenant = old.tenant AND vendor = old.vendor AND model = old.model;
    DELETE FROM model_counts WHERE tenant = old.tenant AND vendor = old.vendor AND model = old.model AND n = 0;
    INSERT INTO model_counts (tenant, vendor, model, n) VALUES (new.tenant, new.vendor, new.model, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- Which reference values the newest result of each device used, and how many devices in which state that makes. A state
-- is stale from when the verifier noted that: counting by the minute would write with every report.
CREATE TABLE relying (
    device INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    name   TEXT    NOT NULL,
    PRIMARY KEY (device, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE relying_counts (
    tenant TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    state  TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, state)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER relying_insert AFTER INSERT ON relying BEGIN
    INSERT INTO relying_counts (tenant, name, state, n)
        SELECT tenant, new.name, iif(silenced, 'stale', state), 1 FROM devices WHERE row = new.device
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER relying_delete AFTER DELETE ON relying BEGIN
    UPDATE relying_counts SET n = n - 1 WHERE name = old.name AND (tenant, state) =
        (SELECT tenant, iif(silenced, 'stale', state) FROM devices WHERE row = old.device);
    DELETE FROM relying_counts WHERE name = old.name AND n = 0 AND tenant = (SELECT tenant FROM devices WHERE row = old.device);
END;
-- +goose StatementEnd

-- Before the device goes, for the trigger above looks at it.
-- +goose StatementBegin
CREATE TRIGGER relying_device_delete BEFORE DELETE ON devices BEGIN
    DELETE FROM relying WHERE device = old.row;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER relying_state AFTER UPDATE OF state, silenced ON devices
WHEN iif(old.silenced, 'stale', old.state) <> iif(new.silenced, 'stale', new.state) BEGIN
    UPDATE relying_counts SET n = n - 1 WHERE tenant = old.tenant AND state = iif(old.silenced, 'stale', old.state)
        AND name IN (SELECT name FROM relying WHERE device = new.row);
    DELETE FROM relying_counts WHERE tenant = old.tenant AND n = 0 AND name IN (SELECT name FROM relying WHERE device = new.row);
    INSERT INTO relying_counts (tenant, name, state, n)
        SELECT new.tenant, name, iif(new.silenced, 'stale', new.state), 1 FROM relying WHERE device = new.row
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- A manifest counts once so many people, other than those who submitted it, have consented. overlap is what its
-- submitter wanted of what it supersedes, in microseconds; -1: as it says itself.
ALTER TABLE manifests ADD COLUMN needs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manifests ADD COLUMN overlap INTEGER NOT NULL DEFAULT -1;

CREATE TABLE approvals (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    manifest INTEGER NOT NULL REFERENCES manifests (row) ON DELETE CASCADE,
    actor    TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    note     TEXT    NOT NULL,
    UNIQUE (manifest, actor)
) STRICT;

-- Whose a sighting is, so that what many devices of one tenant have is searched for another without a look at them.
ALTER TABLE seen ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
UPDATE seen SET tenant = (SELECT d.tenant FROM devices d WHERE d.row = seen.device);
DROP INDEX seen_of;
CREATE INDEX seen_of ON seen (indexed, tenant);

-- What a version without these tables stored, and is still to be looked at: devices with results, and boot logs.
CREATE TABLE unseen (
    device INTEGER PRIMARY KEY REFERENCES devices (row) ON DELETE CASCADE
) STRICT;

INSERT INTO unseen (device) SELECT row FROM devices WHERE state <> 'never-attested';

CREATE TABLE unindexed (
    indexed INTEGER PRIMARY KEY REFERENCES indexed (row)
) STRICT;

INSERT INTO unindexed (indexed) SELECT row FROM indexed WHERE kind = 'boot';

-- +goose Down

DROP TABLE unindexed;
DROP TABLE unseen;
DROP INDEX seen_of;
CREATE INDEX seen_of ON seen (indexed);
ALTER TABLE seen DROP COLUMN tenant;
DROP TABLE approvals;
ALTER TABLE manifests DROP COLUMN overlap;
ALTER TABLE manifests DROP COLUMN needs;
DROP TRIGGER relying_state;
DROP TRIGGER relying_device_delete;
DROP TABLE relying_counts;
DROP TABLE relying;
DROP TRIGGER model_counts_update;
DROP TRIGGER model_counts_delete;
DROP TRIGGER model_counts_insert;
DROP TABLE model_counts;
DROP INDEX indexed_digests_by_place;
DROP TRIGGER indexed_digests_place;
DROP TABLE places_text;
DROP TABLE places;
DROP TABLE indexed_guids;
