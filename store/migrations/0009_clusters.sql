-- +goose Up
-- Clusters are deleted by a mark, as runs name them; the name may be used again.
ALTER TABLE clusters ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE clusters ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'; -- JSON: what may be changed
ALTER TABLE clusters ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clusters ADD COLUMN deleting INTEGER NOT NULL DEFAULT 0; -- its nodes leave
ALTER TABLE clusters ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clusters ADD COLUMN wanted TEXT NOT NULL DEFAULT '';     -- JSON: how many nodes it shall have
ALTER TABLE clusters ADD COLUMN machines TEXT NOT NULL DEFAULT '';   -- JSON: what its provider said last
ALTER TABLE clusters ADD COLUMN reported_at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE nodes (                             -- of elastic clusters, as long as Nomad lists them
  id         TEXT PRIMARY KEY,                   -- Nomad's
  cluster    TEXT    NOT NULL REFERENCES clusters,
  name       TEXT    NOT NULL,
  leave      TEXT    NOT NULL DEFAULT '' CHECK (leave IN ('', 'marked', 'leaving')),
  reason     TEXT    NOT NULL DEFAULT '',        -- why it leaves
  leave_at   INTEGER NOT NULL DEFAULT 0,
  idle_since INTEGER NOT NULL DEFAULT 0,         -- 0 while something is on it
  away_since INTEGER NOT NULL DEFAULT 0,         -- 0 while it may take runs
  CHECK ((leave = '') = (leave_at = 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_cluster ON nodes (cluster);

ALTER TABLE events ADD COLUMN cluster TEXT NOT NULL DEFAULT '';
CREATE INDEX events_cluster ON events (cluster, seq) WHERE cluster <> '';

-- +goose Down
SELECT 1;
