-- +goose Up
ALTER TABLE workspaces ADD COLUMN dropped_at INTEGER NOT NULL DEFAULT 0; -- when Nomad had its namespace no more

-- +goose Down
SELECT 1;
