-- What versions answered offline on the samples of a suite, so that comparing
-- them needs no image: a cache, filled when a version is first judged on a
-- sample. A set is one version on one suite; the name of a suite whose contents
-- may change holds their digest. Times are Unix nanoseconds.

-- +goose Up
CREATE TABLE prediction_sets (
    model_version TEXT COLLATE "C" NOT NULL,            -- the whole digest
    suite         TEXT COLLATE "C" NOT NULL,
    number        BIGINT           NOT NULL UNIQUE,
    predictions   BIGINT           NOT NULL DEFAULT 0,  -- how many there are
    written_at    BIGINT           NOT NULL,
    PRIMARY KEY (model_version, suite)
);
CREATE INDEX prediction_sets_written ON prediction_sets (written_at, number);

CREATE TABLE model_predictions (
    set_number BIGINT           NOT NULL,
    sample_id  TEXT COLLATE "C" NOT NULL,
    class      INTEGER          NOT NULL,               -- position in the version's class list
    confidence DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (set_number, sample_id)
);

CREATE TABLE suite_images (
    suite      TEXT COLLATE "C" NOT NULL,
    sample_id  TEXT COLLATE "C" NOT NULL,
    brightness DOUBLE PRECISION NOT NULL,               -- mean grey, 0 to 1
    width      INTEGER          NOT NULL,               -- pixels
    height     INTEGER          NOT NULL,
    PRIMARY KEY (suite, sample_id)
);

-- +goose Down
DROP TABLE suite_images;
DROP TABLE model_predictions;
DROP TABLE prediction_sets;
