-- +goose Up
-- The version of a row counts what people may change of it, and its moves: it
-- is what If-Match compares.
ALTER TABLE runs ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;      -- the number of the event of its last move
ALTER TABLE runs ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0; -- by a person: its name stays taken
ALTER TABLE workspaces ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE workspaces ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE experiments ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE experiments ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET moved = coalesce((SELECT max(seq) FROM events e WHERE e.run_id = runs.id AND e.kind = 'state'), 0);
-- All that a list by state or time looks at, so that it reads no wide row.
CREATE INDEX runs_list ON runs (workspace_id, deleted_at, archived_at, id, moved, state, started_at, ended_at);

-- +goose StatementBegin
CREATE TRIGGER runs_move AFTER INSERT ON events WHEN NEW.kind = 'state' BEGIN
  UPDATE runs SET moved = NEW.seq WHERE id = NEW.run_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER runs_version AFTER UPDATE OF display_name, description, tags, state, stop, archived_at, deleted_at ON runs BEGIN
  UPDATE runs SET version = version + 1 WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER workspaces_version AFTER UPDATE OF default_cluster, description, keep_artifacts, keep_logs ON workspaces BEGIN
  UPDATE workspaces SET version = version + 1 WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER experiments_version AFTER UPDATE OF description ON experiments BEGIN
  UPDATE experiments SET version = version + 1 WHERE id = NEW.id;
END;
-- +goose StatementEnd

CREATE TABLE receipts (                          -- answers to requests that carried an Idempotency-Key
  principal TEXT    NOT NULL,
  key       TEXT    NOT NULL,
  request   TEXT    NOT NULL,                    -- the SHA-256 of the request
  status    INTEGER NOT NULL,
  body      TEXT    NOT NULL,                    -- '' where the answer holds a secret, too
  at        INTEGER NOT NULL,
  PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_at ON receipts (at);

-- +goose Down
SELECT 1;
