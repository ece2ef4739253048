package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	dg "driftgate"
)

// DelayBuckets are the upper bounds, inclusive, of the delays from prediction
// to label that [Ledger.LabelDelays] tells apart.
var DelayBuckets = []time.Duration{
	time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 96 * time.Hour, 168 * time.Hour, 336 * time.Hour, 720 * time.Hour,
}

// saveLabelled writes a record that has just got its label, and counts it.
func (l *Ledger) saveLabelled(ctx context.Context, tx *sql.Tx, r Record) error {
	if err := l.save(ctx, tx, r); err != nil {
		return err
	}
	return l.countLabels(ctx, tx, r)
}

// labelKind is a row of the totals.
type labelKind struct {
	version         string
	stratum         dg.Stratum
	outcome, bucket int
}

// countLabels counts the labels of records that have just got theirs. Delays
// are summed in whole seconds, as tags have them: the sum of nanoseconds of a
// large old bucket, whose labels are of today, does not fit 64 bits.
func (l *Ledger) countLabels(ctx context.Context, tx *sql.Tx, rs ...Record) error {
	type sums struct{ labels, delay, newest int64 }
	totals := map[labelKind]sums{}
	for _, r := range rs {
		k, delay := labelKind{r.ModelVersion, reasonOf(r.Sample, l.threshold), 2, -1}, time.Duration(0)
		if r.Correct() {
			k.outcome = 1
		}
		if !r.LabelledAt.IsZero() {
			delay = max(0, r.LabelledAt.Sub(r.Timestamp))
			for k.bucket = 0; k.bucket < len(DelayBuckets) && delay > DelayBuckets[k.bucket]; k.bucket++ {
			}
		}
		t := totals[k]
		totals[k] = sums{t.labels + 1, t.delay + int64(delay/time.Second), max(t.newest, tagNanos(r.LabelledAt))}
	}
	for k, t := range totals {
		_, err := tx.ExecContext(ctx, `INSERT INTO label_totals (model_version, stratum, outcome, delay_bucket, labels, delay_sum, newest)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model_version, stratum, outcome, delay_bucket) DO UPDATE SET
			labels = label_totals.labels + excluded.labels, delay_sum = label_totals.delay_sum + excluded.delay_sum,
			newest = CASE WHEN excluded.newest > label_totals.newest THEN excluded.newest ELSE label_totals.newest END`,
			k.version, string(k.stratum), k.outcome, k.bucket, t.labels, t.delay, t.newest)
		if err != nil {
			return fmt.Errorf("count labels: %w", err)
		}
	}
	return nil
}

// Outcome counts the labels of one model version, stratum and result.
type Outcome struct {
	ModelVersion string `json:"model_version"`
	Stratum      string `json:"stratum"`
	Correct      bool   `json:"correct"`
	Count        int    `json:"count"`
}

// OutcomeTotals counts all labels there ever were, each under the stratum it
// was given in; no count ever shrinks but by [Ledger.Rebuild].
func (l *Ledger) OutcomeTotals(ctx context.Context) ([]Outcome, error) {
	return collect(ctx, l, "outcome totals", func(rows *sql.Rows) (o Outcome, err error) {
		var outcome int
		err = rows.Scan(&o.ModelVersion, &o.Stratum, &outcome, &o.Count)
		o.Correct = outcome == 1
		return o, err
	}, `SELECT model_version, stratum, outcome, CAST(SUM(labels) AS BIGINT) FROM label_totals
		GROUP BY model_version, stratum, outcome ORDER BY model_version, stratum, outcome`)
}

// Delays is how long labels took, over all labels whose time is known.
type Delays struct {
	Counts  []int     `json:"counts"`          // by position in DelayBuckets, one more for what is longer; not cumulative
	Total   int       `json:"total"`           // sum of Counts
	Seconds int64     `json:"seconds"`         // sum of all delays: more than a time.Duration holds
	Newest  time.Time `json:"newest,omitzero"` // when the newest label was given
}

// LabelDelays returns the delays from prediction to label, over all labels
// there ever were.
func (l *Ledger) LabelDelays(ctx context.Context) (Delays, error) {
	d := Delays{Counts: make([]int, len(DelayBuckets)+1)}
	var newest int64
	_, err := collect(ctx, l, "label delays", func(rows *sql.Rows) (struct{}, error) {
		var bucket, n int
		var sum, at int64
		if err := rows.Scan(&bucket, &n, &sum, &at); err != nil {
			return struct{}{}, err
		}
		if bucket < 0 || bucket >= len(d.Counts) {
			return struct{}{}, fmt.Errorf("delay bucket %d: %w", bucket, dg.ErrInvalid)
		}
		d.Counts[bucket] += n
		d.Total += n
		d.Seconds += sum
		newest = max(newest, at)
		return struct{}{}, nil
	}, `SELECT delay_bucket, CAST(SUM(labels) AS BIGINT), CAST(SUM(delay_sum) AS BIGINT), MAX(newest) FROM label_totals WHERE delay_bucket >= 0 GROUP BY delay_bucket`)
	d.Newest = fromNanos(newest)
	return d, err
}
