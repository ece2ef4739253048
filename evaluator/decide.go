package evaluator

import (
	"fmt"
	"math"
	"slices"
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

// Judge applies the gate to what every suite showed: a trial for each of
// [Gate.Rules]. It is pure: the same trials give the same comparison. Champion
// and Challenger, the names, are left empty.
//
// The figures are those of the held-out suite, its pairs weighed by the
// population they were drawn from (all predictions of the same intervals, by
// stratum and curate interval).
//
// Error: a suite could not be judged for a technical reason (no trial, a
// fault, too many unreadable images, a figure that is not a number); nothing of
// the kind is ever one of the other three.
// Promote: the lower bound of the gain exceeds Margin, and nothing is broken.
// Reject: the challenger is worse, or at best Worthwhile better (or no better
// than Margin), or it clearly breaks a floor, forgets a class, or loses on
// another suite.
// Inconclusive: everything else, fewer than MinPairs pairs first of all, and
// what may be broken but no more than chance allows. The bounds of the gain are
// at 95%, so an equal challenger is promoted in about one of forty comparisons;
// those of the classes and of the other suites hold for all of them at once.
func (g Gate) Judge(trials []Trial) dg.Comparison {
	g = g.WithDefaults()
	c := dg.Comparison{PValue: 1, Lower: -1, Upper: 1}
	v := verdict{c: &c, g: g}
	shown := make([]shown, len(g.Suites))
	for i, r := range g.Suites {
		shown[i] = g.show(r, trials)
	}
	heldout := shown[0]
	random := v.count(heldout)
	v.gain(heldout)
	if heldout.enough(g.MinPairs) {
		v.floor("the challenger's accuracy", heldout.d.Challenger, heldout.challengerUpper(), heldout.rule.Floor)
	}
	v.classes(shown)
	for _, s := range shown[1:] {
		v.suite(s, len(shown)-1)
	}
	remarks(&c, heldout.d, random, heldout.missing)
	for _, s := range shown {
		if s.fault != "" {
			c.Verdict = dg.Errored
			c.Reasons = slices.Insert(c.Reasons, 0, fmt.Sprintf("the suite %q could not be judged: %s", s.rule.Name, s.fault))
		}
	}
	if c.Verdict != dg.Inconclusive {
		c.LabelsToDecide = 0
	}
	return c
}

// shown is what a suite showed.
type shown struct {
	rule       SuiteRule
	pairs      []Pair // complete, each once
	missing    int    // without an answer of one of the models
	population []dg.StratumCount
	strata     strata
	d          estimate.Paired
	fault      string // why it cannot be judged; empty: it can
}

// enough reports whether there is something sound to judge, of at least n pairs.
func (s shown) enough(n int) bool {
	return s.fault == "" && len(s.pairs) > 0 && len(s.pairs) >= n && !(s.rule.Name == KindHeldout && unweighable(s.population))
}

// show computes a suite's figures.
func (g Gate) show(r SuiteRule, trials []Trial) shown {
	i := slices.IndexFunc(trials, func(t Trial) bool { return t.Suite == r.Name })
	if i < 0 {
		return shown{rule: r, fault: "it was not tried"}
	}
	t := trials[i]
	s := shown{rule: r, fault: t.Fault, population: t.Population}
	s.pairs, s.missing = judged(t.Pairs)
	s.strata = weigh(s.pairs, t.Population)
	if len(s.pairs) > 0 {
		var err error
		s.d, err = estimate.PairedDifference(s.strata.all())
		if err == nil && !finite(s.d.Champion, s.d.Challenger, s.d.Difference, s.d.Lower, s.d.Upper) {
			err = fmt.Errorf("the difference is not a number")
		}
		if err != nil && s.fault == "" {
			s.fault = fmt.Sprintf("the figures cannot be computed: %v", err)
		}
	}
	if all := s.missing + len(s.pairs); s.fault == "" && s.missing > 0 && float64(s.missing) > g.MaxMissing*float64(all) {
		s.fault = fmt.Sprintf("%d of %d samples have no answer from one of the models: want at most %s", s.missing, all, percent(g.MaxMissing))
	}
	return s
}

// count tallies the held-out pairs; random are the discordant ones of the
// random stratum, only the champion right and only the challenger.
func (v verdict) count(s shown) (random [2]int) {
	v.c.Pairs = len(s.pairs)
	for _, p := range s.pairs {
		champion, challenger := p.Champion == p.Label, p.Challenger == p.Label
		switch {
		case champion && challenger:
			v.c.BothRight++
		case champion:
			v.c.OnlyChampion++
		case challenger:
			v.c.OnlyChallenger++
		default:
			v.c.BothWrong++
		}
		if p.Stratum == dg.Random && champion != challenger {
			if champion {
				random[0]++
			} else {
				random[1]++
			}
		}
	}
	v.c.PValue = estimate.McNemar(random[0], random[1])
	if len(s.pairs) > 0 && finite(s.d.Champion, s.d.Challenger, s.d.Difference, s.d.Lower, s.d.Upper) && s.d.Pairs > 0 {
		v.c.Difference, v.c.Lower, v.c.Upper = s.d.Difference, s.d.Lower, s.d.Upper
		v.c.ChampionAccuracy, v.c.ChallengerAccuracy = s.d.Champion, s.d.Challenger
	}
	return random
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
