-- +goose Up

-- Each recipient of an e-mail has a delivery of its own, which holds up no other recipient's.
ALTER TABLE deliveries ADD COLUMN recipient TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN subject TEXT NOT NULL DEFAULT ''; -- empty: made before there were any
CREATE INDEX deliveries_in_turn ON deliveries (alert, channel, recipient, row) WHERE state = 'waiting' AND alert <> '';

-- +goose Down

DROP INDEX deliveries_in_turn;
ALTER TABLE deliveries DROP COLUMN subject;
ALTER TABLE deliveries DROP COLUMN recipient;
