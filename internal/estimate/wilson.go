package estimate

import (
	"fmt"
	"math"

	dg "driftgate"
)

// Wilson returns the score interval of k successes in n trials at the given
// confidence (0 to 1), clamped to [0, 1]. No trials say nothing: 0 and 1.
// 18 of 20 at .95 is 0.698966354772 to 0.972133518786.
func Wilson(k, n int, confidence float64) (lower, upper float64) {
	return wilson(float64(k), n, confidence)
}

// wilson is [Wilson] for a sum of shares: the score interval of their mean,
// whose variance p(1-p) is the largest that such a sum can have.
func wilson(k float64, n int, confidence float64) (lower, upper float64) {
	if n <= 0 {
		return 0, 1
	}
	z := normalQuantile(1 - (1-confidence)/2)
	nf := float64(n)
	p := k / nf
	centre := p + z*z/(2*nf)
	half := z * math.Sqrt(p*(1-p)/nf+z*z/(4*nf*nf))
	scale := 1 + z*z/nf
	lower, upper = clamp((centre-half)/scale), clamp((centre+half)/scale)
	if k == 0 { // exact at the ends, where rounding would leave 1e-17
		lower = 0
	}
	if k == nf {
		upper = 1
	}
	return lower, upper
}

// Labelled is the plain share of right answers among all labels with its
// Wilson bounds: the figure of the old systems. It is biased whenever hard
// images are labelled more often than easy ones, so no decision uses it. k is a
// sum of shares of people who agree with the model: a whole number where one
// person answered each. The error is [dg.ErrTooFewSamples] when n is 0, and [dg.ErrInvalid] when k is not
// within 0 to n.
func Labelled(k float64, n int) (dg.Estimate, error) {
	if n == 0 {
		return dg.Estimate{}, fmt.Errorf("estimate: labelled: no labels: %w", dg.ErrTooFewSamples)
	}
	if n < 0 || !(k >= 0 && k <= float64(n)) { // also refuses NaN
		return dg.Estimate{}, fmt.Errorf("estimate: labelled: %g correct of %d labels: want 0 to all: %w", k, n, dg.ErrInvalid)
	}
	p := k / float64(n)
	lower, upper := wilson(k, n, Confidence)
	return dg.Estimate{
		Estimator: NameLabelled, Accuracy: p, Lower: lower, Upper: upper,
		StandardError: math.Sqrt(p * (1 - p) / float64(n)),
		Labels:        n, EffectiveLabels: float64(n),
	}, nil
}
