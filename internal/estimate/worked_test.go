package estimate

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

// near fails unless got is want to the digits that want is given in.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %.12g, want %.12g within %g", what, got, want, tolerance)
	}
}

// TestWorkedNumbers holds every worked number of docs/statistics.md that is
// arithmetic. Those that are simulations have tests of their own: coverage of
// stratified and its rivals (TestStratifiedCoverage, TestRivalBoundsFail), few
// labels under a Wald ppi (TestPPIMeanUndercovers), peeking (TestPeeking), delays of
// the e-detector (TestDetectionDelay), the biased gate (evaluator,
// TestGateAgainstSelectionBias).
func TestWorkedNumbers(t *testing.T) {
	t.Run("Wilson of 18 in 20", func(t *testing.T) {
		lower, upper := Wilson(18, 20, .95)
		near(t, "lower", lower, .698966354772, 5e-13)
		near(t, "upper", upper, .972133518786, 5e-13)
	})
	worked := []Stratum{{N: 9000, M: 300, K: 279}, {N: 800, M: 200, K: 120}, {N: 200, M: 100, K: 30}}
	t.Run("stratified says 0.891 where pooling says 0.715", func(t *testing.T) {
		e, err := Stratified(worked)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "accuracy", e.Accuracy, .891, 1e-12)
		near(t, "standard error", e.StandardError, .0132926, 5e-8)
		near(t, "effective labels", e.EffectiveLabels, .891*.109/(.0132926*.0132926), .01)
		pooled, err := Labelled(279+120+30, 600)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "pooled", pooled.Accuracy, .715, 1e-12)
		if pooled.Upper > e.Lower {
			t.Errorf("pooled bounds reach %.3f, stratified begin at %.3f: this example should tell them apart", pooled.Upper, e.Lower)
		}
		t.Logf("stratified bounds %.6f to %.6f", e.Lower, e.Upper)
	})
	t.Run("the reference after 100 errors in 1,000", func(t *testing.T) {
		upper, ok := Reference([]dg.StratumCount{{Stratum: dg.Random, Predictions: 1000, Labels: 1000, Correct: 900}})
		if !ok {
			t.Fatal("not ok")
		}
		near(t, "upper error", upper, .120288, 5e-7)
	})
	t.Run("the plain e-process", func(t *testing.T) {
		near(t, "W_8", EProcess([]bool{false, false, true, false, true, true, false, true}, .1, 2), 25.17630976, 5e-9)
	})
	t.Run("the confidence sequence of 700 in 1,000", func(t *testing.T) {
		lower, upper := ConfidenceSequence(700, 1000, .05, 100)
		near(t, "lower", lower, .651630, 5e-7)
		near(t, "upper", upper, .745950, 5e-7)
		near(t, "R", mixtureR(100), 11.600561, 5e-7)
	})
	t.Run("exact McNemar", func(t *testing.T) {
		near(t, "(70,59)", McNemar(70, 59), .3786877, 5e-8)
		near(t, "(30,60)", McNemar(30, 60), .0020603, 5e-8)
		near(t, "(0,0)", McNemar(0, 0), 1, 0)
	})
	t.Run("ppi of two labels and two predictions", func(t *testing.T) {
		r, err := PPIMean([]float64{1, 2}, []float64{1, 2}, []float64{3, 4}, .90)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "lambda", r.Lambda, .15, 1e-12)
		near(t, "mean", r.Mean, 1.8, 1e-12)
		near(t, "lower", r.Lower, 1.090136, 5e-7)
		near(t, "upper", r.Upper, 2.509864, 5e-7)
	})
	t.Run("the two noisy labels of six", func(t *testing.T) {
		var p [][]float64
		for _, p1 := range []float64{.1, .2, .9, .8, .7, .2} {
			p = append(p, []float64{1 - p1, p1})
		}
		n, err := ConfidentLearning([]int{0, 0, 0, 1, 1, 1}, p)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "t_0", n.Thresholds[0], .6, 1e-12)
		near(t, "t_1", n.Thresholds[1], .566667, 5e-7)
		if got := fmt.Sprint(n.Joint, n.Suspects); got != "[[2 1] [1 2]] [2 5]" {
			t.Errorf("joint and suspects %s", got)
		}
	})
	t.Run("burn rates that can and cannot be reached", func(t *testing.T) {
		near(t, "2% in 1h of 30d", BurnFactor(.02, time.Hour, 30*day), 14.4, 1e-12)
		near(t, "5% in 6h", BurnFactor(.05, 6*time.Hour, 30*day), 6, 1e-12)
		near(t, "10% in 3d", BurnFactor(.10, 3*day, 30*day), 1, 1e-12)
		for slo, want := range map[float64]float64{.90: 1.44, .95: .72} {
			rate, err := BurnErrorRate(14.4, slo, .5)
			near(t, "error rate", rate, want, 1e-12)
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprint("= ", want)) {
				t.Errorf("objective %g: %v, want refused with %g", slo, err, want)
			}
		}
		if rate, err := BurnErrorRate(14.4, .99, .5); err != nil || math.Abs(rate-.144) > 1e-12 {
			t.Errorf("objective .99: %g, %v", rate, err)
		}
	})
	t.Run("expected accuracy of five confidences", func(t *testing.T) {
		a, sd, err := Expected([]float64{.9, .8, .6, .95, .7})
		if err != nil {
			t.Fatal(err)
		}
		near(t, "accuracy", a, .79, 1e-12)
		near(t, "deviation", sd, .172916, 5e-7)
	})
}

func TestStratifiedAtItsEnds(t *testing.T) {
	must := func(s ...Stratum) dg.Estimate {
		t.Helper()
		e, err := Stratified(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Run("one endless stratum is Clopper-Pearson", func(t *testing.T) {
		for _, c := range [][2]int{{0, 20}, {1, 20}, {18, 20}, {20, 20}, {900, 1000}, {1999, 2000}} {
			k, m := c[0], c[1]
			e := must(Stratum{N: 1 << 52, M: m, K: float64(k)})
			near(t, "lower", e.Lower, betaQuantile(.025, float64(k), float64(m-k+1)), 1e-9)
			near(t, "upper", e.Upper, betaQuantile(.975, float64(k+1), float64(m-k)), 1e-9)
		}
		e := must(Stratum{N: 1 << 52, M: 20, K: 20}) // the rule of three's exact form
		near(t, "lower with no error in 20", e.Lower, math.Pow(.025, 1./20), 1e-9)
	})
	t.Run("a full census is the point", func(t *testing.T) {
		e := must(Stratum{N: 100, M: 100, K: 90}, Stratum{N: 50, M: 50, K: 10})
		near(t, "accuracy", e.Accuracy, 100./150, 1e-12)
		near(t, "lower", e.Lower, 100./150, 1e-12)
		near(t, "upper", e.Upper, 100./150, 1e-12)
		near(t, "effective labels", e.EffectiveLabels, 150, 0)
	})
	t.Run("a stratum without labels widens by its weight", func(t *testing.T) {
		e := must(Stratum{N: 900, M: 900, K: 810}, Stratum{N: 100})
		near(t, "accuracy renormalised", e.Accuracy, .9, 1e-12)
		near(t, "lower", e.Lower, .81, 1e-12)
		near(t, "upper", e.Upper, .91, 1e-12)
		if !e.Partial {
			t.Error("not marked partial")
		}
	})
	t.Run("all right still has a lower bound below 1", func(t *testing.T) {
		e := must(Stratum{N: 1000, M: 50, K: 50}, Stratum{N: 100, M: 100, K: 100})
		if e.Accuracy != 1 || e.Upper != 1 || !(e.Lower > .9 && e.Lower < .95) {
			t.Errorf("%+v", e)
		}
	})
	t.Run("all wrong mirrors all right", func(t *testing.T) {
		e := must(Stratum{N: 1000, M: 50}, Stratum{N: 100, M: 100})
		if e.Accuracy != 0 || e.Lower != 0 || !(e.Upper < .1 && e.Upper > .05) {
			t.Errorf("%+v", e)
		}
	})
	t.Run("empty strata change nothing", func(t *testing.T) {
		a, b := must(Stratum{N: 100, M: 10, K: 9}), must(Stratum{N: 100, M: 10, K: 9}, Stratum{})
		if a != b {
			t.Errorf("%+v, with an empty stratum %+v", a, b)
		}
	})
	t.Run("lone labels borrow their group's variance", func(t *testing.T) {
		var s []Stratum
		for i := range 40 {
			k := 1.0
			if i%4 == 0 {
				k = 0
			}
			s = append(s, Stratum{Group: "random", N: 100, M: 1, K: k})
		}
		near(t, "standard error", must(s...).StandardError, math.Sqrt(.99*.75*.25/39), 1e-12)
	})
}

// TestEstimatesAgree: the four figures of one window, in their order, from sums
// in which people disagree.
func TestEstimatesAgree(t *testing.T) {
	counts, _, _ := window(source("agree"), ppiCell{.9, 3, 0, 0, .8, 2000, 1}.strata())
	counts[0].Dissent, counts[0].LabelYY = -4000, counts[0].LabelYY-4_200_000 // some of the right ones not by all
	got := Estimates(counts, 30, LambdasOf(counts), Rectifier{Mean: -.01, SE: .01, Labels: 200})
	if len(got) != len(Names) {
		t.Fatalf("%d figures, want %v", len(got), Names)
	}
	var k float64
	labels := 0
	for i, name := range Names {
		if got[i].Estimator != name {
			t.Errorf("figure %d is %s, want %s", i, got[i].Estimator, name)
		}
	}
	for _, c := range counts {
		k += c.Agreement()
		labels += c.Labels
	}
	near(t, "labelled", got[2].Accuracy, k/float64(labels), 1e-12)
	if got[1].BoundsOf != "" || got[1].Upper-got[1].Lower >= got[0].Upper-got[0].Lower || got[3].Labels != 0 || got[0].Labels != labels {
		t.Errorf("%+v", got)
	}
	if few := Estimates(counts, labels+1, nil, Rectifier{}); len(few) != 1 || few[0].Estimator != NameExpected {
		t.Errorf("with too few labels %+v, want expected alone", few)
	}
}

func TestEstimatesOfCounts(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	worked := []dg.StratumCount{
		{Stratum: dg.Random, Interval: noon, Predictions: 9000, Labels: 300, Correct: 279},
		{Stratum: dg.LowConfidence, Interval: noon, Predictions: 800, Labels: 200, Correct: 120},
		{Stratum: dg.Flagged, Interval: noon, Predictions: 200, Labels: 100, Correct: 30},
	}
	names := func(es []dg.Estimate) (out []string) {
		for _, e := range es {
			out = append(out, e.Estimator)
		}
		return out
	}
	for _, tt := range []struct {
		name      string
		counts    []dg.StratumCount
		minLabels int
		want      []string
		note      bool
	}{
		{"the headline comes first", worked, 30, []string{"stratified", "labelled"}, false},
		{"below the minimum there is a gap", worked, 601, nil, true},
		{"no labels at all is a gap even with a minimum of 0", []dg.StratumCount{{Stratum: dg.Random, Predictions: 9}}, 0, nil, true},
		{"nothing is a gap", nil, 0, nil, true},
		{"a clean bucket alone gives labelled only", []dg.StratumCount{
			{Stratum: dg.Random, Predictions: 20, Labels: 20, Correct: 18}, {Stratum: dg.Flagged, Predictions: 0, Labels: 5, Correct: 1},
		}, 10, []string{"labelled"}, true},
		{"driftgate's own census is stratified", []dg.StratumCount{
			{Stratum: dg.Random, Interval: noon, Predictions: 20, Labels: 20, Correct: 18},
		}, 10, []string{"stratified", "labelled"}, false},
		{"a stratum without labels is noted", append([]dg.StratumCount{{Stratum: dg.Corrected, Interval: noon, Predictions: 7}}, worked...), 30, []string{"stratified", "labelled"}, true},
		{"impossible counts are a gap", []dg.StratumCount{{Stratum: dg.Random, Predictions: 20, Labels: 10, Correct: 11}}, 1, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := names(Estimates(tt.counts, tt.minLabels, nil, Rectifier{}))
			if len(got) != len(tt.want) {
				t.Fatalf("estimators %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Fatalf("estimators %v, want %v", got, tt.want)
				}
			}
			if note := Note(tt.counts, tt.minLabels); (note != "") != tt.note {
				t.Errorf("note %q, want one: %v", note, tt.note)
			}
		})
	}
}
