package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	dg "driftgate"
)

// ForeignLabel is what one object of the clean bucket says.
type ForeignLabel struct {
	Sample   dg.Sample // its key names the human class's directory
	Label    string    // the label of that directory
	Interval time.Time // start of the curate interval, if the tags name a stratum
}

// SetForeignLabel enters a sample of the clean bucket with its label; see
// [Ledger.SetForeignLabels].
func (l *Ledger) SetForeignLabel(ctx context.Context, s dg.Sample, label string) error {
	return l.SetForeignLabels(ctx, ForeignLabel{Sample: s, Label: label})
}

// SetForeignLabels enters what the clean bucket shows, in one transaction. A
// sample that is not known from production yet is entered too. Of two labels
// the later one (by Sample.LabelledAt) counts; a sample whose answer is being
// collected is left to collect. The error may be [driftgate.ErrInvalid].
func (l *Ledger) SetForeignLabels(ctx context.Context, labels ...ForeignLabel) error {
	if len(labels) == 0 {
		return nil
	}
	return l.tx(ctx, "foreign labels", func(tx *sql.Tx) error {
		for _, f := range labels {
			if err := l.foreignLabel(ctx, tx, f); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *Ledger) foreignLabel(ctx context.Context, tx *sql.Tx, f ForeignLabel) error {
	if err := checkSample(f.Sample); err != nil {
		return err
	}
	if f.Label == "" {
		return fmt.Errorf("sample %s: no label: %w", f.Sample.Key, dg.ErrInvalid)
	}
	moving, err := isMoving(ctx, tx, f.Sample.ID())
	if err != nil {
		return err
	}
	old, err := record(ctx, tx, f.Sample.ID())
	switch {
	case errors.Is(err, dg.ErrNotFound):
		old = Unseen(f.Sample)
	case err != nil:
		return err
	case moving:
		return nil
	}
	r := WithLabel(old, f)
	switch {
	case old.State != Labelled:
		if err := l.saveLabelled(ctx, tx, r); err != nil {
			return err
		}
		return dropAnswers(ctx, tx, r.ID()) // a label outranks what people would still say
	case r != old:
		return l.save(ctx, tx, r)
	}
	return nil
}

// WithLabel is the record of a sample after the clean bucket has shown f: pure,
// so that a rebuild ends where the daily bookkeeping ends.
func WithLabel(r Record, f ForeignLabel) Record {
	at := fromNanos(tagNanos(f.Sample.LabelledAt))
	if r.State == Labelled && (r.Label == f.Label || !at.After(r.LabelledAt)) {
		return r
	}
	if r.Stratum == "" && f.Sample.Stratum != "" {
		r.Stratum, r.SamplingFraction = f.Sample.Stratum, f.Sample.SamplingFraction
		r.Interval, r.Selected = f.Interval, true
	}
	return r.labelled(f.Label, f.Sample.LabelSource, f.Sample.Votes, at)
}
