-- The drift alarm: its present memory, one row a model, and every closed slot
-- with what went in and what came out, so that anyone can recompute it. Times
-- are Unix nanoseconds.

-- +goose Up
CREATE TABLE alarms (
    model         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    model_version TEXT COLLATE "C" NOT NULL,
    started       BIGINT           NOT NULL,             -- when this version became champion
    closed_until  BIGINT           NOT NULL,             -- end of the newest closed slot
    memory        TEXT COLLATE "C" NOT NULL
);
CREATE TABLE alarm_slots (
    model         TEXT COLLATE "C" NOT NULL,
    model_version TEXT COLLATE "C" NOT NULL,
    started       BIGINT           NOT NULL,
    slot_start    BIGINT           NOT NULL,
    slot_end      BIGINT           NOT NULL,
    closed_at     BIGINT           NOT NULL,
    inputs        TEXT COLLATE "C" NOT NULL,
    outcome       TEXT COLLATE "C" NOT NULL,
    memory        TEXT COLLATE "C" NOT NULL,             -- after the slot
    PRIMARY KEY (model, started, model_version, slot_start)
);
CREATE TABLE events (
    at            BIGINT           NOT NULL,
    kind          TEXT COLLATE "C" NOT NULL,
    model         TEXT COLLATE "C" NOT NULL,
    model_version TEXT COLLATE "C" NOT NULL,
    text          TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (at, kind, model, model_version)
);

-- +goose Down
DROP TABLE events;
DROP TABLE alarm_slots;
DROP TABLE alarms;
