-- One row an experiment: a training run, a trial of a search, an evaluation.
-- Run history, of which this is the only copy. Times are Unix nanoseconds.

-- +goose Up
CREATE TABLE experiments (
    id            TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL,            -- train, retrain, trial, evaluation
    parent        TEXT    NOT NULL DEFAULT '', -- the experiment that it goes on from
    run_id        TEXT    NOT NULL DEFAULT '',
    model_version TEXT    NOT NULL DEFAULT '', -- the whole digest of what it made or judged
    state         TEXT    NOT NULL,            -- running, done, failed, cancelled
    verdict       TEXT    NOT NULL DEFAULT '',
    error         TEXT    NOT NULL DEFAULT '',
    parameters    TEXT    NOT NULL DEFAULT '', -- JSON, flat
    metrics       TEXT    NOT NULL DEFAULT '', -- JSON, flat, final figures
    environment   TEXT    NOT NULL DEFAULT '', -- JSON, flat
    curves        TEXT    NOT NULL DEFAULT '', -- JSON, by name
    tags          TEXT    NOT NULL DEFAULT '', -- JSON, flat; people's own
    note          TEXT    NOT NULL DEFAULT '', -- people's own
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX experiments_started ON experiments (started_at, id);
CREATE INDEX experiments_version ON experiments (model_version, started_at, id);
CREATE INDEX experiments_parent ON experiments (parent, started_at, id);

-- +goose Down
DROP TABLE experiments;
