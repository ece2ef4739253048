package estimate

import (
	"errors"
	"fmt"
	"math"
	"testing"

	dg "driftgate"
)

// rivals runs one cell: the estimators on the same labels. `wald` are the
// bounds that ppi would show if it always trusted its own.
func rivals(t *testing.T, cell string, runs int, earlier, now []believed) (all map[string]*over, lambda float64) {
	t.Helper()
	rng := source(cell)
	all = map[string]*over{NameStratified: {}, NamePPI: {}, "wald": {}, NameLabelled: {}, NameExpected: {}}
	for range runs {
		before, _, _ := window(rng, earlier)
		l := LambdasOf(before)
		counts, right, total := window(rng, now)
		truth := float64(right) / float64(total)
		for _, e := range Estimates(counts, 1, l, Rectifier{}) {
			all[e.Estimator].add(e, truth)
			if e.Estimator == NamePPI {
				half := normalQuantile(1-tail) * e.StandardError
				e.Lower, e.Upper = clamp(e.Accuracy-half), clamp(e.Accuracy+half)
				all["wald"].add(e, truth)
			}
		}
		lambda += l[dg.Random] / float64(runs)
	}
	return all, lambda
}

// ppiCell is one cell of the grid below.
type ppiCell struct {
	accuracy, sharp float64
	over            float64 // the model believes this much more than is true
	late, hard      float64
	m, intervals    int
}

func (c ppiCell) strata() []believed {
	mo := model{accuracy: c.accuracy, sharp: c.sharp, truth: func(f float64) float64 { return f - c.over }}
	return mo.strata(traffic{n: 20 * c.m, m: c.m, late: c.late, hard: c.hard, intervals: c.intervals})
}

func ppiCells() (cells []ppiCell) {
	if !long {
		return []ppiCell{
			{.9, 3, 0, 0, .8, 100, 1}, {.9, 3, 0, .3, .8, 600, 48}, {.7, 3, .1, 0, .8, 300, 1}, {.9, 3, 0, 0, 0, 500, 1},
		}
	}
	for _, accuracy := range []float64{.5, .7, .9, .97} {
		for _, sharp := range []float64{.6, 3} {
			for _, m := range []int{50, 200, 500, 1000, 3000} {
				cells = append(cells,
					ppiCell{accuracy, sharp, 0, 0, .8, m, 1},   // everything hard is labelled
					ppiCell{accuracy, sharp, .1, .3, .8, m, 1}, // a third of it not yet, and the model believes ten points too much
					ppiCell{accuracy, sharp, 0, 0, 0, m, 1},    // random picks only, and what is flagged
				)
			}
			cells = append(cells, ppiCell{accuracy, sharp, 0, .3, .8, 48 * 15, 48}, ppiCell{accuracy, sharp, 0, 0, 0, 48 * 5, 48}, ppiCell{accuracy, sharp, 0, 0, 0, 96, 96})
		}
	}
	return cells
}

// TestPPIBoundsCover justifies ppiLabels and ppiEach: what ppi publishes holds
// the realised accuracy in at least .94 of the runs in every cell, where its own
// bounds alone would fall below .5 (always-on sample: below .92). The point is
// unbiased, and no wider than stratified's.
func TestPPIBoundsCover(t *testing.T) {
	runs, ruin := 1200, .92
	if long {
		runs, ruin = 20000, .5
	}
	floor := .94
	if !long {
		floor -= 3 * math.Sqrt(.94*.06/float64(runs))
	}
	lowest, lowestWald, lowestOwn, published := 1.0, 1.0, 1.0, 0
	for _, c := range ppiCells() {
		cell := fmt.Sprintf("%+v", c)
		all, lambda := rivals(t, "ppi"+cell, runs, c.strata(), c.strata())
		s, p, w := all[NameStratified], all[NamePPI], all["wald"]
		t.Logf("%s: lambda %.2f, stratified %.4f, ppi %.4f (own bounds in %.2f of the runs), always its own %.4f; width %.3f of stratified's (always its own %.3f), mean square error %.3f",
			cell, lambda, s.coverage(), p.coverage(), p.of(p.own), w.coverage(), p.width/s.width, w.width/s.width, p.square/s.square)
		if p.coverage() < floor {
			t.Errorf("%s: coverage %.4f, want at least %.4f", cell, p.coverage(), floor)
		}
		if bias, noise := math.Abs(p.mean(p.bias)), math.Sqrt(p.square)/float64(runs); bias > 4*noise+1e-4 {
			t.Errorf("%s: bias %.5f with standard error %.5f", cell, bias, noise)
		}
		if p.width > 1.02*s.width {
			t.Errorf("%s: width %.4f, stratified's %.4f", cell, p.meanWidth(), s.meanWidth())
		}
		lowest, lowestWald = min(lowest, p.coverage()), min(lowestWald, w.coverage())
		if p.of(p.own) > .99 {
			lowestOwn = min(lowestOwn, p.coverage())
		}
		published += p.own
	}
	t.Logf("lowest coverage: %.4f as published, %.4f in cells where its own bounds always show, %.4f if they always did", lowest, lowestOwn, lowestWald)
	if lowestWald > ruin || published == 0 {
		t.Errorf("always its own bounds: %.4f at the lowest; own bounds shown %d times: the grid should hold both kinds", lowestWald, published)
	}
}

// TestPPIMovesWithDrift: lambda from a window before the concept changed costs
// precision, not truth.
func TestPPIMovesWithDrift(t *testing.T) {
	before := ppiCell{.9, 3, 0, .3, .8, 1000, 1}.strata()
	for name, truth := range map[string]func(float64) float64{
		"twenty points lost":                        func(f float64) float64 { return f - .2 },
		"confidence means nothing":                  func(float64) float64 { return .7 },
		"the more confident the more often it errs": func(f float64) float64 { return 1.3 - f },
	} {
		mo := model{accuracy: .9, sharp: 3, truth: truth}
		all, lambda := rivals(t, name, 1500, before, mo.strata(traffic{n: 20000, m: 1000, late: .3, hard: .8}))
		p := all[NamePPI]
		t.Logf("%s: lambda %.2f, ppi %v, stratified %v, expected %v", name, lambda, p, all[NameStratified], all[NameExpected])
		if p.coverage() < .94-3*.0061 || math.Abs(p.mean(p.bias)) > .001 || p.of(p.own) < .99 {
			t.Errorf("%s: ppi %v, own bounds in %.2f", name, p, p.of(p.own))
		}
		if e := all[NameExpected]; e.coverage() > .01 || e.mean(e.bias) < .05 {
			t.Errorf("%s: expected %v: it should be blind to this", name, e)
		}
	}
}

// TestWidthsOnTheSameLabels compares the estimators where the answer is what
// the model believes: ppi gains little where the hard images are labelled anyway,
// more where only random ones are.
func TestWidthsOnTheSameLabels(t *testing.T) {
	cells, runs := []ppiCell{{.8, 3, 0, 0, .8, 1000, 1}, {.8, 3, 0, 0, 0, 1000, 1}}, 800
	if long {
		cells, runs = nil, 20000
		for _, a := range []float64{.8, .9, .95} {
			for _, m := range []int{100, 300, 1000, 3000} {
				cells = append(cells, ppiCell{a, 3, 0, 0, .8, m, 1}, ppiCell{a, 3, 0, 0, 0, m, 1})
			}
		}
	}
	var gain [2]float64
	for i, c := range cells {
		all, _ := rivals(t, fmt.Sprintf("widths%+v", c), runs, c.strata(), c.strata())
		s, p, l, e := all[NameStratified], all[NamePPI], all[NameLabelled], all[NameExpected]
		t.Logf("accuracy %g, %d random labels of %d, hard below %g | coverage: stratified %.3f ppi %.3f labelled %.3f expected %.3f | width: %.4f %.4f %.4f %.4f | bias %+.4f %+.4f %+.4f %+.4f | labels saved at the same precision %.0f%%",
			c.accuracy, c.m, 20*c.m, c.hard, s.coverage(), p.coverage(), l.coverage(), e.coverage(), s.meanWidth(), p.meanWidth(), l.meanWidth(), e.meanWidth(),
			s.mean(s.bias), p.mean(p.bias), l.mean(l.bias), e.mean(e.bias), 100*(1-p.square/s.square))
		if c.m == 1000 && c.accuracy == .8 {
			gain[i%2] = 1 - p.width/s.width
		}
		if c.hard > 0 && l.coverage() > .5 {
			t.Errorf("%+v: labelled covers %.3f: on skewed strata it should not", c, l.coverage())
		}
	}
	if !(gain[0] > .02 && gain[1] > 2*gain[0]) {
		t.Errorf("ppi is narrower by %.3f where hard images are labelled anyway, by %.3f where not", gain[0], gain[1])
	}
}

func TestLambdas(t *testing.T) {
	count := func(reason dg.Stratum, ys, fs []int) dg.StratumCount {
		c := dg.StratumCount{Stratum: reason, Interval: newYear, Predictions: 10 * len(ys), Labels: len(ys)}
		for i, f := range fs {
			c.Correct += ys[i]
			c.F += 10 * int64(f)
			c.FF += 10 * int64(f*f)
			c.LabelF += int64(f)
			c.LabelFF += int64(f * f)
			c.LabelYF += int64(1000 * ys[i] * f)
			c.LabelYY += int64(1e6 * ys[i])
		}
		return c
	}
	for _, tt := range []struct {
		name   string
		counts []dg.StratumCount
		want   float64
	}{
		{"the slope of the answers on the confidence", []dg.StratumCount{count(dg.Random, []int{1, 0, 1, 0}, []int{900, 100, 200, 800})}, .1 / .5},
		{"one label says nothing", []dg.StratumCount{count(dg.Random, []int{1}, []int{900})}, 0},
		{"a constant confidence says nothing", []dg.StratumCount{count(dg.Random, []int{1, 0, 1}, []int{900, 900, 900})}, 0},
		{"a confidence that misleads is not used", []dg.StratumCount{count(dg.Random, []int{0, 1}, []int{900, 500})}, 0},
		{"never above 1", []dg.StratumCount{count(dg.Random, []int{1, 0}, []int{900, 800})}, 1},
		{"curate intervals are pooled", []dg.StratumCount{count(dg.Random, []int{1, 0}, []int{900, 100}), count(dg.Random, []int{1, 0}, []int{200, 800})}, .1 / .5},
		{"sums that cannot be are left out", []dg.StratumCount{{Stratum: dg.Random, Predictions: 9, Labels: 2, Correct: 1, Moments: dg.Moments{LabelF: 5000}}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near(t, "lambda", LambdasOf(tt.counts)[dg.Random], tt.want, 1e-9)
		})
	}
}

func TestPPIAtItsEnds(t *testing.T) {
	strata := ppiCell{.9, 3, 0, .3, .8, 1000, 1}.strata()
	counts, _, _ := window(source("ends"), strata)
	s, err := Stratified(FromCounts(counts))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("without lambdas it is stratified", func(t *testing.T) {
		p, err := PPI(counts, nil)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "accuracy", p.Accuracy, s.Accuracy, 1e-12)
		near(t, "standard error", p.StandardError, s.StandardError, 1e-9)
		if p.BoundsOf != NameStratified || p.Lower != s.Lower || p.Upper != s.Upper {
			t.Errorf("%+v, want the bounds of %+v", p, s)
		}
	})
	t.Run("with them it moves the point by what the unlabelled promise", func(t *testing.T) {
		two := []dg.StratumCount{{Stratum: dg.Random, Interval: newYear, Predictions: 100, Labels: 2, Correct: 1,
			Moments: dg.Moments{F: 90_000, FF: 82e6, LabelF: 1400, LabelFF: 1e6, LabelYF: 800e3, LabelYY: 1e6}}}
		p, err := PPI(two, Lambdas{dg.Random: .5})
		if err != nil {
			t.Fatal(err)
		}
		near(t, "accuracy", p.Accuracy, .5+.5*(.9-.7), 1e-12)
		near(t, "standard error", p.StandardError, math.Sqrt(.98*(.5-2*.5*.1+.25*.02)/2), 1e-12)
		if p.BoundsOf != NameStratified || p.Lower > p.Accuracy || p.Upper < p.Accuracy {
			t.Errorf("%+v: two labels carry no bounds of their own", p)
		}
	})
	t.Run("a stratum that hardly counts does not forbid own bounds", func(t *testing.T) {
		speck := append(counts[:len(counts):len(counts)], dg.StratumCount{Stratum: dg.Corrected, Interval: newYear, Predictions: 5, Labels: 1, Moments: dg.Moments{F: 2500, FF: 125e4, LabelF: 500, LabelFF: 250e3}})
		p, err := PPI(speck, Lambdas{dg.Random: 1})
		if err != nil || p.BoundsOf != "" {
			t.Errorf("%+v, %v", p, err)
		}
		speck[len(speck)-1].Predictions, speck[len(speck)-1].F = 5000, 2.5e6
		if p, err = PPI(speck, Lambdas{dg.Random: 1}); err != nil || p.BoundsOf != NameStratified {
			t.Errorf("one label for a fifth of all: %+v, %v", p, err)
		}
	})
	t.Run("a stratum without labels forbids own bounds", func(t *testing.T) {
		p, err := PPI(append(counts[:len(counts):len(counts)], dg.StratumCount{Stratum: dg.Corrected, Interval: newYear, Predictions: 5, Moments: dg.Moments{F: 2500, FF: 125e4}}), Lambdas{dg.Random: 1})
		if err != nil || p.BoundsOf != NameStratified || !p.Partial {
			t.Errorf("%+v, %v", p, err)
		}
	})
	t.Run("it refuses what cannot be", func(t *testing.T) {
		for name, m := range map[string]dg.Moments{
			"confidences above 1":         {F: 100_001, LabelF: 1400, LabelFF: 1e6, LabelYF: 800e3, LabelYY: 1e6},
			"answers without squares":     {F: 90_000, LabelF: 1400, LabelFF: 1e6, LabelYF: 800e3},
			"negative sums":               {F: -1},
			"products beyond the factors": {F: 90_000, LabelF: 1400, LabelFF: 1e6, LabelYF: 1100e3, LabelYY: 1e6},
		} {
			if _, err := PPI([]dg.StratumCount{{Stratum: dg.Random, Predictions: 100, Labels: 2, Correct: 1, Moments: m}}, nil); !errors.Is(err, dg.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
		if _, err := PPI([]dg.StratumCount{{Stratum: dg.Random, Predictions: 100, Labels: 2, Correct: 1, Moments: dg.Moments{Unscored: 100, LabelYY: 1e6}}}, nil); !errors.Is(err, dg.ErrTooFewSamples) {
			t.Errorf("no confidence: %v, want ErrTooFewSamples", err)
		}
		if _, err := PPI([]dg.StratumCount{{Stratum: dg.Random, Predictions: 100}}, nil); !errors.Is(err, dg.ErrTooFewSamples) {
			t.Errorf("no labels: %v, want ErrTooFewSamples", err)
		}
	})
}

func TestPPIMeanRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		y, labelled, unlabelled []float64
		confidence              float64
		want                    error
	}{
		"lists that do not fit": {[]float64{1, 0}, []float64{1}, []float64{1, 0}, .9, dg.ErrInvalid},
		"a percentage":          {[]float64{1, 0}, []float64{1, 0}, []float64{1, 0}, 95, dg.ErrInvalid},
		"no number":             {[]float64{1, math.NaN()}, []float64{1, 0}, []float64{1, 0}, .9, dg.ErrInvalid},
		"one label":             {[]float64{1}, []float64{1}, []float64{1, 0}, .9, dg.ErrTooFewSamples},
	} {
		if r, err := PPIMean(tt.y, tt.labelled, tt.unlabelled, tt.confidence); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", name, r, err, tt.want)
		}
	}
	r, err := PPIMean([]float64{1, 0, 1}, []float64{.5, .5, .5}, []float64{.5, .5}, .95)
	if err != nil || r.Lambda != 0 || math.Abs(r.Mean-2./3) > 1e-12 {
		t.Errorf("a constant confidence: %+v, %v, want the plain mean", r, err)
	}
}

// TestPPIMeanUndercovers: 20 labels are too few for Wald bounds, about .87 at
// accuracy .90; 500 are enough.
func TestPPIMeanUndercovers(t *testing.T) {
	runs := 4000
	if long {
		runs = 20000
	}
	for n, want := range map[int][2]float64{20: {.84, .89}, 500: {.94, .96}} {
		rng := source(fmt.Sprint("ppi mean", n))
		covered := 0
		for range runs {
			draw := func(n int) (y, f []float64) {
				for range n {
					p := 1 - rng.Float64()/5 // .8 to 1: calibrated, .9 on average
					x := 0.0
					if rng.Float64() < p {
						x = 1
					}
					y, f = append(y, x), append(f, p)
				}
				return y, f
			}
			y, labelled := draw(n)
			_, unlabelled := draw(200)
			r, err := PPIMean(y, labelled, unlabelled, .95)
			if err != nil {
				t.Fatal(err)
			}
			if r.Lower <= .9 && .9 <= r.Upper {
				covered++
			}
		}
		share := float64(covered) / float64(runs)
		t.Logf("%d labels: coverage %.4f", n, share)
		if share < want[0] || share > want[1] {
			t.Errorf("%d labels: coverage %.4f, want %g to %g", n, share, want[0], want[1])
		}
	}
}
