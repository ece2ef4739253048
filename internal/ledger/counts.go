package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	dg "driftgate"
)

// Tally is a stratum's count with what a window shows beside it.
type Tally struct {
	dg.StratumCount
	Known       int       // of Predictions: seen in the production bucket; the others are known by their label only
	NewestLabel time.Time // when its newest label was given; zero without labels
}

// tallySums are the columns of a Tally.
const tallySums = `SUM(CASE WHEN in_production = 1 OR outcome > 0 THEN 1 ELSE 0 END), SUM(in_production), SUM(selected),
		SUM(CASE WHEN outcome > 0 THEN 1 ELSE 0 END), SUM(CASE WHEN outcome = 1 THEN 1 ELSE 0 END), MAX(labelled_at)`

// Tallies counts the predictions of nested windows that end together: the
// result has one list a start, in the order given, each grouped by stratum and
// curate interval and ordered so. Rows that nobody has curated are grouped by
// what their tags say, under the zero interval. version "" counts every
// version. One pass over the longest window, by index.
func (l *Ledger) Tallies(ctx context.Context, version string, end time.Time, starts ...time.Time) ([][]Tally, error) {
	if len(starts) == 0 {
		return nil, nil
	}
	first := starts[0]
	steps, args := []string{}, []any{}
	for _, s := range starts {
		if s.Before(first) {
			first = s
		}
	}
	for _, s := range starts { // bit i: the row lies in window i
		steps, args = append(steps, fmt.Sprintf(`(CASE WHEN at >= ? THEN %d ELSE 0 END)`, 1<<len(steps))), append(args, bound(s))
	}
	where, more := span(version, dg.Interval{Start: first, End: end})
	query := `SELECT ` + strings.Join(steps, " + ") + ` AS windows, reason, interval_start, ` + tallySums + `
		FROM samples WHERE ` + where + ` GROUP BY windows, reason, interval_start ORDER BY reason, interval_start`
	type row struct {
		windows int
		Tally
	}
	rows, err := collect(ctx, l, "tallies", func(rows *sql.Rows) (r row, err error) {
		var interval, newest int64
		err = rows.Scan(&r.windows, &r.Stratum, &interval, &r.Predictions, &r.Known, &r.Selected, &r.Labels, &r.Correct, &newest)
		r.Interval, r.NewestLabel = fromNanos(interval), fromNanos(newest)
		return r, err
	}, query, append(args, more...)...)
	if err != nil {
		return nil, err
	}
	out := make([][]Tally, len(starts))
	for _, r := range rows {
		for i := range starts {
			if r.windows&(1<<i) != 0 && r.Predictions > 0 {
				out[i] = addTally(out[i], r.Tally)
			}
		}
	}
	return out, nil
}

// Add adds the counts of u, of the same stratum and interval.
func (t *Tally) Add(u Tally) {
	t.Predictions += u.Predictions
	t.Known += u.Known
	t.Selected += u.Selected
	t.Labels += u.Labels
	t.Correct += u.Correct
	if u.NewestLabel.After(t.NewestLabel) {
		t.NewestLabel = u.NewestLabel
	}
}

// addTally adds t to the last of sums when it is of the same stratum and
// interval, else behind it.
func addTally(sums []Tally, t Tally) []Tally {
	if n := len(sums); n > 0 && sums[n-1].Stratum == t.Stratum && sums[n-1].Interval.Equal(t.Interval) {
		sums[n-1].Add(t)
		return sums
	}
	return append(sums, t)
}

// GridTally is the count of one stratum and curate interval of one version
// within one cell of a grid over event time.
type GridTally struct {
	Tally
	Cell         int    // position of the cell, from 0
	ModelVersion string // of the predictions
	LastAt       time.Time
}

// Grid tallies the predictions of iv in cells of length step from iv.Start on,
// by version, stratum and curate interval, ordered by cell: what a chart sums
// its sliding windows from, in one pass.
func (l *Ledger) Grid(ctx context.Context, version string, iv dg.Interval, step time.Duration) ([]GridTally, error) {
	if step <= 0 {
		return nil, fmt.Errorf("ledger: grid: step %s: want over 0s: %w", step, dg.ErrInvalid)
	}
	where, args := span(version, iv)
	return collect(ctx, l, "grid", func(rows *sql.Rows) (g GridTally, err error) {
		var interval, newest, last int64
		err = rows.Scan(&g.Cell, &g.ModelVersion, &g.Stratum, &interval, &g.Predictions, &g.Known, &g.Selected, &g.Labels, &g.Correct, &newest, &last)
		g.Interval, g.NewestLabel, g.LastAt = fromNanos(interval), fromNanos(newest), fromNanos(last)
		return g, err
	}, `SELECT (at - ?) / ? AS cell, model_version, reason, interval_start, `+tallySums+`, MAX(at)
		FROM samples WHERE `+where+` GROUP BY cell, model_version, reason, interval_start ORDER BY cell, model_version, reason, interval_start`,
		append([]any{bound(iv.Start), int64(step)}, args...)...)
}

// span is the condition on version and time; version "" means every one.
func span(version string, iv dg.Interval) (where string, args []any) {
	if version == "" {
		return `at >= ? AND at < ?`, []any{bound(iv.Start), bound(iv.End)}
	}
	return `model_version = ? AND at >= ? AND at < ?`, []any{version, bound(iv.Start), bound(iv.End)}
}

// Counts tallies the predictions of iv by stratum and curate interval. Rows
// that nobody has curated count under the stratum that their tags say and the
// zero interval; those known from the clean bucket only count as labelled
// predictions. version "" counts every version.
func (l *Ledger) Counts(ctx context.Context, version string, iv dg.Interval) ([]dg.StratumCount, error) {
	tallies, err := l.Tallies(ctx, version, iv.End, iv.Start)
	if err != nil {
		return nil, err
	}
	out := make([]dg.StratumCount, len(tallies[0]))
	for i, t := range tallies[0] {
		out[i] = t.StratumCount
	}
	return out, nil
}

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
