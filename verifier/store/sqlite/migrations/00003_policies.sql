-- +goose Up

CREATE TABLE policies (
    tenant   TEXT    NOT NULL,
    version  INTEGER NOT NULL CHECK (version > 0),
    name     TEXT    NOT NULL,
    document BLOB    NOT NULL, -- YAML
    digest   TEXT    NOT NULL, -- SHA-256 of document, hexadecimal
    author   TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT;

-- +goose Down

DROP TABLE policies;
