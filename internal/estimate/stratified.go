package estimate

import (
	"fmt"
	"math"

	dg "driftgate"
)

// Stratum is the tally of one cell of the sampling design: one reason for
// labelling in one curate interval.
type Stratum struct {
	N int     // predictions
	M int     // those labelled by people
	K float64 // sum over the labelled of the share of people who agree with the model: their number that were right, where people were of one mind

	// Group joins strata whose bounds are computed together: the curate
	// intervals of one reason. Empty: the stratum stands alone. It never
	// changes the point estimate.
	Group string
}

// Stratified estimates the accuracy over all predictions of a window from
// labels taken at different rates in different strata: the sum over strata of
// W_h p_h with W_h = N_h/N and p_h = K_h/M_h. (9000,300,279), (800,200,120),
// (200,100,30) gives 0.891 with standard error 0.0132926.
//
// Strata without a label make the estimate Partial: the point renormalises
// over the others, the bounds widen by the missing weight. Bounds are those of
// [meld], for the realised accuracy of the window's predictions: a full census
// collapses to the point. M above N is taken as N = M (labels known without
// their predictions). Where several people disagree, K is a sum of shares; the
// variance used is that of right and wrong with the same mean, p(1-p), which no
// variable within [0, 1] exceeds: bounds may then be too wide, never too narrow.
// The error is [dg.ErrTooFewSamples] without any label and [dg.ErrInvalid] for
// impossible counts.
func Stratified(strata []Stratum) (dg.Estimate, error) {
	s, total, labels, err := checkStrata(strata)
	if err != nil {
		return dg.Estimate{}, fmt.Errorf("estimate: stratified: %w", err)
	}
	if labels == 0 {
		return dg.Estimate{}, fmt.Errorf("estimate: stratified: no labels in %d strata: %w", len(strata), dg.ErrTooFewSamples)
	}
	var weight, sum, seen float64
	for _, h := range s {
		w := float64(h.N) / total
		if h.M > 0 {
			weight += w
			sum += w * h.K / float64(h.M)
			seen += float64(h.N)
		}
	}
	e := dg.Estimate{Estimator: NameStratified, Accuracy: clamp(sum / weight), Labels: labels, Partial: seen < total}
	variance, design := designVariance(s, total*weight)
	e.StandardError = math.Sqrt(variance)
	e.EffectiveLabels = effective(e.Accuracy, variance, design, seen)
	cells := meldCells(s, total, false)
	e.Lower = min(e.Accuracy, meld(cells, 0, 0))
	e.Upper = max(e.Accuracy, meld(cells, 1, 0))
	e.Lower, e.Upper = wholePredictions(e.Lower, e.Upper, total)
	return e, nil
}

// wholePredictions rounds bounds outward to whole numbers of right predictions
// when they span fewer than 100: the realised accuracy is a fraction k/N, and a
// bound that ends at .97499 where 39 of 40 is meant misses .975 for ever (in
// simulation, coverage .852 without it: half of 40 labelled, accuracy .99).
// With wider bounds it would move them by less than a hundredth of their width.
func wholePredictions(lower, upper, n float64) (float64, float64) {
	const least, slack = 100, 1e-9 // slack: what is whole but for rounding stays
	if (upper-lower)*n >= least {
		return lower, upper
	}
	return clamp(math.Floor(lower*n+slack) / n), clamp(math.Ceil(upper*n-slack) / n)
}

// checkStrata drops empty strata, lifts N to M, and totals.
func checkStrata(strata []Stratum) (s []Stratum, total float64, labels int, err error) {
	for i, h := range strata {
		if h.N < 0 || h.M < 0 || !(h.K >= 0 && h.K <= float64(h.M)) { // also refuses NaN
			return nil, 0, 0, fmt.Errorf("stratum %d: %d predictions, %d labels, %g correct: want none negative and correct within labels: %w", i, h.N, h.M, h.K, dg.ErrInvalid)
		}
		h.N = max(h.N, h.M)
		if h.N == 0 {
			continue
		}
		s = append(s, h)
		total += float64(h.N)
		labels += h.M
	}
	return s, total, labels, nil
}

// designVariance is sum W_h^2 (1 - m_h/N_h) p_h q_h/(m_h - 1) over the labelled
// strata, W_h = N_h/total. A stratum with one label has no variance of its own:
// it borrows p and q from its group, and if that is one label too, p = q = 1/2.
// design is the same sum with p q/(m - 1) replaced by 1/m: what the sampling
// alone does.
func designVariance(s []Stratum, total float64) (variance, design float64) {
	group := map[string]Stratum{}
	for _, h := range s {
		if h.M > 0 && h.Group != "" {
			g := group[h.Group]
			g.M += h.M
			g.K += h.K
			group[h.Group] = g
		}
	}
	for _, h := range s {
		if h.M == 0 {
			continue
		}
		m := float64(h.M)
		w := float64(h.N) / total
		open := w * w * (1 - m/float64(h.N))
		design += open / m
		if h.M > 1 {
			variance += open * unbiased(h) / m
		} else {
			variance += open * unbiased(group[h.Group])
		}
	}
	return variance, design
}

// unbiased is the sample variance of one label of the stratum: p q m/(m-1).
func unbiased(h Stratum) float64 {
	if h.M < 2 {
		return 0.25
	}
	m := float64(h.M)
	p := h.K / m
	return p * (1 - p) * m / (m - 1)
}

// effective is the size of a simple random sample with the same variance,
// p(1-p)/variance. Where either is 0 (all right, all wrong, errors only in
// fully labelled strata) it is the design's own 1/sum W^2(1-f)/m. No sample is
// larger than what it is drawn from.
func effective(p, variance, design, population float64) float64 {
	switch {
	case variance > 0 && p > 0 && p < 1:
		return min(population, p*(1-p)/variance)
	case design > 0:
		return min(population, 1/design)
	}
	return population
}
