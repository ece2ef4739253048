package estimate

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"

	dg "driftgate"
)

// ClassMixDrift compares predicted classes with a reference mix.
type ClassMixDrift struct {
	Distance  float64 // Jensen-Shannon distance, base 2: 0 alike to 1 disjoint
	ChiSquare float64 // Pearson's statistic of goodness of fit
	Freedom   int     // its degrees of freedom: classes with a reference share, less one
	PValue    float64 // chance of as large a statistic without drift
}

// ClassMix compares counts of predicted classes with the reference shares, in
// the same order; shares need not sum to one. Of a class that the reference
// never saw half a prediction is expected, so that a stray one is no certainty
// of drift and many are. The reference is taken as known.
// The error is [dg.ErrInvalid] for lists that do not fit each other and
// [dg.ErrTooFewSamples] without predictions.
func ClassMix(counts []int, reference []float64) (ClassMixDrift, error) {
	if len(counts) != len(reference) || len(counts) < 2 {
		return ClassMixDrift{}, fmt.Errorf("estimate: class mix: %d counts against %d reference shares: want as many, at least 2: %w", len(counts), len(reference), dg.ErrInvalid)
	}
	var n, total float64
	for i, r := range reference {
		if counts[i] < 0 || !(r >= 0) || math.IsInf(r, 1) {
			return ClassMixDrift{}, fmt.Errorf("estimate: class mix: class %d: count %d, share %g: want none negative: %w", i, counts[i], r, dg.ErrInvalid)
		}
		n += float64(counts[i])
		total += r
	}
	if total == 0 {
		return ClassMixDrift{}, fmt.Errorf("estimate: class mix: all reference shares are 0: %w", dg.ErrInvalid)
	}
	if n == 0 {
		return ClassMixDrift{}, fmt.Errorf("estimate: class mix: no predictions: %w", dg.ErrTooFewSamples)
	}
	shares := make([]float64, len(reference))
	var sum float64
	for i, r := range reference {
		if shares[i] = r / total; r == 0 && counts[i] > 0 {
			shares[i] = .5 / n
		}
		sum += shares[i]
	}
	d := ClassMixDrift{Freedom: -1}
	for i := range shares {
		p, q := shares[i]/sum, float64(counts[i])/n
		if p == 0 {
			continue
		}
		d.Freedom++
		d.ChiSquare += n * (q - p) * (q - p) / p
		d.Distance += (leans(p, (p+q)/2) + leans(q, (p+q)/2)) / 2
	}
	d.Distance = math.Sqrt(clamp(d.Distance))
	d.PValue = 1
	if d.Freedom > 0 {
		d.PValue = mathext.GammaIncRegComp(float64(d.Freedom)/2, d.ChiSquare/2)
	}
	return d, nil
}

// leans is p log2(p/m), 0 at p = 0: one term of the Kullback-Leibler divergence.
func leans(p, m float64) float64 {
	if p == 0 {
		return 0
	}
	return p * math.Log2(p/m)
}

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
