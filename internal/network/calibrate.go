package network

import (
	"errors"
	"fmt"
	"math"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// Temperatures outside these bounds mean that there was nothing to calibrate on.
const (
	minTemperature = 0.05
	maxTemperature = 20
)

// FitTemperature finds the temperature that gives n rows of logits the least
// log loss against labels, by golden-section search over its logarithm (the
// loss has one minimum in 1/T: Guo et al., 2017, "On Calibration of Modern
// Neural Networks"), and the expected calibration error before and after.
// The error is [dg.ErrTooFewSamples] without rows.
func FitTemperature(logits []float32, labels []int, classes int) (Calibration, error) {
	if len(labels) == 0 || len(logits) != len(labels)*classes {
		return Calibration{Temperature: 1}, fmt.Errorf("network: fit temperature: %d labels, %d logits of %d classes: %w", len(labels), len(logits), classes, dg.ErrTooFewSamples)
	}
	const ratio = 0.6180339887498949 // (sqrt(5)-1)/2
	lo, hi := math.Log(minTemperature), math.Log(maxTemperature)
	at := func(logT float64) float64 { return LogLoss(logits, labels, nil, classes, math.Exp(logT)) }
	a, b := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
	fa, fb := at(a), at(b)
	for hi-lo > 1e-4 {
		if fa <= fb {
			hi, b, fb = b, a, fa
			a = hi - ratio*(hi-lo)
			fa = at(a)
		} else {
			lo, a, fa = a, b, fb
			b = lo + ratio*(hi-lo)
			fb = at(b)
		}
	}
	c := Calibration{Temperature: math.Exp((lo + hi) / 2)}
	c.ECEBefore = CalibrationError(logits, labels, classes, 1)
	c.ECEAfter = CalibrationError(logits, labels, classes, c.Temperature)
	return c, nil
}

// LogLoss is the mean negative log-likelihood of the labels at a temperature,
// weighted by weights (nil for even ones); 0 without samples.
func LogLoss(logits []float32, labels []int, weights []float32, classes int, temperature float64) float64 {
	var sum, total float64
	for i, label := range labels {
		row := logits[i*classes:][:classes]
		top := row[0]
		for _, v := range row[1:] {
			top = max(top, v)
		}
		var z float64
		for _, v := range row {
			z += math.Exp(float64(v-top) / temperature)
		}
		w := 1.0
		if weights != nil {
			w = float64(weights[i])
		}
		sum += w * (math.Log(z) - float64(row[label]-top)/temperature)
		total += w
	}
	if total == 0 {
		return 0
	}
	return sum / total
}

// calibrationBins is the usual number of bins (Guo et al., 2017).
const calibrationBins = 15

// CalibrationError is [estimate.CalibrationError] of logits at a temperature,
// over 15 bins: 0 to 1; 0 for no samples, NaN for logits that are no numbers.
func CalibrationError(logits []float32, labels []int, classes int, temperature float64) float64 {
	confidence, right := make([]float64, len(labels)), make([]bool, len(labels))
	row := make([]float32, classes)
	for i, label := range labels {
		copy(row, logits[i*classes:][:classes])
		softmax(row, classes, temperature)
		best := Argmax(row)
		confidence[i], right[i] = min(1, float64(row[best])), best == label // float32 may end a hair above 1
	}
	e, err := estimate.CalibrationError(confidence, right, calibrationBins)
	switch {
	case errors.Is(err, dg.ErrTooFewSamples):
		return 0
	case err != nil:
		return math.NaN()
	}
	return e
}

// Argmax is the position of the largest value, the first of equals.
func Argmax(row []float32) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}
