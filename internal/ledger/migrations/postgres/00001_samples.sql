-- One row a sample, found by its file name: the index of what the object
-- store holds. Times are Unix nanoseconds, 0 when not set; those that come from
-- tags are whole seconds.

-- +goose Up
CREATE TABLE samples (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    object_key        TEXT COLLATE "C" NOT NULL,            -- in the production bucket
    at                BIGINT           NOT NULL,            -- the prediction's timestamp
    predicted_class   TEXT COLLATE "C" NOT NULL,
    confidence        DOUBLE PRECISION,                    -- NULL when the tag is missing
    flagged           INTEGER          NOT NULL DEFAULT 0,
    corrected_class   TEXT COLLATE "C" NOT NULL DEFAULT '',
    model_version     TEXT COLLATE "C" NOT NULL DEFAULT '',
    in_production     INTEGER          NOT NULL DEFAULT 0,  -- 0: known from another bucket only
    state             TEXT COLLATE "C" NOT NULL DEFAULT 'new'
                      CHECK (state IN ('new', 'waiting', 'noisy', 'labelled')),
    stratum           TEXT COLLATE "C" NOT NULL DEFAULT '', -- as decided; empty until curated
    sampling_fraction DOUBLE PRECISION NOT NULL DEFAULT 0,
    interval_start    BIGINT           NOT NULL DEFAULT 0,  -- of the curate interval
    selected          INTEGER          NOT NULL DEFAULT 0,
    placed            INTEGER          NOT NULL DEFAULT 0,  -- the decision's copy has been made
    reason            TEXT COLLATE "C" NOT NULL,            -- stratum, or what the tags say until there is one
    label             TEXT COLLATE "C" NOT NULL DEFAULT '',
    label_source      TEXT COLLATE "C" NOT NULL DEFAULT '',
    labelled_at       BIGINT           NOT NULL DEFAULT 0,
    outcome           INTEGER          NOT NULL DEFAULT 0   -- 0 no label, 1 the model was right, 2 it was wrong
                      CHECK ((outcome = 0) = (state <> 'labelled'))
);
CREATE INDEX samples_tally   ON samples (model_version, at, reason, interval_start, selected, outcome, in_production, labelled_at);
CREATE INDEX samples_time    ON samples (at, model_version, reason, interval_start, selected, outcome, in_production, labelled_at);
CREATE INDEX samples_classes ON samples (model_version, at, predicted_class);
CREATE INDEX samples_picks   ON samples (model_version, at) WHERE selected = 1 OR outcome > 0;
CREATE INDEX samples_new     ON samples (at, id) WHERE state = 'new';
CREATE INDEX samples_late    ON samples (at, id) WHERE state IN ('waiting', 'noisy') AND (flagged = 1 OR corrected_class <> '');
CREATE INDEX samples_waiting ON samples (at, id) WHERE state = 'waiting';
CREATE INDEX samples_unplaced ON samples (at, id) WHERE placed = 0 AND state IN ('waiting', 'noisy');
CREATE INDEX samples_labelled ON samples (at, id) WHERE state = 'labelled';

-- What people said and collect has not yet carried into the buckets.
CREATE TABLE answers (
    id        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    label     TEXT COLLATE "C" NOT NULL,
    annotator TEXT COLLATE "C" NOT NULL,
    source    TEXT COLLATE "C" NOT NULL,
    at        BIGINT           NOT NULL
);
CREATE INDEX answers_at ON answers (at, id);

-- Every label there ever was, counted when it was given: it only grows, unlike
-- a count over samples, where a late flag moves a sample to another stratum.
CREATE TABLE label_totals (
    model_version TEXT COLLATE "C" NOT NULL,
    stratum       TEXT COLLATE "C" NOT NULL,
    outcome       INTEGER          NOT NULL,
    delay_bucket  INTEGER          NOT NULL,           -- position in DelayBuckets; -1: time of the label not known
    labels        BIGINT           NOT NULL,
    delay_sum     BIGINT           NOT NULL,           -- nanoseconds from prediction to label
    newest        BIGINT           NOT NULL,           -- time of the newest label
    PRIMARY KEY (model_version, stratum, outcome, delay_bucket)
);

CREATE TABLE settings (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- +goose Down
DROP TABLE settings;
DROP TABLE label_totals;
DROP TABLE answers;
DROP TABLE samples;
