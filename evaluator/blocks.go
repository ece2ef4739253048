package evaluator

import (
	dg "driftgate"
	"driftgate/internal/estimate"
)

// BlockDifferences turns one closed slot into block differences for
// [estimate.Harm]: the challenger's error less the champion's, weighted by the
// slot's population, by stratum and curate interval (see
// [estimate.DealDifferences]). open is the share of the predictions, 0 to 1, in
// reasons of which no pair is complete; above [estimate.MaxOpen], and when the
// population cannot weigh, there are no blocks.
func BlockDifferences(pairs []Pair, population []dg.StratumCount) (blocks []float64, open float64) {
	if unweighable(population) {
		return nil, 1
	}
	whole, _ := judged(pairs)
	at := map[stratumKey]int{}
	var strata []estimate.DifferenceStratum
	stratum := func(k stratumKey) *estimate.DifferenceStratum {
		i, ok := at[k]
		if !ok {
			i = len(strata)
			at[k] = i
			strata = append(strata, estimate.DifferenceStratum{Group: string(k.reason)})
		}
		return &strata[i]
	}
	for _, c := range population {
		h := stratum(stratumKey{c.Stratum, c.Interval.UnixMilli()})
		h.Predictions += max(c.Predictions, c.Labels)
		if c.Predictions > 0 {
			h.Fraction = float64(max(c.Selected, c.Labels)) / float64(max(c.Predictions, c.Labels))
		}
	}
	for _, p := range whole {
		h := stratum(stratumKey{p.Stratum, p.Interval.UnixMilli()})
		var d float64
		if p.Champion == p.Label {
			d++
		}
		if p.Challenger == p.Label {
			d--
		}
		h.Picks = append(h.Picks, estimate.DifferencePick{ID: p.ID, Difference: d})
	}
	return estimate.DealDifferences(strata)
}
