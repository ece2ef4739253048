-- What versions answered offline on the samples of a suite, so that comparing
-- them needs no image: a cache, filled when a version is first judged on a
-- sample. A set is one version on one suite; the name of a suite whose contents
-- may change holds their digest. Times are Unix nanoseconds.

-- +goose Up
CREATE TABLE prediction_sets (
    model_version TEXT    NOT NULL,                     -- the whole digest
    suite         TEXT    NOT NULL,
    number        INTEGER NOT NULL UNIQUE,
    predictions   INTEGER NOT NULL DEFAULT 0,           -- how many there are
    written_at    INTEGER NOT NULL,
    PRIMARY KEY (model_version, suite)
) WITHOUT ROWID;
CREATE INDEX prediction_sets_written ON prediction_sets (written_at, number);

CREATE TABLE model_predictions (
    set_number INTEGER NOT NULL,
    sample_id  TEXT    NOT NULL,
    class      INTEGER NOT NULL,                        -- position in the version's class list
    confidence REAL    NOT NULL,
    PRIMARY KEY (set_number, sample_id)
) WITHOUT ROWID;

CREATE TABLE suite_images (
    suite      TEXT    NOT NULL,
    sample_id  TEXT    NOT NULL,
    brightness REAL    NOT NULL,                        -- mean grey, 0 to 1
    width      INTEGER NOT NULL,                        -- pixels
    height     INTEGER NOT NULL,
    PRIMARY KEY (suite, sample_id)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE suite_images;
DROP TABLE model_predictions;
DROP TABLE prediction_sets;
