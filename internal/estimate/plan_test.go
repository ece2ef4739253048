package estimate

import (
	"errors"
	"fmt"
	"testing"
	"time"

	dg "driftgate"
)

const day = 24 * time.Hour

// TestPlanKeepsItsPromise: with as many labels as planned the bounds of
// Stratified are as narrow as wanted on average, and with a tenth less they are
// not.
func TestPlanKeepsItsPromise(t *testing.T) {
	for _, tt := range []struct {
		random, low int
		accuracy    float64
		half        float64
	}{{4500, 500, .95, .02}, {4500, 500, .95, .01}, {20000, 1000, .8, .03}, {900, 100, .99, .01}, {300, 0, .9, .05}} {
		strata := []PlanStratum{{Stratum: dg.LowConfidence, Predictions: tt.low, Labels: tt.low, Accuracy: .6, Complete: true}, {Stratum: dg.Random, Predictions: tt.random, Accuracy: tt.accuracy}}
		plan, err := PlanLabels(strata, day, tt.half)
		if err != nil {
			t.Fatal(err)
		}
		width := func(m int) float64 {
			rng := source(fmt.Sprint("plan", tt, m))
			var sum float64
			const runs = 400
			for range runs {
				s, _, _ := draw(rng, []truth{{"low", tt.low, tt.low, .6}, {"random", tt.random, m, tt.accuracy}})
				e, err := Stratified(s)
				if err != nil {
					t.Fatal(err)
				}
				sum += (e.Upper - e.Lower) / 2 / runs
			}
			return sum
		}
		got, less := width(plan.RandomLabels), width(plan.RandomLabels*9/10)
		t.Logf("%+v: %d random labels, half-width %.4f in simulation, %.4f with a tenth less", tt, plan.RandomLabels, got, less)
		if got > tt.half*1.03+1/float64(tt.random+tt.low) || less <= tt.half {
			t.Errorf("%+v: %+v: half-width %.4f in simulation, %.4f with a tenth less", tt, plan, got, less)
		}
	}
}

// TestPlanIsMonotone: a narrower wish never costs fewer labels, one label fewer
// than planned is not enough, and once they narrow at all, more labels never
// widen.
func TestPlanIsMonotone(t *testing.T) {
	rng := source("plan is monotone")
	refused, planned := 0, 0
	for range 150 {
		strata := []PlanStratum{{Stratum: dg.Random, Predictions: 1 + rng.IntN(1<<(1+rng.IntN(16))), Accuracy: float64(rng.IntN(101)) / 100, Worth: float64(rng.IntN(11)) / 10}}
		for _, reason := range []dg.Stratum{dg.LowConfidence, dg.Flagged, dg.Corrected} {
			n := rng.IntN(2000)
			strata = append(strata, PlanStratum{Stratum: reason, Predictions: n, Labels: n - rng.IntN(n/10+1), Accuracy: rng.Float64()})
		}
		d, err := newPlanDesign(strata)
		if err != nil {
			t.Fatal(err)
		}
		last := d.halfWidth(0)
		for m := 0; m <= d.random.Predictions; m += 1 + m/16 {
			h := d.halfWidth(m)
			if h > last+1e-9 && last < d.halfWidth(0) {
				t.Errorf("%+v: half-width %g with %d labels, %g with fewer", strata, h, m, last)
			}
			last = min(last, h)
		}
		before := 1 << 30
		for _, half := range []float64{.003, .01, .03, .1, .4} {
			p, err := PlanLabels(strata, 6*time.Hour, half)
			if errors.Is(err, dg.ErrInvalid) && p.HalfWidth > half && p.RandomLabels == d.random.Predictions {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			planned++
			if p.RandomLabels > before || p.HalfWidth > half || p.PerDay != 4*float64(p.RandomLabels) {
				t.Errorf("%+v: %+v after %d labels for less", strata, p, before)
			}
			if p.RandomLabels > 0 && d.halfWidth(p.RandomLabels-1) <= half {
				t.Errorf("%+v: %+v, but one label fewer does", strata, p)
			}
			before = p.RandomLabels
		}
	}
	if refused == 0 || planned == 0 {
		t.Errorf("%d refused, %d planned: the sample should hold both", refused, planned)
	}
}

func TestPlanFromCounts(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := func(i int) time.Time { return noon.Add(time.Duration(i) * time.Hour) }
	counts := []dg.StratumCount{
		{Stratum: dg.Random, Interval: at(0), Predictions: 105, Selected: 5, Labels: 5, Correct: 5},
		{Stratum: dg.Random, Interval: at(1), Predictions: 305, Selected: 5, Labels: 5, Correct: 4},
		{Stratum: dg.LowConfidence, Interval: at(0), Predictions: 10, Selected: 10, Labels: 4, Correct: 2},
		{Stratum: dg.Flagged, Interval: at(0), Predictions: 8, Selected: 6},
	}
	got := PlanFrom(counts)
	want := []PlanStratum{
		{Stratum: dg.LowConfidence, Predictions: 10, Accuracy: .5, Labels: 10, Complete: true, Worth: 1},
		{Stratum: dg.Flagged, Predictions: 8, Accuracy: .5, Labels: 6, Worth: 1},
		{Stratum: dg.Random, Predictions: 410, Accuracy: 9.5 / 11, Labels: 10, Worth: 400. * 400 / (100*100/5. + 300*300/5.) / 10},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i].Stratum != want[i].Stratum || got[i].Predictions != want[i].Predictions || got[i].Labels != want[i].Labels || got[i].Complete != want[i].Complete {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
		near(t, "accuracy", got[i].Accuracy, want[i].Accuracy, 1e-12)
		near(t, "worth", got[i].Worth, want[i].Worth, 1e-12)
	}
	p, err := PlanLabels(got, 2*time.Hour, .1)
	if err != nil {
		t.Fatal(err)
	}
	if p.NowLabels != 10 || p.NowPerDay != 120 || p.OtherLabels != 16 || p.RandomLabels <= 10 || p.NowHalfWidth <= .1 || p.HalfWidth > .1 {
		t.Errorf("%+v", p)
	}
}

func TestPlanRefuses(t *testing.T) {
	some := []PlanStratum{{Stratum: dg.Random, Predictions: 1000, Accuracy: .9}}
	for name, tt := range map[string]struct {
		strata []PlanStratum
		window time.Duration
		half   float64
		want   error
	}{
		"a half-width of nothing":           {some, day, 0, dg.ErrInvalid},
		"a percentage":                      {some, day, 2, dg.ErrInvalid},
		"no window":                         {some, 0, .02, dg.ErrInvalid},
		"more labels than there are":        {[]PlanStratum{{Stratum: dg.Random, Predictions: 1, Labels: 2}}, day, .02, dg.ErrInvalid},
		"an impossible accuracy":            {[]PlanStratum{{Stratum: dg.Random, Predictions: 1, Accuracy: 90}}, day, .02, dg.ErrInvalid},
		"a reason twice":                    {append(some, some...), day, .02, dg.ErrInvalid},
		"no predictions":                    {[]PlanStratum{{Stratum: dg.Random}}, day, .02, dg.ErrTooFewSamples},
		"nothing":                           {nil, day, .02, dg.ErrTooFewSamples},
		"flagged images that nobody labels": {append([]PlanStratum{{Stratum: dg.Flagged, Predictions: 200, Accuracy: .5}}, some...), day, .02, dg.ErrInvalid},
	} {
		if p, err := PlanLabels(tt.strata, tt.window, tt.half); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", name, p, err, tt.want)
		}
	}
	if p, err := PlanLabels([]PlanStratum{{Stratum: dg.Flagged, Predictions: 100, Labels: 100, Accuracy: .5, Complete: true}}, day, .02); err != nil || p.RandomLabels != 0 || p.HalfWidth != 0 {
		t.Errorf("a census of flagged images only: %+v, %v: want no label and no width", p, err)
	}
	p, err := PlanLabels(append([]PlanStratum{{Stratum: dg.Flagged, Predictions: 200, Accuracy: .5}}, some...), day, .02)
	if err == nil || p.RandomLabels != 1000 {
		t.Errorf("%+v, %v: want the best that can be had", p, err)
	}
	near(t, "the best half-width", p.HalfWidth, 200./1200/2, 1e-9)
}
