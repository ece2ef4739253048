package estimate

import (
	"math"

	dg "driftgate"
)

// Rectifier is how far the answers lie above the model's confidence: the
// design-weighted mean of y - f over the labelled. Below 0 the model believes
// more than it can do.
type Rectifier struct {
	Mean   float64 `json:"mean"`
	SE     float64 `json:"se"` // standard error, of the rate behind the window
	Labels int     `json:"labels"`
}

// RectifierOf measures y - f per stratum and weighs by the strata's shares of
// the predictions. Strata without a label are left out, and so are those with
// predictions that have no confidence, where the sums cannot tell whose answer
// is whose. The standard error is that of the rate, so labelling everything
// does not make it 0. Per stratum it takes the larger of the variance f(1-f),
// which the confidences promise, and of the one seen, as if each reason had one
// more wrong answer: a handful of right ones is no proof of a better model. ok
// is false without labels that count, or for
// impossible counts.
func RectifierOf(counts []dg.StratumCount) (r Rectifier, ok bool) {
	if _, _, _, err := checkStrata(FromCounts(counts)); err != nil {
		return Rectifier{}, false
	}
	var used []dg.StratumCount
	for _, c := range counts {
		if c.Labels > 0 && c.LabelF > 0 && c.Unscored == 0 {
			used = append(used, c)
			r.Labels += c.Labels
		}
	}
	strata, groups, err := proxies(used)
	if err != nil || r.Labels == 0 {
		return Rectifier{}, false
	}
	var total, variance float64
	for _, h := range strata {
		total += h.n
	}
	for _, h := range strata {
		w := h.n / total
		r.Mean += w * (h.y - h.f) / h.m
		g := groups[h.group]
		spread := h
		if h.m < 2 {
			spread = g
		}
		seen := spread.residual(1)
		if squares := g.residual(1) * (g.m - 1); squares > 0 {
			seen *= 1 + 1/squares
		}
		variance += w * w * max(seen, (spread.f-spread.ff)/spread.m) / h.m
	}
	r.SE = min(1, math.Sqrt(variance)) // of what lies within -1 and 1
	return r, true
}

// GapOf is how the window's rectifier differs from the one measured when the
// model was at its best: the disagreement of measured and expected accuracy, of
// which the calibration's own error is taken off and its uncertainty added.
// Without labels in either it is 0 within -1 and 1.
func GapOf(now, reference Rectifier) dg.Gap {
	g := dg.Gap{Labels: now.Labels, Reference: reference.Mean, Lower: -1, Upper: 1}
	if now.Labels <= 0 || reference.Labels <= 0 {
		return g
	}
	g.Difference = now.Mean - reference.Mean
	half := normalQuantile(1-tail) * math.Hypot(now.SE, reference.SE)
	g.Lower, g.Upper = g.Difference-half, g.Difference+half
	g.Significant = g.Lower > 0 || g.Upper < 0
	return g
}
