-- Who moved a model and on what evidence; and what is watched while a
-- challenger is tried on production, or a champion is fresh. Times are Unix
-- nanoseconds.

-- +goose Up
ALTER TABLE events ADD COLUMN who      TEXT NOT NULL DEFAULT ''; -- gate, rollout, person; empty: driftgate itself
ALTER TABLE events ADD COLUMN evidence TEXT NOT NULL DEFAULT ''; -- JSON; empty when there is none

CREATE TABLE watch_slots (
    model       TEXT    NOT NULL,
    subject     TEXT    NOT NULL,           -- the version that is watched, whole
    against     TEXT    NOT NULL,           -- the version that it is compared with, whole
    began       INTEGER NOT NULL,           -- of the watch
    slot_start  INTEGER NOT NULL,
    slot_end    INTEGER NOT NULL,
    closed_at   INTEGER NOT NULL,
    pairs       INTEGER NOT NULL,           -- labelled samples that both answered
    differences TEXT    NOT NULL,           -- JSON, one number a block: subject's error minus the other's
    PRIMARY KEY (model, subject, against, began, slot_start)
);

-- +goose Down
DROP TABLE watch_slots;
ALTER TABLE events DROP COLUMN evidence;
ALTER TABLE events DROP COLUMN who;
