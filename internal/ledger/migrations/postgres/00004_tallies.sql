-- Counts over samples, kept a cell of event time, so that a window is summed up
-- from cells and not from its samples. Times are Unix nanoseconds. A row is
-- right unless the minute of one of its samples stands in stale.

-- +goose Up
CREATE TABLE tallies (
    width         BIGINT           NOT NULL,   -- of the cell
    part          TEXT COLLATE "C" NOT NULL,   -- '': everything; 'class': by predicted class; 'band': by confidence
    cell          BIGINT           NOT NULL,   -- start
    model_version TEXT COLLATE "C" NOT NULL,
    sums          BYTEA            NOT NULL,   -- by stratum, curate interval and class or band; packed, see packed.go
    PRIMARY KEY (width, part, cell, model_version)
);

-- Minutes in which some sample has come, gone or changed since they were
-- counted. A mark is added, never shared: two writers that both rested on one
-- row could lose the mark of the one that commits last.
CREATE TABLE stale (
    cell BIGINT NOT NULL
);
CREATE INDEX stale_cell ON stale (cell);

-- Sums over samples are now read from few of them at a time.
DROP INDEX samples_tally;
DROP INDEX samples_time;
DROP INDEX samples_classes;
CREATE INDEX samples_version ON samples (model_version, at);
CREATE INDEX samples_time    ON samples (at, id);

INSERT INTO stale (cell) SELECT DISTINCT at - at % 60000000000 FROM samples;

-- +goose StatementBegin
CREATE FUNCTION samples_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stale (cell) SELECT DISTINCT at - at % 60000000000 FROM moved;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION sample_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stale (cell) SELECT OLD.at - OLD.at % 60000000000 UNION SELECT NEW.at - NEW.at % 60000000000;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER samples_come AFTER INSERT ON samples REFERENCING NEW TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION samples_moved();
CREATE TRIGGER samples_go AFTER DELETE ON samples REFERENCING OLD TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION samples_moved();
CREATE TRIGGER samples_change AFTER UPDATE OF at, predicted_class, confidence, model_version, in_production,
    selected, reason, interval_start, labelled_at, outcome ON samples
    FOR EACH ROW EXECUTE FUNCTION sample_changed();

-- +goose Down
DROP TRIGGER samples_change ON samples;
DROP TRIGGER samples_go ON samples;
DROP TRIGGER samples_come ON samples;
DROP FUNCTION sample_changed();
DROP FUNCTION samples_moved();
DROP INDEX samples_time;
DROP INDEX samples_version;
CREATE INDEX samples_tally   ON samples (model_version, at, reason, interval_start, selected, outcome, in_production, labelled_at);
CREATE INDEX samples_time    ON samples (at, model_version, reason, interval_start, selected, outcome, in_production, labelled_at);
CREATE INDEX samples_classes ON samples (model_version, at, predicted_class);
DROP TABLE stale;
DROP TABLE tallies;
