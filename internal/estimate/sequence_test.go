package estimate

import (
	"errors"
	"math"
	"slices"
	"testing"

	dg "driftgate"
)

// TestPeeking is why the alarm is anytime-valid: who looks at a 95% interval
// after every label raises a false alarm in about every fifth deployment.
func TestPeeking(t *testing.T) {
	const runs, sequences, labels = 2000, 400, 1000
	rng := source("peeking")
	var wilson, mixture, sequence int
	for run := range runs {
		wrong := make([]bool, labels)
		for i := range wrong {
			wrong[i] = rng.Float64() < .10
		}
		byWilson, bySequence, right := false, false, 0
		for i := range wrong {
			if !wrong[i] {
				right++
			}
			if n := i + 1; n >= 30 {
				_, upper := Wilson(right, n, .95)
				byWilson = byWilson || upper < .90
			}
			if n := i + 1; run < sequences && !bySequence && n%20 == 0 {
				lower, upper := ConfidenceSequence(float64(right), n, .05, 100)
				bySequence = lower > .90 || upper < .90
			}
		}
		if byWilson {
			wilson++
		}
		if bySequence {
			sequence++
		}
		if slices.Max(mixtureEProcess(wrong, .10)) >= 20 {
			mixture++
		}
	}
	share := func(n int) float64 { return float64(n) / runs }
	t.Logf("%d runs of %d labels without drift, looked at all the time: Wilson %.3f, mixture e-value at 20 %.3f, confidence sequence %.3f", runs, labels, share(wilson), share(mixture), float64(sequence)/sequences)
	if share(wilson) < .15 {
		t.Errorf("peeking at Wilson: %.3f false alarms, known to be about .22", share(wilson))
	}
	limit := .05 + 3*math.Sqrt(.05*.95/float64(runs))
	if share(mixture) > limit || share(sequence) > limit {
		t.Errorf("false alarms %.3f and %.3f, promised at most .05", share(mixture), float64(sequence)/sequences)
	}
}

func TestConfidenceSequenceAtItsEnds(t *testing.T) {
	if l, u := ConfidenceSequence(0, 0, .05, 100); l != 0 || u != 1 {
		t.Errorf("no draws: %g to %g", l, u)
	}
	for _, n := range []int{1, 10, 1000} {
		l0, u0 := ConfidenceSequence(0, n, .05, 100)
		l1, u1 := ConfidenceSequence(float64(n), n, .05, 100)
		if l0 != 0 || u1 != 1 || math.Abs(u0-(1-l1)) > 1e-9 {
			t.Errorf("%d draws: none %g to %g, all %g to %g: want mirrors", n, l0, u0, l1, u1)
		}
	}
	for k := 0; k <= 50; k++ {
		l, u := ConfidenceSequence(float64(k), 50, .05, 100)
		wl, wu := Wilson(k, 50, .95)
		if !(l <= float64(k)/50 && float64(k)/50 <= u) || u-l <= wu-wl {
			t.Errorf("%d of 50: %g to %g, Wilson %g to %g: want it around the point, and wider", k, l, u, wl, wu)
		}
	}
}

func TestMcNemarBySumming(t *testing.T) {
	for b := range 30 {
		for c := range 30 {
			var sum, term float64
			term = math.Pow(.5, float64(b+c))
			for i := 0; i <= min(b, c); i++ {
				sum += term
				term *= float64(b+c-i) / float64(i+1)
			}
			near(t, "p", McNemar(b, c), min(1, 2*sum), 1e-12)
		}
	}
	if p := McNemar(-1, 4); p != 1 {
		t.Errorf("impossible counts: %g, want 1", p)
	}
}

func second[T any](_ T, err error) error { return err }

func TestCalibrationError(t *testing.T) {
	got, err := CalibrationError([]float64{.95, .95, .55, .55, 1}, []bool{true, false, true, true, true}, 10)
	if err != nil {
		t.Fatal(err)
	}
	// Bin .9 to 1: 2.9 stated, 2 right; bin .5 to .6: 1.1 stated, 2 right.
	near(t, "error", got, (.9+.9)/5, 1e-12)
	for name, err := range map[string]error{
		"lists of unlike length": second(CalibrationError([]float64{1}, nil, 10)),
		"no bins":                second(CalibrationError([]float64{1}, []bool{true}, 0)),
		"a confidence above 1":   second(CalibrationError([]float64{1.1}, []bool{true}, 10)),
		"NaN":                    second(CalibrationError([]float64{math.NaN()}, []bool{true}, 10)),
	} {
		if !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if err := second(CalibrationError(nil, nil, 10)); !errors.Is(err, dg.ErrTooFewSamples) {
		t.Errorf("no samples: %v", err)
	}
}

func TestExpectedRefuses(t *testing.T) {
	if _, _, err := Expected(nil); !errors.Is(err, dg.ErrTooFewSamples) {
		t.Errorf("none: %v", err)
	}
	if _, _, err := Expected([]float64{.5, math.NaN()}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("NaN: %v", err)
	}
}

// mixtureEProcess is the mean of [EProcess] over the detector's grid of bets,
// after each answer: what [Evidence] must come to on whole answers.
func mixtureEProcess(wrong []bool, p0 float64) []float64 {
	lambdas := Detector{P0: p0}.lambdas()
	var w [len(lambdas)]float64
	for j := range w {
		w[j] = 1
	}
	out := make([]float64, len(wrong))
	for i, e := range wrong {
		x := 0.0
		if e {
			x = 1
		}
		for j, lambda := range lambdas {
			w[j] *= 1 + lambda*(x-p0)
			out[i] += w[j] / float64(len(w))
		}
	}
	return out
}
