-- The drift alarm: its present memory, one row a model, and every closed slot
-- with what went in and what came out, so that anyone can recompute it. Times
-- are Unix nanoseconds.

-- +goose Up
CREATE TABLE alarms (
    model         TEXT    NOT NULL PRIMARY KEY,
    model_version TEXT    NOT NULL,
    started       INTEGER NOT NULL,             -- when this version became champion
    closed_until  INTEGER NOT NULL,             -- end of the newest closed slot
    memory        TEXT    NOT NULL
);
CREATE TABLE alarm_slots (
    model         TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    started       INTEGER NOT NULL,
    slot_start    INTEGER NOT NULL,
    slot_end      INTEGER NOT NULL,
    closed_at     INTEGER NOT NULL,
    inputs        TEXT    NOT NULL,
    outcome       TEXT    NOT NULL,
    memory        TEXT    NOT NULL,             -- after the slot
    PRIMARY KEY (model, started, model_version, slot_start)
);
CREATE TABLE events (
    at            INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    text          TEXT    NOT NULL,
    PRIMARY KEY (at, kind, model, model_version)
);

-- +goose Down
DROP TABLE events;
DROP TABLE alarm_slots;
DROP TABLE alarms;
