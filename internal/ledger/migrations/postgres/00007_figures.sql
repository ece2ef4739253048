-- Figures as they were published, with what they were made of; and sums over
-- features of images, to compare the inputs of today with those of the time
-- when a model was new. Times are Unix nanoseconds.

-- +goose Up
CREATE TABLE figures (
    model         TEXT COLLATE "C" NOT NULL,
    window_end    BIGINT           NOT NULL,
    window_name   TEXT COLLATE "C" NOT NULL,
    model_version TEXT COLLATE "C" NOT NULL,
    published_at  BIGINT           NOT NULL,
    inputs        BYTEA            NOT NULL,             -- JSON, gzip; so is the next
    result        BYTEA            NOT NULL,
    PRIMARY KEY (model, window_end, window_name, model_version, published_at)
);
CREATE INDEX figures_published ON figures (published_at);

CREATE TABLE features (
    model_version TEXT COLLATE "C" NOT NULL,
    cell          BIGINT           NOT NULL,             -- start of the cell, event time
    sums          BYTEA            NOT NULL,
    PRIMARY KEY (model_version, cell)
);
CREATE INDEX features_cell ON features (cell);

CREATE TABLE drift_references (
    model TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL                         -- JSON
);

-- +goose Down
DROP TABLE drift_references;
DROP TABLE features;
DROP TABLE figures;
