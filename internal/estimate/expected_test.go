package estimate

import (
	"errors"
	"fmt"
	"math"
	"testing"

	dg "driftgate"
)

// TestExpectedCoverage measures what the label-free figure is worth: exact when
// the confidences are calibrated, wrong by their error when they are not, unless
// that error has been measured, and blind to a change of concept.
func TestExpectedCoverage(t *testing.T) {
	runs := 1500
	if long {
		runs = 20000
	}
	slack := 3 * math.Sqrt(.95*.05/float64(runs))
	for _, tt := range []struct {
		name       string
		was, is    float64 // what the model believed too much, at its best and now
		lowest     float64 // coverage with the calibration measured
		highest    float64
		bare       float64 // highest coverage without
		bareLowest float64
	}{
		{"calibrated", 0, 0, .945, 1, 1, .945},
		{"five points too sure, then and now", .05, .05, .945, 1, .01, 0},
		{"five points too modest, then and now", -.05, -.05, .945, 1, .01, 0},
		{"calibrated, then ten points lost", 0, .1, 0, .05, .01, 0},
	} {
		reference, now := confident(tt.was, 2000, 150), confident(tt.is, 20000, 0)
		rng := source("expected" + tt.name)
		var with, bare over
		for range runs {
			seen, _, _ := window(rng, reference)
			r, ok := RectifierOf(seen)
			if !ok {
				t.Fatal("no rectifier")
			}
			counts, right, total := window(rng, now)
			truth := float64(right) / float64(total)
			a, err1 := ExpectedOf(counts, r)
			b, err2 := ExpectedOf(counts, Rectifier{})
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			with.add(a, truth)
			bare.add(b, truth)
		}
		t.Logf("%s: with the calibration's error %v; without %v", tt.name, with, bare)
		if c := with.coverage(); c < tt.lowest-slack || c > tt.highest {
			t.Errorf("%s: coverage %.4f, want %g to %g", tt.name, c, tt.lowest, tt.highest)
		}
		if c := bare.coverage(); c < tt.bareLowest-slack || c > tt.bare {
			t.Errorf("%s: coverage %.4f without the calibration's error, want %g to %g", tt.name, c, tt.bareLowest, tt.bare)
		}
	}
}

// confident is a window whose model believes `over` more than is true in every
// stratum.
func confident(over float64, n, m int) []believed {
	mo := model{accuracy: .9, sharp: 3, truth: func(f float64) float64 { return f - over }}
	strata := mo.strata(traffic{n: n, m: m, late: .2, hard: .8})
	for i := range strata {
		if strata[i].reason == dg.Flagged { // the flag tells more than the confidence: left out here
			strata[i].n = 0
		}
	}
	return strata[:len(strata)-1]
}

func TestExpectedOfCounts(t *testing.T) {
	worked := dg.StratumCount{Stratum: dg.Random, Predictions: 5, Moments: dg.Moments{F: 3950, FF: 810e3 + 640e3 + 360e3 + 902_500 + 490e3}}
	e, err := ExpectedOf([]dg.StratumCount{worked}, Rectifier{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "accuracy", e.Accuracy, .79, 1e-12)
	near(t, "deviation", e.StandardError, .172916, 5e-7)
	t.Run("predictions without a confidence are left out", func(t *testing.T) {
		more := worked
		more.Predictions, more.Unscored = 12, 7
		if got, err := ExpectedOf([]dg.StratumCount{more}, Rectifier{}); err != nil || got != e {
			t.Errorf("%+v, %v, want %+v", got, err, e)
		}
	})
	t.Run("the calibration widens, and towards its error", func(t *testing.T) {
		many := []dg.StratumCount{{Stratum: dg.Random, Predictions: 1e6, Moments: dg.Moments{F: 900e6, FF: 810e9}}}
		z := normalQuantile(.975)
		got, err := ExpectedOf(many, Rectifier{Mean: -.03, SE: .01, Labels: 500})
		if err != nil {
			t.Fatal(err)
		}
		se := math.Hypot(.01, .3/1000)
		near(t, "accuracy", got.Accuracy, .9, 1e-12)
		near(t, "lower", got.Lower, .9-.03-z*se, 1e-12)
		near(t, "upper", got.Upper, .9+z*se, 1e-12)
	})
	for _, r := range []Rectifier{{SE: math.NaN(), Labels: 1}, {SE: math.Inf(1), Labels: 1}, {Mean: math.NaN(), Labels: 1}} {
		if got, err := ExpectedOf([]dg.StratumCount{worked}, r); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("calibration %+v: %+v, %v, want ErrInvalid", r, got, err)
		}
	}
	for name, tt := range map[string]struct {
		c    dg.StratumCount
		want error
	}{
		"nothing":                   {dg.StratumCount{}, dg.ErrTooFewSamples},
		"no confidence":             {dg.StratumCount{Predictions: 3, Moments: dg.Moments{Unscored: 3}}, dg.ErrTooFewSamples},
		"more than 1 each":          {dg.StratumCount{Predictions: 3, Moments: dg.Moments{F: 3001}}, dg.ErrInvalid},
		"more unscored than all":    {dg.StratumCount{Predictions: 3, Moments: dg.Moments{Unscored: 4}}, dg.ErrInvalid},
		"squares above their roots": {dg.StratumCount{Predictions: 3, Moments: dg.Moments{F: 1000, FF: 2e6}}, dg.ErrInvalid},
	} {
		if got, err := ExpectedOf([]dg.StratumCount{tt.c}, Rectifier{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// TestGapSpeaksOfDriftOnly: without drift each bound is crossed in at most 5% of
// the windows, with a model that is calibrated and with one that never was; a
// loss of ten points is found.
func TestGapSpeaksOfDriftOnly(t *testing.T) {
	accuracies, sizes, runs := []float64{.9}, []int{30, 300}, 1500
	if long {
		accuracies, sizes, runs = []float64{.7, .9, .97}, []int{20, 50, 100, 300, 1000}, 20000
	}
	for _, accuracy := range accuracies {
		for _, m := range sizes {
			for _, miss := range []float64{0, .1} {
				at := func(miss float64, n, m int) []believed {
					mo := model{accuracy: accuracy, sharp: 3, truth: func(f float64) float64 { return f - miss }}
					return mo.strata(traffic{n: n, m: m, late: .2, hard: .8})
				}
				cell := fmt.Sprintf("accuracy %g less %g, %d random labels", accuracy, miss, m)
				rng := source("gap" + cell)
				reference, same, worse := at(miss, 3000, 150), at(miss, 20*m, m), at(miss+.1, 20*m, m)
				var below, above, found int
				for range runs {
					gap := func(now []believed) dg.Gap {
						a, _, _ := window(rng, reference)
						b, _, _ := window(rng, now)
						r, ok1 := RectifierOf(a)
						n, ok2 := RectifierOf(b)
						if !ok1 || !ok2 {
							t.Fatal("no rectifier")
						}
						return GapOf(n, r)
					}
					switch g := gap(same); {
					case g.Upper < 0:
						below++
					case g.Lower > 0:
						above++
					}
					if gap(worse).Upper < 0 {
						found++
					}
				}
				n := float64(runs)
				t.Logf("%s: said to be worse in %.4f, better in %.4f; ten points lost found in %.3f", cell, float64(below)/n, float64(above)/n, float64(found)/n)
				if limit := .05 + 3*math.Sqrt(.05*.95/n); float64(max(below, above))/n > limit {
					t.Errorf("%s: said to be worse in %d, better in %d of %d", cell, below, above, runs)
				}
				if m >= 300 && float64(found)/n < .75 {
					t.Errorf("%s: ten points lost found in %d of %d", cell, found, runs)
				}
			}
		}
	}
}

func TestGapAtItsEnds(t *testing.T) {
	counts := []dg.StratumCount{
		{Stratum: dg.Random, Interval: newYear, Predictions: 900, Labels: 4, Correct: 3, Moments: dg.Moments{F: 810e3, FF: 730e6, LabelF: 3600, LabelFF: 3.24e6, LabelYF: 2.7e6, LabelYY: 3e6}},
		{Stratum: dg.Flagged, Interval: newYear, Predictions: 100, Labels: 2, Correct: 0, Moments: dg.Moments{F: 50e3, FF: 25e6, LabelF: 1000, LabelFF: 5e5}},
	}
	r, ok := RectifierOf(counts)
	if !ok || r.Labels != 6 {
		t.Fatalf("%+v, %v", r, ok)
	}
	near(t, "mean", r.Mean, .9*(.75-.9)+.1*(0-.5), 1e-12)
	// Random: sample variance .25, one more wrong answer against .75 seen;
	// flagged: none seen, the confidences promise .25.
	near(t, "standard error", r.SE, math.Sqrt(.81*.25*(1+1/.75)/4+.01*.25/2), 1e-12)
	g := GapOf(r, Rectifier{Mean: -.05, SE: .02, Labels: 300})
	near(t, "difference", g.Difference, r.Mean+.05, 1e-12)
	near(t, "upper", g.Upper-g.Difference, normalQuantile(.975)*math.Hypot(r.SE, .02), 1e-12)
	if g.Reference != -.05 || g.Labels != 6 || g.Significant {
		t.Errorf("%+v", g)
	}
	if g := GapOf(Rectifier{Mean: -.2, SE: .02, Labels: 300}, Rectifier{Mean: -.05, SE: .02, Labels: 300}); !g.Significant || g.Upper >= 0 {
		t.Errorf("%+v: want worse than it believes", g)
	}
	for name, g := range map[string]dg.Gap{"no labels now": GapOf(Rectifier{}, r), "no reference": GapOf(r, Rectifier{})} {
		if g.Significant || g.Lower != -1 || g.Upper != 1 {
			t.Errorf("%s: %+v: want nothing known", name, g)
		}
	}
	for name, counts := range map[string][]dg.StratumCount{
		"nothing":                 nil,
		"no labels":               {{Stratum: dg.Random, Predictions: 10, Moments: dg.Moments{F: 9000, FF: 81e5}}},
		"no confidence":           {{Stratum: dg.Random, Predictions: 10, Labels: 1, Correct: 1, Moments: dg.Moments{Unscored: 10, LabelYY: 1e6}}},
		"sums that cannot be":     {{Stratum: dg.Random, Predictions: 10, Labels: 1, Correct: 1, Moments: dg.Moments{F: 9000, LabelF: 900}}},
		"more correct than label": {{Stratum: dg.Random, Predictions: 10, Labels: 1, Correct: 2}},
	} {
		if r, ok := RectifierOf(counts); ok {
			t.Errorf("%s: %+v, want none", name, r)
		}
	}
	unscored := append(counts[:2:2], dg.StratumCount{Stratum: dg.Random, Predictions: 500, Labels: 500, Moments: dg.Moments{Unscored: 1, F: 450e3, FF: 405e6, LabelF: 450e3, LabelFF: 405e6}})
	if got, ok := RectifierOf(unscored); !ok || got != r {
		t.Errorf("%+v: a stratum where confidences are missing should be left out: %+v", got, r)
	}
}
