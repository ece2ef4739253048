package estimate

import (
	"fmt"
	"math"

	dg "driftgate"
)

// CalibrationError is the expected calibration error: the mean distance between
// confidence and accuracy over bins of equal width, weighted by their samples.
// Confidences run 0 to 1; the error is [dg.ErrInvalid] for lists that do not
// fit or a confidence outside, and [dg.ErrTooFewSamples] for empty ones.
func CalibrationError(confidence []float64, right []bool, bins int) (float64, error) {
	if len(confidence) != len(right) || bins < 1 {
		return 0, fmt.Errorf("estimate: calibration error: %d confidences, %d answers, %d bins: want as many answers and at least 1 bin: %w", len(confidence), len(right), bins, dg.ErrInvalid)
	}
	if len(right) == 0 {
		return 0, fmt.Errorf("estimate: calibration error: no samples: %w", dg.ErrTooFewSamples)
	}
	gap := make([]float64, bins) // sum of confidence less sum of right answers
	for i, c := range confidence {
		if !(c >= 0 && c <= 1) {
			return 0, fmt.Errorf("estimate: calibration error: confidence %d is %g: want 0 to 1: %w", i, c, dg.ErrInvalid)
		}
		b := min(bins-1, int(c*float64(bins)))
		gap[b] += c
		if right[i] {
			gap[b]--
		}
	}
	var sum float64
	for _, g := range gap {
		sum += math.Abs(g)
	}
	return sum / float64(len(right)), nil
}
