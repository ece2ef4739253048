package estimate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	dg "driftgate"
)

// rival is one stratum's truth about two models: the chance that only the
// challenger is right, and that only the champion is.
type rival struct {
	group       string
	share       float64 // of the traffic
	pairs       float64 // mean number of held-out pairs, over all intervals
	gains, loss float64
}

// duel draws one comparison over intervals of uneven traffic, and the true
// difference over the traffic drawn.
func duel(rng *rand.Rand, rivals []rival, intervals int) (s []PairStratum, truth float64) {
	var total float64
	for range intervals {
		n := 100 + 300*rng.Float64()
		for _, r := range rivals {
			h := PairStratum{Group: r.group, N: max(1, int(r.share*n))}
			// Hash holdout: the number of pairs of an interval is random.
			mean := r.pairs / float64(intervals)
			h.Pairs = min(h.N, binomial(rng, 5*int(1+mean), mean/(5*float64(int(1+mean)))))
			h.Fraction = min(1, mean*5/float64(h.N))
			h.Gains = binomial(rng, h.Pairs, r.gains)
			h.Losses = binomial(rng, h.Pairs-h.Gains, r.loss/(1-r.gains))
			h.BothRight = (h.Pairs - h.Gains - h.Losses) * 2 / 3
			truth += float64(h.N) * (r.gains - r.loss)
			total += float64(h.N)
			s = append(s, h)
		}
	}
	return s, truth / total
}

// TestPairedDifferenceHonestTails is the promise of the gate's interval: the
// truth lies below it, and above it, in at most 2.5% of the runs each, also
// where losses hide in a heavy stratum with few pairs.
func TestPairedDifferenceHonestTails(t *testing.T) {
	runs, designs := 1000, []int{60}
	if long {
		runs, designs = 20000, []int{1, 12, 60}
	}
	limit := .025 + 3*math.Sqrt(.025*.975/float64(runs)) // the count's own chance
	worlds := map[string][]rival{
		"equal, seldom apart":          {{"random", .87, 1, .01, .01}, {"low", .13, 2, .05, .05}},
		"equal, often apart":           {{"random", .87, 1, .1, .1}, {"low", .13, 2, .25, .25}},
		"gains seen, losses hidden":    {{"random", .87, 1, 0, .03}, {"low", .13, 3, .25, .05}},
		"losses seen, gains hidden":    {{"random", .87, 1, .03, 0}, {"low", .13, 3, .05, .25}},
		"a broken champion":            {{"random", .6, 1, .5, .02}, {"low", .4, 2, .6, .05}},
		"many small reasons":           {{"random", .9, 1, .03, .04}, {"low", .07, 1, .2, .1}, {"flagged", .02, .3, .5, .02}, {"corrected", .01, .2, .6, 0}},
		"random alone, seldom a loss":  {{"random", 1, 1, 0, .01}},
		"random alone, often a loss":   {{"random", 1, 1, .05, .2}},
		"hard ones alone hold all":     {{"random", .5, 1, .0, .0}, {"low", .5, 1, .1, .1}},
		"hidden losses in both strata": {{"random", .8, 1, .02, .03}, {"low", .2, 1, .02, .06}},
	}
	worst := 0.0
	for name, base := range worlds {
		for _, random := range []float64{30, 100, 300} { // pairs of the random stratum
			for _, intervals := range designs {
				rivals := append([]rival(nil), base...)
				for i := range rivals {
					rivals[i].pairs *= random
				}
				cell := fmt.Sprintf("%s, %g random pairs, %d intervals", name, random, intervals)
				rng := source(cell)
				var below, above int
				for range runs {
					s, truth := duel(rng, rivals, intervals)
					d, err := PairedDifference(s)
					if errors.Is(err, dg.ErrTooFewSamples) {
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if truth < d.Lower-1e-12 {
						below++
					}
					if truth > d.Upper+1e-12 {
						above++
					}
				}
				b, a := float64(below)/float64(runs), float64(above)/float64(runs)
				worst = max(worst, a, b)
				if b > limit || a > limit {
					t.Errorf("%s: the truth lies below the bounds in %.4f, above in %.4f of the runs: want at most %.4f", cell, b, a, limit)
				}
			}
		}
	}
	t.Logf("worst share of runs with the truth on one side of the bounds: %.4f", worst)
}

// TestWaldWouldPromoteTooOften is why the bounds are not the point and twice
// its standard error: when the losses hide in few pairs of a heavy stratum,
// that interval clears the truth far more often than it promises.
func TestWaldWouldPromoteTooOften(t *testing.T) {
	const runs = 4000
	rng := source("wald")
	rivals := []rival{{"random", .87, 100, 0, .03}, {"low", .13, 300, .25, .05}}
	var wald, ours int
	for range runs {
		s, truth := duel(rng, rivals, 60)
		d, err := PairedDifference(s)
		if err != nil {
			t.Fatal(err)
		}
		if d.Difference-normalQuantile(.975)*d.StandardError > truth {
			wald++
		}
		if d.Lower > truth {
			ours++
		}
	}
	t.Logf("the truth lies below Wald's bounds in %.4f of the runs, below ours in %.4f; promised .025", float64(wald)/runs, float64(ours)/runs)
	if float64(wald)/runs < .05 || float64(ours)/runs > .025 {
		t.Errorf("Wald %.4f, ours %.4f: want above .05 and at most .025", float64(wald)/runs, float64(ours)/runs)
	}
}

func TestPairedDifferenceAtItsEnds(t *testing.T) {
	must := func(s ...PairStratum) Paired {
		t.Helper()
		d, err := PairedDifference(s)
		if err != nil {
			t.Fatal(err)
		}
		if !(d.Lower <= d.Difference && d.Difference <= d.Upper && d.Lower >= -1 && d.Upper <= 1) {
			t.Errorf("%+v", d)
		}
		return d
	}
	t.Run("weights are the population's", func(t *testing.T) {
		d := must(PairStratum{Group: "random", N: 900, Pairs: 100, BothRight: 90, Losses: 10}, PairStratum{Group: "low", N: 100, Pairs: 100, BothRight: 50, Gains: 50})
		near(t, "difference", d.Difference, -.9*.1+.1*.5, 1e-12)
		near(t, "champion", d.Champion, .9*1+.1*.5, 1e-12)
		near(t, "challenger", d.Challenger, .9*.9+.1*1, 1e-12)
	})
	t.Run("swapping the models mirrors everything", func(t *testing.T) {
		a := must(PairStratum{Group: "random", N: 900, Pairs: 60, BothRight: 50, Losses: 3, Gains: 1}, PairStratum{Group: "low", N: 100, Pairs: 80, BothRight: 30, Gains: 40, Losses: 2})
		b := must(PairStratum{Group: "random", N: 900, Pairs: 60, BothRight: 50, Losses: 1, Gains: 3}, PairStratum{Group: "low", N: 100, Pairs: 80, BothRight: 30, Gains: 2, Losses: 40})
		near(t, "difference", b.Difference, -a.Difference, 1e-12)
		near(t, "lower", b.Lower, -a.Upper, 1e-9)
		near(t, "upper", b.Upper, -a.Lower, 1e-9)
	})
	t.Run("agreeing on few pairs proves little", func(t *testing.T) {
		if d := must(PairStratum{Group: "random", N: 900, Pairs: 30, BothRight: 30}); d.Difference != 0 || d.Lower > -.1 || d.Upper < .1 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("a reason without pairs widens by its weight", func(t *testing.T) {
		whole := PairStratum{Group: "random", N: 9000, Pairs: 3000, BothRight: 2000, Gains: 900}
		a, b := must(whole), must(whole, PairStratum{Group: "flagged", N: 1000})
		near(t, "missing", b.Missing, .1, 1e-12)
		if b.Upper-b.Lower < (a.Upper-a.Lower)*.9+.1 {
			t.Errorf("bounds %g to %g without it, %g to %g with", a.Lower, a.Upper, b.Lower, b.Upper)
		}
	})
	t.Run("intervals without a pair keep their weight in their reason", func(t *testing.T) {
		var s []PairStratum
		for i := range 50 {
			s = append(s, PairStratum{Group: "random", N: 100, Fraction: .05, Pairs: i % 2, Losses: i % 2})
		}
		s = append(s, PairStratum{Group: "low", N: 5000, Fraction: 1, Pairs: 500, Gains: 500})
		near(t, "difference", must(s...).Difference, 0, 1e-12)
	})
	t.Run("unlike fractions are not joined when each has pairs enough", func(t *testing.T) {
		d := must(PairStratum{Group: "random", N: 1000, Fraction: .01, Pairs: 20, Losses: 20}, PairStratum{Group: "random", N: 1000, Fraction: .5, Pairs: 200, Gains: 200})
		near(t, "difference", d.Difference, 0, 1e-12)
	})
	for name, s := range map[string]PairStratum{
		"negative gains":           {N: 10, Pairs: 5, Gains: -1},
		"more outcomes than pairs": {N: 10, Pairs: 5, Gains: 3, Losses: 3},
		"negative predictions":     {N: -1},
		"a fraction of NaN":        {N: 10, Pairs: 5, Fraction: math.NaN()},
	} {
		if _, err := PairedDifference([]PairStratum{{Group: "a", N: 9, Pairs: 9}, s}); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := PairedDifference([]PairStratum{{Group: "a", N: 9}}); !errors.Is(err, dg.ErrTooFewSamples) {
		t.Errorf("no pairs: %v", err)
	}
}

func FuzzPairedDifference(f *testing.F) {
	f.Add(uint64(3), uint8(5))
	f.Add(uint64(158), uint8(2)) // three pairs, all gains: rounding went above 1
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var s []PairStratum
		pairs := 0
		for range n {
			h := PairStratum{Group: fmt.Sprint(rng.IntN(4)), N: rng.IntN(2000), Pairs: rng.IntN(1 << rng.IntN(10)), Fraction: rng.Float64()}
			h.Gains = rng.IntN(h.Pairs + 1)
			h.Losses = rng.IntN(h.Pairs - h.Gains + 1)
			h.BothRight = rng.IntN(h.Pairs - h.Gains - h.Losses + 1)
			pairs += h.Pairs
			s = append(s, h)
		}
		d, err := PairedDifference(s)
		if pairs == 0 {
			if !errors.Is(err, dg.ErrTooFewSamples) {
				t.Fatal(err)
			}
			return
		}
		if err != nil || !(d.Lower <= d.Difference && d.Difference <= d.Upper && d.Lower >= -1 && d.Upper <= 1) ||
			math.Abs(d.Challenger-d.Champion-d.Difference) > 1e-9 || math.IsNaN(d.StandardError) {
			t.Fatalf("%+v, %v of %+v", d, err, s)
		}
	})
}

func TestSampleWeightsAreThoseOfThePairedDifference(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261122, 8))
	for range 200 {
		var strata []PairStratum
		for range 1 + rng.IntN(30) {
			h := PairStratum{Group: []string{"random", "low", "flagged"}[rng.IntN(3)], N: rng.IntN(300), Fraction: float64(rng.IntN(20)) / 20}
			h.Pairs = rng.IntN(min(h.N, 15) + 1)
			h.BothRight = rng.IntN(h.Pairs + 1)
			h.Gains = rng.IntN(h.Pairs - h.BothRight + 1)
			strata = append(strata, h)
		}
		want, err := PairedDifference(strata)
		if err != nil {
			continue // no pairs
		}
		var right, all float64
		for i, w := range SampleWeights(strata) {
			right += w * float64(strata[i].BothRight+strata[i].Gains)
			all += w * float64(strata[i].Pairs)
		}
		if got := right / all; math.Abs(got-want.Challenger) > 1e-9 {
			t.Fatalf("accuracy by weights %.9f, by the paired difference %.9f: %+v", got, want.Challenger, strata)
		}
	}
}
