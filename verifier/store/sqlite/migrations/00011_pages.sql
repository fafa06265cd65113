-- +goose Up

-- What lists of values and of silent devices are read from has all that they show, in their order.
DROP INDEX marks_by_size;
CREATE INDEX marks_by_size ON marks (tenant, kind, name, weight DESC, n DESC, value);
DROP INDEX facets_by_size;
CREATE INDEX facets_by_size ON facets (tenant, kind, n DESC, value);
DROP INDEX devices_overdue;
CREATE INDEX devices_overdue ON devices (stale_at, id, tenant, shown)
    WHERE silenced = 0 AND stale_at > 0 AND state <> 'never-attested';

-- +goose Down

DROP INDEX devices_overdue;
CREATE INDEX devices_overdue ON devices (stale_at, id) WHERE silenced = 0 AND stale_at > 0 AND state <> 'never-attested';
DROP INDEX facets_by_size;
CREATE INDEX facets_by_size ON facets (tenant, kind, n);
DROP INDEX marks_by_size;
CREATE INDEX marks_by_size ON marks (tenant, kind, name, weight, n);
