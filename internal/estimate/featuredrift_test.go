package estimate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mathext"

	dg "driftgate"
)

func TestQuadraticTailAgainstExactOnes(t *testing.T) {
	// Equal weights are chi-square; pairs of equal weights are exponentials.
	for _, x := range []float64{.5, 3, 7.9, 8, 8.1, 20, 60, 120} {
		exact := mathext.GammaIncRegComp(4, x/2)
		within(t, fmt.Sprintf("chi-square of 8 at %g", x), quadraticTail([]float64{1, 1, 1, 1, 1, 1, 1, 1}, x), exact, .02)
		within(t, fmt.Sprintf("scaled at %g", x), quadraticTail([]float64{3, 3, 3, 3, 3, 3, 3, 3}, 3*x), exact, .02)
	}
	for _, x := range []float64{4, 10, 20, 40} {
		for _, b := range []float64{.5, .1, .01} {
			exact := (2*math.Exp(-x/2) - 2*b*math.Exp(-x/(2*b))) / (2 - 2*b)
			within(t, fmt.Sprintf("weights 1, 1, %g, %g at %g", b, b, x), quadraticTail([]float64{1, 1, b, b}, x), exact, .12)
		}
	}
	if p := quadraticTail([]float64{1, .5}, 0); p != 1 {
		t.Errorf("at 0: %g", p)
	}
	last := 1.0
	for x := .01; x < 50; x += .01 {
		p := quadraticTail([]float64{1, .7, .2}, x)
		if !(p <= last+1e-6) {
			t.Fatalf("at %g: %g after %g", x, p, last)
		}
		last = p
	}
	for _, level := range []float64{.5, .01, 1e-6} {
		near(t, "quantile", quadraticTail([]float64{1, .7, .2}, quadraticQuantile([]float64{1, .7, .2}, level)), level, 1e-6*level)
	}
}

func within(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > share*want {
		t.Errorf("%s: %.6g, want %.6g within %g%%", what, got, want, 100*share)
	}
}

// nature draws penultimate features: ten classes around centres of their own,
// after a ReLU. shift moves all of them, blur widens them.
type nature struct {
	sketch  *Sketch
	centres [][]float64
	phi     []float64
}

func newNature(rng *rand.Rand) *nature {
	n := &nature{sketch: NewSketch(64, 11), phi: make([]float64, SketchSize)}
	for range 10 {
		c := make([]float64, 64)
		for i := range c {
			c[i] = 1.5 * rng.NormFloat64()
		}
		n.centres = append(n.centres, c)
	}
	return n
}

// pool draws sketches once; looks without drift then draw from it, with
// replacement, which is ten times faster.
func (n *nature) pool(rng *rand.Rand, size int) func(count int) FeatureSums {
	all := make([][]float64, size)
	for i := range all {
		all[i] = n.sums(rng, 1, 0, 0).Sum
	}
	return func(count int) FeatureSums {
		var f FeatureSums
		for range count {
			f.Add(all[rng.IntN(size)])
		}
		return f
	}
}

func (n *nature) sums(rng *rand.Rand, count int, shift, blur float64) FeatureSums {
	var f FeatureSums
	x := make([]float32, 64)
	for range count {
		c := n.centres[rng.IntN(len(n.centres))]
		for i := range x {
			x[i] = float32(max(0, c[i]+shift+(1+blur)*rng.NormFloat64()))
		}
		n.sketch.Map(x, n.phi)
		f.Add(n.phi)
	}
	return f
}

func TestFeatureDriftIsQuietWithoutDrift(t *testing.T) {
	for _, size := range [][2]int{{50, 100}, {100, 300}, {300, 300}, {1000, 1000}} {
		rng := source(fmt.Sprint("features ", size))
		draw := newNature(rng).pool(rng, 10000)
		exceedances(t, fmt.Sprintf("features, %d against %d", size[0], size[1]), looks(250, 20000), func() (Drift, error) {
			return FeatureDrift(draw(size[0]), draw(size[1]), usualLevel)
		})
	}
}

func TestFeatureDriftSees(t *testing.T) {
	rng := source("feature power")
	n := newNature(rng)
	for _, tt := range []struct {
		name        string
		shift, blur float64
		least       float64
	}{{"all features one deviation up", 1, 0, .95}, {"noise of twice the deviation", 0, 1, .95}} {
		got := power(t, 40, func() (Drift, error) {
			return FeatureDrift(n.sums(rng, 1000, tt.shift, tt.blur), n.sums(rng, 1000, 0, 0), usualLevel)
		})
		t.Logf("%s, 1000 against 1000: seen in %.3f of the looks", tt.name, got)
		if got < tt.least {
			t.Errorf("%s: seen in %.3f of the looks", tt.name, got)
		}
	}
}

func TestFeatureDriftRefuses(t *testing.T) {
	rng := source("feature refusals")
	good, other := someSums(rng, 60, 4), someSums(rng, 60, 5)
	for name, tt := range map[string]struct {
		now, before FeatureSums
		level       float64
		want        error
	}{
		"another sketch":   {good, other, .01, dg.ErrInvalid},
		"level 0":          {good, good, 0, dg.ErrInvalid},
		"NaN":              {FeatureSums{N: 60, Sum: []float64{math.NaN()}, Cross: []float64{1}}, good, .01, dg.ErrInvalid},
		"nothing now":      {FeatureSums{}, good, .01, dg.ErrTooFewSamples},
		"a tiny reference": {good, someSums(rng, 49, 4), .01, dg.ErrTooFewSamples},
	} {
		if _, err := FeatureDrift(tt.now, tt.before, tt.level); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	same := FeatureSums{}
	for range 60 {
		same.Add([]float64{1, 0})
	}
	if d, err := FeatureDrift(same, same, .01); err != nil || d.Exceeded() || d.PValue != 1 {
		t.Errorf("all alike: %+v, %v", d, err)
	}
	moved := FeatureSums{}
	for range 60 {
		moved.Add([]float64{0, 1})
	}
	if d, err := FeatureDrift(moved, same, .01); err != nil || !d.Exceeded() || d.PValue != 0 || math.Abs(d.Score-math.Sqrt2) > 1e-12 {
		t.Errorf("all alike, elsewhere: %+v, %v", d, err)
	}
}
