-- +goose Up
-- What instances, their nodes and their devices used. Retention removes it with a
-- run that was deleted.
CREATE TABLE stat_series (
  run_id   INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  instance INTEGER NOT NULL,
  taken    INTEGER NOT NULL,                     -- samples so far, those that are kept no more too
  series   TEXT    NOT NULL,                     -- JSON: names and units, in the order of the samples' values
  PRIMARY KEY (run_id, attempt, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE stat_samples (
  run_id   INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  instance INTEGER NOT NULL,
  number   INTEGER NOT NULL,                     -- from 0
  at       INTEGER NOT NULL,
  readings TEXT    NOT NULL,                     -- JSON: values, null where one was not read; the last may be left out
  PRIMARY KEY (run_id, attempt, instance, number)
) STRICT, WITHOUT ROWID;

-- +goose Down
SELECT 1;
