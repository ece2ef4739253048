package evaluator

import (
	"fmt"
	"math"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// Pair is one held-out sample with the human label and both models' answers.
// An empty answer means that there is none: the image could not be read.
type Pair struct {
	ID         string
	Stratum    dg.Stratum // why it was picked for labelling
	Interval   time.Time  // start of its curate interval
	Label      string     // what people say it is
	Champion   string     // the champion's answer
	Challenger string     // the challenger's answer
}

func (p Pair) complete() bool { return p.Label != "" && p.Champion != "" && p.Challenger != "" }

// Decide weighs the pairs by the population they were drawn from (all
// predictions of the same intervals, by stratum and curate interval) and
// judges. It is pure: the same pairs give the same comparison. Champion and
// Challenger, the names, are left empty.
//
// Promote: the lower bound of the gain exceeds Margin, and no floor is broken.
// Reject: the challenger is worse, or at best Worthwhile better (or no better
// than Margin), or it breaks a floor clearly. Inconclusive: everything else,
// fewer than MinPairs pairs and missing data first of all. The bounds are at
// 95%, so an equal challenger is promoted in about one of forty comparisons.
func Decide(pairs []Pair, population []dg.StratumCount, o Options) dg.Comparison {
	o = o.withDefaults()
	whole, missing := judged(pairs)
	c := dg.Comparison{Pairs: len(whole), PValue: 1, Lower: -1, Upper: 1}
	var random [2]int
	for _, p := range whole {
		champion, challenger := p.Champion == p.Label, p.Challenger == p.Label
		switch {
		case champion && challenger:
			c.BothRight++
		case champion:
			c.OnlyChampion++
		case challenger:
			c.OnlyChallenger++
		default:
			c.BothWrong++
		}
		if p.Stratum == dg.Random && champion != challenger {
			if champion {
				random[0]++
			} else {
				random[1]++
			}
		}
	}
	c.PValue = estimate.McNemar(random[0], random[1])

	strata := weigh(whole, population)
	d, err := estimate.PairedDifference(strata.all())
	if err == nil && !finite(d.Champion, d.Challenger, d.Difference, d.Lower, d.Upper) {
		err = fmt.Errorf("the weighted difference is not a number")
	}
	if err == nil {
		c.Difference, c.Lower, c.Upper = d.Difference, d.Lower, d.Upper
		c.ChampionAccuracy, c.ChallengerAccuracy = d.Champion, d.Challenger
	}
	switch v := (verdict{c: &c, o: o}); {
	case len(whole) == 0:
		v.say(dg.Inconclusive, "no labelled sample that neither model was trained on: wait for labels")
	case err != nil:
		v.say(dg.Inconclusive, "the figures cannot be computed: %v", err)
	case len(whole) < o.MinPairs:
		v.say(dg.Inconclusive, "%d held-out pairs, want at least %d: wait for more labels", len(whole), o.MinPairs)
	case missing > 0 && float64(missing) > o.MaxMissing*float64(missing+len(whole)):
		v.say(dg.Inconclusive, "%d of %d held-out samples have no answer from one of the models: want at most %s", missing, missing+len(whole), percent(o.MaxMissing))
	case unweighable(population):
		v.say(dg.Inconclusive, "how many predictions stand behind these labels is not known, so hard images cannot be weighed against easy ones")
	default:
		v.decide(d, strata)
	}
	remarks(&c, d, random, missing)
	return c
}

// judged drops what cannot be compared: pairs without both answers, which are
// counted, and repeated ids.
func judged(pairs []Pair) (whole []Pair, missing int) {
	seen := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		switch {
		case seen[p.ID]:
		case !p.complete():
			missing++
		default:
			whole = append(whole, p)
		}
		seen[p.ID] = true
	}
	return whole, missing
}

// unweighable reports whether the population cannot weigh: it is missing, or a
// clean bucket alone, of several reasons, without the predictions behind it.
func unweighable(population []dg.StratumCount) bool {
	reasons := map[dg.Stratum]bool{}
	for _, s := range population {
		if s.Predictions > 0 || s.Labels > 0 {
			reasons[s.Stratum] = true
		}
	}
	return len(reasons) == 0 || (len(reasons) > 1 && estimate.Uncounted(population))
}

func finite(xs ...float64) bool {
	for _, x := range xs {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}
