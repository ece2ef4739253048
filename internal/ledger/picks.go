package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	dg "driftgate"
)

// LabelTimes returns when the newest label of iv's predictions was given, the
// zero time without labels.
func (l *Ledger) LabelTimes(ctx context.Context, version string, iv dg.Interval) (newest time.Time, err error) {
	where, args := span(version, iv)
	var ns sql.NullInt64
	if err := l.read.QueryRowContext(ctx, `SELECT MAX(labelled_at) FROM samples WHERE outcome > 0 AND `+where, args...).Scan(&ns); err != nil {
		return time.Time{}, fmt.Errorf("ledger: label times: %w", err)
	}
	return fromNanos(ns.Int64), nil
}

// PredictedClasses counts the predictions of iv by predicted class.
func (l *Ledger) PredictedClasses(ctx context.Context, version string, iv dg.Interval) (map[string]int, error) {
	where, args := span(version, iv)
	type count struct {
		class string
		n     int
	}
	rows, err := collect(ctx, l, "predicted classes", func(rows *sql.Rows) (c count, err error) {
		err = rows.Scan(&c.class, &c.n)
		return c, err
	}, `SELECT predicted_class, COUNT(*) FROM samples WHERE `+where+` GROUP BY predicted_class`, args...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(rows))
	for _, c := range rows {
		out[c.class] = c.n
	}
	return out, nil
}

// Pick is one sample that was picked for a person.
type Pick struct {
	ID       string
	Stratum  dg.Stratum
	Interval time.Time
	Labelled bool
	Correct  bool // the model was right; false without a label
}

// Picks returns the samples of iv that were picked for a person, labelled or
// not yet, and those labelled by foreign hands, by id. version "" means every
// one.
func (l *Ledger) Picks(ctx context.Context, version string, iv dg.Interval) ([]Pick, error) {
	where, args := span(version, iv)
	return collect(ctx, l, "picks", func(rows *sql.Rows) (p Pick, err error) {
		var interval int64
		var outcome int
		err = rows.Scan(&p.ID, &p.Stratum, &interval, &outcome)
		p.Interval, p.Labelled, p.Correct = fromNanos(interval), outcome > 0, outcome == 1
		return p, err
	}, `SELECT id, reason, interval_start, outcome FROM samples WHERE (selected = 1 OR outcome > 0) AND `+where+` ORDER BY id`, args...)
}
