package estimate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	dg "driftgate"
)

func FuzzStratified(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(9), uint8(40))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var s []Stratum
		labels := 0
		for range n {
			h := Stratum{N: rng.IntN(1 << rng.IntN(30)), Group: []string{"", "a", "b"}[rng.IntN(3)]}
			if h.N > 0 && rng.IntN(4) > 0 {
				h.M = rng.IntN(min(h.N, 1000)) + rng.IntN(2)
				h.K = float64(rng.IntN(h.M + 1))
			}
			labels += h.M
			s = append(s, h)
		}
		e, err := Stratified(s)
		if labels == 0 {
			if !errors.Is(err, dg.ErrTooFewSamples) {
				t.Fatalf("no labels: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !(0 <= e.Lower && e.Lower <= e.Accuracy && e.Accuracy <= e.Upper && e.Upper <= 1) {
			t.Fatalf("%+v of %+v", e, s)
		}
		if !(e.StandardError >= 0) || !(e.EffectiveLabels > 0) || e.Labels != labels {
			t.Fatalf("%+v of %+v", e, s)
		}
		if _, err := json.Marshal(e); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		// The names of the groups and the order of the strata mean nothing.
		shuffled := slices.Clone(s)
		rng.Shuffle(len(s), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again, err := Stratified(shuffled)
		if err != nil || math.Abs(again.Lower-e.Lower) > 1e-6 || math.Abs(again.Upper-e.Upper) > 1e-6 || math.Abs(again.StandardError-e.StandardError) > 1e-9 {
			t.Fatalf("shuffled %+v, %v: want %+v", again, err, e)
		}
	})
}

func TestStratifiedRefuses(t *testing.T) {
	for name, s := range map[string]Stratum{
		"negative predictions":        {N: -1},
		"negative labels":             {N: 3, M: -1},
		"negative correct":            {N: 3, M: 1, K: -1},
		"more correct than labels":    {N: 3, M: 1, K: 2},
		"correct without any labels":  {N: 3, K: 1},
		"correct without predictions": {K: 1},
	} {
		if _, err := Stratified([]Stratum{{N: 5, M: 5, K: 5}, s}); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestLabelledRefuses(t *testing.T) {
	if _, err := Labelled(0, 0); !errors.Is(err, dg.ErrTooFewSamples) {
		t.Errorf("no labels: %v", err)
	}
	for _, c := range [][2]int{{3, 2}, {-1, 2}, {0, -1}} {
		if _, err := Labelled(float64(c[0]), c[1]); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", c, err)
		}
	}
}

func TestGroupOfOneIsTheStratumAlone(t *testing.T) {
	rng := source("alone")
	for range 200 {
		var alone, grouped []Stratum
		for i := range 1 + rng.IntN(4) {
			n := 2 + rng.IntN(5000)
			m := 1 + rng.IntN(min(n, 300))
			h := Stratum{N: n, M: m, K: float64(rng.IntN(m + 1))}
			alone = append(alone, h)
			h.Group = fmt.Sprint(i)
			grouped = append(grouped, h)
		}
		a, err1 := Stratified(alone)
		b, err2 := Stratified(grouped)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		near(t, "lower", b.Lower, a.Lower, 1e-9)
		near(t, "upper", b.Upper, a.Upper, 1e-9)
	}
}

func TestMoreLabelsNarrow(t *testing.T) {
	last := 2.0
	for _, m := range []int{10, 30, 100, 300, 1000, 3000, 10000} {
		e, err := Stratified([]Stratum{{N: 10000, M: m, K: float64(m * 9 / 10)}})
		if err != nil {
			t.Fatal(err)
		}
		if w := e.Upper - e.Lower; w >= last {
			t.Errorf("%d labels: width %g, before %g", m, w, last)
		} else {
			last = w
		}
	}
	if last != 0 {
		t.Errorf("all labelled: width %g, want 0", last)
	}
}

func TestBetaQuantileInverts(t *testing.T) {
	for _, p := range []float64{.025, .5, .975} {
		near(t, "uniform", betaQuantile(p, 1, 1), p, 1e-12)
		near(t, "power", betaQuantile(p, 7, 1), math.Pow(p, 1./7), 1e-12)
		near(t, "arcsine", betaQuantile(p, .5, .5), math.Pow(math.Sin(math.Pi*p/2), 2), 1e-9)
		for _, ab := range [][2]float64{{.01, .003}, {1e-3, 5}, {2e6, 3}, {4e8, 3e8}, {1e-6, 1e-6}} {
			x := betaQuantile(p, ab[0], ab[1])
			if !(x >= 0 && x <= 1) {
				t.Errorf("Beta%v at %g: %g", ab, p, x)
			}
		}
	}
}

func TestReferenceIsARateNotAWindow(t *testing.T) {
	census := []dg.StratumCount{{Stratum: dg.Random, Interval: newYear, Predictions: 300, Labels: 300, Correct: 270}}
	sample := []dg.StratumCount{{Stratum: dg.Random, Interval: newYear, Predictions: 1 << 40, Labels: 300, Correct: 270}}
	a, ok1 := Reference(census)
	b, ok2 := Reference(sample)
	if !ok1 || !ok2 || math.Abs(a-b) > 1e-6 || a <= .1 {
		t.Errorf("everything labelled %g, a sample %g: want the same, above .1: the next 300 are not these", a, b)
	}
	for name, counts := range map[string][]dg.StratumCount{
		"nothing":           nil,
		"no labels":         {{Stratum: dg.Random, Predictions: 10}},
		"impossible counts": {{Stratum: dg.Random, Predictions: 10, Labels: 5, Correct: 6}},
		"all wrong":         {{Stratum: dg.Random, Predictions: 10, Labels: 10}},
	} {
		if upper, ok := Reference(counts); ok {
			t.Errorf("%s: %g, want none", name, upper)
		}
	}
}

// TestReferenceHolds: the true error lies above the bound in at most 2.5% of
// the runs, the drawing of predictions into strata included.
func TestReferenceHolds(t *testing.T) {
	runs := 3000
	if long {
		runs = 20000
	}
	for _, errorRate := range []float64{.02, .1, .3} {
		rng := source(fmt.Sprint("reference ", errorRate))
		above := 0
		for range runs {
			k := errorRate / (.85 + .15*4)
			low := binomial(rng, 1200, .15)
			m := min(low, 120)
			upper, ok := Reference([]dg.StratumCount{
				{Stratum: dg.LowConfidence, Interval: newYear, Predictions: low, Labels: m, Correct: m - binomial(rng, m, 4*k)},
				{Stratum: dg.Random, Interval: newYear, Predictions: 1200 - low, Labels: 80, Correct: 80 - binomial(rng, 80, k)},
			})
			if !ok {
				t.Fatal("no reference")
			}
			if upper < errorRate {
				above++
			}
		}
		share := float64(above) / float64(runs)
		t.Logf("error %g: above the bound in %.4f of %d runs", errorRate, share, runs)
		if limit := .025 + 3*math.Sqrt(.025*.975/float64(runs)); share > limit {
			t.Errorf("error %g lies above the bound in %.4f of the runs, want at most %.4f", errorRate, share, limit)
		}
	}
}
