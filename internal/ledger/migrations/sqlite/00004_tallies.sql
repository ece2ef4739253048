-- Counts over samples, kept a cell of event time, so that a window is summed up
-- from cells and not from its samples. Times are Unix nanoseconds. A row is
-- right unless the minute of one of its samples stands in stale.

-- +goose Up
CREATE TABLE tallies (
    width         INTEGER NOT NULL,   -- of the cell
    part          TEXT    NOT NULL,   -- '': everything; 'class': by predicted class; 'band': by confidence
    cell          INTEGER NOT NULL,   -- start
    model_version TEXT    NOT NULL,
    sums          BLOB    NOT NULL,   -- by stratum, curate interval and class or band; packed, see packed.go
    PRIMARY KEY (width, part, cell, model_version)
) WITHOUT ROWID;

-- Minutes in which some sample has come, gone or changed since they were
-- counted.
CREATE TABLE stale (
    cell INTEGER NOT NULL PRIMARY KEY
);

-- Sums over samples are now read from few of them at a time.
DROP INDEX samples_tally;
DROP INDEX samples_time;
DROP INDEX samples_classes;
CREATE INDEX samples_version ON samples (model_version, at);
CREATE INDEX samples_time    ON samples (at, id);

INSERT INTO stale (cell) SELECT DISTINCT at - at % 60000000000 FROM samples;

-- +goose StatementBegin
CREATE TRIGGER samples_come AFTER INSERT ON samples BEGIN
    INSERT INTO stale (cell) SELECT NEW.at - NEW.at % 60000000000
        WHERE NOT EXISTS (SELECT 1 FROM stale WHERE cell = NEW.at - NEW.at % 60000000000);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER samples_go AFTER DELETE ON samples BEGIN
    INSERT INTO stale (cell) SELECT OLD.at - OLD.at % 60000000000
        WHERE NOT EXISTS (SELECT 1 FROM stale WHERE cell = OLD.at - OLD.at % 60000000000);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER samples_change AFTER UPDATE OF at, predicted_class, confidence, model_version, in_production,
        selected, reason, interval_start, labelled_at, outcome ON samples BEGIN
    INSERT INTO stale (cell) SELECT OLD.at - OLD.at % 60000000000
        WHERE NOT EXISTS (SELECT 1 FROM stale WHERE cell = OLD.at - OLD.at % 60000000000);
    INSERT INTO stale (cell) SELECT NEW.at - NEW.at % 60000000000
        WHERE NOT EXISTS (SELECT 1 FROM stale WHERE cell = NEW.at - NEW.at % 60000000000);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER samples_change;
DROP TRIGGER samples_go;
DROP TRIGGER samples_come;
DROP INDEX samples_time;
DROP INDEX samples_version;
CREATE INDEX samples_tally   ON samples (model_version, at, reason, interval_start, selected, outcome, in_production, labelled_at);
CREATE INDEX samples_time    ON samples (at, model_version, reason, interval_start, selected, outcome, in_production, labelled_at);
CREATE INDEX samples_classes ON samples (model_version, at, predicted_class);
DROP TABLE stale;
DROP TABLE tallies;
