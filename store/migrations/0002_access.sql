-- +goose Up
-- Tokens of before were all administrators.
CREATE TABLE tokens_with_roles (
  id           INTEGER PRIMARY KEY,
  name         TEXT    NOT NULL UNIQUE,
  role         TEXT    NOT NULL CHECK (role IN ('reader', 'contributor', 'owner', 'administrator')),
  workspace_id INTEGER REFERENCES workspaces,
  hash         TEXT    NOT NULL UNIQUE,
  created_by   TEXT    NOT NULL DEFAULT '',
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL DEFAULT 0,       -- 0 is never
  last_used_at INTEGER NOT NULL DEFAULT 0,       -- to the minute
  CHECK ((role = 'administrator') = (workspace_id IS NULL))
) STRICT;
INSERT INTO tokens_with_roles (id, name, role, hash, created_at) SELECT id, name, 'administrator', hash, created_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_with_roles RENAME TO tokens;

CREATE TABLE audit (                             -- every write that somebody asked for, refused ones too
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  at         INTEGER NOT NULL,
  actor      TEXT    NOT NULL,
  action     TEXT    NOT NULL,                   -- the operation, such as create-run
  workspace  TEXT    NOT NULL,                   -- as the caller named it: it need not exist; '' is the platform
  target     TEXT    NOT NULL,                   -- the path below /api/v1, with the name of what was made
  outcome    TEXT    NOT NULL,                   -- 'done', or the code of the error
  request_id TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_workspace ON audit (workspace, seq);

-- +goose Down
SELECT 1;
