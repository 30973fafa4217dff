-- +goose Up
ALTER TABLE artifacts ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0; -- by retention: the row says what was there
ALTER TABLE runs ADD COLUMN archived_at INTEGER NOT NULL DEFAULT 0;     -- kept out of lists, and from retention
ALTER TABLE runs ADD COLUMN artifacts_removed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN logs_removed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN keep_artifacts INTEGER NOT NULL DEFAULT 0; -- seconds after a run's end; 0 is for ever
ALTER TABLE workspaces ADD COLUMN keep_logs INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_ended ON runs (workspace_id, ended_at) WHERE ended_at > 0 AND archived_at = 0;

-- +goose Down
SELECT 1;
