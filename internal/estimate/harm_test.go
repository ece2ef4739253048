package estimate

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// rivalry is what a watch sees of one reason for labelling: its share of the
// traffic, how many of its predictions are picked in a slot and how many of
// those get a label, and the chances that only the first or only the second
// model errs.
type rivalry struct {
	group         string
	share         float64
	picks         int
	census        bool    // all of its predictions are picked
	labelled      float64 // chance that a pick gets a label
	first, second float64 // chance that only the first, only the second errs
}

var sampleNames = func() []string {
	out := make([]string, 4096)
	for i := range out {
		out[i] = fmt.Sprintf("sample-%d", i)
	}
	return out
}()

// watch draws one closed slot.
func watch(rng *rand.Rand, rivals []rivalry) []DifferenceStratum {
	var out []DifferenceStratum
	traffic := 20 * float64(rivals[0].picks)
	for _, r := range rivals {
		if r.census {
			traffic = float64(r.picks) / r.share
		}
	}
	name := rng.IntN(1000)
	for _, r := range rivals {
		h := DifferenceStratum{Group: r.group, Predictions: int(math.Round(traffic * r.share))}
		h.Fraction = float64(r.picks) / float64(h.Predictions)
		for range r.picks {
			if rng.Float64() >= r.labelled {
				continue
			}
			p := DifferencePick{ID: sampleNames[name%len(sampleNames)]}
			name++
			switch x := rng.Float64(); {
			case x < r.first:
				p.Difference = -1
			case x < r.first+r.second:
				p.Difference = 1
			}
			h.Picks = append(h.Picks, p)
		}
		out = append(out, h)
	}
	return out
}

// even is a watch on labels drawn at random; hard one where half the labels are
// of low confidence, a tenth of the traffic and all labelled. The second model
// errs worse more often than the first.
func even(labels int, apart, worse float64) []rivalry {
	return []rivalry{{"random", 1, labels, false, 1, apart, apart + worse}}
}

func hard(labels int, apart, worse float64) []rivalry {
	return []rivalry{
		{"random", .9, max(1, labels-labels/2), false, 1, apart, apart + worse},
		{"low", .1, max(1, labels/2), true, 1, 3 * apart, min(1-3*apart, 3*apart+worse)},
	}
}

// TestHarmSeldomLies is the promise: while the second model is at most margin
// worse, the chance that it is ever said to be worse is at most alpha, though
// one looks after every slot; and a difference at which it is never said to be
// better by mistake; and the confidence sequence holds all along.
func TestHarmSeldomLies(t *testing.T) {
	runs, slots := 150, 100
	if long {
		runs, slots = 2000, 200
	}
	const margin, alpha = .02, .05
	unlabelled := hard(30, .05, margin)
	unlabelled[0].labelled, unlabelled[1].labelled = .4, .8
	worlds := []struct {
		name     string
		rivals   []rivalry
		truth    float64
		observed float64 // share of runs with a false rollback that is at least to be seen: the promise is not idle
	}{
		{"the same model twice", even(25, 0, 0), 0, 0},
		{"equally good, seldom apart", even(25, .02, 0), 0, 0},
		{"equally good, often apart", even(25, .2, 0), 0, 0},
		{"worse by exactly the margin, seldom apart", even(25, .01, margin), margin, .005},
		{"worse by exactly the margin, often apart", even(25, .2, margin), margin, .005},
		{"worse by the margin, half the labels are hard ones", hard(50, .05, margin), margin, .005},
		{"worse by the margin, many picks have no label", unlabelled, margin, .005},
		{"worse on the random, better on the hard", []rivalry{{"random", .9, 20, false, 1, .02, .02 + (margin+.03)/.9}, {"low", .1, 40, true, 1, .4, .1}}, margin, .005},
		{"a label or two a slot", even(2, .1, margin), margin, .005},
	}
	for _, tt := range worlds {
		rng := source(tt.name)
		var worse, better, left int
		for range runs {
			h := NewHarm(margin)
			var saidWorse, saidBetter, gone bool
			for range slots {
				blocks, _ := DealDifferences(watch(rng, tt.rivals))
				h = h.Add(blocks...)
				saidWorse = saidWorse || h.Worse() >= 1/alpha
				saidBetter = saidBetter || h.Better() >= 1/alpha
				n := float64(h.Blocks)
				gone = gone || n > 0 && (lowerCapital(n, h.Sum, h.Squares, tt.truth) >= math.Log(2/alpha) || lowerCapital(n, -h.Sum, h.Squares, -tt.truth) >= math.Log(2/alpha))
			}
			for _, c := range []struct {
				hit   bool
				count *int
			}{{saidWorse, &worse}, {saidBetter, &better}, {gone, &left}} {
				if c.hit {
					*c.count++
				}
			}
		}
		share := func(n int) float64 { return float64(n) / float64(runs) }
		limit := alpha + 3*math.Sqrt(alpha*(1-alpha)/float64(runs))
		t.Logf("%s: said worse in %.4f, better in %.4f, sequence left in %.4f of %d runs of %d slots", tt.name, share(worse), share(better), share(left), runs, slots)
		if max(share(worse), share(better), share(left)) > limit {
			t.Errorf("%s: worse %.4f, better %.4f, left %.4f: want at most %.4f", tt.name, share(worse), share(better), share(left), limit)
		}
		if long && share(worse) < tt.observed {
			t.Errorf("%s: said worse in %.4f, want at least %.4f: the world is not the hard one that it should be", tt.name, share(worse), tt.observed)
		}
	}
}

// TestHarmIsFair enumerates every outcome of a slot whose difference is exactly
// the margin, its weights as unequal as they come: the mean evidence of each bet
// must not grow.
func TestHarmIsFair(t *testing.T) {
	const margin = .02
	// Four random picks of weight .2, three hard ones of .2/3; W D = margin.
	up := [2]float64{.15, .3}
	down := [2]float64{up[0] - .05, up[1] + .1} // .8*.05 - .2*.1 = .02
	strata := []DifferenceStratum{{Group: "r", Predictions: 80}, {Group: "l", Predictions: 20}}
	for h, n := range []int{4, 3} {
		for i := range n {
			strata[h].Picks = append(strata[h].Picks, DifferencePick{ID: fmt.Sprint(h, i)})
		}
	}
	mean := make([]float64, len(harmBets))
	blocks := 0
	for outcome := range 2187 { // 3^7
		chance := 1.0
		for at, code := 0, outcome; at < 7; at, code = at+1, code/3 {
			h, i := 0, at
			if at >= 4 {
				h, i = 1, at-4
			}
			d := float64(code%3) - 1
			strata[h].Picks[i].Difference = d
			chance *= []float64{down[h], 1 - up[h] - down[h], up[h]}[code%3]
		}
		b, open := DealDifferences(strata)
		if open != 0 {
			t.Fatalf("open %g", open)
		}
		blocks = len(b)
		for j, l := range NewHarm(margin).Add(b...).Up {
			mean[j] += chance * math.Exp(l)
		}
	}
	if blocks < 4 {
		t.Errorf("%d blocks, want at least 4", blocks)
	}
	for j, m := range mean {
		if m > 1+1e-12 || m < .99 {
			t.Errorf("bet %g: mean factor of a slot %.12f, want at most 1 and not far below", harmBets[j], m)
		}
	}
}

// TestHarmDelays tells how long a watch takes to call a challenger worse.
func TestHarmDelays(t *testing.T) {
	runs, labels, drops := 100, []int{100}, []float64{.2, .5}
	if long {
		runs, labels, drops = 300, []int{20, 100, 500}, []float64{.03, .05, .10, .20, .50}
	}
	const margin, alpha, days = .02, .05, 90
	for _, design := range []struct {
		name string
		of   func(labels int, apart, worse float64) []rivalry
	}{{"random labels", even}, {"half of them hard", hard}} {
		for _, perDay := range labels {
			for _, drop := range drops {
				rng := source(fmt.Sprint("delay", design.name, perDay, drop))
				var at []float64
				for range runs {
					h, day := NewHarm(margin), math.Inf(1)
					for slot := range 4 * days {
						blocks, _ := DealDifferences(watch(rng, design.of(perDay/4, .04, drop)))
						if h = h.Add(blocks...); h.Worse() >= 1/alpha {
							day = float64(slot+1) / 4
							break
						}
					}
					at = append(at, day)
				}
				slices.Sort(at)
				t.Logf("%s, %d a day, %g points worse: median %.2f days, nine in ten by %.2f, within %d days %.3f", design.name, perDay, 100*drop,
					at[runs/2], at[runs*9/10], days, float64(slices.IndexFunc(append(at, math.Inf(1)), func(x float64) bool { return math.IsInf(x, 1) }))/float64(runs))
				if perDay == 100 && drop == .2 && at[runs/2] > 2 || perDay == 100 && drop == .5 && at[runs*9/10] > 1 {
					t.Errorf("%s, %d a day, %g points worse: median %.2f days, nine in ten by %.2f: too long", design.name, perDay, 100*drop, at[runs/2], at[runs*9/10])
				}
			}
		}
	}
}

func TestHarmIsAPlainValue(t *testing.T) {
	a := NewHarm(.02).Add(1, 0, -.5).Add(.25)
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back Harm
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(a, back) {
		t.Errorf("%+v came back as %+v, %v", a, back, err)
	}
	before, _ := json.Marshal(a)
	a.Add(1, 1, 1)
	if after, _ := json.Marshal(a); string(after) != string(before) {
		t.Errorf("Add changed %s to %s", before, after)
	}
	if next := a.Add(); !reflect.DeepEqual(next, a) {
		t.Errorf("a slot without blocks changed %+v to %+v", a, next)
	}
	if a.Slots != 2 || a.Blocks != 4 || a.Difference() != .1875 {
		t.Errorf("%+v", a)
	}
	var zero Harm
	if l, u := zero.Interval(.05); zero.Worse() != 1 || zero.Better() != 1 || l != -1 || u != 1 {
		t.Errorf("before the first slot: %g %g, %g to %g", zero.Worse(), zero.Better(), l, u)
	}
}

func TestHarmIntervalNarrowsAroundTheTruth(t *testing.T) {
	rng := source("interval")
	h := NewHarm(0)
	width := 2.0
	for slot := range 1600 {
		blocks, _ := DealDifferences(watch(rng, even(25, .04, .05)))
		h = h.Add(blocks...)
		if slot%400 == 399 {
			l, u := h.Interval(.05)
			if l > .05 || u < .05 || u-l >= width {
				t.Errorf("after %d blocks %.4f to %.4f", h.Blocks, l, u)
			}
			t.Logf("after %d blocks: %.4f to %.4f", h.Blocks, l, u)
			width = u - l
		}
	}
	if width > .02 {
		t.Errorf("width %.4f after 40,000 labels, want below .02", width)
	}
}

// TestTheCapitalIsALowerBound holds the three sums that the confidence sequence
// keeps against the capital itself.
func TestTheCapitalIsALowerBound(t *testing.T) {
	rng := source("capital")
	for range 2000 {
		blocks := make([]float64, 1+rng.IntN(40))
		var sum, squares float64
		for i := range blocks {
			blocks[i] = MaxBlock * (2*rng.Float64() - 1)
			sum += blocks[i]
			squares += blocks[i] * blocks[i]
		}
		m := 2*rng.Float64() - 1
		var capital float64
		for _, lambda := range harmBets {
			if lambda*(MaxBlock+m) > .95 {
				continue
			}
			w := 1.0
			for _, d := range blocks {
				w *= 1 + lambda*(d-m)
			}
			capital += w / float64(len(harmBets))
		}
		if bound := lowerCapital(float64(len(blocks)), sum, squares, m); bound > math.Log(capital)+1e-9 {
			t.Fatalf("%d blocks, mean %g: bound %g above the capital %g", len(blocks), m, bound, math.Log(capital))
		}
	}
}

func FuzzHarmStaysFinite(f *testing.F) {
	f.Add(uint64(1), .02)
	f.Fuzz(func(t *testing.T, seed uint64, margin float64) {
		rng := rand.New(rand.NewPCG(seed, 9))
		h := NewHarm(margin)
		for range rng.IntN(60) {
			blocks := make([]float64, rng.IntN(30))
			for i := range blocks {
				if blocks[i] = rng.NormFloat64(); rng.IntN(20) == 0 {
					blocks[i] = math.NaN()
				}
			}
			h = h.Add(blocks...)
		}
		l, u := h.Interval(.05)
		for _, x := range []float64{h.Worse(), h.Better(), h.Difference(), l, u} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				t.Fatalf("%+v: %g", h, x)
			}
		}
		if h.Worse() < 0 || h.Better() < 0 || l > u || l < -1 || u > 1 {
			t.Fatalf("%+v: %g %g, %g to %g", h, h.Worse(), h.Better(), l, u)
		}
	})
}
