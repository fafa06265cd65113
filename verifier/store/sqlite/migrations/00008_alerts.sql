-- +goose Up

CREATE TABLE alert_rules (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    disabled INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    spec     TEXT    NOT NULL, -- JSON: the rest
    UNIQUE (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

CREATE TABLE alert_channels (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    disabled INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    failing  TEXT    NOT NULL,
    spec     TEXT    NOT NULL, -- JSON: the rest
    UNIQUE (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

CREATE TABLE alert_rule_channels (
    rule    INTEGER NOT NULL REFERENCES alert_rules (row) ON DELETE CASCADE,
    channel INTEGER NOT NULL REFERENCES alert_channels (row),
    PRIMARY KEY (rule, channel)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_rule_channels_of ON alert_rule_channels (channel);

CREATE TABLE alerts (
    row          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       TEXT    NOT NULL,
    id           TEXT    NOT NULL UNIQUE,
    rule         TEXT    NOT NULL, -- not a foreign key: alerts outlive their rule
    rule_name    TEXT    NOT NULL,
    key          BLOB    NOT NULL,
    cluster      TEXT    NOT NULL,
    code         TEXT    NOT NULL,
    severity     TEXT    NOT NULL,
    finding      TEXT    NOT NULL, -- JSON
    state        TEXT    NOT NULL,
    devices      INTEGER NOT NULL,
    peak         INTEGER NOT NULL,
    shows        TEXT    NOT NULL, -- JSON: sample, models and groups
    since        INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    emptied      INTEGER NOT NULL,
    resolved     INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    told         INTEGER NOT NULL,
    told_devices INTEGER NOT NULL,
    tellings     INTEGER NOT NULL,
    refreshed    INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    changed      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX alerts_open ON alerts (tenant, rule, key, severity) WHERE resolved = 0;
CREATE INDEX alerts_open_codes ON alerts (tenant, rule, code) WHERE resolved = 0;
CREATE INDEX alerts_due ON alerts (due) WHERE resolved = 0;
CREATE INDEX alerts_resolved ON alerts (resolved) WHERE resolved > 0;
CREATE INDEX alerts_by_tenant ON alerts (tenant, row);
CREATE INDEX alerts_by_state ON alerts (tenant, state, row);

-- Which devices show it now. A device is in one alert of a rule.
CREATE TABLE alert_members (
    device   INTEGER NOT NULL REFERENCES devices (row) ON DELETE CASCADE,
    rule     INTEGER NOT NULL REFERENCES alert_rules (row) ON DELETE CASCADE,
    alert    INTEGER NOT NULL REFERENCES alerts (row) ON DELETE CASCADE,
    model    TEXT    NOT NULL, -- vendor and model, as they were when it joined
    grouping TEXT    NOT NULL,
    PRIMARY KEY (device, rule)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_members_of ON alert_members (alert, device);
CREATE INDEX alert_members_by_rule ON alert_members (rule);

-- How many of them have each model and group: 50,000 devices are not counted each time.
CREATE TABLE alert_scopes (
    alert INTEGER NOT NULL REFERENCES alerts (row) ON DELETE CASCADE,
    kind  TEXT    NOT NULL, -- model or group
    value TEXT    NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (alert, kind, value)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER alert_members_insert AFTER INSERT ON alert_members BEGIN
    UPDATE alerts SET devices = devices + 1, peak = max(peak, devices + 1), due = 0, changed = changed + 1 WHERE row = new.alert;
    INSERT INTO alert_scopes (alert, kind, value, n) VALUES (new.alert, 'model', new.model, 1), (new.alert, 'group', new.grouping, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alert_members_delete AFTER DELETE ON alert_members BEGIN
    UPDATE alerts SET devices = devices - 1, due = 0, changed = changed + 1 WHERE row = old.alert;
    UPDATE alert_scopes SET n = n - 1 WHERE alert = old.alert
        AND (kind = 'model' AND value = old.model OR kind = 'group' AND value = old.grouping);
    DELETE FROM alert_scopes WHERE alert = old.alert AND n = 0;
END;
-- +goose StatementEnd

-- Devices that changed since they were last compared with the rules, in the order in which they changed.
CREATE TABLE alert_work (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL UNIQUE REFERENCES devices (row) ON DELETE CASCADE
) STRICT;

-- Up to which device a tenant's were marked after its rules changed.
CREATE TABLE alert_scans (
    tenant TEXT    PRIMARY KEY,
    after  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER alert_work_insert AFTER INSERT ON devices
WHEN EXISTS (SELECT 1 FROM alert_rules WHERE tenant = new.tenant) BEGIN
    INSERT INTO alert_work (device) VALUES (new.row);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alert_work_update AFTER UPDATE OF state, silenced, status, grouping, labels, vendor, model ON devices
WHEN (old.state <> new.state OR old.silenced <> new.silenced OR old.status <> new.status OR old.grouping <> new.grouping
    OR old.labels IS NOT new.labels OR old.vendor <> new.vendor OR old.model <> new.model)
    AND EXISTS (SELECT 1 FROM alert_rules WHERE tenant = new.tenant) BEGIN
    DELETE FROM alert_work WHERE device = new.row;
    INSERT INTO alert_work (device) VALUES (new.row);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alert_work_found AFTER INSERT ON finding_keys
WHEN new.keys <> x'' AND EXISTS (SELECT 1 FROM alert_rules) BEGIN
    DELETE FROM alert_work WHERE device = new.device;
    INSERT INTO alert_work (device) VALUES (new.device);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alert_work_found_other AFTER UPDATE OF keys ON finding_keys
WHEN old.keys <> new.keys AND EXISTS (SELECT 1 FROM alert_rules) BEGIN
    DELETE FROM alert_work WHERE device = new.device;
    INSERT INTO alert_work (device) VALUES (new.device);
END;
-- +goose StatementEnd

CREATE TABLE deliveries (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    key      TEXT    NOT NULL UNIQUE,
    alert    TEXT    NOT NULL, -- neither it nor the channel is a foreign key: deliveries outlive them
    channel  TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    message  BLOB    NOT NULL,
    state    TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    error    TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    next     INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    sent     INTEGER NOT NULL
) STRICT;

CREATE INDEX deliveries_by_tenant ON deliveries (tenant, row);
CREATE INDEX deliveries_by_state ON deliveries (tenant, state, row);
CREATE INDEX deliveries_waiting ON deliveries (tenant, channel, row) WHERE state = 'waiting';
CREATE INDEX deliveries_expiring ON deliveries (expires) WHERE state = 'waiting';
CREATE INDEX deliveries_of ON deliveries (alert, channel, row) WHERE alert <> '';
CREATE INDEX deliveries_final ON deliveries (created) WHERE state <> 'waiting';
CREATE INDEX deliveries_dead ON deliveries (row) WHERE state = 'dead';

-- +goose Down

DROP TABLE deliveries;
DROP TRIGGER alert_work_found_other;
DROP TRIGGER alert_work_found;
DROP TRIGGER alert_work_update;
DROP TRIGGER alert_work_insert;
DROP TABLE alert_scans;
DROP TABLE alert_work;
DROP TABLE alert_scopes;
DROP TABLE alert_members;
DROP TABLE alerts;
DROP TABLE alert_rule_channels;
DROP TABLE alert_channels;
DROP TABLE alert_rules;
