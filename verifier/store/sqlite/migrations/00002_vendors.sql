-- +goose Up

CREATE TABLE vendor_keys (
    row     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    public  BLOB    NOT NULL,
    vendors TEXT    NOT NULL, -- JSON array
    models  TEXT    NOT NULL, -- JSON array
    begins  INTEGER NOT NULL,
    ends    INTEGER NOT NULL,
    added   INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

CREATE TABLE manifests (
    row           INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant        TEXT    NOT NULL,
    digest        TEXT    NOT NULL,
    vendor        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    advisory      TEXT    NOT NULL,
    begins        INTEGER NOT NULL,
    ends          INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    submitted     INTEGER NOT NULL,
    counts_from   INTEGER NOT NULL,
    counts_until  INTEGER NOT NULL,
    superseded_by TEXT    NOT NULL,
    withdrawn     INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    proof         BLOB,
    UNIQUE (tenant, digest),
    UNIQUE (tenant, vendor, name)
) STRICT;

CREATE TABLE endorsements (
    row       INTEGER PRIMARY KEY AUTOINCREMENT,
    manifest  INTEGER NOT NULL REFERENCES manifests (row) ON DELETE CASCADE,
    key       TEXT    NOT NULL,
    issuer    TEXT    NOT NULL,
    submitted INTEGER NOT NULL,
    judged    INTEGER NOT NULL,
    begins    INTEGER NOT NULL,
    ends      INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    document  BLOB    NOT NULL,
    UNIQUE (manifest, key)
) STRICT;

CREATE TABLE denials (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    digest   BLOB    NOT NULL,
    advisory TEXT    NOT NULL,
    note     TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    added    INTEGER NOT NULL,
    removed  INTEGER NOT NULL,
    UNIQUE (tenant, digest)
) STRICT;

CREATE TABLE choices (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Contents whose digests are known: boot logs, PCR values, parts of IMA lists, flash regions. What has a base has the
-- digests of the base and its own, without those that it lacks: devices of a model run nearly the same files.
CREATE TABLE indexed (
    row      INTEGER PRIMARY KEY,
    content  BLOB    NOT NULL UNIQUE,
    kind     TEXT    NOT NULL,
    grouping TEXT    NOT NULL,
    base     INTEGER REFERENCES indexed (row)
) STRICT;

CREATE INDEX indexed_bases ON indexed (kind, grouping, row) WHERE base IS NULL;
CREATE INDEX indexed_by_base ON indexed (base) WHERE base IS NOT NULL;

CREATE TABLE indexed_digests (
    digest  BLOB    NOT NULL,
    indexed INTEGER NOT NULL REFERENCES indexed (row),
    lacks   INTEGER NOT NULL, -- 1: the base has it and this does not
    place   TEXT    NOT NULL,
    PRIMARY KEY (digest, indexed)
) STRICT, WITHOUT ROWID;

CREATE INDEX indexed_digests_of ON indexed_digests (indexed);

CREATE TABLE seen (
    row     INTEGER PRIMARY KEY AUTOINCREMENT,
    device  INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    indexed INTEGER NOT NULL REFERENCES indexed (row),
    boot    TEXT    NOT NULL, -- id of the newest boot in which it was seen
    first   INTEGER NOT NULL,
    until   INTEGER NOT NULL, -- 0: still there
    UNIQUE (device, indexed)
) STRICT;

CREATE INDEX seen_of ON seen (indexed);
CREATE INDEX seen_now ON seen (device) WHERE until = 0;

-- +goose Down

DROP TABLE seen;
DROP TABLE indexed_digests;
DROP TABLE indexed;
DROP TABLE choices;
DROP TABLE denials;
DROP TABLE endorsements;
DROP TABLE manifests;
DROP TABLE vendor_keys;
