package evaluator

import (
	"cmp"
	"maps"
	"slices"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// stratumKey is reason x curate interval.
type stratumKey struct {
	reason   dg.Stratum
	interval int64 // Unix milliseconds: the zero time has some too
}

func compareKeys(a, b stratumKey) int {
	return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(a.interval, b.interval))
}

// strata are the pairs beside the population they stand for.
type strata struct {
	pairs      map[stratumKey][]Pair
	population map[stratumKey]dg.StratumCount
	keys       []stratumKey // in order
}

// weigh sorts pairs into the strata of the population. A curate interval of
// which nothing is labelled yet is no part of what is judged; one with labels
// but without a pair is, through its neighbours (see
// [estimate.PairedDifference]).
func weigh(pairs []Pair, population []dg.StratumCount) strata {
	s := strata{pairs: map[stratumKey][]Pair{}, population: map[stratumKey]dg.StratumCount{}}
	labelled := map[int64]bool{}
	for _, p := range pairs {
		k := stratumKey{p.Stratum, p.Interval.UnixMilli()}
		s.pairs[k] = append(s.pairs[k], p)
		labelled[k.interval] = true
	}
	for _, c := range population {
		if c.Labels > 0 {
			labelled[c.Interval.UnixMilli()] = true
		}
	}
	for _, c := range population {
		k := stratumKey{c.Stratum, c.Interval.UnixMilli()}
		if !labelled[k.interval] {
			continue
		}
		sum := s.population[k]
		sum.Predictions += c.Predictions
		sum.Selected += c.Selected
		sum.Labels += c.Labels
		s.population[k] = sum
	}
	for k := range s.pairs {
		if _, ok := s.population[k]; !ok {
			s.population[k] = dg.StratumCount{}
		}
	}
	s.keys = slices.SortedFunc(maps.Keys(s.population), compareKeys)
	return s
}

// all tallies every pair.
func (s strata) all() []estimate.PairStratum {
	return s.tally(func(Pair) bool { return true })
}

// tally counts gains and losses among the pairs that count; the others weigh as
// pairs on which the models agree. So for a class the difference comes out as a
// share of all predictions.
func (s strata) tally(counts func(Pair) bool) []estimate.PairStratum {
	out := make([]estimate.PairStratum, 0, len(s.keys))
	for _, k := range s.keys {
		c := s.population[k]
		h := estimate.PairStratum{Group: string(k.reason), N: c.Predictions, Pairs: len(s.pairs[k])}
		if c.Predictions > 0 {
			h.Fraction = float64(max(c.Selected, c.Labels)) / float64(max(c.Predictions, c.Labels))
		}
		for _, p := range s.pairs[k] {
			champion, challenger := p.Champion == p.Label, p.Challenger == p.Label
			switch {
			case !counts(p):
			case champion && challenger:
				h.BothRight++
			case champion:
				h.Losses++
			case challenger:
				h.Gains++
			}
		}
		out = append(out, h)
	}
	return out
}

// classes lists the labels among the pairs, in order.
func (s strata) classes() []string {
	seen := map[string]bool{}
	for _, pairs := range s.pairs {
		for _, p := range pairs {
			seen[p.Label] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), cmp.Compare[string])
}

// share is the share of all predictions that the chosen pairs stand for.
func (s strata) share(of func(Pair) bool) float64 {
	tallied := s.tally(func(Pair) bool { return false })
	for i, k := range s.keys {
		for _, p := range s.pairs[k] {
			if of(p) {
				tallied[i].BothRight++
			}
		}
	}
	d, err := estimate.PairedDifference(tallied)
	if err != nil {
		return 0
	}
	return d.Champion
}

// part tallies the challenger's answers among the chosen pairs, a tally a
// reason, each pair by the predictions it stands for.
func (s strata) part(of func(Pair) bool) estimate.Part {
	var part estimate.Part
	weights := estimate.SampleWeights(s.all())
	for i, k := range s.keys {
		if n := len(part); n == 0 || part[n-1].Group != string(k.reason) {
			part = append(part, estimate.Tally{Group: string(k.reason)})
		}
		for _, p := range s.pairs[k] {
			if of(p) {
				part[len(part)-1].Add(weights[i], p.Challenger == p.Label)
			}
		}
	}
	return part
}
