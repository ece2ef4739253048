-- One row an experiment: a training run, a trial of a search, an evaluation.
-- Run history, of which this is the only copy. Times are Unix nanoseconds.

-- +goose Up
CREATE TABLE experiments (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind          TEXT COLLATE "C" NOT NULL,            -- train, retrain, trial, evaluation
    parent        TEXT COLLATE "C" NOT NULL DEFAULT '', -- the experiment that it goes on from
    run_id        TEXT COLLATE "C" NOT NULL DEFAULT '',
    model_version TEXT COLLATE "C" NOT NULL DEFAULT '', -- the whole digest of what it made or judged
    state         TEXT COLLATE "C" NOT NULL,            -- running, done, failed, cancelled
    verdict       TEXT COLLATE "C" NOT NULL DEFAULT '',
    error         TEXT COLLATE "C" NOT NULL DEFAULT '',
    parameters    TEXT COLLATE "C" NOT NULL DEFAULT '', -- JSON, flat
    metrics       TEXT COLLATE "C" NOT NULL DEFAULT '', -- JSON, flat, final figures
    environment   TEXT COLLATE "C" NOT NULL DEFAULT '', -- JSON, flat
    curves        TEXT COLLATE "C" NOT NULL DEFAULT '', -- JSON, by name
    tags          TEXT COLLATE "C" NOT NULL DEFAULT '', -- JSON, flat; people's own
    note          TEXT COLLATE "C" NOT NULL DEFAULT '', -- people's own
    started_at    BIGINT           NOT NULL,
    finished_at   BIGINT           NOT NULL DEFAULT 0
);
CREATE INDEX experiments_started ON experiments (started_at, id);
CREATE INDEX experiments_version ON experiments (model_version, started_at, id);
CREATE INDEX experiments_parent ON experiments (parent, started_at, id);

-- +goose Down
DROP TABLE experiments;
