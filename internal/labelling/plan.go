package labelling

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// stratumOf is the reason to ask about a sample: the first that matches, on
// the confidence as its tag has it. A missing confidence (NaN) is not low.
func stratumOf(s dg.Sample, threshold float64) dg.Stratum {
	switch {
	case dg.RoundConfidence(s.Confidence) < threshold:
		return dg.LowConfidence
	case s.Flagged:
		return dg.Flagged
	case s.CorrectedClass != "":
		return dg.Corrected
	}
	return dg.Random
}

// quota is how many of n samples of a stratum are picked: at least one, for a
// stratum without a label has no estimate.
func (o Options) quota(stratum dg.Stratum, n int) int {
	most, capped := o.Caps[stratum]
	if !capped && stratum == dg.Random {
		most, capped = o.RandomQuota, true
	}
	if capped {
		return min(n, max(1, most))
	}
	return n
}

// plan decides on candidates that were taken together, as the curate interval
// that begins at start: within each stratum the quota is drawn at random
// without replacement, and the sampling fraction is picked/n, for those not
// picked too. The draw depends on seed, interval, stratum and the ids, not on
// the order of the candidates.
func plan(candidates []ledger.Record, start time.Time, o Options) []ledger.Decision {
	byStratum := map[dg.Stratum][]string{}
	for _, r := range candidates {
		st := stratumOf(r.Sample, o.Threshold)
		byStratum[st] = append(byStratum[st], r.ID())
	}
	var out []ledger.Decision
	for _, stratum := range dg.Strata {
		ids := byStratum[stratum]
		slices.Sort(ids)
		picks := o.quota(stratum, len(ids))
		draw(ids, picks, start, stratum, o.Seed)
		for i, id := range ids {
			out = append(out, ledger.Decision{
				ID: id, Stratum: stratum, Interval: start, Selected: i < picks,
				SamplingFraction: float64(picks) / float64(len(ids)),
			})
		}
	}
	return out
}

// draw moves k ids, chosen at random without replacement, to the front.
func draw(ids []string, k int, start time.Time, stratum dg.Stratum, seed uint64) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(stratum)) // never fails
	rng := rand.New(rand.NewPCG(seed^h.Sum64(), uint64(start.UnixNano())))
	for i := range k {
		j := i + rng.IntN(len(ids)-i)
		ids[i], ids[j] = ids[j], ids[i]
	}
}

// arrivals splits candidates by the interval they are decided in: those within
// iv, and for those before it the intervals of the same length that lead up to
// it, so that a late arrival counts where its prediction was made.
func arrivals(candidates []ledger.Record, iv dg.Interval) (within []ledger.Record, late map[time.Time][]ledger.Record) {
	late = map[time.Time][]ledger.Record{}
	for _, r := range candidates {
		if iv.Contains(r.Timestamp) {
			within = append(within, r)
			continue
		}
		before := iv.Start.Sub(r.Timestamp) // more than 0
		if rest := before % iv.Length(); rest > 0 {
			before += iv.Length() - rest
		}
		start := iv.Start.Add(-before)
		late[start] = append(late[start], r)
	}
	return within, late
}

// lateFlags decides on samples that were flagged or corrected after their
// interval was curated: everything of that kind is asked about, so the
// fraction is 1.
func lateFlags(records []ledger.Record) []ledger.Decision {
	out := make([]ledger.Decision, len(records))
	for i, r := range records {
		out[i] = ledger.Decision{ID: r.ID(), Stratum: dg.Corrected, SamplingFraction: 1, Interval: r.Interval, Selected: true}
		if r.Flagged {
			out[i].Stratum = dg.Flagged
		}
	}
	slices.SortFunc(out, func(a, b ledger.Decision) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
