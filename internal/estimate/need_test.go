package estimate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// grow adds one pair of the stratum's kind.
func grow(rng *rand.Rand, h *PairStratum, gains, losses float64) {
	h.Pairs++
	switch x := rng.Float64(); {
	case x < gains:
		h.Gains++
	case x < gains+losses:
		h.Losses++
	default:
		h.BothRight++
	}
}

// TestLabelsToDecideKeepsItsWord lets judgements that were inconclusive go on
// until they are decided, and compares the labels that it took with those that
// were named. One judgement may be far out, because what it saw of the
// difference is; the middle one is not.
func TestLabelsToDecideKeepsItsWord(t *testing.T) {
	runs := 60
	if long {
		runs = 400
	}
	const margin, bar = 0, .01
	for _, tt := range []struct {
		first  int
		better float64
		hard   bool
	}{
		{100, .03, false}, {100, .05, false}, {100, .10, false}, {300, .03, false}, {300, .05, false}, {300, -.02, false}, {300, .05, true}, {100, .10, true},
	} {
		rng := source(fmt.Sprintf("need %+v", tt))
		var named, took, ratio []float64
		for range runs {
			strata := []PairStratum{{Group: "random", N: 90_000_000, Fraction: .01}, {Group: "low", N: 10_000_000, Fraction: 1}}
			n := 0
			add := func(to int) {
				for ; n < to; n++ {
					if tt.hard && n%2 == 0 {
						grow(rng, &strata[1], .15+max(0, tt.better), .15+max(0, -tt.better))
					} else {
						grow(rng, &strata[0], .05+max(0, tt.better), .05+max(0, -tt.better))
					}
				}
			}
			s := func() []PairStratum {
				if tt.hard {
					return strata
				}
				return strata[:1]
			}
			decided := func() bool {
				d, err := PairedDifference(s())
				return err == nil && (d.Lower > margin || d.Upper <= bar)
			}
			add(tt.first)
			if decided() {
				continue
			}
			more, ok := LabelsToDecide(s(), margin, bar)
			if !ok {
				more = MostPairs
			}
			for n < 200_000 && !decided() {
				add(n + max(5, n/20))
			}
			named = append(named, float64(more))
			took = append(took, float64(n-tt.first))
			ratio = append(ratio, float64(n)/float64(tt.first+more))
		}
		if len(named) < 10 {
			t.Fatalf("%+v: only %d of %d judgements were inconclusive", tt, len(named), runs)
		}
		for _, x := range [][]float64{named, took, ratio} {
			slices.Sort(x)
		}
		at := func(x []float64, q float64) float64 { return x[int(q*float64(len(x)-1))] }
		t.Logf("first %d pairs, %+.0f points, hard %v: inconclusive %d of %d; more labels named: median %.0f, taken: median %.0f; pairs taken over pairs named: median %.2f, a tenth below %.2f, a tenth above %.2f",
			tt.first, 100*tt.better, tt.hard, len(named), runs, at(named, .5), at(took, .5), at(ratio, .5), at(ratio, .1), at(ratio, .9))
		if m := at(ratio, .5); m < .5 || m > 2 {
			t.Errorf("%+v: median of pairs taken over pairs named is %.2f, want within a factor of two", tt, m)
		}
	}
}

func TestLabelsToDecideAtItsEnds(t *testing.T) {
	even := PairStratum{Group: "random", N: 1000, Pairs: 200, BothRight: 160, Gains: 20, Losses: 20}
	if more, ok := LabelsToDecide([]PairStratum{even}, 0, .01); !ok || more < 1000 {
		t.Errorf("even trade: %d, %v; want thousands until it is clear that nothing is gained", more, ok)
	}
	atTheBar := PairStratum{Group: "random", N: 1000, Pairs: 200, BothRight: 160, Gains: 21, Losses: 19}
	if more, ok := LabelsToDecide([]PairStratum{atTheBar}, .01, .01); ok {
		t.Errorf("a difference at the bar: %d, want none named", more)
	}
	clear := PairStratum{Group: "random", N: 1000, Pairs: 200, BothRight: 140, Gains: 60}
	if more, ok := LabelsToDecide([]PairStratum{clear}, 0, .01); !ok || more != 0 {
		t.Errorf("decided already: %d, %v", more, ok)
	}
	if more, ok := LabelsToDecide(nil, 0, .01); ok || more != 0 {
		t.Errorf("nothing: %d, %v", more, ok)
	}
	near := PairStratum{Group: "random", N: 1000, Pairs: 200, BothRight: 180, Gains: 15, Losses: 5}
	far := PairStratum{Group: "random", N: 1000, Pairs: 200, BothRight: 183, Gains: 11, Losses: 5}
	a, _ := LabelsToDecide([]PairStratum{near}, 0, .01)
	b, _ := LabelsToDecide([]PairStratum{far}, 0, .01)
	if a >= b {
		t.Errorf("a larger gain takes %d, a smaller %d: want fewer", a, b)
	}
}

func TestHolm(t *testing.T) {
	for _, tt := range []struct{ p, want []float64 }{
		{nil, []float64{}},
		{[]float64{.01, .04, .03}, []float64{.03, .06, .06}},
		{[]float64{.5, .5}, []float64{1, 1}},
		{[]float64{.01, .01, .01}, []float64{.03, .03, .03}},
		{[]float64{-1, .02}, []float64{1, .04}},
	} {
		got := Holm(tt.p)
		for i := range tt.want {
			near(t, fmt.Sprint(tt.p), got[i], tt.want[i], 1e-12)
		}
	}
}

func TestPairedPBelongsToTheBounds(t *testing.T) {
	rng := source("p")
	for range 100 {
		h := PairStratum{Group: "r", N: 5000, Pairs: 50 + rng.IntN(400)}
		h.Gains = rng.IntN(40)
		h.Losses = rng.IntN(min(40, h.Pairs-h.Gains))
		s := []PairStratum{h, {Group: "l", N: 300, Pairs: 60, Gains: rng.IntN(20), Losses: rng.IntN(20)}}
		p := PairedP(s)
		if p >= .999 {
			continue
		}
		in, err1 := PairedDifferenceAt(s, p*.99)
		out, err2 := PairedDifferenceAt(s, min(.9999, p*1.01))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if p > 2e-12 && (in.Lower > 0 || in.Upper < 0) || out.Lower <= 0 && out.Upper >= 0 {
			t.Fatalf("p %g of %+v: bounds %g to %g just below it, %g to %g just above", p, s, in.Lower, in.Upper, out.Lower, out.Upper)
		}
	}
	if p := PairedP(nil); p != 1 {
		t.Errorf("nothing: %g", p)
	}
}
