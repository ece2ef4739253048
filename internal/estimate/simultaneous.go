package estimate

import (
	"math"
	"slices"
)

// Holm corrects p-values for their number: entry i is the level at which
// hypothesis i is rejected by Holm's step-down procedure (Holm 1979), so that
// the chance of rejecting any true hypothesis at level alpha is at most alpha,
// however they depend on each other and however many are false. Sorted from
// the smallest, it is the running maximum of (k - i) p_i, at most 1. p outside
// 0 to 1, NaN too, counts as 1. (.01, .04, .03) gives (.03, .06, .06).
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	sane := func(i int) float64 {
		if !(p[i] >= 0 && p[i] <= 1) {
			return 1
		}
		return p[i]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := sane(a), sane(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	out := make([]float64, len(p))
	highest := 0.0
	for rank, i := range order {
		highest = max(highest, min(1, float64(len(p)-rank)*sane(i)))
		out[i] = highest
	}
	return out
}

// PairedP is the two-sided p-value of "both models are equally accurate" that
// belongs to [PairedDifferenceAt]: the smallest alpha whose bounds leave 0 out,
// 1 when none below 1 do or when there is nothing to compare. It is at least
// 1e-12.
func PairedP(strata []PairStratum) float64 {
	_, contrast, err := pairedOf(strata)
	if err != nil {
		return 1
	}
	return min(1, 2*smallestTail(func(tail float64) bool {
		lower, upper := contrast.bounds(tail)
		return lower > 0 || upper < 0
	}))
}

// smallestTail is the smallest tail, .5e-12 to .5, at which out holds; it must
// hold for every larger one too. .5 when it never does.
func smallestTail(out func(tail float64) bool) float64 {
	lo, hi := math.Log(.5e-12), math.Log(.5)
	if out(math.Exp(lo)) {
		return math.Exp(lo)
	}
	if !out(math.Exp(hi) * (1 - 1e-9)) {
		return .5
	}
	for range 24 { // to a millionth of itself
		if mid := (lo + hi) / 2; out(math.Exp(mid)) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return math.Exp(hi)
}
