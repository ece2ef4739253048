package estimate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	dg "driftgate"
)

// PairStratum is the tally of two models on the same labelled samples of one
// stratum: one reason for labelling in one curate interval.
type PairStratum struct {
	Group    string  // the reason
	N        int     // predictions of the stratum
	Fraction float64 // chance of being picked for labelling, 0 to 1: strata of one group with like fractions may be joined

	Pairs     int // samples that both models were judged on, drawn at random from the labelled ones
	BothRight int
	Gains     int // only the challenger right
	Losses    int // only the champion right
}

// Paired is the design-weighted comparison of two models. Differences are
// challenger less champion, -1 to 1.
type Paired struct {
	Pairs         int
	Champion      float64 // accuracy, every stratum by its share of the predictions
	Challenger    float64
	Difference    float64
	StandardError float64
	Lower, Upper  float64 // bounds of Difference, at [Confidence] unless asked for otherwise
	Missing       float64 // share of the predictions whose reason has no pair: the bounds allow it any difference
}

// minCell is the number of pairs below which a stratum is joined with its
// neighbours, and cellSpan how far sampling fractions may differ within what is
// joined beyond that.
const (
	minCell  = 10
	cellSpan = 1.25
)

// PairedDifference weighs each pair by N_h/m_h, so that a clean bucket which
// holds the champion's own errors on purpose judges fairly. Strata of one group
// are joined in the order of their sampling fraction until each has ten pairs:
// with five random picks an interval, of which a fifth is held out, most strata
// have one pair or none, whose weight would be lost and whose variance would
// read zero. Joining only neighbours in the fraction keeps the weights right.
//
// The bounds are for the difference of the rates, not of the sampled window.
// They combine the melded bounds of the gains and of the losses (MOVER, Zou &
// Donner 2008) with their covariance, so a stratum without a single loss in few
// pairs still counts the losses that it may hide; there the plain Wald interval
// clears the truth four times as often as it promises. The error is
// [dg.ErrInvalid] for impossible counts and [dg.ErrTooFewSamples] without pairs.
func PairedDifference(strata []PairStratum) (Paired, error) {
	return PairedDifferenceAt(strata, 1-Confidence)
}

// PairedDifferenceAt is [PairedDifference] with two-sided bounds at 1-alpha,
// alpha over 0 and below 1: with alpha/k for each of k differences, all k
// bounds hold at once with probability 1-alpha (Bonferroni).
func PairedDifferenceAt(strata []PairStratum, alpha float64) (Paired, error) {
	if !(alpha > 0 && alpha < 1) { // also refuses NaN
		return Paired{}, fmt.Errorf("estimate: paired: alpha %g: want over 0 and below 1: %w", alpha, dg.ErrInvalid)
	}
	out, contrast, err := pairedOf(strata)
	if err != nil {
		return Paired{}, err
	}
	out.Lower, out.Upper = contrast.bounds(alpha / 2)
	out.Lower, out.Upper = max(-1, min(out.Difference, out.Lower)), min(1, max(out.Difference, out.Upper))
	return out, nil
}

// pairedOf is everything but the bounds, and what they are made of.
func pairedOf(strata []PairStratum) (out Paired, contrast pairedContrast, err error) {
	for i, h := range strata {
		if h.N < 0 || h.BothRight < 0 || h.Gains < 0 || h.Losses < 0 || h.BothRight+h.Gains+h.Losses > h.Pairs || math.IsNaN(h.Fraction) {
			return out, contrast, fmt.Errorf("estimate: paired: stratum %d %+v: want counts none negative, outcomes within pairs, a fraction: %w", i, h, dg.ErrInvalid)
		}
		out.Pairs += h.Pairs
	}
	if out.Pairs == 0 {
		return out, contrast, fmt.Errorf("estimate: paired: no pairs in %d strata: %w", len(strata), dg.ErrTooFewSamples)
	}
	cells := joinStrata(strata)
	var total, seen, gains, losses, both float64
	for _, h := range cells {
		total += float64(h.N)
	}
	for _, h := range cells {
		if h.Pairs > 0 {
			w, m := float64(h.N)/total, float64(h.Pairs)
			seen += w
			gains += w * float64(h.Gains) / m
			losses += w * float64(h.Losses) / m
			both += w * float64(h.BothRight) / m
		}
	}
	out.Missing = clamp(1 - seen)
	out.Champion, out.Challenger = clamp((both+losses)/seen), clamp((both+gains)/seen)
	out.Difference = max(-1, min(1, (gains-losses)/seen))
	up, down := outcome(cells, func(h PairStratum) int { return h.Gains }), outcome(cells, func(h PairStratum) int { return h.Losses })
	contrast = pairedContrast{up: meldCells(up, total, true), down: meldCells(down, total, true), gains: gains, losses: losses}
	variance, correlation := pairedVariance(contrast.up, contrast.down)
	contrast.correlation = correlation
	out.StandardError = math.Sqrt(variance) / seen
	return out, contrast, nil
}

// pairedContrast is gains less losses with what their bounds need.
type pairedContrast struct {
	up, down      []cell
	gains, losses float64 // weighted shares of all predictions
	correlation   float64 // of their estimates
}

// bounds are those of the difference with tail left outside on each side.
func (c pairedContrast) bounds(tail float64) (lower, upper float64) {
	lower = c.gains - c.losses - span(c.gains-meldAt(c.up, 0, 0, tail), meldAt(c.down, 1, 0, tail)-c.losses, c.correlation)
	upper = c.gains - c.losses + span(meldAt(c.up, 1, 0, tail)-c.gains, c.losses-meldAt(c.down, 0, 0, tail), c.correlation)
	return lower, upper
}

// span joins two one-sided distances with the correlation of their estimates.
func span(a, b, correlation float64) float64 {
	return math.Sqrt(max(0, a*a-2*correlation*a*b+b*b))
}

// outcome views one kind of pair as the right answers of a stratum.
func outcome(cells []PairStratum, count func(PairStratum) int) []Stratum {
	s := make([]Stratum, len(cells))
	for i, h := range cells {
		s[i] = Stratum{Group: h.Group, N: h.N, M: h.Pairs, K: float64(count(h))}
	}
	return s
}

// pairedVariance is the variance of the weighted difference and the correlation
// of its gains and losses, each cell a trinomial. Half a gain and half a loss a
// cell keep the correlation defined where there were none.
func pairedVariance(up, down []cell) (variance, correlation float64) {
	var vg, vl, cov float64
	for i, c := range up {
		if c.m == 0 {
			continue
		}
		g, l := c.k/c.m, down[i].k/c.m
		variance += c.open * c.open * (g + l - (g-l)*(g-l)) / c.m
		g, l = (c.k+.5)/(c.m+1), (down[i].k+.5)/(c.m+1)
		vg += c.open * c.open * g * (1 - g) / c.m
		vl += c.open * c.open * l * (1 - l) / c.m
		cov -= c.open * c.open * g * l / c.m
	}
	return variance, max(-1, cov/math.Sqrt(vg*vl))
}

// joinStrata joins strata of one group, in the order of their fraction, until
// each has minCell pairs and the next fraction is more than cellSpan away. What
// is left over joins the last. A group without any pair stays whole.
func joinStrata(strata []PairStratum) []PairStratum {
	var out []PairStratum
	for _, members := range joinMembers(strata) {
		var cell PairStratum
		for i, m := range members {
			h := strata[m]
			h.N = max(h.N, h.Pairs)
			if i == 0 {
				cell = h
				continue
			}
			cell.N += h.N
			cell.Pairs += h.Pairs
			cell.BothRight += h.BothRight
			cell.Gains += h.Gains
			cell.Losses += h.Losses
		}
		out = append(out, cell)
	}
	return out
}

// joinMembers are the strata of each cell, by their place; those without
// predictions are in none.
func joinMembers(strata []PairStratum) [][]int {
	var sorted []int
	for i, h := range strata {
		if h.N > 0 || h.Pairs > 0 {
			sorted = append(sorted, i)
		}
	}
	slices.SortStableFunc(sorted, func(i, j int) int {
		a, b := strata[i], strata[j]
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Fraction, b.Fraction), cmp.Compare(a.N, b.N))
	})
	type group struct {
		first   PairStratum // whose group and fraction are the cell's mark
		pairs   int
		members []int
	}
	var cells []group
	for _, i := range sorted {
		h := strata[i]
		if last := len(cells) - 1; last >= 0 && cells[last].first.Group == h.Group &&
			(cells[last].pairs < minCell || h.Fraction <= cells[last].first.Fraction*cellSpan) {
			cells[last].pairs += h.Pairs
			cells[last].members = append(cells[last].members, i)
			continue
		}
		cells = append(cells, group{h, h.Pairs, []int{i}})
	}
	// A group's last cell may have stayed short of pairs.
	var joined []group
	for _, c := range cells {
		if last := len(joined) - 1; last >= 0 && joined[last].first.Group == c.first.Group && c.pairs < minCell {
			joined[last].members = append(joined[last].members, c.members...)
			continue
		}
		joined = append(joined, c)
	}
	out := make([][]int, len(joined))
	for i, c := range joined {
		out[i] = c.members
	}
	return out
}

// SampleWeights tells for each stratum, in the order given, how many predictions
// one of its samples stands for: N/m of the strata that it is joined with, as
// [PairedDifference] joins them. A stratum without predictions or samples, in a
// group without any, weighs 0.
func SampleWeights(strata []PairStratum) []float64 {
	out := make([]float64, len(strata))
	for _, members := range joinMembers(strata) {
		var n, pairs float64
		for _, m := range members {
			n += float64(max(strata[m].N, strata[m].Pairs))
			pairs += float64(strata[m].Pairs)
		}
		for _, m := range members {
			if pairs > 0 {
				out[m] = n / pairs
			}
		}
	}
	return out
}
