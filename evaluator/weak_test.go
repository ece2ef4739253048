package evaluator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	dg "driftgate"
)

var long = os.Getenv("DRIFTGATE_LONG") != ""

// plant is where a simulated suite is weak: the items with all these attributes
// are right with chance accuracy, the others with .9.
type plant struct {
	attributes []Attribute
	accuracy   float64
}

// cutUp draws a suite of n items with attributes as a real one has them: ten
// classes, six bands of confidence of uneven size, five of brightness, three
// sizes, seven days. With weighted, a tenth are of low confidence, which are
// right in seven of ten and all labelled; a random one stands for twenty.
func cutUp(rng *rand.Rand, n int, weighted bool, weak plant) (items []Item, population []dg.StratumCount) {
	bands := []float64{.02, .05, .08, .15, .3, .4}
	var labels [2]int
	for i := range n {
		it := Item{ID: fmt.Sprint(i), Label: "x", Answer: "y", Attributes: []Attribute{
			{ByClass, fmt.Sprint(rng.IntN(10))}, {ByBrightness, fmt.Sprint(rng.IntN(5))}, {BySize, fmt.Sprint(rng.IntN(3))}, {ByTime, fmt.Sprint(rng.IntN(7))}}}
		for x, b := rng.Float64(), 0; ; b++ {
			if x -= bands[b]; x < 0 || b == len(bands)-1 {
				it.Attributes = append(it.Attributes, Attribute{ByConfidence, fmt.Sprint(b)})
				break
			}
		}
		right := .9
		if weighted {
			it.Interval, it.Stratum = noon, dg.Random
			if rng.Float64() < .5 {
				it.Stratum, right = dg.LowConfidence, .7
				labels[1]++
			} else {
				labels[0]++
			}
		}
		if len(weak.attributes) > 0 && !slices.ContainsFunc(weak.attributes, func(a Attribute) bool { return !slices.Contains(it.Attributes, a) }) {
			right = weak.accuracy
		}
		if rng.Float64() < right {
			it.Answer = "x"
		}
		items = append(items, it)
	}
	if weighted {
		population = []dg.StratumCount{
			{Stratum: dg.Random, Interval: noon, Predictions: 20 * labels[0], Selected: labels[0], Labels: labels[0]},
			{Stratum: dg.LowConfidence, Interval: noon, Predictions: labels[1], Selected: labels[1], Labels: labels[1]},
		}
	}
	return items, population
}

// TestNoWeakSlicesWhereThereAreNone is the promise about having looked at many:
// in suites without any weakness, of up to 350 candidates, some is
// called weak in at most 5% of the suites.
func TestNoWeakSlicesWhereThereAreNone(t *testing.T) {
	runs := 25
	if long {
		runs = 500
	}
	for _, n := range []int{200, 1000, 5000} {
		for _, weighted := range []bool{false, true} {
			if n == 5000 && !long {
				continue
			}
			rng := rand.New(rand.NewPCG(5, uint64(n)))
			wrong := 0
			for range runs {
				items, population := cutUp(rng, n, weighted, plant{})
				if s := WeakSlices(items, population); len(s) > 0 && slices.ContainsFunc(s, func(s Slice) bool { return s.Weak }) {
					wrong++
				}
			}
			share, limit := float64(wrong)/float64(runs), .05+3*math.Sqrt(.05*.95/float64(runs))
			t.Logf("%d items, weighted %v: some slice is called weak in %.4f of %d suites", n, weighted, share, runs)
			if share > limit {
				t.Errorf("%d items, weighted %v: some slice is called weak in %.4f of the suites, want at most %.4f", n, weighted, share, limit)
			}
		}
	}
}

// TestWeakSlicesAreFound tells the power: how often a planted weakness is found,
// named as it was planted, and how often something is named that is not weak.
func TestWeakSlicesAreFound(t *testing.T) {
	runs, sizes := 8, []int{1000}
	if long {
		runs, sizes = 100, []int{500, 2000, 10000}
	}
	class := []Attribute{{ByClass, "3"}}
	pair := []Attribute{{ByBrightness, "0"}, {ByClass, "3"}}
	for _, tt := range []struct {
		name     string
		by       string
		plant    plant
		weighted bool
		least    float64 // share of suites of 1,000 items in which it must be found
	}{
		{"a class at .80", ByClass, plant{class, .8}, false, 0},
		{"a class at .70", ByClass, plant{class, .7}, false, .5},
		{"a class at .50", ByClass, plant{class, .5}, false, 1},
		{"a class at .50, weighted", ByClass, plant{class, .5}, true, .4},
		{"one class in one brightness at .50", ByBrightness + "+" + ByClass, plant{pair, .5}, false, 0},
		{"one class in one brightness at .20", ByBrightness + "+" + ByClass, plant{pair, .2}, false, 0},
	} {
		for _, n := range sizes {
			rng := rand.New(rand.NewPCG(6, uint64(n)))
			found, wrong := 0, 0
			for range runs {
				items, population := cutUp(rng, n, tt.weighted, tt.plant)
				for _, s := range WeakSlices(items, population) {
					switch {
					case !s.Weak:
					case s.By == tt.by:
						found++
					case len(tt.plant.attributes) == 2 && (s.By == ByClass && s.Value == "3" || s.By == ByBrightness && s.Value == "0"): // true as well
					default:
						wrong++
					}
				}
			}
			share := float64(found) / float64(runs)
			t.Logf("%s, %d items: found in %.3f, others named %.3f a suite", tt.name, n, share, float64(wrong)/float64(runs))
			if n == 1000 && share < tt.least {
				t.Errorf("%s, %d items: found in %.2f of the suites, want %.2f", tt.name, n, share, tt.least)
			}
		}
	}
}

func TestWeakSlicesAreToldApart(t *testing.T) {
	var items []Item
	add := func(n int, right bool, attributes ...Attribute) {
		for range n {
			it := Item{ID: fmt.Sprint(len(items)), Label: "x", Answer: "x", Attributes: attributes}
			if !right {
				it.Answer = "y"
			}
			items = append(items, it)
		}
	}
	shirt, coat := Attribute{ByClass, "Shirt"}, Attribute{ByClass, "Coat"}
	dark, light := Attribute{ByBrightness, "dark"}, Attribute{ByBrightness, "light"}
	for _, b := range []Attribute{dark, light} {
		add(100, true, shirt, b)
		add(100, false, shirt, b)
		add(600, true, coat, b)
		add(10, false, coat, b)
	}
	items = append(items, items...) // repeats count once
	items = append(items, Item{ID: "no-answer", Label: "x", Attributes: []Attribute{coat}})
	got := WeakSlices(items, nil)
	if len(got) != 4 {
		t.Fatalf("%d slices %+v, want the four single ones: all Shirts are equally weak, so no pair", len(got), got)
	}
	s := got[0]
	if s.By != ByClass || s.Value != "Shirt" || !s.Weak || s.Samples != 400 || s.Accuracy.Value != .5 || math.Abs(s.Share-400./1620) > 1e-12 || math.Abs(s.Rest.Value-1200./1220) > 1e-12 {
		t.Errorf("weakest %+v", s)
	}
	for _, s := range got[1:] {
		if s.Weak {
			t.Errorf("%+v is called weak", s)
		}
	}
	if s := WeakSlices(nil, nil); s != nil {
		t.Errorf("no items: %+v", s)
	}
}
