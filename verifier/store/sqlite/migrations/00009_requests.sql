-- +goose Up

-- Writes that clients may send again. The client's key is kept as its digest only; the answer is sealed under the key.
CREATE TABLE requests (
    tenant    TEXT    NOT NULL,
    principal TEXT    NOT NULL,
    key       BLOB    NOT NULL,
    digest    BLOB    NOT NULL,
    began     INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    done      INTEGER NOT NULL,
    answer    BLOB,
    PRIMARY KEY (tenant, principal, key)
) STRICT;

CREATE INDEX requests_by_expiry ON requests (expires);

-- +goose Down

DROP TABLE requests;
