package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"
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

// Add adds the counts of u, of the same stratum and interval.
func (t *Tally) Add(u Tally) {
	t.Predictions += u.Predictions
	t.Known += u.Known
	t.Selected += u.Selected
	t.Labels += u.Labels
	t.Correct += u.Correct
	t.Moments.Add(u.Moments)
	if u.NewestLabel.After(t.NewestLabel) {
		t.NewestLabel = u.NewestLabel
	}
}

// The parts that [Ledger.Slices] divides predictions into.
const (
	ByClass      = "class"      // the predicted class
	ByConfidence = "confidence" // the band of ConfidenceBands
)

// ConfidenceBands are the lower edges of the bands of confidence, ascending
// and inclusive: finer near 1, where most predictions are. Cells that are
// stored (see rollup.go) hold them too, so another division needs a migration.
var ConfidenceBands = []float64{0, .3, .4, .5, .6, .7, .8, .85, .9, .93, .95, .97, .98, .99, .995}

// BandName names a band by its edges, as "0.50-0.60"; i is a position in
// ConfidenceBands.
func BandName(i int) string {
	upper := 1.
	if i+1 < len(ConfidenceBands) {
		upper = ConfidenceBands[i+1]
	}
	return edge(ConfidenceBands[i]) + "-" + edge(upper)
}

// edge writes an edge with two decimals, or three where it has them.
func edge(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 3, 64), "0")
}

// BandOf is the position of a confidence in ConfidenceBands, -1 for NaN.
func BandOf(confidence float64) int {
	if math.IsNaN(confidence) {
		return -1
	}
	confidence = dg.RoundConfidence(confidence)
	i, exact := slices.BinarySearch(ConfidenceBands, confidence)
	if !exact {
		i--
	}
	return max(i, 0)
}

// SliceTally is the count of one part of an interval's predictions.
type SliceTally struct {
	By          string // ByClass, ByConfidence
	Value       string // the predicted class, or the band's name
	Band        int    // position in ConfidenceBands; -1 by class
	Predictions int
	Labels      int
	Correct     int
	Tallies     []Tally // by stratum and curate interval, ordered so
}

// Tallies counts the predictions of several windows, as they are at one
// moment: the result has one list an interval, in the order given, each
// grouped by stratum and curate interval and ordered so. Rows that nobody has
// curated are grouped by what their tags say, under the zero interval. version
// "" counts every version.
func (l *Ledger) Tallies(ctx context.Context, version string, ivs ...dg.Interval) ([][]Tally, error) {
	out := make([][]Tally, len(ivs))
	err := l.settled(ctx, "tallies", func(tx *sql.Tx) (err error) {
		for i, iv := range ivs {
			if out[i], err = tallies(ctx, tx, version, iv); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Slices counts the predictions of iv by predicted class and by band of
// confidence: the classes first, by name, then the bands, by edge. A prediction
// without a class, or without a confidence, is in none. version "" counts every
// version.
func (l *Ledger) Slices(ctx context.Context, version string, iv dg.Interval) (out []SliceTally, err error) {
	err = l.settled(ctx, "slices", func(tx *sql.Tx) error {
		out, err = sliced(ctx, tx, version, iv)
		return err
	})
	return out, err
}

// WindowTally is all that the figures of one window rest on.
type WindowTally struct {
	Tallies []Tally
	Earlier []Tally // of the interval of the same length just before
	Slices  []SliceTally
}

// Windows is [Ledger.Tallies] and [Ledger.Slices] of several windows, with the
// tallies of the time before each, all as they are at one moment.
func (l *Ledger) Windows(ctx context.Context, version string, ivs ...dg.Interval) ([]WindowTally, error) {
	out := make([]WindowTally, len(ivs))
	err := l.settled(ctx, "windows", func(tx *sql.Tx) (err error) {
		for i, iv := range ivs {
			w := &out[i]
			if w.Tallies, err = tallies(ctx, tx, version, iv); err != nil {
				return err
			}
			before := dg.Interval{Start: iv.Start.Add(-iv.Length()), End: iv.Start}
			if w.Earlier, err = tallies(ctx, tx, version, before); err != nil {
				return err
			}
			if w.Slices, err = sliced(ctx, tx, version, iv); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// settled is snapshot for readers of tallies, which settle first.
func (l *Ledger) settled(ctx context.Context, doing string, f func(tx *sql.Tx) error) error {
	l.settleSome(ctx)
	return l.snapshot(ctx, doing, f)
}

func tallies(ctx context.Context, tx *sql.Tx, version string, iv dg.Interval) ([]Tally, error) {
	found, err := cells(ctx, tx, whole, version, iv)
	return found.tallies(""), err
}

func sliced(ctx context.Context, tx *sql.Tx, version string, iv dg.Interval) (out []SliceTally, err error) {
	for _, by := range []slice{byClass, byBand} {
		found, err := cells(ctx, tx, by, version, iv)
		if err != nil {
			return nil, err
		}
		part, err := sliceTallies(by, found)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

func sliceTallies(by slice, cells sums) ([]SliceTally, error) {
	var out []SliceTally
	for value := range cells {
		if value == "" {
			continue
		}
		s := SliceTally{By: ByClass, Value: value, Band: -1, Tallies: cells.tallies(value)}
		if by == byBand {
			lower, err := strconv.Atoi(value)
			if err != nil {
				return nil, fmt.Errorf("band %q: want thousandths: %w", value, dg.ErrInvalid)
			}
			s.By, s.Band = ByConfidence, BandOf(float64(lower)/1000)
			s.Value = BandName(s.Band)
		}
		for _, t := range s.Tallies {
			s.Predictions += t.Predictions
			s.Labels += t.Labels
			s.Correct += t.Correct
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b SliceTally) int {
		return cmp.Or(cmp.Compare(a.Band, b.Band), strings.Compare(a.Value, b.Value))
	})
	return out, nil
}

// Counts tallies the predictions of iv by stratum and curate interval. Rows
// that nobody has curated count under the stratum that their tags say and the
// zero interval; those known from the clean bucket only count as labelled
// predictions. version "" counts every version.
func (l *Ledger) Counts(ctx context.Context, version string, iv dg.Interval) ([]dg.StratumCount, error) {
	tallies, err := l.Tallies(ctx, version, iv)
	if err != nil {
		return nil, err
	}
	out := make([]dg.StratumCount, len(tallies[0]))
	for i, t := range tallies[0] {
		out[i] = t.StratumCount
	}
	return out, nil
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
	if step <= 0 || iv.Start.IsZero() {
		return nil, fmt.Errorf("ledger: grid: step %s from %s: want over 0s, and a start: %w", step, iv.Start, dg.ErrInvalid)
	}
	start := bound(iv.Start)
	var widths []int64 // of the cells that never lie across two of the grid's
	for _, w := range whole.widths() {
		if start%w == 0 && int64(step)%w == 0 {
			widths = append(widths, w)
		}
	}
	found := map[gridKey]*cell{}
	err := l.settled(ctx, "grid", func(tx *sql.Tx) error {
		stretches := []stretch{{0, start, bound(iv.End)}}
		if len(widths) > 0 {
			var err error
			if stretches, err = cutInterval(ctx, tx, iv, widths); err != nil {
				return err
			}
		}
		for _, s := range stretches {
			if err := s.grid(ctx, tx, version, start, int64(step), found); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]GridTally, 0, len(found))
	for k, c := range found {
		out = append(out, GridTally{Tally: c.tally(), Cell: int(k.cell), ModelVersion: k.version, LastAt: fromNanos(c.numbers[nLastAt])})
	}
	slices.SortFunc(out, func(a, b GridTally) int {
		return cmp.Or(cmp.Compare(a.Cell, b.Cell), strings.Compare(a.ModelVersion, b.ModelVersion),
			strings.Compare(string(a.Stratum), string(b.Stratum)), cmp.Compare(nanos(a.Interval), nanos(b.Interval)))
	})
	return out, nil
}

type gridKey struct {
	cell    int64
	version string
	stratumKey
}

// grid adds the sums of a stretch to found.
func (s stretch) grid(ctx context.Context, tx *sql.Tx, version string, start, step int64, found map[gridKey]*cell) error {
	key := fmt.Sprintf(`(t - %d) / %d`, start, step)
	return s.each(ctx, tx, whole, version, key, func(at int64, version string, c cell) {
		k := gridKey{at, version, stratumKey{c.reason, c.interval}}
		if old := found[k]; old != nil {
			old.add(c)
			return
		}
		found[k] = &c
	})
}

// span is the condition on version and time; version "" means every one.
func span(version string, iv dg.Interval) (where string, args []any) {
	if version == "" {
		return `at >= ? AND at < ?`, []any{bound(iv.Start), bound(iv.End)}
	}
	return `model_version = ? AND at >= ? AND at < ?`, []any{version, bound(iv.Start), bound(iv.End)}
}
