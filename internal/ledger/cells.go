package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	dg "driftgate"
)

// slice is a way to divide predictions.
type slice string

const (
	whole   slice = ""      // not at all
	byClass slice = "class" // by predicted class
	byBand  slice = "band"  // by the lower edge of the band of confidence, in thousandths
)

// milli is a confidence in thousandths, agreement the share of people who
// agree with the model, in thousandths too.
const (
	milli     = `CAST(ROUND(confidence * 1000) AS BIGINT)`
	agreement = `agreement`
)

// value is the SQL for a row's part; ” when it is in none.
func (by slice) value() string {
	switch by {
	case byClass:
		return `predicted_class`
	case byBand:
		var b strings.Builder
		b.WriteString(`CASE WHEN confidence IS NULL THEN ''`)
		for _, lower := range slices.Backward(ConfidenceBands[1:]) {
			fmt.Fprintf(&b, ` WHEN %s >= %.0f THEN '%04.0f'`, milli, lower*1000, lower*1000)
		}
		b.WriteString(` ELSE '0000' END`)
		return b.String()
	}
	return `''`
}

// counted is the condition on samples that count: those known from the label
// buckets only do when they are labelled.
const counted = `(in_production = 1 OR outcome > 0)`

// sampleSums are a cell's sums over counted samples, in the order of cell.dest;
// the last two are maxima.
const sampleSums = `COUNT(*), CAST(SUM(in_production) AS BIGINT), CAST(SUM(selected) AS BIGINT),
	` + labelled + `1` + sum + `,
	CAST(SUM(CASE WHEN outcome = 1 THEN 1 ELSE 0 END) AS BIGINT),
	CAST(SUM(CASE WHEN confidence IS NULL THEN 1 ELSE 0 END) AS BIGINT),
	CAST(SUM(COALESCE(` + milli + `, 0)) AS BIGINT),
	CAST(SUM(COALESCE(` + milli + ` * ` + milli + `, 0)) AS BIGINT),
	` + labelled + `COALESCE(` + milli + `, 0)` + sum + `,
	` + labelled + `COALESCE(` + milli + ` * ` + milli + `, 0)` + sum + `,
	` + labelled + `COALESCE(` + milli + ` * ` + agreement + `, 0)` + sum + `,
	` + labelled + agreement + ` * ` + agreement + sum + `,
	` + labelled + agreement + ` - CASE outcome WHEN 1 THEN 1000 ELSE 0 END` + sum + `,
	MAX(CASE WHEN outcome > 0 THEN labelled_at ELSE 0 END), MAX(at)`

const (
	labelled = `CAST(SUM(CASE WHEN outcome > 0 THEN `
	sum      = ` ELSE 0 END) AS BIGINT)`
)

// cell is the sums over some predictions of one stratum, curate interval and
// slice.
type cell struct {
	reason   string
	interval int64
	value    string
	sums     dg.StratumCount
	known    int
	newest   int64
	last     int64 // timestamp of the newest prediction
}

// dest are the places that a row of stratum, interval, value and sums is
// scanned into.
func (c *cell) dest() []any {
	s := &c.sums
	return []any{&c.reason, &c.interval, &c.value, &s.Predictions, &c.known, &s.Selected, &s.Labels, &s.Correct,
		&s.Unscored, &s.F, &s.FF, &s.LabelF, &s.LabelFF, &s.LabelYF, &s.LabelYY, &s.Dissent, &c.newest, &c.last}
}

func (c cell) tally() Tally {
	t := Tally{StratumCount: c.sums, Known: c.known, NewestLabel: fromNanos(c.newest)}
	t.Stratum, t.Interval = dg.Stratum(c.reason), fromNanos(c.interval)
	return t
}

// sums are cells added up: by slice, then by stratum and curate interval.
type sums map[string]map[stratumKey]Tally

type stratumKey struct {
	reason   string
	interval int64
}

func (s sums) add(c cell) {
	if s[c.value] == nil {
		s[c.value] = map[stratumKey]Tally{}
	}
	t := c.tally()
	k := stratumKey{c.reason, c.interval}
	if old, ok := s[c.value][k]; ok {
		t.Add(old)
	}
	s[c.value][k] = t
}

// tallies returns the tallies of one slice, by stratum and interval.
func (s sums) tallies(value string) []Tally {
	return slices.SortedFunc(maps.Values(s[value]), func(a, b Tally) int {
		return cmp.Or(strings.Compare(string(a.Stratum), string(b.Stratum)), cmp.Compare(nanos(a.Interval), nanos(b.Interval)))
	})
}

// cells sums up the predictions of iv that tx sees.
func cells(ctx context.Context, tx *sql.Tx, by slice, version string, iv dg.Interval) (sums, error) {
	stretches, err := cutInterval(ctx, tx, iv, by.widths())
	if err != nil {
		return nil, err
	}
	out := sums{}
	for _, s := range stretches {
		query, args := s.query(by, `reason, interval_start`, version)
		err := each(ctx, tx, func(rows *sql.Rows) error {
			var c cell
			if err := rows.Scan(c.dest()...); err != nil {
				return err
			}
			out.add(c)
			return nil
		}, query, args...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// query is the statement that sums a stretch up by some columns and the part;
// the row has those columns, the part's value, and the sums.
func (s stretch) query(by slice, columns, version string) (query string, args []any) {
	value, sums, from := `value`, tallySums, `tallies WHERE width = ? AND part = ? AND cell >= ? AND cell < ?`
	args = []any{s.width, string(by), s.from, s.to}
	if s.width == 0 {
		value, sums, from = by.value(), sampleSums, `samples WHERE `+counted+` AND at >= ? AND at < ?`
		args = args[2:]
	}
	if version != "" {
		from, args = from+` AND model_version = ?`, append(args, version)
	}
	return `SELECT ` + columns + `, ` + value + ` AS part_value, ` + sums + ` FROM ` + from + ` GROUP BY ` + columns + `, part_value`, args
}
