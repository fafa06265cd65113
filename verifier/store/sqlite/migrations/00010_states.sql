-- +goose Up

-- Devices in one state in the order of their ids. Three indexes that no query uses any more make room.
CREATE INDEX devices_in_state ON devices (tenant, shown, id, class);
DROP INDEX devices_by_status;
DROP INDEX devices_by_model;
DROP INDEX devices_by_group;

-- +goose Down

CREATE INDEX devices_by_status ON devices (tenant, status, id);
CREATE INDEX devices_by_model ON devices (tenant, model, id);
CREATE INDEX devices_by_group ON devices (tenant, grouping, id);
DROP INDEX devices_in_state;
