-- +goose Up
-- A run that is tried again logs the same steps once more: the last attempt's
-- count.
ALTER TABLE metrics ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE latest_metrics ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;

-- +goose Down
SELECT 1;
