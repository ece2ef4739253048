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
	runs, limit := 2000, .025+3*.0035
	if long {
		runs, limit = 20000, .025+3*.0011
	}
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
	for name, base := range worlds {
		for _, random := range []float64{30, 100, 300} { // pairs of the random stratum
			for _, intervals := range []int{1, 60} {
				rivals := append([]rival(nil), base...)
				for i := range rivals {
					rivals[i].pairs *= random
				}
				cell := fmt.Sprintf("%s, %g random pairs, %d intervals", name, random, intervals)
				rng := source(cell)
				var below, above int
				var width float64
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
					width += (d.Upper - d.Lower) / float64(runs)
				}
				b, a := float64(below)/float64(runs), float64(above)/float64(runs)
				t.Logf("%s: below %.4f, above %.4f, width %.3f", cell, b, a, width)
				if b > limit || a > limit {
					t.Errorf("%s: the truth lies below the bounds in %.4f, above in %.4f of the runs: want at most %.4f", cell, b, a, limit)
				}
			}
		}
	}
}

var _ = math.Inf
