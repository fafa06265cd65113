-- +goose Up

-- What a token for the API may do. All that there were until now could do everything.
ALTER TABLE tokens ADD COLUMN role TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN vendors TEXT NOT NULL DEFAULT 'null'; -- JSON array of patterns
ALTER TABLE tokens ADD COLUMN name TEXT NOT NULL DEFAULT '';

UPDATE tokens SET role = 'admin' WHERE operator = 1;

-- Who may sign in.
CREATE TABLE accounts (
    row          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    folded       TEXT    NOT NULL, -- name in lower case: two that people take for one must not exist
    version      INTEGER NOT NULL,
    epoch        INTEGER NOT NULL, -- sessions of another epoch have ended
    role         TEXT    NOT NULL,
    vendors      TEXT    NOT NULL, -- JSON array of patterns
    password     TEXT    NOT NULL, -- PHC string; empty: none
    subject      TEXT    NOT NULL, -- empty: none
    disabled     INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    last_sign_in INTEGER NOT NULL,
    UNIQUE (tenant, name),
    UNIQUE (tenant, folded)
) STRICT;

CREATE UNIQUE INDEX accounts_by_subject ON accounts (tenant, subject) WHERE subject <> '';

CREATE TABLE account_certificates (
    tenant  TEXT    NOT NULL,
    digest  TEXT    NOT NULL, -- hexadecimal SHA-256 of the SubjectPublicKeyInfo
    account INTEGER NOT NULL REFERENCES accounts (row) ON DELETE CASCADE,
    place   INTEGER NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX account_certificates_by_account ON account_certificates (account, place);

-- Sessions of people at browsers. The token itself is not kept.
CREATE TABLE sessions (
    digest  BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of the token
    tenant  TEXT    NOT NULL,
    account TEXT    NOT NULL,
    epoch   INTEGER NOT NULL,
    created INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_expiry ON sessions (expires);

-- Who did or saw what, chained by digests: see package audit.
CREATE TABLE audit (
    tenant  TEXT    NOT NULL,
    seq     INTEGER NOT NULL, -- 1, 2, 3 ... within the tenant
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    object  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    status  INTEGER NOT NULL,
    remote  TEXT    NOT NULL,
    request TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    times   INTEGER NOT NULL,
    before  BLOB    NOT NULL, -- chain of the entry before, zeros for the first
    chain   BLOB    NOT NULL, -- SHA-256 over before and the entry
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_by_time ON audit (tenant, at, seq);
CREATE INDEX audit_by_actor ON audit (tenant, actor, seq);
CREATE INDEX audit_by_action ON audit (tenant, action, seq);
CREATE INDEX audit_by_object ON audit (tenant, object, seq);

-- +goose StatementBegin
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'entries of the audit log are never changed');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'entries of the audit log are never deleted');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_appends BEFORE INSERT ON audit
WHEN new.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit WHERE tenant = new.tenant) BEGIN
    SELECT raise(ABORT, 'entries of the audit log are only appended');
END;
-- +goose StatementEnd

-- +goose Down

DROP TABLE audit;
DROP TABLE sessions;
DROP TABLE account_certificates;
DROP TABLE accounts;
ALTER TABLE tokens DROP COLUMN name;
ALTER TABLE tokens DROP COLUMN vendors;
ALTER TABLE tokens DROP COLUMN role;
