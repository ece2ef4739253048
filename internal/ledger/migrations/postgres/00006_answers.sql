-- Several people may answer about one sample: answers are one row a person,
-- polls their count, and a label keeps the votes behind it.

-- +goose Up
ALTER TABLE samples ADD COLUMN votes_agree INTEGER NOT NULL DEFAULT 0; -- of several people, those who named the model's class
ALTER TABLE samples ADD COLUMN votes_of    INTEGER NOT NULL DEFAULT 0; -- people who answered; 0: one
ALTER TABLE samples ADD COLUMN agreement   BIGINT  NOT NULL DEFAULT 0; -- thousandths of people who agree with the model; 0 without a label
UPDATE samples SET agreement = 1000 WHERE outcome = 1;

ALTER TABLE answers DROP CONSTRAINT answers_pkey;
ALTER TABLE answers ADD PRIMARY KEY (id, annotator);
CREATE INDEX answers_annotator ON answers (annotator, at, id);

-- The answers about one sample, counted whenever one comes or goes. What is
-- being moved keeps its label here until it has arrived, so that a crash in
-- between cannot put an image under two classes.
CREATE TABLE polls (
    sample_id TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    answers   INTEGER NOT NULL DEFAULT 0,  -- people who answered
    leaders   INTEGER NOT NULL DEFAULT 0,  -- classes that most of them named: over 1 is a tie
    newest    BIGINT  NOT NULL DEFAULT 0,  -- time of the newest answer
    moving    TEXT    NOT NULL DEFAULT '', -- the label under which the image is being moved; empty: it is not
    source    TEXT    NOT NULL DEFAULT '', -- of that label, as are the next three
    agree     INTEGER NOT NULL DEFAULT 0,
    people    INTEGER NOT NULL DEFAULT 0,
    given     BIGINT  NOT NULL DEFAULT 0
);
CREATE INDEX polls_newest ON polls (newest, sample_id) WHERE moving = '';
CREATE INDEX polls_moving ON polls (sample_id) WHERE moving <> '';
INSERT INTO polls (sample_id, answers, leaders, newest) SELECT id, 1, 1, at FROM answers;

-- Labels that were taken back or changed by hand, after collect had made a copy
-- under them in noisy: it goes when the next label is collected.
CREATE TABLE former_labels (
    sample_id TEXT COLLATE "C" NOT NULL,
    label     TEXT NOT NULL,
    PRIMARY KEY (sample_id, label)
);

-- +goose Down
DROP TABLE former_labels;
DROP TABLE polls;
DELETE FROM answers WHERE EXISTS (SELECT 1 FROM answers AS later WHERE later.id = answers.id
    AND (later.at > answers.at OR (later.at = answers.at AND later.annotator > answers.annotator)));
DROP INDEX answers_annotator;
ALTER TABLE answers DROP CONSTRAINT answers_pkey;
ALTER TABLE answers ADD PRIMARY KEY (id);
ALTER TABLE samples DROP COLUMN agreement;
ALTER TABLE samples DROP COLUMN votes_of;
ALTER TABLE samples DROP COLUMN votes_agree;
