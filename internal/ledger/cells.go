package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

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
	numbers  [cellNumbers]int64
}

// The numbers of a cell, in the order of sampleSums. The last two are maxima.
const (
	nPredictions = iota
	nKnown
	nSelected
	nLabels
	nCorrect
	nUnscored
	nF
	nFf
	nLabelF
	nLabelFF
	nLabelYF
	nLabelYY
	nDissent
	nNewestLabel // time, 0 without labels
	nLastAt      // timestamp of the newest prediction
	cellNumbers
)

// dest are the places that a row of stratum, interval, value and sums is
// scanned into.
func (c *cell) dest() []any {
	to := []any{&c.reason, &c.interval, &c.value}
	for i := range c.numbers {
		to = append(to, &c.numbers[i])
	}
	return to
}

// add adds the sums of d, of the same stratum, interval and slice.
func (c *cell) add(d cell) {
	for i := range nNewestLabel {
		c.numbers[i] += d.numbers[i]
	}
	for i := nNewestLabel; i < cellNumbers; i++ {
		c.numbers[i] = max(c.numbers[i], d.numbers[i])
	}
}

func (c cell) tally() Tally {
	n := c.numbers
	return Tally{
		StratumCount: dg.StratumCount{
			Stratum: dg.Stratum(c.reason), Interval: fromNanos(c.interval),
			Predictions: int(n[nPredictions]), Selected: int(n[nSelected]), Labels: int(n[nLabels]), Correct: int(n[nCorrect]),
			Moments: dg.Moments{Unscored: int(n[nUnscored]), F: n[nF], FF: n[nFf], LabelF: n[nLabelF], LabelFF: n[nLabelFF],
				LabelYF: n[nLabelYF], LabelYY: n[nLabelYY], Dissent: n[nDissent]},
		},
		Known: int(n[nKnown]), NewestLabel: fromNanos(n[nNewestLabel]),
	}
}

// sums are cells added up: by slice, then by stratum and curate interval.
type sums map[string]map[stratumKey]*cell

type stratumKey struct {
	reason   string
	interval int64
}

func (s sums) add(c cell) {
	part := s[c.value]
	if part == nil {
		part = map[stratumKey]*cell{}
		s[c.value] = part
	}
	k := stratumKey{c.reason, c.interval}
	if old := part[k]; old != nil {
		old.add(c)
		return
	}
	part[k] = &c
}

// of returns the cells of one slice, by stratum and interval.
func (s sums) of(value string) []*cell {
	return slices.SortedFunc(maps.Values(s[value]), func(a, b *cell) int {
		return cmp.Or(strings.Compare(a.reason, b.reason), cmp.Compare(a.interval, b.interval))
	})
}

// tallies is of, for the world.
func (s sums) tallies(value string) []Tally {
	var out []Tally
	for _, c := range s.of(value) {
		out = append(out, c.tally())
	}
	return out
}

// cells sums up the predictions of iv that tx sees.
func cells(ctx context.Context, tx *sql.Tx, by slice, version string, iv dg.Interval) (sums, error) {
	stretches, err := cutInterval(ctx, tx, iv, by.widths())
	if err != nil {
		return nil, err
	}
	out := sums{}
	for _, s := range stretches {
		err := s.each(ctx, tx, by, version, `0`, func(_ int64, _ string, c cell) { out.add(c) })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// each calls f with the sums of a stretch, those of one stratum, interval and
// slice in one or several pieces, and with what the SQL expression key makes of
// their time, which it calls t, and their version.
func (s stretch) each(ctx context.Context, tx *sql.Tx, by slice, version, key string, f func(key int64, version string, c cell)) error {
	where, args := ``, []any{s.from, s.to}
	if version != "" {
		where, args = ` AND model_version = ?`, append(args, version)
	}
	if s.width == 0 {
		return each(ctx, tx, func(rows *sql.Rows) error {
			var (
				k       int64
				version string
				c       cell
			)
			err := rows.Scan(append([]any{&k, &version}, c.dest()...)...)
			if err == nil {
				f(k, version, c)
			}
			return err
		}, `SELECT `+timed(key, `at`)+` AS k, model_version, reason, interval_start, `+by.value()+` AS part, `+sampleSums+` FROM samples
			WHERE `+counted+` AND at >= ? AND at < ?`+where+` GROUP BY k, model_version, reason, interval_start, part`, args...)
	}
	texts := map[string]string{} // each once
	return each(ctx, tx, func(rows *sql.Rows) error {
		var (
			k, begin int64
			version  string
			packed   sql.RawBytes
		)
		if err := rows.Scan(&k, &begin, &version, &packed); err != nil {
			return err
		}
		err := unpackCells(packed, texts, func(c cell) { f(k, version, c) })
		if err != nil {
			return fmt.Errorf("cell of %s at %s: %w", time.Duration(s.width), fromNanos(begin), err)
		}
		return nil
	}, `SELECT `+timed(key, `cell`)+` AS k, cell, model_version, sums FROM tallies
		WHERE width = `+strconv.FormatInt(s.width, 10)+` AND part = '`+string(by)+`' AND cell >= ? AND cell < ?`+where, args...)
}

// timed is key with the name of the column that has the time.
func timed(key, column string) string { return timeInKey.ReplaceAllString(key, column) }

var timeInKey = regexp.MustCompile(`\bt\b`)
