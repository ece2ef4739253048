package estimate

import (
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/mathext"

	dg "driftgate"
)

// Drift is one test of the inputs: how far the predictions of now lie from
// those of the reference. Both are samples; neither is taken as the truth.
type Drift struct {
	Score       float64 `json:"score"`       // a distance, 0 alike
	Threshold   float64 `json:"threshold"`   // in the unit of Score; above it is drift
	PValue      float64 `json:"p_value"`     // chance of as large a score without drift, about
	Predictions int     `json:"predictions"` // now
	Reference   int     `json:"reference"`   // predictions behind the reference
}

// Exceeded says whether the score lies above its threshold.
func (d Drift) Exceeded() bool { return d.Score > d.Threshold }

// Level is the chance of a false alarm that one look may have, so that a test
// looked at once in `every` runs at least runLength, on average, until its
// first false alarm: every/(2 runLength), at most 1/2.
//
// The looks may depend on each other in any way (they share the reference, and
// windows overlap): with chance a at each look, at most j a of the first j
// raise any, so the mean number of looks until the first is sum_j P(none in j)
// >= sum_j max(0, 1 - j a) >= 1/(2a). For independent looks it is 1/a, twice
// as long. It is the run length of one test; k tests together have at least a
// k-th of it.
func Level(every, runLength time.Duration) float64 {
	if every <= 0 || runLength <= 0 {
		return 0
	}
	return min(.5, float64(every)/(2*float64(runLength)))
}

// leastExpected is the number of predictions that each class, or group of rare
// classes, must lead one to expect in the smaller sample: below it the
// chi-square limit is no good (with 100 classes and 100 predictions a third of
// the looks without drift passed a level of 1%).
const leastExpected = 10

// MixDrift compares the predicted classes of now with those of the reference,
// both as counts in the same order: the Jensen-Shannon distance, base 2, 0
// alike to 1 disjoint. Classes too rare to be judged alone are put together in
// groups, in their order, by how often both samples have them.
//
// Without drift 8 ln 2 nm/(n+m) times its square is about chi-square, with a
// degree of freedom less than there are groups. It is divided by its exact mean
// given the classes' totals (a sum of hypergeometric ones) over that number,
// Bartlett's correction. Far out the tail of small samples is still heavier, up
// to twice in simulation, so the threshold is that of half the level, and the
// p-value doubled. The error is [dg.ErrInvalid] for lists that don't fit or a
// level outside 0 to 1, and [dg.ErrTooFewSamples] when either has no
// predictions.
func MixDrift(counts, reference []int, level float64) (Drift, error) {
	n, m, err := checkCounts(counts, reference, level)
	if err != nil {
		return Drift{}, fmt.Errorf("estimate: mix drift: %w", err)
	}
	d := Drift{Threshold: 1, PValue: 1, Predictions: int(n), Reference: int(m)}
	groups := mixGroups(counts, reference, leastExpected*(n+m)/min(n, m))
	var square, mean float64
	for _, g := range groups {
		square += divergence(float64(g[0])/n, float64(g[1])/m)
		mean += meanDivergence(n, m, float64(g[0]+g[1]))
	}
	square = clamp(square)
	d.Score = math.Sqrt(square)
	if len(groups) < 2 { // one class only: nothing to compare
		return d, nil
	}
	freedom := float64(len(groups) - 1)
	unit := mean / freedom // of chi-square, in squared distance
	d.Threshold = min(1, math.Sqrt(2*unit*mathext.GammaIncRegCompInv(freedom/2, level/2)))
	d.PValue = min(1, 2*mathext.GammaIncRegComp(freedom/2, square/unit/2))
	return d, nil
}

// mixGroups puts together classes of which both samples hold fewer than least,
// until each group has as many. What is left over joins the last group, or the
// rarest class.
func mixGroups(counts, reference []int, least float64) [][2]int {
	var groups [][2]int
	var open [2]int
	rarest, last := -1, -1
	for i := range counts {
		total := counts[i] + reference[i]
		switch {
		case total == 0:
		case float64(total) >= least:
			groups = append(groups, [2]int{counts[i], reference[i]})
			if at := len(groups) - 1; rarest < 0 || total < groups[rarest][0]+groups[rarest][1] {
				rarest = at
			}
		default:
			open[0] += counts[i]
			open[1] += reference[i]
			if float64(open[0]+open[1]) >= least {
				groups, open, last = append(groups, open), [2]int{}, len(groups)
			}
		}
	}
	switch {
	case open == [2]int{}:
	case last >= 0:
		groups[last][0] += open[0]
		groups[last][1] += open[1]
	case rarest >= 0:
		groups[rarest][0] += open[0]
		groups[rarest][1] += open[1]
	default:
		groups = append(groups, open)
	}
	return groups
}

// divergence is one class's term of the Jensen-Shannon divergence, base 2, of
// shares p and q.
func divergence(p, q float64) float64 {
	return (leans(p, (p+q)/2) + leans(q, (p+q)/2)) / 2
}

// leans is p log2(p/m), 0 at p = 0: one term of the Kullback-Leibler divergence.
func leans(p, m float64) float64 {
	if p == 0 {
		return 0
	}
	return p * math.Log2(p/m)
}

// meanDivergence is the mean of [divergence] when total predictions of a class
// fall by chance into samples of n and m.
func meanDivergence(n, m, total float64) float64 {
	centre := total * n / (n + m)
	spread := math.Sqrt(max(1, centre*m/(n+m)*(n+m-total)/(n+m)))
	low := math.Ceil(max(0, total-m, centre-12*spread))
	high := math.Floor(min(n, total, centre+12*spread))
	lbinom := func(n, k float64) float64 {
		a, _ := math.Lgamma(n + 1)
		b, _ := math.Lgamma(k + 1)
		c, _ := math.Lgamma(n - k + 1)
		return a - b - c
	}
	// Weights relative to the centre's: logarithms of large samples have no
	// digits to spare.
	mid := min(high, max(low, math.Round(centre)))
	at := lbinom(total, mid) + lbinom(n+m-total, n-mid)
	var sum, weight float64
	for x := low; x <= high; x++ {
		w := math.Exp(lbinom(total, x) + lbinom(n+m-total, n-x) - at)
		weight += w
		sum += w * divergence(x/n, (total-x)/m)
	}
	return sum / weight
}

// ConfidenceDrift compares how confident the model is now with the reference,
// both as counts of predictions in the same ordered bands: the two-sample
// Kolmogorov-Smirnov distance, the largest difference of the shares up to a
// band's edge.
//
// The threshold is for every sample size: sqrt((1/n + 1/m) ln(e/level)/2), the
// two-sample inequality of Dvoretzky, Kiefer and Wolfowitz with the constant e
// (Wei & Dudley 2012: 2 for all but some hundred pairs of sizes, e for those).
// Bands hide differences within them, which only makes it quieter. Errors are
// those of [MixDrift].
func ConfidenceDrift(counts, reference []int, level float64) (Drift, error) {
	n, m, err := checkCounts(counts, reference, level)
	if err != nil {
		return Drift{}, fmt.Errorf("estimate: confidence drift: %w", err)
	}
	d := Drift{Predictions: int(n), Reference: int(m)}
	var p, q float64
	for i := range counts {
		p += float64(counts[i]) / n
		q += float64(reference[i]) / m
		d.Score = max(d.Score, math.Abs(p-q))
	}
	d.Score = clamp(d.Score)
	spread := 1/n + 1/m
	d.Threshold = min(1, math.Sqrt(spread*(1-math.Log(level))/2))
	d.PValue = clamp(math.Exp(1 - 2*d.Score*d.Score/spread))
	return d, nil
}

// checkCounts demands lists of one length, without negative counts, with
// predictions on both sides, and a level between 0 and 1.
func checkCounts(counts, reference []int, level float64) (n, m float64, err error) {
	if len(counts) != len(reference) || len(counts) == 0 {
		return 0, 0, fmt.Errorf("%d counts against %d of the reference: want as many: %w", len(counts), len(reference), dg.ErrInvalid)
	}
	if err := checkLevel(level); err != nil {
		return 0, 0, err
	}
	for i := range counts {
		if counts[i] < 0 || reference[i] < 0 {
			return 0, 0, fmt.Errorf("place %d: counts %d and %d: want none negative: %w", i, counts[i], reference[i], dg.ErrInvalid)
		}
		n += float64(counts[i])
		m += float64(reference[i])
	}
	if n == 0 || m == 0 {
		return 0, 0, fmt.Errorf("%g predictions against %g of the reference: %w", n, m, dg.ErrTooFewSamples)
	}
	return n, m, nil
}

func checkLevel(level float64) error {
	if !(level > 0 && level < 1) { // also refuses NaN
		return fmt.Errorf("level %g: want between 0 and 1: %w", level, dg.ErrInvalid)
	}
	return nil
}
