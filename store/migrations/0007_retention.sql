-- +goose Up
CREATE TABLE uploads (                           -- when somebody was last told that an upload is here; older ones have the object's own time
  workspace_id INTEGER NOT NULL REFERENCES workspaces,
  sha256       TEXT    NOT NULL,
  seen_at      INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, sha256)
) STRICT, WITHOUT ROWID;

-- When the objects of what was removed were gone: until then they are removed again.
ALTER TABLE runs ADD COLUMN artifacts_purged_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN logs_purged_at INTEGER NOT NULL DEFAULT 0;
DROP INDEX runs_ended;
CREATE INDEX runs_left ON runs (workspace_id, id) WHERE ended_at > 0 AND (artifacts_purged_at = 0 OR logs_purged_at = 0);

-- +goose Down
SELECT 1;
