package evaluator

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// scene is a champion and a challenger of known accuracies, and how their
// held-out labels come about.
type scene struct {
	champion, challenger float64
	alike                float64 // share of the images on which the challenger's fate hangs on the champion's
	labels               int     // held-out
	hard                 bool    // half of them are the champion's low-confident images, all of which are labelled; else all are random
	forgets              string  // a class in which the challenger is never right; empty: none
}

// The chance of a low confidence, by whether the champion errs.
const lowWrong, lowRight = .4, .04

var tenClasses = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

// pair draws one image on which the champion is right with this chance.
func (s scene) pair(rng *rand.Rand, id int, stratum dg.Stratum, at time.Time, champion float64) Pair {
	p := Pair{ID: strconv.Itoa(id), Stratum: stratum, Interval: at, Label: tenClasses[rng.IntN(len(tenClasses))], Champion: "other", Challenger: "other"}
	right := rng.Float64() < champion
	var follows bool
	switch {
	case rng.Float64() >= s.alike:
		follows = rng.Float64() < s.challenger
	case s.challenger <= s.champion:
		follows = right && rng.Float64() < s.challenger/s.champion
	default:
		follows = right || rng.Float64() < (s.challenger-s.champion)/(1-s.champion)
	}
	if right {
		p.Champion = p.Label
	}
	if follows && p.Label != s.forgets {
		p.Challenger = p.Label
	}
	return p
}

// heldout draws labelled samples of production with the counts behind them.
func (s scene) heldout(rng *rand.Rand, at time.Time) Trial {
	t := Trial{Suite: KindHeldout}
	low := (1-s.champion)*lowWrong + s.champion*lowRight
	random := s.labels
	if s.hard {
		random = s.labels / 2
		n := s.labels - random
		for i := range n {
			t.Pairs = append(t.Pairs, s.pair(rng, i, dg.LowConfidence, at, s.champion*lowRight/low))
		}
		t.Population = append(t.Population, dg.StratumCount{Stratum: dg.LowConfidence, Interval: at, Predictions: n, Selected: n, Labels: n})
	}
	predictions, right := 20*random, s.champion
	if s.hard {
		predictions = int(float64(s.labels-random) * (1 - low) / low)
		right = s.champion * (1 - lowRight) / (1 - low)
	}
	for i := range random {
		t.Pairs = append(t.Pairs, s.pair(rng, s.labels+i, dg.Random, at, right))
	}
	t.Population = append(t.Population, dg.StratumCount{Stratum: dg.Random, Interval: at, Predictions: predictions, Selected: random, Labels: random})
	return t
}

// suite draws n images of a suite where all weigh alike.
func (s scene) suite(rng *rand.Rand, name string, n int) Trial {
	t := Trial{Suite: name}
	for i := range n {
		t.Pairs = append(t.Pairs, s.pair(rng, i, "", time.Time{}, s.champion))
	}
	return t
}

// whole is a gate with everything in it: floors, a test set, a special suite.
var whole = Gate{Floors: Floors{Overall: .85, Class: .75, Suite: .60},
	Suites: []SuiteRule{{Name: KindTest, MayLose: .02}, {Name: "look-alikes", Source: "s/", MayLose: .05}}}

// testSet is the number of images of the test set in [TestWholeGate]; that of
// Fashion-MNIST has 10,000.
const testSet = 4000

// TestWholeGate is the promise of the gate with floors, classes and suites: an
// equal challenger is promoted in at most 5% of the judgements, one that is three
// points worse in none of 1,000, and one that forgets a class in none.
func TestWholeGate(t *testing.T) {
	equal, worse, better, never := 150, 1000, 20, 0.
	if long {
		equal, worse, better, never = 20000, 20000, 60, .002 // no bound at 95% is never wrong
	}
	for _, tt := range []struct {
		name     string
		scene    scene
		runs     int
		promoted [2]float64
		rejected float64 // at least
	}{
		{"an equal one, 300 labels", scene{champion: .9, challenger: .9, alike: .5, labels: 300, hard: true}, equal, [2]float64{0, .05 + 3*math.Sqrt(.05*.95/float64(equal))}, 0},
		{"an equal one, 300 random labels", scene{champion: .9, challenger: .9, alike: .5, labels: 300}, equal, [2]float64{0, .05 + 3*math.Sqrt(.05*.95/float64(equal))}, 0},
		{"three points worse, 300 labels", scene{champion: .9, challenger: .87, alike: .5, labels: 300, hard: true}, worse, [2]float64{0, never}, 0},
		{"three points worse, 300 random labels", scene{champion: .9, challenger: .87, alike: .5, labels: 300}, worse, [2]float64{0, never}, 0},
		{"as good elsewhere, but a class of ten is forgotten", scene{champion: .9, challenger: .9, alike: .8, labels: 600, hard: true, forgets: "3"}, min(equal/7, 200), [2]float64{0, 0}, .99},
		{"seven points better elsewhere, but a class of ten is forgotten", scene{champion: .9, challenger: .97, alike: .8, labels: 600, hard: true, forgets: "3"}, min(equal/7, 200), [2]float64{0, 0}, .99},
		{"seven points better", scene{champion: .9, challenger: .97, alike: .8, labels: 600, hard: true}, better, [2]float64{.5, 1}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(20261122, uint64(tt.scene.labels)))
			var verdicts [4]int
			alone := 0
			for range tt.runs {
				heldout := tt.scene.heldout(rng, noon)
				// What the held-out labels do not promote no suite promotes:
				// without them first, as they take most of the time.
				c := Gate{Floors: whole.Floors}.Judge([]Trial{heldout})
				if c.Verdict == dg.Promote {
					alone++
				}
				if c.Verdict == dg.Promote || tt.rejected > 0 {
					c = whole.Judge([]Trial{heldout, tt.scene.suite(rng, KindTest, testSet), tt.scene.suite(rng, "look-alikes", 100)})
				}
				verdicts[c.Verdict]++
			}
			share := func(v dg.Verdict) float64 { return float64(verdicts[v]) / float64(tt.runs) }
			t.Logf("%d runs: promote %.4f (%.4f without the suites), reject %.4f, inconclusive %.4f", tt.runs, share(dg.Promote), float64(alone)/float64(tt.runs), share(dg.Reject), share(dg.Inconclusive))
			if p := share(dg.Promote); p < tt.promoted[0] || p > tt.promoted[1] {
				t.Errorf("promoted in %.4f of the runs, want %.4f to %.4f", p, tt.promoted[0], tt.promoted[1])
			}
			if share(dg.Reject) < tt.rejected || share(dg.Errored) > 0 {
				t.Errorf("rejected in %.4f, error in %.4f of the runs, want at least %.2f and 0", share(dg.Reject), share(dg.Errored), tt.rejected)
			}
		})
	}
}

// TestGatePower tells how often a better challenger is promoted.
func TestGatePower(t *testing.T) {
	runs, sizes, gains := 40, []int{500}, []float64{.10}
	if long {
		runs, sizes, gains = 500, []int{200, 500, 2000}, []float64{.03, .05, .10}
	}
	for _, hard := range []bool{false, true} {
		for _, alike := range []float64{.5, .8} {
			for _, gain := range gains {
				for _, n := range sizes {
					rng := rand.New(rand.NewPCG(20261122, uint64(n)))
					var verdicts [4]int
					apart := 0
					for range runs {
						c := heldoutOf(scene{champion: .8, challenger: .8 + gain, alike: alike, labels: n, hard: hard}, rng)
						verdicts[c.Verdict]++
						apart += c.OnlyChampion + c.OnlyChallenger
					}
					share := func(v dg.Verdict) float64 { return float64(verdicts[v]) / float64(runs) }
					t.Logf("%+.0f points, %d labels, half of them hard %v, alike %.1f (they differ on %.0f%% of the pairs): promote %.3f, reject %.3f, inconclusive %.3f", 100*gain, n, hard, alike,
						100*float64(apart)/float64(runs*n), share(dg.Promote), share(dg.Reject), share(dg.Inconclusive))
					if n == 500 && gain == .10 && share(dg.Promote) < .5 {
						t.Errorf("ten points better, 500 labels, hard %v, alike %.1f: promoted in %.3f, want at least half", hard, alike, share(dg.Promote))
					}
				}
			}
		}
	}
}

func heldoutOf(s scene, rng *rand.Rand) dg.Comparison {
	return Gate{}.Judge([]Trial{s.heldout(rng, noon)})
}

// TestCanary watches a challenger in production, slot by slot, from the pairs to
// the end of the canary: an equal one seldom falls by mistake in a month, one
// that forgets a class falls soon, and one that was harmed badly at once.
func TestCanary(t *testing.T) {
	runs := 30
	if long {
		runs = 400
	}
	const perDay, days, alpha, harm = 100, 30, .05, .02
	for _, tt := range []struct {
		name   string
		scene  scene
		falls  [2]float64 // share of runs in which it is ended within 30 days
		median float64    // days, at most
	}{
		{"the champion itself", scene{champion: .9, challenger: .9, alike: 1}, [2]float64{0, 0}, math.Inf(1)},
		{"an equal one", scene{champion: .9, challenger: .9, alike: .5}, [2]float64{0, alpha + 3*math.Sqrt(alpha*(1-alpha)/float64(runs))}, math.Inf(1)},
		{"one that is worse by just what is borne", scene{champion: .9, challenger: .88, alike: .5}, [2]float64{0, alpha + 3*math.Sqrt(alpha*(1-alpha)/float64(runs))}, math.Inf(1)},
		{"five points worse", scene{champion: .9, challenger: .85, alike: .8}, [2]float64{0, 1}, math.Inf(1)},
		{"one that forgets a class of ten", scene{champion: .9, challenger: .9, alike: .8, forgets: "3"}, [2]float64{.95, 1}, 10},
		{"twenty points worse", scene{champion: .9, challenger: .7, alike: .8}, [2]float64{1, 1}, 3},
		{"half of it broken", scene{champion: .9, challenger: .45, alike: .8}, [2]float64{1, 1}, 1},
	} {
		for _, hard := range []bool{false, true} {
			s := tt.scene
			s.labels, s.hard = perDay/4, hard
			rng := rand.New(rand.NewPCG(20261122, 77))
			var at []float64
			fell := 0
			for range runs {
				h, day := estimate.NewHarm(harm), math.Inf(1)
				for slot := range 4 * days {
					trial := s.heldout(rng, noon)
					blocks, _ := BlockDifferences(trial.Pairs, trial.Population)
					if h = h.Add(blocks...); h.Worse() >= 1/alpha {
						day = float64(slot+1) / 4
						fell++
						break
					}
				}
				at = append(at, day)
			}
			slices.Sort(at)
			share := float64(fell) / float64(runs)
			t.Logf("%s, half of the labels hard %v: ended in %.4f of %d runs, median %.2f days, nine in ten by %.2f", tt.name, hard, share, runs, at[runs/2], at[runs*9/10])
			if share < tt.falls[0] || share > tt.falls[1] || at[runs/2] > tt.median {
				t.Errorf("%s, hard %v: ended in %.4f of the runs, median %.2f days: want %.4f to %.4f, at most %g", tt.name, hard, share, at[runs/2], tt.falls[0], tt.falls[1], tt.median)
			}
		}
	}
}

func TestBlockDifferencesSigns(t *testing.T) {
	worse := slices.Concat(batch(dg.Random, "Bag", "champion", 10), batch(dg.Random, "Bag", "both", 30))
	blocks, open := BlockDifferences(worse, mostly[:1])
	if open != 0 || len(blocks) != 40 || math.Abs(sum(blocks)/40-.25) > 1e-12 {
		t.Errorf("the challenger is wrong on a quarter: %v, open %g; want a mean of .25", blocks, open)
	}
	blocks, _ = BlockDifferences(batch(dg.Random, "Bag", "challenger", 10), mostly[:1])
	if math.Abs(sum(blocks)/10+1) > 1e-12 {
		t.Errorf("the challenger alone is right: %v, want -1", blocks)
	}
	few := []dg.StratumCount{mostly[0], {Stratum: dg.Corrected, Interval: noon, Predictions: 300, Selected: 300}}
	if blocks, open := BlockDifferences(worse, few); len(blocks) != 40 || math.Abs(open-1./31) > 1e-12 || math.Abs(sum(blocks)/40-.25*30/31) > 1e-12 {
		t.Errorf("a reason without a label counts as no difference: %v, open %g", blocks, open)
	}
	some := []dg.StratumCount{mostly[0], {Stratum: dg.LowConfidence, Interval: noon, Predictions: 2000, Selected: 2000}}
	if blocks, open := BlockDifferences(worse, some); blocks != nil || math.Abs(open-2./11) > 1e-12 {
		t.Errorf("two elevenths without a label: %v, open %g; want no blocks", blocks, open)
	}
	if blocks, open := BlockDifferences(worse, nil); blocks != nil || open != 1 {
		t.Errorf("no population: %v, open %g", blocks, open)
	}
	if blocks, _ := BlockDifferences(slices.Concat(worse, worse), mostly[:1]); len(blocks) != 40 {
		t.Errorf("repeated pairs: %d blocks, want 40", len(blocks))
	}
}

func sum(xs []float64) (s float64) {
	for _, x := range xs {
		s += x
	}
	return s
}
