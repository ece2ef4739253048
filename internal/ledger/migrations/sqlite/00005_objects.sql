-- The objects of the production and the clean bucket as their last listing
-- showed them, so that the next one tells what is new, changed and gone. Keys
-- are ordered by their bytes, as listings are.

-- +goose Up
CREATE TABLE objects (
    bucket     TEXT   NOT NULL,
    object_key TEXT   NOT NULL,
    id         TEXT   NOT NULL,            -- of its sample: the key's file name
    etag       TEXT   NOT NULL,
    modified   BIGINT NOT NULL,            -- Unix nanoseconds
    tags       TEXT   NOT NULL DEFAULT '', -- digest of the tags as read last; empty: never read
    status     TEXT   NOT NULL DEFAULT ''  -- empty: entered
               CHECK (status IN ('', 'pending', 'vanished', 'incomplete', 'malformed', 'classless')),
    PRIMARY KEY (bucket, object_key)
) WITHOUT ROWID;
CREATE INDEX objects_sample ON objects (id, bucket);
CREATE INDEX objects_open   ON objects (id) WHERE status IN ('pending', 'vanished');

-- What a rebuild has read of the buckets, until it is the samples.
CREATE TABLE staged_objects (
    id         TEXT   NOT NULL,
    place      BIGINT NOT NULL,            -- 0 production, 1 clean, 2 label-wait, 3 noisy
    bucket     TEXT   NOT NULL,
    object_key TEXT   NOT NULL,
    etag       TEXT   NOT NULL,
    modified   BIGINT NOT NULL,
    tags       TEXT   NOT NULL,            -- digest
    status     TEXT   NOT NULL,
    content    TEXT   NOT NULL,            -- the tags, as JSON; empty if they can't be read
    PRIMARY KEY (id, place, object_key)
) WITHOUT ROWID;

-- Whole seconds from here on: nanoseconds of an old bucket's labels do not fit.
UPDATE label_totals SET delay_sum = CAST(delay_sum / 1000000000 AS BIGINT);

-- +goose Down
UPDATE label_totals SET delay_sum = delay_sum * 1000000000;
DROP TABLE staged_objects;
DROP TABLE objects;
