package estimate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	dg "driftgate"
)

// long asks for the full grids: DRIFTGATE_LONG=1.
var long = os.Getenv("DRIFTGATE_LONG") != ""

// source is a seeded stream for one cell, whatever ran before it.
func source(cell string) *rand.Rand {
	var seed uint64 = 14695981039346656037
	for _, b := range []byte(cell) {
		seed = (seed ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, 20260102))
}

func binomial(rng *rand.Rand, n int, p float64) int {
	if n <= 0 || p <= 0 {
		return 0
	}
	if p >= 1 {
		return n
	}
	return int(distuv.Binomial{N: float64(n), P: p, Src: rng}.Rand())
}

// truth is one stratum as nature has it: n predictions, each right with
// probability p, of which m are labelled at random.
type truth struct {
	group string
	n, m  int
	p     float64
}

// draw samples what happened and what the labels show of it; right is the
// realised number of right predictions.
func draw(rng *rand.Rand, design []truth) (s []Stratum, right, total int) {
	for _, h := range design {
		k := binomial(rng, h.m, h.p)
		s = append(s, Stratum{N: h.n, M: h.m, K: float64(k), Group: h.group})
		right += k + binomial(rng, h.n-h.m, h.p)
		total += h.n
	}
	return s, right, total
}

// covered counts how often the bounds hold the realised accuracy.
func covered(t *testing.T, cell string, runs int, design func(rng *rand.Rand) []truth) (coverage, width float64) {
	t.Helper()
	rng := source(cell)
	type bounds struct{ lower, upper float64 }
	seen := map[string]bounds{}
	hit := 0
	for range runs {
		s, right, total := draw(rng, design(rng))
		key := fmt.Sprint(s)
		b, ok := seen[key]
		if !ok {
			e, err := Stratified(s)
			if err != nil {
				t.Fatal(err)
			}
			b = bounds{e.Lower, e.Upper}
			seen[key] = b
		}
		if x := float64(right) / float64(total); b.lower <= x+1e-12 && x-1e-12 <= b.upper {
			hit++
		}
		width += (b.upper - b.lower) / float64(runs)
	}
	return float64(hit) / float64(runs), width
}

// skewed splits an accuracy over a big easy stratum and small hard ones, as
// curate does: the random rest, the low-confident, and the flagged.
func skewed(accuracy float64, labels, predictions int, shares [3]float64, labelled [3]float64) []truth {
	// Errors 1 : 4 : 8 by stratum, at most all of them.
	k := (1 - accuracy) / (shares[0] + 4*shares[1] + 8*shares[2])
	out := make([]truth, 3)
	for i, times := range []float64{1, 4, 8} {
		n := max(1, int(shares[i]*float64(predictions)+.5))
		m := min(n, max(1, int(labelled[i]*float64(labels)+.5)))
		out[i] = truth{group: fmt.Sprint(i), n: n, m: m, p: max(.02, 1-times*k)}
	}
	return out
}

// designs are the ways of sampling in which the promise is kept.
var designs = map[string]func(a float64, m int) []truth{
	"one stratum of many":       func(a float64, m int) []truth { return []truth{{"", 1000 * m, m, a}} },
	"one stratum, half seen":    func(a float64, m int) []truth { return []truth{{"", 2 * m, m, a}} },
	"one stratum, most seen":    func(a float64, m int) []truth { return []truth{{"", m + m/5, m, a}} },
	"one stratum, a fifth seen": func(a float64, m int) []truth { return []truth{{"", 5 * m, m, a}} },
	"worked example's shares": func(a float64, m int) []truth {
		return skewed(a, m, 50*m, [3]float64{.9, .08, .02}, [3]float64{.5, .33, .17})
	},
	"hard strata fully seen": func(a float64, m int) []truth {
		return skewed(a, m, 6*m, [3]float64{.87, .1, .03}, [3]float64{.22, .6, .18})
	},
	"few random, many hard": func(a float64, m int) []truth {
		return skewed(a, m, 20*m, [3]float64{.7, .25, .05}, [3]float64{.1, .6, .3})
	},
	"labels mostly of a sliver": func(a float64, m int) []truth {
		return skewed(a, m, 100*m, [3]float64{.97, .02, .01}, [3]float64{.1, .45, .45})
	},
}

// TestStratifiedCoverage is the promise of the headline: in every cell its 95%
// bounds hold the realised accuracy in at least .945 of the runs.
func TestStratifiedCoverage(t *testing.T) {
	accuracies, sizes := []float64{.8, .99}, []int{20, 300}
	if long {
		accuracies = []float64{.5, .6, .7, .8, .85, .9, .95, .97, .98, .99}
		sizes = []int{20, 50, 100, 200, 500, 1000, 2000}
	}
	lowest, mean, cells := 1.0, 0.0, 0
	for name, design := range designs {
		for _, a := range accuracies {
			for _, m := range sizes {
				cell := fmt.Sprintf("%s, accuracy %g, %d labels", name, a, m)
				d := design(a, m)
				coverage, _ := covered(t, cell, 20000, func(*rand.Rand) []truth { return d })
				lowest, mean, cells = min(lowest, coverage), mean+coverage, cells+1
				if coverage < .945 {
					t.Errorf("%s: coverage %.4f, want at least .945", cell, coverage)
				}
			}
		}
	}
	t.Logf("%d cells of 20,000 runs: lowest coverage %.4f, mean %.4f", cells, lowest, mean/float64(cells))
}

// TestCoverageWithLabelsMissing is the same promise when people leave out some
// of the picks, whatever the answer would have been.
func TestCoverageWithLabelsMissing(t *testing.T) {
	accuracies, sizes, runs, floor := []float64{.9}, []int{20, 300}, 2000, .945-3*.0049
	if long {
		accuracies, sizes, runs, floor = []float64{.5, .7, .9, .95, .99}, []int{20, 100, 500, 2000}, 20000, .945
	}
	lowest, mean, cells := 1.0, 0.0, 0
	for name, design := range designs {
		for _, a := range accuracies {
			for _, m := range sizes {
				cell := fmt.Sprintf("%s, accuracy %g, %d picked, a third left out", name, a, m)
				coverage, _ := covered(t, cell, runs, func(rng *rand.Rand) []truth {
					d := design(a, m)
					for i := range d {
						d[i].m = binomial(rng, d[i].m, 2./3)
					}
					d[0].m = max(1, d[0].m)
					return d
				})
				lowest, mean, cells = min(lowest, coverage), mean+coverage, cells+1
				if coverage < floor {
					t.Errorf("%s: coverage %.4f, want at least %.4f", cell, coverage, floor)
				}
			}
		}
	}
	t.Logf("%d cells of %d runs: lowest coverage %.4f, mean %.4f", cells, runs, lowest, mean/float64(cells))
}

// TestCoverageWithDisagreement is the same promise for the share of people who
// agree with the model, when several were asked about each image and differ.
func TestCoverageWithDisagreement(t *testing.T) {
	runs := 600
	if long {
		runs = 20000
	}
	for _, people := range []int{2, 3, 9} {
		rng := source(fmt.Sprint("disagreement", people))
		hit, width, whole := 0, 0.0, 0.0
		for range runs {
			var truth, total float64
			var s, certain []Stratum
			for _, h := range []struct {
				n, m int
				p, q float64 // right with chance p; each person sees it as it is with chance q
			}{{2000, 60, .95, .95}, {200, 120, .6, .8}} {
				c := Stratum{N: h.n, M: h.m}
				k := 0
				for i := range h.n {
					right := rng.Float64() < h.p
					agree := 0
					for range people {
						if (rng.Float64() < h.q) == right {
							agree++
						}
					}
					y := float64(agree) / float64(people)
					truth += y
					if i < h.m {
						c.K += y
						if right {
							k++
						}
					}
				}
				total += float64(h.n)
				s, certain = append(s, c), append(certain, Stratum{N: h.n, M: h.m, K: float64(k)})
			}
			e, err1 := Stratified(s)
			one, err2 := Stratified(certain)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if x := truth / total; e.Lower <= x && x <= e.Upper {
				hit++
			}
			width += (e.Upper - e.Lower) / float64(runs)
			whole += (one.Upper - one.Lower) / float64(runs)
		}
		c := float64(hit) / float64(runs)
		t.Logf("%d people an image: coverage %.4f of their agreement, width %.4f; of the truth, if it were known, %.4f", people, c, width, whole)
		if c < .945-3*math.Sqrt(.945*.055/float64(runs)) {
			t.Errorf("%d people an image: coverage %.4f", people, c)
		}
	}
}

// TestRivalBoundsFail says why the bounds are melded: on the same labels the Wald
// interval of the standard error, and Wilson intervals of the strata combined by
// their squares, miss far more often than they promise.
func TestRivalBoundsFail(t *testing.T) {
	z := normalQuantile(1 - tail)
	for name, rival := range map[string]struct {
		bounds func(e dg.Estimate, s []Stratum, total float64) (lower, upper float64)
		most   float64 // coverage in its worst cell
	}{
		"wald": {func(e dg.Estimate, _ []Stratum, _ float64) (float64, float64) {
			return e.Accuracy - z*e.StandardError, e.Accuracy + z*e.StandardError
		}, .2},
		"wilson": {func(e dg.Estimate, s []Stratum, total float64) (float64, float64) {
			var low, high float64
			for _, h := range s {
				l, u := wilson(h.K, h.M, Confidence)
				w, p := float64(h.N)/total*math.Sqrt(1-float64(h.M)/float64(h.N)), h.K/float64(h.M)
				low += w * w * (p - l) * (p - l)
				high += w * w * (u - p) * (u - p)
			}
			return e.Accuracy - math.Sqrt(low), e.Accuracy + math.Sqrt(high)
		}, .92},
	} {
		lowest, where := 1.0, ""
		for design, of := range designs {
			for _, a := range []float64{.9, .99} {
				for _, m := range []int{20, 200} {
					cell := fmt.Sprintf("%s, accuracy %g, %d labels", design, a, m)
					rng, hit, runs := source(name+cell), 0, 800
					for range runs {
						s, right, total := draw(rng, of(a, m))
						e, err := Stratified(s)
						if err != nil {
							t.Fatal(err)
						}
						lower, upper := rival.bounds(e, s, float64(total))
						if x := float64(right) / float64(total); lower <= x+1e-12 && x-1e-12 <= upper {
							hit++
						}
					}
					if c := float64(hit) / float64(runs); c < lowest {
						lowest, where = c, cell
					}
				}
			}
		}
		t.Logf("%s: coverage %.3f in %s", name, lowest, where)
		if lowest > rival.most {
			t.Errorf("%s: lowest coverage %.3f in %s: want it to fail below %g", name, lowest, where, rival.most)
		}
	}
}

// intervalDesign is a window of many curate intervals, as production has them.
type intervalDesign struct {
	intervals, quota int     // random picks an interval
	spread           float64 // traffic of an interval: 100 times 1 to spread
	drift            float64 // the random stratum's accuracy falls by this over the window
	tide             float64 // ... and by this from the quietest interval to the busiest
}

// draw makes the strata: everything hard is labelled, quota of the rest.
func (d intervalDesign) draw(rng *rand.Rand, accuracy float64) (out []truth) {
	for i := range d.intervals {
		busy := rng.Float64()
		n := int(100 * (1 + (d.spread-1)*busy))
		low := n / 8
		p := max(.05, accuracy-d.drift*float64(i)/float64(d.intervals)-d.tide*busy)
		out = append(out, truth{"random", n - low, d.quota, p}, truth{"low", low, low, max(.05, 1-4*(1-p))})
	}
	return out
}

// TestIntervalCoverage is the same promise for a quota of random picks in each
// of many curate intervals. Grouping the intervals by reason keeps the coverage
// and is worth it: alone, each interval pays for its own exactness.
func TestIntervalCoverage(t *testing.T) {
	designs := []intervalDesign{
		{intervals: 48, quota: 5, spread: 1}, {intervals: 48, quota: 5, spread: 10}, {intervals: 12, quota: 5, spread: 10, drift: .4},
		{intervals: 48, quota: 1, spread: 10, drift: .3}, {intervals: 24, quota: 5, spread: 10, tide: .3},
	}
	accuracies, runs, floor := []float64{.7, .93, .99}, 800, .945-3*.0081 // three standard errors of 800 runs
	if long {
		designs = append(designs, intervalDesign{intervals: 4, quota: 5, spread: 10, drift: .3}, intervalDesign{intervals: 168, quota: 2, spread: 20, drift: .5},
			intervalDesign{intervals: 336, quota: 5, spread: 1}, intervalDesign{intervals: 12, quota: 2, spread: 30, tide: .4})
		accuracies, runs, floor = []float64{.5, .7, .8, .93, .97, .99}, 20000, .945
	}
	for _, d := range designs {
		for _, a := range accuracies {
			cell := fmt.Sprintf("%+v, accuracy %g", d, a)
			coverage, width := covered(t, cell, runs, func(rng *rand.Rand) []truth { return d.draw(rng, a) })
			_, alone := covered(t, cell, 50, func(rng *rand.Rand) []truth {
				s := d.draw(rng, a)
				for i := range s {
					s[i].group = ""
				}
				return s
			})
			t.Logf("%s: coverage %.4f, width %.3f (ungrouped %.3f)", cell, coverage, width, alone)
			if coverage < floor {
				t.Errorf("%s: coverage %.4f, want at least %.4f", cell, coverage, floor)
			}
			if d.intervals >= 24 && width > .7*alone {
				t.Errorf("%s: width %.3f, ungrouped %.3f: grouping should be worth it", cell, width, alone)
			}
		}
	}
}
