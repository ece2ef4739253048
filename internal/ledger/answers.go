package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	dg "driftgate"
)

// Answer is a person's label for one waiting sample.
type Answer struct {
	ID        string
	Label     string
	Annotator string
	Source    dg.LabelSource // empty means HumanLabel
	At        time.Time
}

// Answer keeps a person's label until collect carries it into the buckets; it
// replaces an earlier one. The error is [driftgate.ErrNotFound] for an unknown
// sample, [driftgate.ErrConflict] for one that is labelled already, and
// [driftgate.ErrInvalid] for one that nobody was asked about.
func (l *Ledger) Answer(ctx context.Context, a Answer) error {
	if a.Label == "" || a.At.IsZero() {
		return fmt.Errorf("ledger: answer %s: label %q at %s: want both: %w", a.ID, a.Label, a.At, dg.ErrInvalid)
	}
	if a.Source == "" {
		a.Source = dg.HumanLabel
	}
	return l.tx(ctx, "answer "+a.ID, func(tx *sql.Tx) error {
		r, err := record(ctx, tx, a.ID)
		switch {
		case err != nil:
			return err
		case r.State == Labelled:
			return fmt.Errorf("labelled %q already: %w", r.Label, dg.ErrConflict)
		case r.State != Waiting:
			return fmt.Errorf("the sample is %s, want waiting: %w", r.State, dg.ErrInvalid)
		}
		_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO answers (id, label, annotator, source, at) VALUES (?, ?, ?, ?, ?)`,
			a.ID, a.Label, a.Annotator, string(a.Source), nanos(a.At))
		return err
	})
}

// Unanswer takes back an answer. The error is [driftgate.ErrConflict] when it
// has been collected, and [driftgate.ErrNotFound] when there is none.
func (l *Ledger) Unanswer(ctx context.Context, id string) error {
	return l.tx(ctx, "unanswer "+id, func(tx *sql.Tx) error {
		r, err := record(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case r.State == Labelled:
			return fmt.Errorf("labelled %q already: %w", r.Label, dg.ErrConflict)
		}
		res, err := tx.ExecContext(ctx, `DELETE FROM answers WHERE id = ?`, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return fmt.Errorf("no answer: %w", dg.ErrNotFound)
	})
}

// Answers returns the answers that were given at the given time or before and
// have not been collected, oldest first.
func (l *Ledger) Answers(ctx context.Context, givenBefore time.Time) ([]Answer, error) {
	scan := func(rows *sql.Rows) (a Answer, err error) {
		var at int64
		err = rows.Scan(&a.ID, &a.Label, &a.Annotator, &a.Source, &at)
		a.At = fromNanos(at)
		return a, err
	}
	return collect(ctx, l, "answers", scan, `SELECT id, label, annotator, source, at FROM answers WHERE at <= ? ORDER BY at, id`, bound(givenBefore))
}

// Collected records that a's label is in the buckets: the sample is labelled
// and the answer gone, in one transaction. The same once more changes nothing;
// another label for a labelled sample is [driftgate.ErrConflict], an unknown
// sample [driftgate.ErrNotFound].
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
			if err := l.saveLabelled(ctx, tx, r.labelled(a.Label, a.Source, a.At)); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM answers WHERE id = ?`, a.ID)
		return err
	})
}

// labelled is the record with a label.
func (r Record) labelled(label string, source dg.LabelSource, at time.Time) Record {
	if source == "" {
		source = dg.HumanLabel
	}
	r.State, r.Label, r.LabelSource, r.LabelledAt, r.Placed = Labelled, label, source, at, true
	return r.settled()
}

// LabelProgress counts the samples that people were asked about.
type LabelProgress struct {
	Waiting  int // in label-wait, without an answer
	Answered int // with an answer, not yet collected
	Labelled int // ever, foreign labels included
}

// Progress returns how far labelling has come.
func (l *Ledger) Progress(ctx context.Context) (LabelProgress, error) {
	var p LabelProgress
	err := l.read.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM samples WHERE state = 'waiting' AND placed = 1 AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.id = samples.id)),
		(SELECT COUNT(*) FROM answers),
		(SELECT COALESCE(SUM(labels), 0) FROM label_totals)`).Scan(&p.Waiting, &p.Answered, &p.Labelled)
	if err != nil {
		return p, fmt.Errorf("ledger: progress: %w", err)
	}
	return p, nil
}
