-- Several people may answer about one sample: answers are one row a person,
-- polls their count, and a label keeps the votes behind it.

-- +goose Up
ALTER TABLE samples ADD COLUMN votes_agree INTEGER NOT NULL DEFAULT 0; -- of several people, those who named the model's class
ALTER TABLE samples ADD COLUMN votes_of    INTEGER NOT NULL DEFAULT 0; -- people who answered; 0: one
ALTER TABLE samples ADD COLUMN agreement   INTEGER NOT NULL DEFAULT 0; -- thousandths of people who agree with the model; 0 without a label
UPDATE samples SET agreement = 1000 WHERE outcome = 1;

ALTER TABLE answers RENAME TO single_answers;
DROP INDEX answers_at;
CREATE TABLE answers (
    id        TEXT    NOT NULL,
    annotator TEXT    NOT NULL,
    label     TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (id, annotator)
);
INSERT INTO answers (id, annotator, label, source, at) SELECT id, annotator, label, source, at FROM single_answers;
DROP TABLE single_answers;
CREATE INDEX answers_at        ON answers (at, id);
CREATE INDEX answers_annotator ON answers (annotator, at, id);

-- The answers about one sample, counted whenever one comes or goes. What is
-- being moved keeps its label here until it has arrived, so that a crash in
-- between cannot put an image under two classes.
CREATE TABLE polls (
    sample_id TEXT    NOT NULL PRIMARY KEY,
    answers   INTEGER NOT NULL DEFAULT 0,  -- people who answered
    leaders   INTEGER NOT NULL DEFAULT 0,  -- classes that most of them named: over 1 is a tie
    newest    INTEGER NOT NULL DEFAULT 0,  -- time of the newest answer
    moving    TEXT    NOT NULL DEFAULT '', -- the label under which the image is being moved; empty: it is not
    source    TEXT    NOT NULL DEFAULT '', -- of that label, as are the next three
    agree     INTEGER NOT NULL DEFAULT 0,
    people    INTEGER NOT NULL DEFAULT 0,
    given     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX polls_newest ON polls (newest, sample_id) WHERE moving = '';
CREATE INDEX polls_moving ON polls (sample_id) WHERE moving <> '';
INSERT INTO polls (sample_id, answers, leaders, newest) SELECT id, 1, 1, at FROM answers;
-- What was being moved stood in a setting, as a JSON object from id to label.
UPDATE polls SET moving = (SELECT label FROM answers WHERE id = sample_id), source = (SELECT source FROM answers WHERE id = sample_id), given = newest
    WHERE sample_id IN (SELECT entry.key FROM settings, json_each(settings.value) AS entry WHERE settings.name = 'labelling.collecting');
DELETE FROM settings WHERE name = 'labelling.collecting';

-- Labels that were taken back or changed by hand, after collect had made a copy
-- under them in noisy: it goes when the next label is collected.
CREATE TABLE former_labels (
    sample_id TEXT NOT NULL,
    label     TEXT NOT NULL,
    PRIMARY KEY (sample_id, label)
);

-- +goose Down
DROP TABLE former_labels;
DROP TABLE polls;
DELETE FROM answers WHERE EXISTS (SELECT 1 FROM answers AS later WHERE later.id = answers.id
    AND (later.at > answers.at OR (later.at = answers.at AND later.annotator > answers.annotator)));
ALTER TABLE answers RENAME TO several_answers;
DROP INDEX answers_annotator;
DROP INDEX answers_at;
CREATE TABLE answers (
    id        TEXT    NOT NULL PRIMARY KEY,
    label     TEXT    NOT NULL,
    annotator TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    at        INTEGER NOT NULL
);
INSERT INTO answers (id, label, annotator, source, at) SELECT id, label, annotator, source, at FROM several_answers;
DROP TABLE several_answers;
CREATE INDEX answers_at ON answers (at, id);
ALTER TABLE samples DROP COLUMN agreement;
ALTER TABLE samples DROP COLUMN votes_of;
ALTER TABLE samples DROP COLUMN votes_agree;
