-- Runs of pipelines, and the triggers and incidents that retrains come from.
-- Times are Unix nanoseconds, 0 when not set.

-- +goose Up
CREATE TABLE runs (
    id           TEXT    NOT NULL PRIMARY KEY,
    pipeline     TEXT    NOT NULL,
    model        TEXT    NOT NULL DEFAULT '',   -- empty: the run changes no model
    state        TEXT    NOT NULL CHECK (state IN ('requested', 'running', 'done', 'failed', 'cancelled')),
    trigger_id   TEXT    NOT NULL DEFAULT '',
    verdict      TEXT    NOT NULL DEFAULT '',
    input        TEXT    NOT NULL DEFAULT '',   -- JSON, as are the next two; empty when there is none
    progress     TEXT    NOT NULL DEFAULT '',
    result       TEXT    NOT NULL DEFAULT '',
    error        TEXT    NOT NULL DEFAULT '',
    cancel       INTEGER NOT NULL DEFAULT 0,    -- a cancellation was asked for
    requested_at INTEGER NOT NULL DEFAULT 0,
    started_at   INTEGER NOT NULL DEFAULT 0,
    finished_at  INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_newest ON runs (pipeline, requested_at);
CREATE INDEX runs_time   ON runs (requested_at);
CREATE INDEX runs_model  ON runs (model, pipeline, finished_at) WHERE model <> '';
CREATE INDEX runs_unfinished ON runs (requested_at) WHERE state IN ('requested', 'running');
-- The lock: a model never has two unfinished runs.
CREATE UNIQUE INDEX runs_one_a_model ON runs (model) WHERE model <> '' AND state IN ('requested', 'running');

-- One row a decision; deliveries that changed nothing are counted on it.
CREATE TABLE triggers (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    dedupe_key  TEXT    NOT NULL,
    resolved    INTEGER NOT NULL,
    at          INTEGER NOT NULL,   -- as the sender says
    since       INTEGER NOT NULL,
    decision    TEXT    NOT NULL,
    note        TEXT    NOT NULL,
    run_id      TEXT    NOT NULL,
    incident_id TEXT    NOT NULL,
    decided_at  INTEGER NOT NULL,
    heard_at    INTEGER NOT NULL,   -- newest delivery
    deliveries  INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX triggers_cause ON triggers (model, dedupe_key, resolved, seq);

CREATE TABLE incidents (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    model      TEXT    NOT NULL,
    opened_at  INTEGER NOT NULL,
    answer_id  TEXT    NOT NULL DEFAULT '',   -- the run that answers it, or was under way
    own_answer INTEGER NOT NULL DEFAULT 0     -- 1: that run was started for it
);
CREATE INDEX incidents_model ON incidents (model, seq);

CREATE TABLE causes (
    incident_id TEXT    NOT NULL REFERENCES incidents (id),
    dedupe_key  TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    heard_at    INTEGER NOT NULL,
    resolved_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (incident_id, dedupe_key)
);

-- +goose Down
DROP TABLE causes;
DROP TABLE incidents;
DROP TABLE triggers;
DROP TABLE runs;
