package estimate

import (
	"math"
	"testing"
)

// TestBoundsOfAllClassesHoldAtOnce is what a correction for many is for: with
// bounds at .05/k for each of k classes, the share of comparisons in which any
// class's true difference lies outside is at most .05; with bounds at .05 each it
// is far more.
func TestBoundsOfAllClassesHoldAtOnce(t *testing.T) {
	runs := 300
	if long {
		runs = 5000
	}
	const classes = 10
	rng := source("classes")
	var together, alone int
	for range runs {
		var random, low [classes]PairStratum
		for i := range classes {
			random[i] = PairStratum{Group: "random", N: 90000, Pairs: 3000}
			low[i] = PairStratum{Group: "low", N: 10000, Pairs: 3000}
		}
		for range 3000 {
			tallyPair(&random[rng.IntN(classes)], rng.Float64(), .06, .06)
			tallyPair(&low[rng.IntN(classes)], rng.Float64(), .2, .2)
		}
		var outTogether, outAlone bool
		for i := range classes {
			for _, c := range []struct {
				alpha float64
				out   *bool
			}{{.05 / classes, &outTogether}, {.05, &outAlone}} {
				d, err := PairedDifferenceAt([]PairStratum{random[i], low[i]}, c.alpha)
				if err != nil {
					t.Fatal(err)
				}
				*c.out = *c.out || d.Lower > 0 || d.Upper < 0
			}
		}
		if outTogether {
			together++
		}
		if outAlone {
			alone++
		}
	}
	share := func(n int) float64 { return float64(n) / float64(runs) }
	t.Logf("some class is said to differ that does not: %.4f of %d comparisons with bounds for all at once, %.4f with bounds for each", share(together), runs, share(alone))
	if limit := .05 + 3*math.Sqrt(.05*.95/float64(runs)); share(together) > limit {
		t.Errorf("%.4f with bounds for all at once, want at most %.4f", share(together), limit)
	}
	if share(alone) < .1 {
		t.Errorf("%.4f with bounds for each: want at least .1, else there is nothing to correct", share(alone))
	}
}

// tallyPair counts one pair of a class: both right unless x says otherwise.
func tallyPair(h *PairStratum, x, gains, losses float64) {
	switch {
	case x < gains:
		h.Gains++
	case x < gains+losses:
		h.Losses++
	default:
		h.BothRight++
	}
}

func TestBoundsWidenWithTheirLevel(t *testing.T) {
	s := []PairStratum{{Group: "random", N: 9000, Pairs: 200, BothRight: 160, Gains: 20, Losses: 9}}
	width := 0.
	for _, alpha := range []float64{.5, .2, .05, .005, .00005} {
		d, err := PairedDifferenceAt(s, alpha)
		if err != nil {
			t.Fatal(err)
		}
		if d.Upper-d.Lower <= width {
			t.Errorf("alpha %g: width %g, no more than %g at the larger alpha", alpha, d.Upper-d.Lower, width)
		}
		width = d.Upper - d.Lower
	}
	for _, alpha := range []float64{0, 1, -1, math.NaN()} {
		if _, err := PairedDifferenceAt(s, alpha); err == nil {
			t.Errorf("alpha %g passed", alpha)
		}
	}
}
