-- +goose Up
CREATE TABLE node_health (                         -- what the agents of nodes tell, and people say of nodes
  node_id     TEXT PRIMARY KEY,                    -- Nomad's
  cluster     TEXT    NOT NULL REFERENCES clusters,
  name        TEXT    NOT NULL,
  alloc       TEXT    NOT NULL DEFAULT '',         -- the agent's
  boot        TEXT    NOT NULL DEFAULT '',
  generation  TEXT    NOT NULL DEFAULT '',         -- of the set-up
  state       TEXT    NOT NULL DEFAULT 'preparing' CHECK (state IN ('preparing', 'ready', 'unusable')),
  reason      TEXT    NOT NULL DEFAULT '',
  log         TEXT    NOT NULL DEFAULT '',         -- of the last set-up
  since       INTEGER NOT NULL DEFAULT 0,
  reported_at INTEGER NOT NULL DEFAULT 0,          -- when its agent told something new last; 0 where none has
  failures    INTEGER NOT NULL DEFAULT 0,          -- in a row
  excluded    TEXT    NOT NULL DEFAULT '',         -- why a person took it out of service
  drain_at    INTEGER NOT NULL DEFAULT 0,          -- when runs on it are told to stop
  closed      INTEGER NOT NULL DEFAULT 0           -- the leader made it ineligible
) STRICT, WITHOUT ROWID;
CREATE INDEX node_health_cluster ON node_health (cluster);

CREATE TABLE cluster_secrets (                     -- their values are in Nomad alone
  cluster    TEXT    NOT NULL REFERENCES clusters,
  name       TEXT    NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (cluster, name)
) STRICT, WITHOUT ROWID;

ALTER TABLE clusters ADD COLUMN secrets_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clusters ADD COLUMN drill TEXT NOT NULL DEFAULT '';         -- JSON: a loss of nodes that is rehearsed
ALTER TABLE clusters ADD COLUMN setup_failure TEXT NOT NULL DEFAULT ''; -- JSON: why its new nodes could not be made ready, several in a row

-- +goose Down
SELECT 1;
