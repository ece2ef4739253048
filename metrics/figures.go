package metrics

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// windowInputs is everything that the figures of one window depend on: kept
// with them, so that anyone can compute them again.
type windowInputs struct {
	Version    string // of the champion, short; empty counts every version
	Start, End time.Time
	MinLabels  int
	Reference  estimate.Rectifier // of the champion at its best; no labels until it is known
	Known      int                // predictions seen in production; the others are known by their label only
	Newest     time.Time          // when the newest label was given
	Counts     []dg.StratumCount  // by stratum and curate interval
	Earlier    []dg.StratumCount  // by stratum, of the window before: what `ppi` learns its lambdas from
	Slices     []sliceInputs
}

type sliceInputs struct {
	By     string
	Value  string
	Counts []dg.StratumCount // by stratum and curate interval
}

// figures computes a window's figures. It is pure.
func (in windowInputs) figures() dg.Accuracy {
	a := dg.Accuracy{
		Window: WindowName(in.End.Sub(in.Start)), Start: in.Start, End: in.End, ModelVersion: in.Version,
		NewestLabelAt: in.Newest, Estimates: []dg.Estimate{}, Strata: pool(in.Counts),
	}
	for i := range a.Strata {
		a.Predictions += a.Strata[i].Predictions
		a.Selected += a.Strata[i].Selected
		a.Labels += a.Strata[i].Labels
		a.Strata[i].Moments = dg.Moments{}
	}
	counts := in.weighable(in.Counts)
	lambdas := estimate.LambdasOf(in.Earlier)
	a.Estimates = append(a.Estimates, estimate.Estimates(counts, in.MinLabels, lambdas, in.Reference)...)
	a.Note = estimate.Note(counts, in.MinLabels)
	if unseen := a.Predictions - in.Known; in.Known > 0 && unseen > 0 {
		a.Note = strings.TrimPrefix(fmt.Sprintf("%s; %d labelled predictions are not in production", a.Note, unseen), "; ")
	}
	for _, s := range in.Slices {
		a.Slices = append(a.Slices, in.slice(s, lambdas))
	}
	if now, ok := estimate.RectifierOf(counts); ok && in.Reference.Labels > 0 && now.Labels >= in.MinLabels {
		g := estimate.GapOf(now, in.Reference)
		a.Gap = &g
	}
	return a
}

// slice computes the figures of a part of the window: all of the window's, but
// none with too few labels.
func (in windowInputs) slice(s sliceInputs, lambdas estimate.Lambdas) dg.Slice {
	out := dg.Slice{By: s.By, Value: s.Value, Estimates: []dg.Estimate{}}
	for _, c := range s.Counts {
		out.Predictions += c.Predictions
		out.Labels += c.Labels
		out.Correct += c.Correct
	}
	if out.Labels >= in.MinLabels {
		out.Estimates = append(out.Estimates, estimate.Estimates(in.weighable(s.Counts), in.MinLabels, lambdas, in.Reference)...)
	}
	return out
}

// weighable says what the estimators may weigh by. In a clean bucket alone
// there is no count of predictions, whatever its tags say of curate intervals.
func (in windowInputs) weighable(counts []dg.StratumCount) []dg.StratumCount {
	if in.Known > 0 {
		return counts
	}
	out := slices.Clone(counts)
	for i := range out {
		out[i].Interval = time.Time{}
	}
	return out
}

// pool sums counts over their curate intervals: one a stratum, in the order of
// [dg.Strata].
func pool(counts []dg.StratumCount) []dg.StratumCount {
	out := []dg.StratumCount{}
	for _, c := range counts {
		i := slices.IndexFunc(out, func(o dg.StratumCount) bool { return o.Stratum == c.Stratum })
		if i < 0 {
			i = len(out)
			out = append(out, dg.StratumCount{Stratum: c.Stratum})
		}
		addCount(&out[i], c)
	}
	slices.SortFunc(out, func(x, y dg.StratumCount) int {
		return cmp.Compare(slices.Index(dg.Strata, x.Stratum), slices.Index(dg.Strata, y.Stratum))
	})
	return out
}

func addCount(sum *dg.StratumCount, c dg.StratumCount) {
	sum.Predictions += c.Predictions
	sum.Selected += c.Selected
	sum.Labels += c.Labels
	sum.Correct += c.Correct
	sum.Moments.Add(c.Moments)
}

// setTallies takes over what the ledger counted in the window and in the one
// before it.
func (in *windowInputs) setTallies(now, earlier []ledger.Tally) {
	in.Counts = join(countsOf(now))
	in.Earlier = pool(countsOf(earlier))
	for _, t := range now {
		in.Known += t.Known
		if t.NewestLabel.After(in.Newest) {
			in.Newest = t.NewestLabel
		}
	}
}

func countsOf(tallies []ledger.Tally) []dg.StratumCount {
	out := make([]dg.StratumCount, len(tallies))
	for i, t := range tallies {
		out[i] = t.StratumCount
	}
	return out
}

// figureBands are the lower edges of the bands of confidence that figures are
// shown for: some of ledger.ConfidenceBands.
var figureBands = []float64{0, .5, .7, .9, .99}

// maxClasses bounds the classes that figures are shown for: those with the
// most predictions. Each is three series a window.
const maxClasses = 100

// setSlices takes over the ledger's slices: classes by name, then bands, which
// are joined into those that are shown.
func (in *windowInputs) setSlices(tallies []ledger.SliceTally) {
	var classes []sliceInputs
	sizes := map[string]int{}
	bands := make([][]dg.StratumCount, len(figureBands))
	for _, s := range tallies {
		switch s.By {
		case ledger.ByClass:
			classes = append(classes, sliceInputs{By: s.By, Value: s.Value, Counts: countsOf(s.Tallies)})
			sizes[s.Value] = s.Predictions
		case ledger.ByConfidence:
			i := bandOf(ledger.ConfidenceBands[s.Band])
			bands[i] = append(bands[i], countsOf(s.Tallies)...)
		}
	}
	if len(classes) > maxClasses {
		slices.SortStableFunc(classes, func(a, b sliceInputs) int { return cmp.Compare(sizes[b.Value], sizes[a.Value]) })
		classes = classes[:maxClasses]
	}
	slices.SortFunc(classes, func(a, b sliceInputs) int { return cmp.Compare(a.Value, b.Value) })
	in.Slices = classes
	for i, counts := range bands {
		if len(counts) > 0 {
			in.Slices = append(in.Slices, sliceInputs{By: ledger.ByConfidence, Value: bandName(i), Counts: join(counts)})
		}
	}
}

// bandOf is the figure band that a confidence lies in.
func bandOf(confidence float64) int {
	i := 0
	for i+1 < len(figureBands) && confidence >= figureBands[i+1] {
		i++
	}
	return i
}

func bandName(i int) string {
	upper := 1.
	if i+1 < len(figureBands) {
		upper = figureBands[i+1]
	}
	return fmt.Sprintf("%.2f-%.2f", figureBands[i], upper)
}

// join sums counts of the same stratum and curate interval, by stratum and
// interval.
func join(counts []dg.StratumCount) []dg.StratumCount {
	slices.SortStableFunc(counts, func(a, b dg.StratumCount) int {
		return cmp.Or(cmp.Compare(a.Stratum, b.Stratum), a.Interval.Compare(b.Interval))
	})
	out := counts[:0]
	for _, c := range counts {
		if n := len(out); n > 0 && out[n-1].Stratum == c.Stratum && out[n-1].Interval.Equal(c.Interval) {
			addCount(&out[n-1], c)
			continue
		}
		out = append(out, c)
	}
	return out
}
