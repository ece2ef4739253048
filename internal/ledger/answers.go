package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	dg "driftgate"
)

// Answer is one person's label for one waiting sample; in [Ledger.Collected],
// and while its image is being moved, the label that all answers came to.
type Answer struct {
	ID        string
	Label     string
	Annotator string
	Source    dg.LabelSource // empty means HumanLabel
	At        time.Time
	Votes     dg.Votes // of a label that several people came to; not used in an answer
}

// Answer keeps a person's label until collect carries it into the buckets; it
// replaces an earlier one of the same person. The error is
// [driftgate.ErrNotFound] for an unknown sample, [driftgate.ErrConflict] for
// one that is labelled already or being collected, and [driftgate.ErrInvalid]
// for one that nobody was asked about.
func (l *Ledger) Answer(ctx context.Context, a Answer) error {
	if a.Label == "" || a.At.IsZero() {
		return fmt.Errorf("ledger: answer %s: label %q at %s: want both: %w", a.ID, a.Label, a.At, dg.ErrInvalid)
	}
	if a.Source == "" {
		a.Source = dg.HumanLabel
	}
	return l.tx(ctx, "answer "+a.ID, func(tx *sql.Tx) error {
		r, err := asked(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		if r.State != Waiting {
			return fmt.Errorf("the sample is %s, want waiting: %w", r.State, dg.ErrInvalid)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO answers (id, annotator, label, source, at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (id, annotator) DO UPDATE SET label = excluded.label, source = excluded.source, at = excluded.at`,
			a.ID, a.Annotator, a.Label, string(a.Source), nanos(a.At))
		if err != nil {
			return err
		}
		return recount(ctx, tx, a.ID)
	})
}

// Unanswer takes back one person's answer. The error is
// [driftgate.ErrConflict] when the sample has been collected or is being so,
// and [driftgate.ErrNotFound] when there is no such answer.
func (l *Ledger) Unanswer(ctx context.Context, id, annotator string) error {
	return l.tx(ctx, "unanswer "+id, func(tx *sql.Tx) error {
		if _, err := asked(ctx, tx, id); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `DELETE FROM answers WHERE id = ? AND annotator = ?`, id, annotator)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fmt.Errorf("no answer of %q: %w", annotator, dg.ErrNotFound)
		}
		return recount(ctx, tx, id)
	})
}

// Answers returns the answers that were given at the given time or before and
// have not been collected, oldest first.
func (l *Ledger) Answers(ctx context.Context, givenBefore time.Time) ([]Answer, error) {
	return collect(ctx, l, "answers", scanAnswer, selectAnswers+`at <= ? ORDER BY at, id, annotator`, bound(givenBefore))
}

const selectAnswers = `SELECT id, label, annotator, source, at FROM answers WHERE `

func scanAnswer(rows *sql.Rows) (a Answer, err error) {
	var at int64
	err = rows.Scan(&a.ID, &a.Label, &a.Annotator, &a.Source, &at)
	a.At = fromNanos(at)
	return a, err
}

// AnswersOf returns the answers about these samples that have not been
// collected, by id, each list from the oldest on.
func (l *Ledger) AnswersOf(ctx context.Context, ids ...string) (map[string][]Answer, error) {
	out := make(map[string][]Answer, len(ids))
	for part := range chunks(ids) {
		in, args := oneOf(part)
		answers, err := collect(ctx, l, "answers", scanAnswer, selectAnswers+`id IN `+in+` ORDER BY at, annotator`, args...)
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			out[a.ID] = append(out[a.ID], a)
		}
	}
	return out, nil
}

// LastAnswer returns the newest answer of a person that has not been
// collected; the error may be [driftgate.ErrNotFound].
func (l *Ledger) LastAnswer(ctx context.Context, annotator string) (Answer, error) {
	answers, err := collect(ctx, l, "last answer", scanAnswer, selectAnswers+`annotator = ? ORDER BY at DESC, id DESC LIMIT 1`, annotator)
	if err != nil {
		return Answer{}, err
	}
	if len(answers) == 0 {
		return Answer{}, fmt.Errorf("ledger: last answer of %q: %w", annotator, dg.ErrNotFound)
	}
	return answers[0], nil
}

// Collected records that a's label is in the buckets: the sample is labelled
// and its answers are gone, in one transaction. The same once more changes
// nothing; another label for a labelled sample is [driftgate.ErrConflict], an
// unknown sample [driftgate.ErrNotFound].
func (l *Ledger) Collected(ctx context.Context, a Answer) error {
	if a.Label == "" {
		return fmt.Errorf("ledger: collected %s: no label: %w", a.ID, dg.ErrInvalid)
	}
	return l.tx(ctx, "collected "+a.ID, func(tx *sql.Tx) error {
		r, err := record(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		if r.State == Labelled && r.Label != a.Label {
			return fmt.Errorf("labelled %q already, not %q: %w", r.Label, a.Label, dg.ErrConflict)
		}
		if r.State != Labelled {
			if err := l.saveLabelled(ctx, tx, r.labelled(a.Label, a.Source, a.Votes, a.At)); err != nil {
				return err
			}
		}
		if err := dropFormerLabels(ctx, tx, a.ID); err != nil {
			return err
		}
		return dropAnswers(ctx, tx, a.ID)
	})
}

// labelled is the record with a label and the votes behind it.
func (r Record) labelled(label string, source dg.LabelSource, votes dg.Votes, at time.Time) Record {
	if source == "" {
		source = dg.HumanLabel
	}
	r.State, r.Label, r.LabelSource, r.Votes, r.LabelledAt, r.Placed = Labelled, label, source, votes, at, true
	return r.settled()
}

// agreement is the share of people who agree with the model, in thousandths; 0
// without a label.
func (r Record) agreement() int64 {
	switch v := r.Votes; {
	case r.State != Labelled:
		return 0
	case v.Of > 0:
		return (2000*int64(v.Agree) + int64(v.Of)) / (2 * int64(v.Of)) // rounded
	case r.Correct():
		return 1000
	}
	return 0
}

// asked returns the record of a sample whose answers may change, and keeps
// others from changing them until the transaction ends.
func asked(ctx context.Context, tx *sql.Tx, id string) (Record, error) {
	r, err := record(ctx, tx, id)
	if err != nil {
		return r, err
	}
	if r.State == Labelled {
		return r, fmt.Errorf("labelled %q already: %w", r.Label, dg.ErrConflict)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO polls (sample_id) VALUES (?) ON CONFLICT (sample_id) DO UPDATE SET sample_id = excluded.sample_id`, id)
	if err != nil {
		return r, err
	}
	var moving string
	if err := tx.QueryRowContext(ctx, `SELECT moving FROM polls WHERE sample_id = ?`, id).Scan(&moving); err != nil {
		return r, err
	}
	if moving != "" {
		return r, fmt.Errorf("%q is being collected: %w", moving, dg.ErrConflict)
	}
	return r, nil
}

// recount brings the poll of a sample in line with its answers.
func recount(ctx context.Context, tx *sql.Tx, id string) error {
	rows, err := tx.QueryContext(ctx, `SELECT COUNT(*), MAX(at) FROM answers WHERE id = ? GROUP BY label`, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	var answers, most, leaders, newest int64
	for rows.Next() {
		var n, at int64
		if err := rows.Scan(&n, &at); err != nil {
			return err
		}
		switch {
		case n > most:
			most, leaders = n, 1
		case n == most:
			leaders++
		}
		if answers == 0 || at > newest {
			newest = at
		}
		answers += n
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if answers == 0 {
		_, err = tx.ExecContext(ctx, `DELETE FROM polls WHERE sample_id = ?`, id)
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE polls SET answers = ?, leaders = ?, newest = ? WHERE sample_id = ?`, answers, leaders, newest, id)
	return err
}

// dropAnswers forgets what was answered about a sample that has its label, or
// that is forgotten itself.
func dropAnswers(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM answers WHERE id = ?`, id); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM polls WHERE sample_id = ?`, id)
	return err
}

// dropStrayAnswers forgets the answers about samples that do not wait.
func dropStrayAnswers(ctx context.Context, tx *sql.Tx) error {
	const stray = `NOT EXISTS (SELECT 1 FROM samples WHERE samples.state = 'waiting' AND samples.id = `
	if _, err := tx.ExecContext(ctx, `DELETE FROM answers WHERE `+stray+`answers.id)`); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM polls WHERE `+stray+`polls.sample_id)`)
	return err
}

// LabelProgress counts the samples that people were asked about.
type LabelProgress struct {
	Waiting  int // in label-wait, and somebody is still to answer
	Answered int // with all the answers they need, not yet collected
	Labelled int // ever, foreign labels included
}

// Progress returns how far labelling has come.
func (l *Ledger) Progress(ctx context.Context, q Quorum) (LabelProgress, error) {
	var p LabelProgress
	decided, args := q.decided()
	err := l.read.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM samples WHERE state = 'waiting' AND placed = 1
			AND NOT EXISTS (SELECT 1 FROM polls WHERE sample_id = samples.id AND `+decided+`)),
		(SELECT COUNT(*) FROM polls WHERE `+decided+`),
		(SELECT COALESCE(SUM(labels), 0) FROM label_totals)`, append(args, args...)...).Scan(&p.Waiting, &p.Answered, &p.Labelled)
	if err != nil {
		return p, fmt.Errorf("ledger: progress: %w", err)
	}
	return p, nil
}
