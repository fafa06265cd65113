-- +goose Up

-- What lists, counts and charts of a fleet of a million devices are made of. Triggers keep all of it, save device_marks
-- of findings, in the transaction of the write that it follows from.

-- What many devices share and are filtered by. One without devices goes.
CREATE TABLE classes (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL,
    status   TEXT NOT NULL,
    level    TEXT NOT NULL,
    vendor   TEXT NOT NULL,
    model    TEXT NOT NULL,
    firmware TEXT NOT NULL,
    grouping TEXT NOT NULL,
    UNIQUE (tenant, model, vendor, firmware, grouping, level, status)
) STRICT;

CREATE INDEX classes_by_vendor ON classes (tenant, vendor);
CREATE INDEX classes_by_firmware ON classes (tenant, firmware);
CREATE INDEX classes_by_group ON classes (tenant, grouping);
CREATE INDEX classes_by_level ON classes (tenant, level);
CREATE INDEX classes_by_status ON classes (tenant, status);

-- What lists are in the order of, and filtered by, is kept beside the columns that it follows from: a report writes these anew
-- each time, and with them every index that they are in.
ALTER TABLE devices ADD COLUMN class INTEGER;
-- The state as it was last written down. It differs from the state now in devices whose silence was not written down yet.
ALTER TABLE devices ADD COLUMN shown TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN changed INTEGER NOT NULL DEFAULT 0; -- since

-- What a device has besides: a label (name and value), a code of a finding of its newest result (kind "code", and
-- "finding" if it weighs), a finding (kind "cluster").
CREATE TABLE marks (
    row    INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    weight INTEGER NOT NULL, -- of a cluster: 0 info, 1 warning, 2 critical
    n      INTEGER NOT NULL, -- devices
    UNIQUE (tenant, kind, name, value)
) STRICT;

CREATE INDEX marks_by_size ON marks (tenant, kind, name, weight, n);

CREATE TABLE device_marks (
    device INTEGER NOT NULL,
    mark   INTEGER NOT NULL,
    PRIMARY KEY (device, mark)
) STRICT, WITHOUT ROWID;

CREATE INDEX device_marks_by_mark ON device_marks (mark, device);

-- The finding that a mark of kind "cluster" stands for.
CREATE TABLE clusters (
    mark    INTEGER PRIMARY KEY,
    since   INTEGER NOT NULL, -- when the first device showed it
    finding BLOB    NOT NULL  -- CBOR of result.Finding, of the device that showed it first
) STRICT;

-- Devices with a mark, or with mark 0 all, by class and state as shown; with a mark and class 0 those of all classes.
CREATE TABLE class_counts (
    mark  INTEGER NOT NULL,
    class INTEGER NOT NULL,
    shown TEXT    NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (mark, class, shown)
) STRICT, WITHOUT ROWID;

-- Devices by what they have: kind is "vendor", "model", "firmware", "group" or "shown", or "level" or "status", of which there
-- are few, together with the state as shown.
CREATE TABLE facets (
    tenant TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX facets_by_size ON facets (tenant, kind, n);

-- How many devices went from a state to another in spans of 60, 600, 3,600 and 86,400 s. at is the number of the span since
-- 1970; a device that came was in state '', one that was removed is.
CREATE TABLE moves (
    tenant TEXT    NOT NULL,
    span   INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    was    TEXT    NOT NULL,
    became TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, span, at, was, became)
) STRICT, WITHOUT ROWID;

-- Where the newest evidence of devices is in time, and how many reports came, in spans of 60 and 3,600 s.
CREATE TABLE reports (
    tenant TEXT    NOT NULL,
    span   INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    newest INTEGER NOT NULL, -- devices whose newest evidence came then
    total  INTEGER NOT NULL, -- reports that came then
    PRIMARY KEY (tenant, span, at)
) STRICT, WITHOUT ROWID;

-- What is inserted here is counted in moves. time is in microseconds; 0 stands for now, where a write does not say when.
CREATE VIEW move AS SELECT '' AS tenant, 0 AS time, '' AS was, '' AS became;

-- +goose StatementBegin
CREATE TRIGGER move_insert INSTEAD OF INSERT ON move BEGIN
    INSERT INTO moves (tenant, span, at, was, became, n)
        SELECT new.tenant, s.column1, iif(new.time > 0, new.time / 1000000, unixepoch()) / s.column1, new.was, new.became, 1
        FROM (VALUES (60), (600), (3600), (86400)) s WHERE TRUE
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- What there is.

INSERT INTO classes (tenant, status, level, vendor, model, firmware, grouping)
    SELECT DISTINCT tenant, status, level, vendor, model, firmware, grouping FROM devices;

UPDATE devices SET changed = since,
    shown = iif(silenced = 1 AND stale_at > 0 AND state <> 'never-attested', 'stale', state),
    class = (SELECT c.row FROM classes c WHERE c.tenant = devices.tenant AND c.model = devices.model
        AND c.vendor = devices.vendor AND c.firmware = devices.firmware AND c.grouping = devices.grouping
        AND c.level = devices.level AND c.status = devices.status);

INSERT INTO class_counts (mark, class, shown, n) SELECT 0, class, shown, count(*) FROM devices GROUP BY class, shown;

INSERT INTO facets (tenant, kind, value, n)
    SELECT tenant, 'vendor', vendor, count(*) FROM devices GROUP BY tenant, vendor
    UNION ALL SELECT tenant, 'model', model, count(*) FROM devices GROUP BY tenant, model
    UNION ALL SELECT tenant, 'firmware', firmware, count(*) FROM devices GROUP BY tenant, firmware
    UNION ALL SELECT tenant, 'group', grouping, count(*) FROM devices GROUP BY tenant, grouping
    UNION ALL SELECT tenant, 'shown', shown, count(*) FROM devices GROUP BY tenant, shown
    UNION ALL SELECT tenant, 'level', level || ' ' || shown, count(*) FROM devices GROUP BY 1, 3
    UNION ALL SELECT tenant, 'status', status || ' ' || shown, count(*) FROM devices GROUP BY 1, 3;

INSERT INTO marks (tenant, kind, name, value, weight, n)
    SELECT d.tenant, 'label', j.key, j.value, 0, count(*) FROM devices d, json_each(d.labels) j GROUP BY 1, 3, 4;

INSERT INTO device_marks (device, mark)
    SELECT d.row, m.row FROM devices d CROSS JOIN json_each(d.labels) j
    CROSS JOIN marks m ON m.tenant = d.tenant AND m.kind = 'label' AND m.name = j.key AND m.value = j.value;

INSERT INTO class_counts (mark, class, shown, n)
    SELECT m.mark, d.class, d.shown, count(*) FROM device_marks m JOIN devices d ON d.row = m.device GROUP BY 1, 2, 3
    UNION ALL SELECT m.mark, 0, d.shown, count(*) FROM device_marks m JOIN devices d ON d.row = m.device GROUP BY 1, 3;

INSERT INTO reports (tenant, span, at, newest, total)
    SELECT d.tenant, s.column1, d.last_seen / 1000000 / s.column1, count(*), count(*)
    FROM devices d, (VALUES (60), (3600)) s WHERE d.last_seen > 0 GROUP BY 1, 2, 3;

-- Devices that are there came when they enrolled; those that were removed are not told of. Events say of a change "was -> is: why".
INSERT INTO move (tenant, time, was, became)
    SELECT tenant, at, substr(detail, 1, instr(detail, ' -> ') - 1),
        iif(instr(detail, ': '), substr(detail, instr(detail, ' -> ') + 4, instr(detail, ': ') - instr(detail, ' -> ') - 4),
            substr(detail, instr(detail, ' -> ') + 4))
    FROM events e WHERE kind = 'state-changed' AND instr(detail, ' -> ') > 0
        AND EXISTS (SELECT 1 FROM devices d WHERE d.tenant = e.tenant AND d.id = e.device);

INSERT INTO move (tenant, time, was, became)
    SELECT tenant, iif(enrolled_at > 0, enrolled_at, since), '', 'never-attested' FROM devices;

-- From now on. (CROSS JOIN: labels are looked up one by one, whatever the planner thinks of their number.) What changes a device's class, state and labels is one trigger, for the order counts: device_marks_insert and
-- device_marks_delete count by the device as it is.

-- +goose StatementBegin
CREATE TRIGGER devices_overview_insert AFTER INSERT ON devices BEGIN
    INSERT INTO classes (tenant, status, level, vendor, model, firmware, grouping)
        VALUES (new.tenant, new.status, new.level, new.vendor, new.model, new.firmware, new.grouping) ON CONFLICT DO NOTHING;
    UPDATE devices SET changed = new.since, shown = iif(new.silenced = 1 AND new.stale_at > 0 AND new.state <> 'never-attested', 'stale', new.state),
        class = (SELECT row FROM classes WHERE tenant = new.tenant AND model = new.model AND vendor = new.vendor
            AND firmware = new.firmware AND grouping = new.grouping AND level = new.level AND status = new.status)
        WHERE row = new.row;
    INSERT INTO class_counts (mark, class, shown, n) SELECT 0, class, shown, 1 FROM devices WHERE row = new.row
        ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO facets (tenant, kind, value, n)
        SELECT d.tenant, k.column1,
            CASE k.column1 WHEN 'vendor' THEN d.vendor WHEN 'model' THEN d.model WHEN 'firmware' THEN d.firmware WHEN 'group' THEN d.grouping
                WHEN 'shown' THEN d.shown WHEN 'level' THEN d.level || ' ' || d.shown ELSE d.status || ' ' || d.shown END, 1
        FROM devices d, (VALUES ('vendor'), ('model'), ('firmware'), ('group'), ('shown'), ('level'), ('status')) k WHERE d.row = new.row
        ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO marks (tenant, kind, name, value, weight, n) SELECT new.tenant, 'label', key, value, 0, 0 FROM json_each(new.labels)
        WHERE TRUE ON CONFLICT DO NOTHING;
    INSERT INTO device_marks (device, mark) SELECT new.row, m.row FROM json_each(new.labels) j
        CROSS JOIN marks m ON m.tenant = new.tenant AND m.kind = 'label' AND m.name = j.key AND m.value = j.value
        WHERE TRUE ON CONFLICT DO NOTHING;
    INSERT INTO move (tenant, time, was, became) SELECT tenant, changed, '', shown FROM devices WHERE row = new.row;
    INSERT INTO reports (tenant, span, at, newest, total)
        SELECT new.tenant, s.column1, new.last_seen / 1000000 / s.column1, 1, 1 FROM (VALUES (60), (3600)) s WHERE new.last_seen > 0
        ON CONFLICT DO UPDATE SET newest = newest + 1, total = total + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_overview_update
AFTER UPDATE OF state, silenced, stale_at, since, status, level, vendor, model, firmware, grouping, labels ON devices
WHEN old.shown <> iif(new.silenced = 1 AND new.stale_at > 0 AND new.state <> 'never-attested', 'stale', new.state)
    OR old.since <> new.since OR old.status <> new.status OR old.level <> new.level OR old.vendor <> new.vendor
    OR old.model <> new.model OR old.firmware <> new.firmware OR old.grouping <> new.grouping OR old.labels IS NOT new.labels BEGIN
    UPDATE class_counts SET n = n - 1 WHERE class IN (0, old.class) AND shown = old.shown
        AND mark IN (SELECT 0 UNION ALL SELECT mark FROM device_marks WHERE device = old.row);
    DELETE FROM class_counts WHERE class IN (0, old.class) AND shown = old.shown AND n = 0
        AND mark IN (SELECT 0 UNION ALL SELECT mark FROM device_marks WHERE device = old.row);
    INSERT INTO classes (tenant, status, level, vendor, model, firmware, grouping)
        VALUES (new.tenant, new.status, new.level, new.vendor, new.model, new.firmware, new.grouping) ON CONFLICT DO NOTHING;
    UPDATE devices SET changed = new.since, shown = iif(new.silenced = 1 AND new.stale_at > 0 AND new.state <> 'never-attested', 'stale', new.state),
        class = (SELECT row FROM classes WHERE tenant = new.tenant AND model = new.model AND vendor = new.vendor
            AND firmware = new.firmware AND grouping = new.grouping AND level = new.level AND status = new.status)
        WHERE row = new.row;
    INSERT INTO class_counts (mark, class, shown, n)
        SELECT m.mark, d.class, d.shown, 1
        FROM (SELECT 0 AS mark UNION ALL SELECT mark FROM device_marks WHERE device = new.row) m, devices d WHERE d.row = new.row
        UNION ALL SELECT m.mark, 0, d.shown, 1 FROM device_marks m, devices d WHERE m.device = new.row AND d.row = new.row
        ON CONFLICT DO UPDATE SET n = n + 1;
    DELETE FROM classes WHERE row = old.class AND NOT EXISTS (SELECT 1 FROM class_counts WHERE mark = 0 AND class = old.class);
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'vendor' AND value = old.vendor;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'model' AND value = old.model;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'firmware' AND value = old.firmware;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'group' AND value = old.grouping;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'shown' AND value = old.shown;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'level' AND value = old.level || ' ' || old.shown;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'status' AND value = old.status || ' ' || old.shown;
    INSERT INTO facets (tenant, kind, value, n)
        SELECT d.tenant, k.column1,
            CASE k.column1 WHEN 'vendor' THEN d.vendor WHEN 'model' THEN d.model WHEN 'firmware' THEN d.firmware WHEN 'group' THEN d.grouping
                WHEN 'shown' THEN d.shown WHEN 'level' THEN d.level || ' ' || d.shown ELSE d.status || ' ' || d.shown END, 1
        FROM devices d, (VALUES ('vendor'), ('model'), ('firmware'), ('group'), ('shown'), ('level'), ('status')) k WHERE d.row = new.row
        ON CONFLICT DO UPDATE SET n = n + 1;
    DELETE FROM facets WHERE tenant = old.tenant AND n = 0
        AND kind IN ('vendor', 'model', 'firmware', 'group', 'shown', 'level', 'status');
    DELETE FROM device_marks WHERE device = new.row AND mark IN (
        SELECT m.row FROM json_each(old.labels) j
            CROSS JOIN marks m ON m.tenant = old.tenant AND m.kind = 'label' AND m.name = j.key AND m.value = j.value
        EXCEPT
        SELECT m.row FROM json_each(new.labels) j
            CROSS JOIN marks m ON m.tenant = new.tenant AND m.kind = 'label' AND m.name = j.key AND m.value = j.value);
    INSERT INTO marks (tenant, kind, name, value, weight, n) SELECT new.tenant, 'label', key, value, 0, 0 FROM json_each(new.labels)
        WHERE TRUE ON CONFLICT DO NOTHING;
    INSERT INTO device_marks (device, mark) SELECT new.row, m.row FROM json_each(new.labels) j
        CROSS JOIN marks m ON m.tenant = new.tenant AND m.kind = 'label' AND m.name = j.key AND m.value = j.value
        WHERE TRUE ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- A device that comes back before its silence was written down was stale meanwhile.
-- +goose StatementBegin
CREATE TRIGGER devices_moved AFTER UPDATE OF state, silenced, stale_at ON devices
WHEN old.shown <> iif(new.silenced = 1 AND new.stale_at > 0 AND new.state <> 'never-attested', 'stale', new.state)
    AND NOT (new.last_seen > old.last_seen AND old.silenced = 0 AND old.stale_at > 0
    AND old.stale_at <= new.last_seen AND old.state <> 'never-attested') BEGIN
    INSERT INTO move (tenant, time, was, became) VALUES (new.tenant, new.since, old.shown,
        iif(new.silenced = 1 AND new.stale_at > 0 AND new.state <> 'never-attested', 'stale', new.state));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_returned AFTER UPDATE OF last_seen ON devices
WHEN new.last_seen > old.last_seen AND old.silenced = 0 AND old.stale_at > 0 AND old.stale_at <= new.last_seen
    AND old.state <> 'never-attested' BEGIN
    INSERT INTO move (tenant, time, was, became) VALUES (old.tenant, old.stale_at, old.shown, 'stale');
    INSERT INTO move (tenant, time, was, became) VALUES (new.tenant, new.last_seen, 'stale',
        iif(new.silenced = 1 AND new.stale_at > 0 AND new.state <> 'never-attested', 'stale', new.state));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_reported AFTER UPDATE OF last_seen ON devices WHEN old.last_seen <> new.last_seen AND new.last_seen > 0 BEGIN
    UPDATE reports SET newest = newest - 1 WHERE tenant = old.tenant AND span = 60 AND at = old.last_seen / 60000000 AND old.last_seen > 0;
    UPDATE reports SET newest = newest - 1 WHERE tenant = old.tenant AND span = 3600 AND at = old.last_seen / 3600000000 AND old.last_seen > 0;
    INSERT INTO reports (tenant, span, at, newest, total)
        VALUES (new.tenant, 60, new.last_seen / 60000000, 1, 1), (new.tenant, 3600, new.last_seen / 3600000000, 1, 1)
        ON CONFLICT DO UPDATE SET newest = newest + 1, total = total + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_overview_delete BEFORE DELETE ON devices BEGIN
    DELETE FROM device_marks WHERE device = old.row;
    UPDATE class_counts SET n = n - 1 WHERE mark = 0 AND class = old.class AND shown = old.shown;
    DELETE FROM class_counts WHERE mark = 0 AND class = old.class AND shown = old.shown AND n = 0;
    DELETE FROM classes WHERE row = old.class AND NOT EXISTS (SELECT 1 FROM class_counts WHERE mark = 0 AND class = old.class);
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'vendor' AND value = old.vendor;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'model' AND value = old.model;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'firmware' AND value = old.firmware;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'group' AND value = old.grouping;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'shown' AND value = old.shown;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'level' AND value = old.level || ' ' || old.shown;
    UPDATE facets SET n = n - 1 WHERE tenant = old.tenant AND kind = 'status' AND value = old.status || ' ' || old.shown;
    DELETE FROM facets WHERE tenant = old.tenant AND n = 0
        AND kind IN ('vendor', 'model', 'firmware', 'group', 'shown', 'level', 'status');
    UPDATE reports SET newest = newest - 1 WHERE tenant = old.tenant AND span = 60 AND at = old.last_seen / 60000000 AND old.last_seen > 0;
    UPDATE reports SET newest = newest - 1 WHERE tenant = old.tenant AND span = 3600 AND at = old.last_seen / 3600000000 AND old.last_seen > 0;
    INSERT INTO move (tenant, time, was, became) VALUES (old.tenant, 0, old.shown, '');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER device_marks_insert AFTER INSERT ON device_marks BEGIN
    UPDATE marks SET n = n + 1 WHERE row = new.mark;
    INSERT INTO class_counts (mark, class, shown, n)
        SELECT new.mark, class, shown, 1 FROM devices WHERE row = new.device
        UNION ALL SELECT new.mark, 0, shown, 1 FROM devices WHERE row = new.device
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER device_marks_delete AFTER DELETE ON device_marks BEGIN
    UPDATE class_counts SET n = n - 1 WHERE mark = old.mark
        AND class IN (0, (SELECT class FROM devices WHERE row = old.device)) AND shown = (SELECT shown FROM devices WHERE row = old.device);
    DELETE FROM class_counts WHERE mark = old.mark AND n = 0
        AND class IN (0, (SELECT class FROM devices WHERE row = old.device)) AND shown = (SELECT shown FROM devices WHERE row = old.device);
    UPDATE marks SET n = n - 1 WHERE row = old.mark;
    DELETE FROM marks WHERE row = old.mark AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER marks_delete AFTER DELETE ON marks WHEN old.kind = 'cluster' BEGIN
    DELETE FROM clusters WHERE mark = old.row;
END;
-- +goose StatementEnd

-- Lists in each order. What they are filtered by is in the index: what does not match costs no look at its row.
CREATE INDEX devices_in_id ON devices (tenant, id, class, shown);
CREATE INDEX devices_in_label ON devices (tenant, label, id, class, shown);
CREATE INDEX devices_in_seen ON devices (tenant, shown, last_seen, id, class);
CREATE INDEX devices_in_since ON devices (tenant, shown, changed, id, class);
CREATE INDEX devices_of_class ON devices (class, shown, search);
CREATE INDEX devices_of_class_in_label ON devices (class, label, id, shown);
CREATE INDEX devices_silenced ON devices (tenant, stale_at) WHERE silenced = 1;
DROP INDEX devices_by_label; -- devices_in_label begins alike

-- What devices have now, without a look at the rows of seen.
CREATE INDEX seen_holders ON seen (indexed, device) WHERE until = 0;
CREATE INDEX seen_held ON seen (device, indexed) WHERE until = 0;

-- Which three characters there are: finds shorter parts of texts.
CREATE VIRTUAL TABLE devices_parts USING fts5vocab (devices_text, instance);

CREATE INDEX events_changes ON events (tenant, seq) WHERE kind = 'state-changed';

-- Findings of results that were stored before are marked by Open.
ALTER TABLE finding_keys ADD COLUMN marked INTEGER NOT NULL DEFAULT 0;

INSERT INTO finding_keys (device, keys) SELECT DISTINCT r.device, x'' FROM results r
    WHERE NOT EXISTS (SELECT 1 FROM finding_keys k WHERE k.device = r.device);

CREATE INDEX finding_keys_unmarked ON finding_keys (device) WHERE marked = 0;

-- +goose Down

DROP TRIGGER devices_overview_insert;
DROP TRIGGER devices_overview_update;
DROP TRIGGER devices_moved;
DROP TRIGGER devices_returned;
DROP TRIGGER devices_reported;
DROP TRIGGER devices_overview_delete;
DROP INDEX finding_keys_unmarked;
ALTER TABLE finding_keys DROP COLUMN marked;
DROP INDEX events_changes;
DROP TABLE devices_parts;
DROP INDEX seen_held;
DROP INDEX seen_holders;
CREATE INDEX devices_by_label ON devices (tenant, label);
DROP INDEX devices_silenced;
DROP INDEX devices_of_class_in_label;
DROP INDEX devices_of_class;
DROP INDEX devices_in_since;
DROP INDEX devices_in_seen;
DROP INDEX devices_in_label;
DROP INDEX devices_in_id;
DROP VIEW move;
DROP TABLE reports;
DROP TABLE moves;
DROP TABLE facets;
DROP TABLE class_counts;
DROP TABLE clusters;
DROP TABLE device_marks;
DROP TABLE marks;
ALTER TABLE devices DROP COLUMN changed;
ALTER TABLE devices DROP COLUMN shown;
ALTER TABLE devices DROP COLUMN class;
DROP TABLE classes;
