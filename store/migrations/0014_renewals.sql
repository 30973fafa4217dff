-- +goose Up
-- How often a person wanted a node to be set up once more.
ALTER TABLE node_health ADD COLUMN renewals INTEGER NOT NULL DEFAULT 0;

-- +goose Down
SELECT 1;
