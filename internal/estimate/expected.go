package estimate

import (
	"fmt"
	"math"

	dg "driftgate"
)

// Expected is the accuracy that calibrated confidences promise without any
// label, and its Poisson-binomial standard deviation: .9,.8,.6,.95,.7 give 0.79
// and 0.172916. It is blind to concept drift, and the deviation says nothing of
// the calibration's own error. The error is [dg.ErrTooFewSamples] for none and
// [dg.ErrInvalid] for a confidence outside 0 to 1.
func Expected(confidence []float64) (accuracy, deviation float64, err error) {
	if len(confidence) == 0 {
		return 0, 0, fmt.Errorf("estimate: expected: no predictions: %w", dg.ErrTooFewSamples)
	}
	n := float64(len(confidence))
	var variance float64
	for i, c := range confidence {
		if !(c >= 0 && c <= 1) {
			return 0, 0, fmt.Errorf("estimate: expected: confidence %d is %g: want 0 to 1: %w", i, c, dg.ErrInvalid)
		}
		accuracy += c / n
		variance += c * (1 - c)
	}
	return accuracy, math.Sqrt(variance) / n, nil
}

// ExpectedOf is [Expected] from a window's sums: the mean confidence over all
// predictions that have one, with the Poisson-binomial deviation. It needs no
// label, so it answers at once, and it is blind to concept drift.
//
// Once the calibration has been measured (calibration.Labels above 0) its
// standard error joins the deviation, and the bounds reach out by its mean, to
// where the accuracy lies if the confidence errs now as it did then. Without
// that they are the deviation's alone, which tends to 0 with the predictions
// whatever the confidence is worth. The error is [dg.ErrTooFewSamples] when no
// prediction has a confidence and [dg.ErrInvalid] for impossible sums or a
// calibration that is no number.
func ExpectedOf(counts []dg.StratumCount, calibration Rectifier) (dg.Estimate, error) {
	var scored, f, ff float64
	for _, c := range counts {
		n := float64(c.Predictions - c.Unscored)
		if c.Predictions < 0 || c.Unscored < 0 || n < 0 || c.F < 0 || c.FF < 0 || float64(c.F) > 1e3*n || float64(c.FF) > 1e3*float64(c.F) {
			return dg.Estimate{}, fmt.Errorf("estimate: expected: stratum %s: sums %+v do not belong to %d predictions: %w", c.Stratum, c.Moments, c.Predictions, dg.ErrInvalid)
		}
		scored += n
		f += float64(c.F) / 1e3
		ff += float64(c.FF) / 1e6
	}
	if c := calibration; c.Labels > 0 && !(c.SE >= 0 && c.SE <= 1 && math.Abs(c.Mean) <= 1) {
		return dg.Estimate{}, fmt.Errorf("estimate: expected: calibration %+v: want a mean within -1 and 1, a standard error of 0 to 1: %w", c, dg.ErrInvalid)
	}
	if scored == 0 || f == 0 {
		return dg.Estimate{}, fmt.Errorf("estimate: expected: no prediction has a confidence: %w", dg.ErrTooFewSamples)
	}
	mean, variance := f/scored, max(0, f-ff)/(scored*scored)
	e := dg.Estimate{Estimator: NameExpected, Accuracy: mean}
	var low, high float64
	if calibration.Labels > 0 {
		variance += calibration.SE * calibration.SE
		low, high = min(0, calibration.Mean), max(0, calibration.Mean)
	}
	e.StandardError = math.Sqrt(variance)
	half := normalQuantile(1-tail) * e.StandardError
	e.Lower, e.Upper = clamp(mean+low-half), clamp(mean+high+half)
	return e, nil
}
