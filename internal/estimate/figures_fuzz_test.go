package estimate

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	dg "driftgate"
)

// FuzzEstimates: whatever the counts, no panic, and every figure is a number
// within its bounds that can travel as JSON.
func FuzzEstimates(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed, uint8(seed%7), seed%3 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, wild bool) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var counts []dg.StratumCount
		for range n {
			counts = append(counts, randomCount(rng, wild))
		}
		l := LambdasOf(counts)
		l[dg.Flagged] = rng.Float64()*4 - 2
		l[dg.Corrected] = []float64{math.NaN(), math.Inf(1), math.Inf(-1), .5}[rng.IntN(4)]
		r, ok := RectifierOf(counts)
		for _, e := range Estimates(counts, 1, l, r) {
			if !(0 <= e.Lower && e.Lower <= e.Accuracy && e.Accuracy <= e.Upper && e.Upper <= 1) || !(e.StandardError >= 0) || e.EffectiveLabels < 0 {
				t.Fatalf("%+v of %+v", e, counts)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
		if ok && (!(r.SE > 0) || !(math.Abs(r.Mean) <= 1) || r.Labels < 1) {
			t.Fatalf("%+v of %+v", r, counts)
		}
		if g := GapOf(r, Rectifier{Mean: .1, SE: .1, Labels: 3}); !(g.Lower <= g.Difference && g.Difference <= g.Upper) {
			t.Fatalf("%+v of %+v", g, counts)
		}
		for _, p := range PlanFrom(counts) {
			if !(p.Accuracy > 0 && p.Accuracy < 1 && p.Worth > 0 && p.Worth <= 1) || p.Labels > p.Predictions {
				t.Fatalf("%+v of %+v", p, counts)
			}
		}
		if _, err := PlanLabels(PlanFrom(counts), day, .02); err != nil && !errors.Is(err, dg.ErrInvalid) && !errors.Is(err, dg.ErrTooFewSamples) {
			t.Fatalf("%v of %+v", err, counts)
		}
	})
}

// randomCount is a stratum with predictions that people may disagree about;
// wild, any numbers at all.
func randomCount(rng *rand.Rand, wild bool) dg.StratumCount {
	c := dg.StratumCount{Stratum: dg.Strata[rng.IntN(len(dg.Strata))], Interval: newYear}
	if wild {
		wide := func() int64 { return rng.Int64N(1<<rng.IntN(40)+1) - int64(rng.IntN(2))*rng.Int64N(1<<rng.IntN(40)+1) }
		c.Predictions, c.Labels, c.Correct, c.Selected = int(wide()), int(wide()), int(wide()), int(wide())
		c.Moments = dg.Moments{Unscored: int(wide()), F: wide(), FF: wide(), LabelF: wide(), LabelFF: wide(), LabelYF: wide(), LabelYY: wide(), Dissent: wide()}
		return c
	}
	c.Predictions = rng.IntN(1 << rng.IntN(9))
	for range c.Predictions {
		f := int64(rng.IntN(1001))
		if rng.IntN(9) == 0 {
			c.Unscored, f = c.Unscored+1, 0
		}
		c.F += f
		c.FF += f * f
		if rng.IntN(3) > 0 {
			continue
		}
		y := []int64{0, 333, 667, 1000, 1000}[rng.IntN(5)]
		c.Labels++
		c.Dissent += y
		if y > 500 {
			c.Correct++
			c.Dissent -= 1000
		}
		c.LabelF += f
		c.LabelFF += f * f
		c.LabelYF += y * f
		c.LabelYY += y * y
	}
	return c
}
