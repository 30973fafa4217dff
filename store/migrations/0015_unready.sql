-- +goose Up
-- Why nodes that were wanted are not ready: none joined, or their set-ups fail.
ALTER TABLE clusters RENAME COLUMN setup_failure TO unready;

-- +goose Down
SELECT 1;
