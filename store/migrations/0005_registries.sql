-- +goose Up
CREATE TABLE registries (                        -- of images; their secrets are in Nomad alone
  workspace_id INTEGER NOT NULL REFERENCES workspaces,
  host         TEXT    NOT NULL,
  username     TEXT    NOT NULL,
  updated_at   INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, host)
) STRICT, WITHOUT ROWID;

-- +goose Down
SELECT 1;
