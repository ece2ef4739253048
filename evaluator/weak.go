package evaluator

import (
	"cmp"
	"slices"
	"strings"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// The least number of items that a slice needs to be tested, by the number of
// attributes that cut it out. More candidates cost power: each is paid for.
const (
	minSliceItems = 20
	minCrossItems = 40
)

// weakLevel is the chance of calling any slice weak that is not.
const weakLevel = 1 - estimate.Confidence

// WeakSlices looks for parts of a suite on which a version is less accurate
// than on the rest: every value of one attribute with at least 20 items, and
// every pair of values of two attributes with at least 40. Items weigh by the
// predictions they stand for (population, by stratum and curate interval; nil:
// all alike); items without an answer or a label are left out. It returns all
// single slices, and those pairs that are weak; weakest first.
//
// A pair is weak only when it is less accurate than the rest of each of its two
// parents, beside the rest of the suite; so a weak class does not come again
// with every brightness it has.
//
// Having looked at many is corrected for by Holm's procedure over every
// candidate, pairs that are not returned too: the chance of calling any slice
// weak that is not is at most .05, half of it for the single slices and half for
// the pairs, which are ten times as many. Why not a permutation test of the maximum,
// which would find somewhat smaller weaknesses: shuffling answers is exact only
// where nothing is weak at all, and only where weights and attributes have
// nothing to do with each other. Here low confidence is both an attribute and
// the reason for a weight; and the same suite must give the same page twice.
func WeakSlices(items []Item, population []dg.StratumCount) []Slice {
	u := newSuiteItems(items, population)
	var all []candidateSlice
	singles := map[int]estimate.Part{}
	for id, at := range u.singles() {
		part := u.part(at)
		singles[id] = part
		if rest := u.less(u.whole, part); len(at) >= minSliceItems && rest.Samples() >= minSliceItems {
			s := u.slice(part, rest, estimate.WeakerP(part, rest))
			s.By, s.Value = u.names[id].By, u.names[id].Value
			all = append(all, candidateSlice{s, true})
		}
	}
	for ids, at := range u.crosses() {
		part := u.part(at)
		rest := u.less(u.whole, part)
		if rest.Samples() < minSliceItems {
			continue
		}
		s := Slice{PValue: 1} // not below weakLevel: how far above it changes nothing
		first, second := u.less(singles[ids[0]], part), u.less(singles[ids[1]], part)
		if estimate.Weaker(part, rest, weakLevel) && estimate.Weaker(part, first, weakLevel) && estimate.Weaker(part, second, weakLevel) {
			s = u.slice(part, rest, max(estimate.WeakerP(part, rest), estimate.WeakerP(part, first), estimate.WeakerP(part, second)))
		}
		a, b := u.names[ids[0]], u.names[ids[1]]
		s.By, s.Value = a.By+"+"+b.By, a.Value+"+"+b.Value
		all = append(all, candidateSlice{s, false})
	}
	out := corrected(all)
	slices.SortFunc(out, func(a, b Slice) int {
		return cmp.Or(cmp.Compare(a.PValue, b.PValue), cmp.Compare(a.Accuracy.Value, b.Accuracy.Value),
			strings.Compare(a.By, b.By), strings.Compare(a.Value, b.Value))
	})
	return out
}

// candidateSlice is a slice that was tested: a single one, or a pair.
type candidateSlice struct {
	Slice
	single bool
}

// corrected are the single slices and the weak pairs, their p-values corrected
// within their kind, and for there being two kinds.
func corrected(all []candidateSlice) (out []Slice) {
	families := 0.
	for _, single := range []bool{true, false} {
		if slices.ContainsFunc(all, func(f candidateSlice) bool { return f.single == single }) {
			families++
		}
	}
	for _, single := range []bool{true, false} {
		var family []Slice
		var ps []float64
		for _, f := range all {
			if f.single == single {
				family, ps = append(family, f.Slice), append(ps, f.PValue)
			}
		}
		for i, adjusted := range estimate.Holm(ps) {
			s := family[i]
			s.Adjusted = min(1, families*adjusted)
			if s.Weak = s.Adjusted <= weakLevel; s.Weak || single {
				out = append(out, s)
			}
		}
	}
	return out
}

// suiteItems is a suite in the form in which slices are cut quickly.
type suiteItems struct {
	items   []Item
	weights []float64
	groups  []int // per item, the place of its reason in a [estimate.Part]
	reasons []string
	values  [][]int     // per item, its attributes by number
	names   []Attribute // by number
	whole   estimate.Part
}

func newSuiteItems(items []Item, population []dg.StratumCount) suiteItems {
	var u suiteItems
	seen := make(map[string]bool, len(items))
	var pairs []Pair // to weigh by
	for _, it := range items {
		if it.Label == "" || it.Answer == "" || seen[it.ID] {
			continue
		}
		seen[it.ID] = true
		u.items = append(u.items, it)
		pairs = append(pairs, Pair{ID: it.ID, Stratum: it.Stratum, Interval: it.Interval, Label: it.Label, Champion: it.Answer, Challenger: it.Answer})
	}
	strata := weigh(pairs, population)
	weight := map[stratumKey]float64{}
	for i, w := range estimate.SampleWeights(strata.all()) {
		weight[strata.keys[i]] = w
	}
	number, reason := map[Attribute]int{}, map[dg.Stratum]int{}
	for _, it := range u.items {
		if _, ok := reason[it.Stratum]; !ok {
			reason[it.Stratum] = len(reason)
			u.reasons = append(u.reasons, string(it.Stratum))
		}
		u.groups = append(u.groups, reason[it.Stratum])
		u.weights = append(u.weights, weight[stratumKey{it.Stratum, it.Interval.UnixMilli()}])
		var values []int
		for _, a := range it.Attributes {
			if _, ok := number[a]; !ok {
				number[a] = len(number)
				u.names = append(u.names, a)
			}
			if n := number[a]; !slices.Contains(values, n) {
				values = append(values, n)
			}
		}
		u.values = append(u.values, values)
	}
	every := make([]int, len(u.items))
	for i := range every {
		every[i] = i
	}
	u.whole = u.part(every)
	return u
}

// singles are the items of each value of one attribute.
func (u suiteItems) singles() map[int][]int {
	out := map[int][]int{}
	for i, values := range u.values {
		for _, v := range values {
			out[v] = append(out[v], i)
		}
	}
	return out
}

// crosses are the items of each pair of values of two attributes that has
// enough of them. Numbers are in order of attribute and value.
func (u suiteItems) crosses() map[[2]int][]int {
	out := map[[2]int][]int{}
	for i, values := range u.values {
		for j, a := range values {
			for _, b := range values[j+1:] {
				x, y := u.names[a], u.names[b]
				if x.By == y.By {
					continue
				}
				key := [2]int{a, b}
				if x.By > y.By {
					key = [2]int{b, a}
				}
				out[key] = append(out[key], i)
			}
		}
	}
	for key, at := range out {
		if len(at) < minCrossItems {
			delete(out, key)
		}
	}
	return out
}

// part tallies items.
func (u suiteItems) part(at []int) estimate.Part {
	part := make(estimate.Part, len(u.reasons))
	for i := range part {
		part[i].Group = u.reasons[i]
	}
	for _, i := range at {
		part[u.groups[i]].Add(u.weights[i], u.items[i].Answer == u.items[i].Label)
	}
	return part
}

// less is a without b, which is part of it.
func (u suiteItems) less(a, b estimate.Part) estimate.Part {
	out := slices.Clone(a)
	for i, t := range b {
		out[i].Samples -= t.Samples
		if out[i].Samples == 0 {
			out[i] = estimate.Tally{Group: t.Group}
			continue
		}
		out[i].Weight -= t.Weight
		out[i].Right = max(0, out[i].Right-t.Right)
		out[i].Squares -= t.Squares
	}
	return out
}

func (u suiteItems) slice(part, rest estimate.Part, p float64) Slice {
	s := Slice{Samples: part.Samples(), Share: part.Weight() / u.whole.Weight(), PValue: p}
	s.Accuracy, s.Rest = bounded(part), bounded(rest)
	return s
}

func bounded(p estimate.Part) Bounded {
	value, lower, upper := p.Rate(1 - estimate.Confidence)
	return Bounded{Value: value, Lower: lower, Upper: upper, Samples: p.Samples()}
}
