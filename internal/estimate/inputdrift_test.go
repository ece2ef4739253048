package estimate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	dg "driftgate"
)

// usualLevel is that of a look an hour and a run length of a year.
var usualLevel = Level(time.Hour, Year)

func TestLevelSpreadsTheRunLength(t *testing.T) {
	near(t, "an hour in a year", usualLevel, 1/(2*8766.), 1e-15)
	if l := Level(0, Year); l != 0 {
		t.Errorf("no looks: %g", l)
	}
	if l := Level(Year, time.Hour); l != .5 {
		t.Errorf("looks rarer than the run length: %g", l)
	}
	// However the looks depend on each other, the first alarm comes late
	// enough: here at their worst, when they exclude each other.
	for _, a := range []float64{.3, .07, .01} {
		var mean float64
		for j := 0; float64(j)*a < 1; j++ {
			mean += 1 - float64(j)*a
		}
		if mean < 1/(2*a) {
			t.Errorf("level %g: first alarm after %g looks, want at least %g", a, mean, 1/(2*a))
		}
	}
}

// shares draws counts of n predictions over classes.
func shares(rng *rand.Rand, n int, p []float64) []int {
	upTo := make([]float64, len(p))
	var sum float64
	for i, x := range p {
		sum += x
		upTo[i] = sum
	}
	counts := make([]int, len(p))
	for range n {
		i, _ := slices.BinarySearch(upTo, rng.Float64()*sum)
		counts[min(i, len(p)-1)]++
	}
	return counts
}

func zipf(classes int, power float64) []float64 {
	p := make([]float64, classes)
	for i := range p {
		p[i] = math.Pow(float64(i+1), -power)
	}
	return p
}

// exceedances is the share of looks without drift whose p-value lies below each
// level; it fails where that is more than the level.
func exceedances(t *testing.T, name string, runs int, look func() (Drift, error)) {
	t.Helper()
	levels := []float64{1e-2, 1e-3, 1e-4}
	hits := make([]int, len(levels))
	for range runs {
		d, err := look()
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range levels {
			if d.PValue < l {
				hits[i]++
			}
		}
	}
	share := make([]float64, len(levels))
	for i, l := range levels {
		share[i] = float64(hits[i]) / float64(runs)
		if limit := l + 3*math.Sqrt(l/float64(runs)); share[i] > limit {
			t.Errorf("%s: level %g passed in %.5f of %d looks without drift", name, l, share[i], runs)
		}
	}
	t.Logf("%-44s passed .01 in %.4f, .001 in %.5f, .0001 in %.6f of %d looks", name, share[0], share[1], share[2], runs)
}

func looks(quick, full int) int {
	if long {
		return full
	}
	return quick
}

func TestMixDriftIsQuietWithoutDrift(t *testing.T) {
	for _, tt := range []struct {
		classes int
		power   float64
		n, m    int
	}{
		{2, 4, 100, 1000}, {3, 2, 30, 300}, {10, 0, 30, 300}, {10, 0, 5000, 1000}, {10, 1, 100, 1000}, {10, 1, 1000, 1000},
		{10, 2, 5000, 300}, {10, 3, 1000, 1000}, {100, 0, 100, 1000}, {100, 1, 1000, 1000}, {1000, 1, 1000, 1000},
	} {
		name := fmt.Sprintf("%d classes, power %g, %d against %d", tt.classes, tt.power, tt.n, tt.m)
		rng, p := source("mix "+name), zipf(tt.classes, tt.power)
		exceedances(t, name, looks(400, 40000), func() (Drift, error) {
			return MixDrift(shares(rng, tt.n, p), shares(rng, tt.m, p), usualLevel)
		})
	}
}

// power is how often a look passes its threshold.
func power(t *testing.T, runs int, look func() (Drift, error)) float64 {
	t.Helper()
	n := 0
	for range runs {
		d, err := look()
		if err != nil {
			t.Fatal(err)
		}
		if d.Exceeded() {
			n++
		}
		if math.Abs(d.Score-d.Threshold) > 1e-9 && d.Exceeded() != (d.PValue < usualLevel) {
			t.Fatalf("%+v: score and p-value disagree at level %g", d, usualLevel)
		}
	}
	return float64(n) / float64(runs)
}

func TestMixDriftSees(t *testing.T) {
	before := zipf(10, 0)
	for _, tt := range []struct {
		n     int
		share float64 // of the first class, .1 before
		least float64
	}{{1000, .22, .9}, {5000, .2, .9}, {200, .33, .9}} {
		after := slices.Repeat([]float64{(1 - tt.share) / 9}, 10)
		after[0] = tt.share
		rng := source(fmt.Sprint("mix power ", tt.n))
		got := power(t, 400, func() (Drift, error) {
			return MixDrift(shares(rng, tt.n, after), shares(rng, 1000, before), usualLevel)
		})
		t.Logf("one of ten classes from 10%% to %.0f%%, %d against 1000 predictions: seen in %.3f of the looks", 100*tt.share, tt.n, got)
		if got < tt.least {
			t.Errorf("share %g of %d: seen in %.3f, want %g", tt.share, tt.n, got, tt.least)
		}
	}
}

func TestMixDriftByHand(t *testing.T) {
	d, err := MixDrift([]int{300, 100}, []int{100, 100}, .01)
	if err != nil {
		t.Fatal(err)
	}
	js := .5*(.75*math.Log2(.75/.625)+.25*math.Log2(.25/.375)) + .5*(.5*math.Log2(.5/.625)+.5*math.Log2(.5/.375))
	near(t, "distance", d.Score, math.Sqrt(js), 1e-12)
	if d.Predictions != 400 || d.Reference != 200 || !d.Exceeded() {
		t.Errorf("%+v", d)
	}
	// Chi-square, one degree of freedom, at half the level; the correction is
	// small for hundreds of predictions.
	want := math.Sqrt(7.8794 / (8 * math.Ln2 * 400 * 200 / 600))
	near(t, "threshold", d.Threshold, want, .01*want)
	if d, err := MixDrift([]int{500, 0}, []int{0, 500}, .01); err != nil || math.Abs(d.Score-1) > 1e-12 || !d.Exceeded() {
		t.Errorf("disjoint mixes: %+v, %v", d, err)
	}
	if d, err := MixDrift([]int{50, 150, 0}, []int{100, 300, 0}, .01); err != nil || d.Score != 0 || d.PValue != 1 {
		t.Errorf("the same mix: %+v, %v", d, err)
	}
	for _, lone := range [][2][]int{{{9, 0}, {20, 0}}, {{1, 1, 1}, {1, 1, 1}}} {
		if d, err := MixDrift(lone[0], lone[1], .01); err != nil || d.Exceeded() || d.PValue != 1 {
			t.Errorf("nothing to compare in %v: %+v, %v", lone, d, err)
		}
	}
}

// TestMeanDivergence is exact for one hand of cards: all ways to split.
func TestMeanDivergence(t *testing.T) {
	const n, m, total = 5, 7, 4
	choose := func(n, k int) float64 {
		c := 1.0
		for i := range k {
			c = c * float64(n-i) / float64(i+1)
		}
		return c
	}
	var want float64
	for x := 0; x <= total; x++ {
		want += choose(n, x) * choose(m, total-x) / choose(n+m, total) * divergence(float64(x)/n, float64(total-x)/m)
	}
	near(t, "mean", meanDivergence(n, m, total), want, 1e-12)
	// Far from any edge: 1/(8 ln 2) (1/n + 1/m) (1 - share).
	near(t, "limit", meanDivergence(1e6, 2e6, 3e5)*8*math.Ln2/(1.5e-6), .9, 1e-3)
}

func TestRareClassesAreJudgedTogether(t *testing.T) {
	for _, tt := range []struct {
		name        string
		now, before []int
		least       float64
		want        [][2]int
	}{
		{"common ones stand alone", []int{5, 6}, []int{6, 5}, 10, [][2]int{{5, 6}, {6, 5}}},
		{"rare ones join in their order", []int{20, 1, 2, 3, 4}, []int{20, 3, 4, 3, 4}, 8, [][2]int{{20, 20}, {6, 10}, {4, 4}}},
		{"what is left joins the last group", []int{20, 2, 2, 1}, []int{20, 2, 2, 0}, 8, [][2]int{{20, 20}, {5, 4}}},
		{"or the rarest class", []int{20, 9, 1}, []int{20, 9, 1}, 8, [][2]int{{20, 20}, {10, 10}}},
		{"or stands alone", []int{1, 1}, []int{1, 0}, 8, [][2]int{{2, 1}}},
		{"nobody's class counts for nothing", []int{0, 9, 9}, []int{0, 9, 9}, 8, [][2]int{{9, 9}, {9, 9}}},
	} {
		got := mixGroups(tt.now, tt.before, tt.least)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzMixDrift(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6}, .01)
	f.Add([]byte{0, 0, 255, 0}, 1e-9)
	f.Fuzz(func(t *testing.T, b []byte, level float64) {
		var now, before []int
		for i, x := range b {
			if i%2 == 0 {
				now = append(now, int(x)*int(x))
			} else {
				before = append(before, int(x))
			}
		}
		for _, test := range []func([]int, []int, float64) (Drift, error){MixDrift, ConfidenceDrift} {
			d, err := test(now, before, level)
			if err != nil {
				if !errors.Is(err, dg.ErrInvalid) && !errors.Is(err, dg.ErrTooFewSamples) {
					t.Fatal(err)
				}
				continue
			}
			if _, err := json.Marshal(d); err != nil || !(d.Score >= 0 && d.Score <= 1) || !(d.Threshold >= 0 && d.Threshold <= 1) || !(d.PValue >= 0 && d.PValue <= 1) {
				t.Fatalf("%v against %v: %+v, %v", now, before, d, err)
			}
		}
	})
}

// TestConfidenceDriftBoundsEveryOrder deals all orders of n and m predictions:
// the chance of a distance must never be above what its p-value says.
func TestConfidenceDriftBoundsEveryOrder(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 6}, {2, 3}, {3, 3}, {4, 4}, {5, 8}, {7, 7}} {
		n, m := size[0], size[1]
		count := map[float64]int{}
		p := map[float64]float64{}
		all := 0
		for mask := range 1 << (n + m) {
			now, before, ones := make([]int, n+m), make([]int, n+m), 0
			for i := range n + m {
				now[i] = mask >> i & 1
				before[i] = 1 - now[i]
				ones += now[i]
			}
			if ones != n {
				continue
			}
			d, err := ConfidenceDrift(now, before, .5)
			if err != nil {
				t.Fatal(err)
			}
			score := math.Round(d.Score*1e9) / 1e9
			count[score]++
			p[score] = max(p[score], d.PValue)
			all++
		}
		for score := range count {
			reached := 0
			for other, k := range count {
				if other >= score {
					reached += k
				}
			}
			if exact := float64(reached) / float64(all); exact > p[score]+1e-6 {
				t.Errorf("%d and %d: distance %g has chance %.4f, p-value says %.4f", n, m, score, exact, p[score])
			}
		}
	}
}

// bands is a stand-in for confidences: most are near 1.
var bands = []float64{.01, .02, .02, .02, .03, .03, .04, .05, .05, .08, .1, .15, .2, .2}

func TestConfidenceDrift(t *testing.T) {
	d, err := ConfidenceDrift([]int{1, 2, 1}, []int{3, 1, 0}, .01)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "distance", d.Score, .5, 1e-12)
	near(t, "p", d.PValue, 1, 0)
	if d.Threshold != 1 {
		t.Errorf("threshold %g of four predictions, want 1: nothing is certain", d.Threshold)
	}
	rng := source("confidence")
	exceedances(t, "confidence, 1000 against 1000", looks(4000, 100000), func() (Drift, error) {
		return ConfidenceDrift(shares(rng, 1000, bands), shares(rng, 1000, bands), usualLevel)
	})
	after := slices.Clone(bands) // a tenth of the sure ones become unsure
	after[12] -= .06
	after[13] -= .06
	after[3] += .12
	got := power(t, 400, func() (Drift, error) {
		return ConfidenceDrift(shares(rng, 5000, after), shares(rng, 1000, bands), usualLevel)
	})
	t.Logf("12%% of the predictions from sure to unsure, 5000 against 1000: seen in %.3f of the looks", got)
	if got < .9 {
		t.Errorf("seen in %.3f of the looks", got)
	}
}

func TestDriftsRefuse(t *testing.T) {
	tests := map[string]func([]int, []int, float64) (Drift, error){"mix": MixDrift, "confidence": ConfidenceDrift}
	for name, test := range tests {
		for what, err := range map[string]error{
			"lists of unlike length": second(test([]int{1}, []int{1, 2}, .1)),
			"no places":              second(test(nil, nil, .1)),
			"a negative count":       second(test([]int{1, -1}, []int{1, 1}, .1)),
			"level 0":                second(test([]int{1}, []int{1}, 0)),
			"level 1":                second(test([]int{1}, []int{1}, 1)),
			"level NaN":              second(test([]int{1}, []int{1}, math.NaN())),
		} {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Errorf("%s: %s: %v, want ErrInvalid", name, what, err)
			}
		}
		for _, none := range [][2][]int{{{0, 0}, {1, 1}}, {{1, 1}, {0, 0}}} {
			if err := second(test(none[0], none[1], .1)); !errors.Is(err, dg.ErrTooFewSamples) {
				t.Errorf("%s of %v: %v, want ErrTooFewSamples", name, none, err)
			}
		}
	}
}
