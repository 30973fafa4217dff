-- +goose Up
CREATE TABLE installation (
  id TEXT NOT NULL PRIMARY KEY  -- six hex digits, in every name that Nomad knows of us
) STRICT;

CREATE TABLE lease (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  holder TEXT    NOT NULL,
  term   INTEGER NOT NULL,
  until  INTEGER NOT NULL       -- all times are microseconds since 1970, UTC; 0 is "not yet"
) STRICT;

CREATE TABLE tokens (
  id         INTEGER PRIMARY KEY,
  name       TEXT    NOT NULL UNIQUE,
  hash       TEXT    NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE clusters (
  name       TEXT PRIMARY KEY,
  node_pool  TEXT NOT NULL UNIQUE,
  provider   TEXT NOT NULL,
  region     TEXT NOT NULL,
  tier       TEXT NOT NULL CHECK (tier IN ('dedicated', 'low_priority')),
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE workspaces (
  id              INTEGER PRIMARY KEY,
  name            TEXT    NOT NULL UNIQUE,
  namespace       TEXT    NOT NULL UNIQUE,
  default_cluster TEXT    NOT NULL DEFAULT '',
  created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE experiments (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace_id INTEGER NOT NULL REFERENCES workspaces,
  name         TEXT    NOT NULL,
  runs         INTEGER NOT NULL DEFAULT 0,
  created_at   INTEGER NOT NULL,
  UNIQUE (workspace_id, name)
) STRICT;

CREATE TABLE runs (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace_id      INTEGER NOT NULL REFERENCES workspaces,
  experiment_id     INTEGER NOT NULL REFERENCES experiments,
  name              TEXT    NOT NULL,
  kind              TEXT    NOT NULL CHECK (kind IN ('command', 'sweep', 'pipeline', 'array', 'external')),
  parent_id         INTEGER REFERENCES runs,
  array_index       INTEGER,                     -- of a member of an array
  display_name      TEXT    NOT NULL DEFAULT '',
  description       TEXT    NOT NULL DEFAULT '',
  tags              TEXT    NOT NULL DEFAULT '{}',
  properties        TEXT    NOT NULL DEFAULT '{}',
  cluster           TEXT    NOT NULL REFERENCES clusters,
  spec              TEXT    NOT NULL,
  priority          INTEGER NOT NULL,
  state             TEXT    NOT NULL CHECK (state IN ('queued', 'admitted', 'starting', 'running', 'succeeded', 'failed', 'cancelled', 'skipped', 'reused')),
  tracking_status   TEXT    NOT NULL DEFAULT '', -- what a tracking client says; moves no state
  reason            TEXT    NOT NULL DEFAULT '',
  wait_reason       TEXT    NOT NULL DEFAULT '', -- JSON, while queued
  stop              TEXT    NOT NULL DEFAULT '', -- wanted
  held_by           TEXT    NOT NULL DEFAULT '',
  not_before        INTEGER NOT NULL DEFAULT 0,
  attempt           INTEGER NOT NULL DEFAULT 0,  -- the current one
  exit_code         INTEGER,
  failures          INTEGER NOT NULL DEFAULT 0,
  platform_failures INTEGER NOT NULL DEFAULT 0,
  losses            INTEGER NOT NULL DEFAULT 0,
  created_at        INTEGER NOT NULL,
  queued_at         INTEGER NOT NULL,
  started_at        INTEGER NOT NULL DEFAULT 0,
  ended_at          INTEGER NOT NULL DEFAULT 0,
  UNIQUE (workspace_id, name),
  -- what each state demands of its row
  CHECK (state NOT IN ('admitted', 'starting', 'running', 'succeeded') OR attempt > 0 OR kind <> 'command'),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'skipped', 'reused')) = (ended_at > 0)),
  CHECK (state = 'queued' OR wait_reason = ''),
  CHECK (state NOT IN ('failed', 'cancelled') OR reason <> '')
) STRICT;
CREATE INDEX runs_queue ON runs (cluster, priority DESC, queued_at, id) WHERE state = 'queued' AND held_by = '';
CREATE INDEX runs_stop ON runs (id) WHERE stop <> '' AND ended_at = 0;
CREATE INDEX runs_parent ON runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_experiment ON runs (experiment_id, id);

CREATE TABLE run_dependencies (
  run_id    INTEGER NOT NULL REFERENCES runs,
  on_run_id INTEGER NOT NULL REFERENCES runs,
  condition TEXT    NOT NULL CHECK (condition IN ('ok', 'any', 'failed')),
  PRIMARY KEY (run_id, on_run_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_data (                          -- every resolved input and output: lineage
  run_id    INTEGER NOT NULL REFERENCES runs,
  direction TEXT    NOT NULL CHECK (direction IN ('code', 'input', 'output')),
  name      TEXT    NOT NULL,
  ref       TEXT    NOT NULL,
  digest    TEXT    NOT NULL DEFAULT '',
  PRIMARY KEY (run_id, direction, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_data_ref ON run_data (ref);

CREATE TABLE launches (
  id            TEXT    PRIMARY KEY,
  region        TEXT    NOT NULL,
  cluster       TEXT    NOT NULL,
  node_pool     TEXT    NOT NULL,
  namespace     TEXT    NOT NULL,
  job_id        TEXT    NOT NULL DEFAULT '',     -- the shape
  child_id      TEXT    NOT NULL DEFAULT '',
  state         TEXT    NOT NULL CHECK (state IN ('reserved', 'dispatched', 'over', 'purged')),
  stop          TEXT    NOT NULL DEFAULT '',
  stop_at       INTEGER NOT NULL DEFAULT 0,
  reserved_at   INTEGER NOT NULL,
  dispatched_at INTEGER NOT NULL DEFAULT 0,
  groups        TEXT    NOT NULL,
  each          TEXT    NOT NULL,                -- resources of one instance, by group
  CHECK (state <> 'dispatched' OR child_id <> '')
) STRICT;
CREATE INDEX launches_live ON launches (state) WHERE state <> 'purged';
CREATE UNIQUE INDEX launches_child ON launches (namespace, child_id) WHERE child_id <> '';

CREATE TABLE instances (
  launch_id   TEXT    NOT NULL REFERENCES launches,
  idx         INTEGER NOT NULL,
  grp         TEXT    NOT NULL,
  node_id     TEXT    NOT NULL,                  -- planned, then seen
  node_name   TEXT    NOT NULL DEFAULT '',
  placed      INTEGER NOT NULL DEFAULT 0,
  alloc_id    TEXT    NOT NULL DEFAULT '',       -- the allocation that claimed it
  boot_id     TEXT    NOT NULL DEFAULT '',
  claimed_at  INTEGER NOT NULL DEFAULT 0,
  reported_at INTEGER NOT NULL DEFAULT 0,
  phase       TEXT    NOT NULL DEFAULT '',
  phases      TEXT    NOT NULL DEFAULT '[]',
  notes       INTEGER NOT NULL DEFAULT 0,        -- how many of the agent's notes are events already
  result      TEXT    NOT NULL DEFAULT '',       -- JSON, last
  PRIMARY KEY (launch_id, idx),
  CHECK ((alloc_id = '') = (claimed_at = 0))
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
  run_id             INTEGER NOT NULL REFERENCES runs,
  number             INTEGER NOT NULL,
  launch_id          TEXT    REFERENCES launches, -- n attempts may share one
  cluster            TEXT    NOT NULL,
  region             TEXT    NOT NULL,
  tier               TEXT    NOT NULL,
  family             TEXT    NOT NULL DEFAULT '',
  cores              INTEGER NOT NULL,            -- milli, of all instances
  mib                INTEGER NOT NULL,            -- milli, of all instances
  devices            INTEGER NOT NULL,            -- milli, of all instances
  price              INTEGER NOT NULL DEFAULT 0,  -- millionths of the site's currency an hour
  each               TEXT    NOT NULL,
  environment        TEXT    NOT NULL DEFAULT '',
  environment_digest TEXT    NOT NULL DEFAULT '',
  outcome            TEXT    NOT NULL DEFAULT '',
  reason             TEXT    NOT NULL DEFAULT '',
  exit_code          INTEGER,
  signal             TEXT    NOT NULL DEFAULT '',
  peak_mib           REAL    NOT NULL DEFAULT 0,
  cpu_seconds        REAL    NOT NULL DEFAULT 0,
  admitted_at        INTEGER NOT NULL,
  dispatched_at      INTEGER NOT NULL DEFAULT 0,
  started_at         INTEGER NOT NULL DEFAULT 0,
  ended_at           INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_launch ON attempts (launch_id);

CREATE TABLE events (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  at           INTEGER NOT NULL,
  workspace_id INTEGER,
  run_id       INTEGER,
  array_index  INTEGER,
  attempt      INTEGER NOT NULL DEFAULT 0,
  kind         TEXT    NOT NULL,
  from_state   TEXT    NOT NULL DEFAULT '',
  to_state     TEXT    NOT NULL DEFAULT '',
  message      TEXT    NOT NULL,
  actor        TEXT    NOT NULL,
  request_id   TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX events_run ON events (run_id, seq);
CREATE INDEX events_workspace ON events (workspace_id, seq);

CREATE TABLE metrics (
  run_id INTEGER NOT NULL,
  name   TEXT    NOT NULL,
  step   INTEGER NOT NULL,
  at     INTEGER NOT NULL,
  value  REAL    NOT NULL,
  PRIMARY KEY (run_id, name, step, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE latest_metrics (
  run_id INTEGER NOT NULL,
  name   TEXT    NOT NULL,
  step   INTEGER NOT NULL,
  at     INTEGER NOT NULL,
  value  REAL    NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE parameters (
  run_id INTEGER NOT NULL,
  name   TEXT    NOT NULL,
  value  TEXT    NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE metric_batches (                    -- the last batch that was kept of each instance
  run_id   INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  instance INTEGER NOT NULL,
  batch    INTEGER NOT NULL,
  PRIMARY KEY (run_id, attempt, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
  run_id     INTEGER NOT NULL,
  path       TEXT    NOT NULL,
  size       INTEGER NOT NULL,
  sha256     TEXT    NOT NULL,
  attempt    INTEGER NOT NULL,
  instance   INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;

-- +goose Down
SELECT 1;
