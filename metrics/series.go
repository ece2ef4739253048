package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// maxPoints bounds a chart.
const maxPoints = 2000

// Series returns the state of a window at evenly spaced ends within iv, oldest
// first: about points of them, fewer when the stride allows no more. Each
// counts the version whose prediction is the newest in its window, so a chart
// runs on over a promotion. Each is what [Metrics.AccuracyOf] says of that
// window, but without slices and gap. One pass over the ledger.
func (m *Metrics) Series(ctx context.Context, window time.Duration, iv dg.Interval, points int) ([]dg.Accuracy, error) {
	if m.invalid != nil {
		return nil, m.invalid
	}
	if window <= 0 || points < 1 || points > maxPoints || !iv.Start.Before(iv.End) {
		return nil, fmt.Errorf("metrics: series: window %s, %d points over %s: want a window over 0s, 1 to %d points, start before end: %w",
			window, points, iv, maxPoints, dg.ErrInvalid)
	}
	row, mem, err := m.memory(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics: series: %w", err)
	}
	spacing := ceilDuration(iv.Length()/time.Duration(points), m.o.Stride)
	last := ceil(iv.End, m.o.Stride)
	n := min(points, max(1, int(last.Sub(iv.Start)/spacing)))
	first := last.Add(-time.Duration(n-1) * spacing)
	step := gcd(spacing, window)
	width := int(window / step)
	cells, err := m.ledger.Grid(ctx, "", dg.Interval{Start: first.Add(-2 * window), End: last}, step)
	if err != nil {
		return nil, fmt.Errorf("metrics: series: %w", err)
	}
	at := func(cell int) int { // position of the first tally in or after a cell
		i, _ := slices.BinarySearchFunc(cells, cell, func(g ledger.GridTally, cell int) int { return cmp.Compare(g.Cell, cell) })
		return i
	}
	out := make([]dg.Accuracy, n)
	for i := range out {
		begin := width + i*int(spacing/step)
		now := cells[at(begin):at(begin+width)]
		version := newestVersion(now)
		end := first.Add(time.Duration(i) * spacing)
		in := windowInputs{Version: version, Start: end.Add(-window), End: end, MinLabels: m.o.MinLabels}
		if version != "" && version == row.ModelVersion {
			in.Reference = mem.Rectifier
		}
		in.setTallies(sumOf(now, version), sumOf(cells[at(begin-width):at(begin)], version))
		out[i] = in.figures()
		out[i].Gap = nil
	}
	return out, nil
}

// newestVersion is the version whose prediction is the newest.
func newestVersion(cells []ledger.GridTally) (version string) {
	var newest time.Time
	for _, g := range cells {
		if g.LastAt.After(newest) {
			version, newest = g.ModelVersion, g.LastAt
		}
	}
	return version
}

// sumOf adds up the tallies of one version, by stratum and curate interval.
func sumOf(cells []ledger.GridTally, version string) (out []ledger.Tally) {
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
	return out
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
