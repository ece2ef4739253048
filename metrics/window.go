package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// WindowName is a span as labels and pages show it: 30m, 1h, 24h, 7d.
func WindowName(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d > day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}

// ParseWindow reads what [WindowName] writes, and every Go duration; the error
// is [driftgate.ErrInvalid].
func ParseWindow(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days > 0 && days <= 36500 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("window %q: want a span such as 30m, 24h or 7d: %w", s, dg.ErrInvalid)
}

// ceil is the first multiple of step at or after t: the end of the newest
// window that t touches.
func ceil(t time.Time, step time.Duration) time.Time {
	slot := dg.Slot(t, step)
	if slot.Start.Equal(t) {
		return slot.Start
	}
	return slot.End
}

// Accuracy is the state of one window [end-window, end) of the champion's
// predictions, end being the first multiple of the stride at or after at.
// Without a champion it counts every version.
func (m *Metrics) Accuracy(ctx context.Context, window time.Duration, at time.Time) (dg.Accuracy, error) {
	return m.AccuracyOf(ctx, m.serving().Version.Short(), window, at)
}

// AccuracyOf is [Metrics.Accuracy] for one version, by its short name, or for
// all of them together when version is empty.
func (m *Metrics) AccuracyOf(ctx context.Context, version string, window time.Duration, at time.Time) (dg.Accuracy, error) {
	if m.invalid != nil {
		return dg.Accuracy{}, m.invalid
	}
	if window <= 0 {
		return dg.Accuracy{}, fmt.Errorf("metrics: accuracy: window %s: want over 0s: %w", window, dg.ErrInvalid)
	}
	as, err := m.windows(ctx, version, at, window)
	if err != nil {
		return dg.Accuracy{}, err
	}
	return as[0], nil
}

// windows computes windows that end together, in one pass over the ledger.
func (m *Metrics) windows(ctx context.Context, version string, at time.Time, windows ...time.Duration) ([]dg.Accuracy, error) {
	end := ceil(at, m.o.Stride)
	spans := make([]dg.Interval, len(windows))
	for i, w := range windows {
		spans[i] = dg.Interval{Start: end.Add(-w), End: end}
	}
	tallies, err := m.ledger.Tallies(ctx, version, spans...)
	if err != nil {
		return nil, fmt.Errorf("metrics: accuracy: %w", err)
	}
	out := make([]dg.Accuracy, len(windows))
	for i, w := range windows {
		out[i] = accuracy(tallies[i], m.o.MinLabels)
		out[i].Window, out[i].Start, out[i].End, out[i].ModelVersion = WindowName(w), spans[i].Start, end, version
	}
	return out, nil
}

// accuracy turns a window's tallies into its figures. It is pure.
func accuracy(tallies []ledger.Tally, minLabels int) dg.Accuracy {
	a := dg.Accuracy{Estimates: []dg.Estimate{}, Strata: []dg.StratumCount{}}
	counts := make([]dg.StratumCount, len(tallies))
	strata := map[dg.Stratum]dg.StratumCount{}
	known := 0
	for i, t := range tallies {
		counts[i] = t.StratumCount
		known += t.Known
		a.Predictions += t.Predictions
		a.Selected += t.Selected
		a.Labels += t.Labels
		if t.NewestLabel.After(a.NewestLabelAt) {
			a.NewestLabelAt = t.NewestLabel
		}
		s := strata[t.Stratum]
		s.Stratum = t.Stratum
		s.Predictions += t.Predictions
		s.Selected += t.Selected
		s.Labels += t.Labels
		s.Correct += t.Correct
		strata[t.Stratum] = s
	}
	if known == 0 { // a clean bucket alone: there is no count of predictions, whatever its tags say
		for i := range counts {
			counts[i].Interval = time.Time{}
		}
	}
	for _, s := range strata {
		a.Strata = append(a.Strata, s)
	}
	slices.SortFunc(a.Strata, func(x, y dg.StratumCount) int {
		return cmp.Compare(slices.Index(dg.Strata, x.Stratum), slices.Index(dg.Strata, y.Stratum))
	})
	a.Estimates = append(a.Estimates, estimate.Estimates(counts, minLabels, nil, estimate.Rectifier{})...)
	a.Note = estimate.Note(counts, minLabels)
	if unseen := a.Predictions - known; known > 0 && unseen > 0 {
		a.Note = strings.TrimPrefix(fmt.Sprintf("%s; %d labelled predictions are not in production", a.Note, unseen), "; ")
	}
	return a
}

// maxPoints bounds a chart.
const maxPoints = 2000

// Series returns the state of a window at evenly spaced ends within iv, oldest
// first: about points of them, fewer when the stride allows no more. Each
// counts the version whose prediction is the newest in its window, so a chart
// runs on over a promotion. One pass over the ledger.
func (m *Metrics) Series(ctx context.Context, window time.Duration, iv dg.Interval, points int) ([]dg.Accuracy, error) {
	if m.invalid != nil {
		return nil, m.invalid
	}
	if window <= 0 || points < 1 || points > maxPoints || !iv.Start.Before(iv.End) {
		return nil, fmt.Errorf("metrics: series: window %s, %d points over %s: want a window over 0s, 1 to %d points, start before end: %w",
			window, points, iv, maxPoints, dg.ErrInvalid)
	}
	spacing := ceilDuration(iv.Length()/time.Duration(points), m.o.Stride)
	last := ceil(iv.End, m.o.Stride)
	n := min(points, max(1, int(last.Sub(iv.Start)/spacing)))
	first := last.Add(-time.Duration(n-1) * spacing)
	step := gcd(spacing, window)
	from := first.Add(-window)
	cells, err := m.ledger.Grid(ctx, "", dg.Interval{Start: from, End: last}, step)
	if err != nil {
		return nil, fmt.Errorf("metrics: series: %w", err)
	}
	at := func(cell int) int { // position of the first tally in or after a cell
		i, _ := slices.BinarySearchFunc(cells, cell, func(g ledger.GridTally, cell int) int { return cmp.Compare(g.Cell, cell) })
		return i
	}
	out := make([]dg.Accuracy, n)
	for i := range out {
		begin := i * int(spacing/step)
		version, tallies := sumNewest(cells[at(begin):at(begin+int(window/step))])
		out[i] = accuracy(tallies, m.o.MinLabels)
		end := first.Add(time.Duration(i) * spacing)
		out[i].Window, out[i].Start, out[i].End, out[i].ModelVersion = WindowName(window), end.Add(-window), end, version
	}
	return out, nil
}

// sumNewest adds up the tallies of the version whose prediction is the newest.
func sumNewest(cells []ledger.GridTally) (version string, out []ledger.Tally) {
	var newest time.Time
	for _, g := range cells {
		if g.LastAt.After(newest) {
			version, newest = g.ModelVersion, g.LastAt
		}
	}
	type key struct {
		stratum  dg.Stratum
		interval int64
	}
	index := map[key]int{}
	for _, g := range cells {
		if g.ModelVersion != version {
			continue
		}
		k := key{g.Stratum, g.Interval.UnixNano()}
		i, ok := index[k]
		if !ok {
			index[k] = len(out)
			out = append(out, g.Tally)
			continue
		}
		out[i].Add(g.Tally)
	}
	return version, out
}

func ceilDuration(d, step time.Duration) time.Duration {
	if rest := d % step; rest != 0 {
		d += step - rest
	}
	return max(d, step)
}

func gcd(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
