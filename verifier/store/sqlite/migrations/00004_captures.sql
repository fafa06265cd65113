-- +goose Up

-- Raw bytes of flash memory that operators asked for. Times are microseconds since 1970 (UTC).
CREATE TABLE captures (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    device  INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    state   TEXT    NOT NULL,
    held    INTEGER NOT NULL, -- bytes in capture_pieces
    updated INTEGER NOT NULL,
    open    INTEGER NOT NULL, -- 1: more may come
    details BLOB    NOT NULL  -- CBOR
) STRICT;

CREATE INDEX captures_by_device ON captures (device, seq);
CREATE UNIQUE INDEX captures_open ON captures (device) WHERE open = 1;
CREATE INDEX captures_idle ON captures (open, updated);

CREATE TABLE capture_pieces (
    capture INTEGER NOT NULL REFERENCES captures (seq) ON DELETE CASCADE,
    start   INTEGER NOT NULL, -- offset of the first byte
    data    BLOB    NOT NULL,
    PRIMARY KEY (capture, start)
) STRICT;

-- What the newest result of each device found: which other devices show the same?
CREATE TABLE findings (
    device INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    key    BLOB    NOT NULL, -- store.FindingKey
    PRIMARY KEY (device, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX findings_by_key ON findings (key, device);

-- The keys of a device's rows in findings, one after the other: a report that finds the same changes nothing.
CREATE TABLE finding_keys (
    device INTEGER PRIMARY KEY REFERENCES devices (row) ON DELETE CASCADE,
    keys   BLOB    NOT NULL
) STRICT;

-- +goose Down

DROP TABLE finding_keys;
DROP TABLE findings;
DROP TABLE capture_pieces;
DROP TABLE captures;
