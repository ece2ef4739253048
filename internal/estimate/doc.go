// Package estimate turns counts into figures: production accuracy with its
// bounds, the drift alarm's arithmetic, and the paired comparison of two models.
//
// Everything here is pure: counts in, figures out; no clock, no I/O, no global
// state, and the same input always gives the same output. Ratios run 0 to 1,
// bounds are two-sided at [Confidence] unless they say otherwise, and no figure
// is ever NaN or infinite, so that each can travel as JSON.
//
// What no estimator can repair, this package does not hide: labels that are
// missing because of what the answer would have been. Labels missing at random
// within a stratum cost width, not truth.
package estimate

import (
	"math"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// Confidence is the level of every interval that does not say otherwise.
const Confidence = 0.95

// tail is the probability left outside on each side of an interval at
// [Confidence].
const tail = (1 - Confidence) / 2

// normalQuantile is the exact quantile of the standard normal at p in (0, 1).
func normalQuantile(p float64) float64 { return distuv.UnitNormal.Quantile(p) }

// betaQuantile is the p-quantile of Beta(a, b), a and b at least 0. A parameter
// of 0 puts all mass on that side's end.
//
// gonum's inversion (Cephes incbi) is taken when its answer inverts back, and
// bisection otherwise: for very small or very large parameters it may stop
// early.
func betaQuantile(p, a, b float64) float64 {
	switch {
	case a <= 0:
		return 0
	case b <= 0:
		return 1
	}
	x := mathext.InvRegIncBeta(a, b, p)
	if x > 0 && x < 1 && math.Abs(mathext.RegIncBeta(a, b, x)-p) < 1e-10 {
		return x
	}
	lo, hi := 0.0, 1.0
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid == lo || mid == hi {
			break
		}
		if mathext.RegIncBeta(a, b, mid) < p {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + (hi-lo)/2
}

// clamp confines x to [0, 1].
func clamp(x float64) float64 { return min(1, max(0, x)) }
