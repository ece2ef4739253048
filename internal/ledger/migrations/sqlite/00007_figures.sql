-- Figures as they were published, with what they were made of; and sums over
-- features of images, to compare the inputs of today with those of the time
-- when a model was new. Times are Unix nanoseconds.

-- +goose Up
CREATE TABLE figures (
    model         TEXT    NOT NULL,
    window_end    INTEGER NOT NULL,
    window_name   TEXT    NOT NULL,
    model_version TEXT    NOT NULL,
    published_at  INTEGER NOT NULL,
    inputs        BLOB    NOT NULL,             -- JSON, gzip; so is the next
    result        BLOB    NOT NULL,
    PRIMARY KEY (model, window_end, window_name, model_version, published_at)
);
CREATE INDEX figures_published ON figures (published_at);

CREATE TABLE features (
    model_version TEXT    NOT NULL,
    cell          INTEGER NOT NULL,             -- start of the cell, event time
    sums          BLOB    NOT NULL,
    PRIMARY KEY (model_version, cell)
);
CREATE INDEX features_cell ON features (cell);

CREATE TABLE drift_references (
    model TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL                         -- JSON
);

-- +goose Down
DROP TABLE drift_references;
DROP TABLE features;
DROP TABLE figures;
