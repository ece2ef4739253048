package trainer

import (
	"cmp"
	"math"
	"slices"

	dg "driftgate"
	"driftgate/internal/network"
)

// prefer keeps at most MaxProduction of the candidates, which come by id: those
// that people labelled first, the most informative of them but for a share
// drawn by lot, so that the set does not consist of odd cases alone; then proxy
// labels by lot. What is left comes by id again.
func prefer(all []candidate, o Options, account *network.ActiveAccount) []candidate {
	a := o.Active
	if a.MaxProduction == 0 {
		return all
	}
	*account = network.ActiveAccount{Cap: a.MaxProduction, Prefer: cmp.Or(a.Prefer, Uncertain), Candidates: len(all)}
	if len(all) <= a.MaxProduction {
		return all
	}
	var human, proxy []candidate
	for _, c := range all {
		if c.Source == dg.HumanLabel {
			human = append(human, c)
		} else {
			proxy = append(proxy, c)
		}
	}
	account.CandidateConfidence = meanConfidence(human)
	places := min(len(human), a.MaxProduction)
	byLot := places
	if places < len(human) {
		byLot = int(math.Round(a.Random * float64(places)))
	}
	shuffle(human, o.Seed)
	rest := human[byLot:]
	slices.SortStableFunc(rest, func(x, y candidate) int { return cmp.Compare(informative(y, a), informative(x, a)) })
	kept := slices.Clone(human[:places])
	account.KeptConfidence = meanConfidence(kept)
	shuffle(proxy, o.Seed)
	proxies := min(len(proxy), a.MaxProduction-places)
	kept = append(kept, proxy[:proxies]...)
	account.Informative, account.Random, account.LeftOut = places-byLot, byLot+proxies, len(all)-len(kept)
	slices.SortFunc(kept, func(x, y candidate) int { return cmp.Compare(x.ID, y.ID) })
	return kept
}

// informative is how much a labelled sample can teach, 0 to 1. Uncertain: how
// unsure the model was. Surprising: how unlikely the label was by its answer,
// which is the length of the loss's gradient by the label's logit. Without a
// confidence nothing is known: it counts as an even chance.
func informative(c candidate, a Active) float64 {
	p := c.record.Confidence
	if math.IsNaN(p) {
		p = 0.5
	}
	if a.Prefer == Surprising && c.Label != c.record.PredictedClass {
		return p
	}
	return 1 - p
}

// shuffle orders candidates by a hash of their ids: by lot, and the same
// whatever else is among them.
func shuffle(c []candidate, seed uint64) {
	slices.SortFunc(c, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(share(seed, "active", x.ID), share(seed, "active", y.ID)), cmp.Compare(x.ID, y.ID))
	})
}

func meanConfidence(all []candidate) float64 {
	sum, n := 0.0, 0
	for _, c := range all {
		if p := c.record.Confidence; !math.IsNaN(p) {
			sum, n = sum+p, n+1
		}
	}
	return sum / float64(max(1, n))
}
