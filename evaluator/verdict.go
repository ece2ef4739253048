package evaluator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// verdict collects the reasons of one comparison.
type verdict struct {
	c *dg.Comparison
	o Options
}

// say settles the verdict with its reason.
func (v verdict) say(verdict dg.Verdict, format string, args ...any) {
	v.c.Verdict = verdict
	v.c.Reasons = append(v.c.Reasons, fmt.Sprintf(format, args...))
}

// decide judges figures that are sound: the gain first, then the floors, which
// can only hold a promotion back.
func (v verdict) decide(d estimate.Paired, s strata) {
	bar := max(v.o.Margin, v.o.Worthwhile)
	gain := points(d.Difference, d.Lower, d.Upper)
	switch {
	case d.Lower > v.o.Margin:
		v.say(dg.Promote, "the challenger is better by %s over %d held-out pairs, each weighted by the predictions it stands for", gain, d.Pairs)
		v.floors(d, s)
	case d.Upper < 0:
		v.say(dg.Reject, "the challenger is worse: %s over %d held-out pairs", gain, d.Pairs)
	case d.Upper <= bar:
		v.say(dg.Reject, "no gain worth a promotion: %s over %d held-out pairs, at best %s", gain, d.Pairs, point(d.Upper))
	default:
		v.say(dg.Inconclusive, "the difference is %s over %d held-out pairs: too wide to tell whether it exceeds %s; wait for more labels", gain, d.Pairs, point(v.o.Margin))
	}
}

// floors holds a promotion back. What is clearly broken rejects; what may be
// broken is left to a person.
func (v verdict) floors(d estimate.Paired, s strata) {
	if v.o.Floor > 0 && d.Challenger < v.o.Floor {
		v.floor("the challenger's accuracy", d.Challenger, v.challengerUpper(s), v.o.Floor)
	}
	for _, class := range s.classes() {
		v.class(class, s)
	}
}

// floor rejects when even the upper bound stays below, and holds back otherwise.
func (v verdict) floor(what string, value, upper, floor float64) {
	if upper < floor {
		v.say(dg.Reject, "but %s is %s (at best %s), below the floor of %s", what, percent(value), percent(upper), percent(floor))
		return
	}
	v.hold("but %s is %s, below the floor of %s, though by no more than chance allows: a person must decide", what, percent(value), percent(floor))
}

// hold turns a promotion into inconclusive; a rejection stays.
func (v verdict) hold(format string, args ...any) {
	if v.c.Verdict == dg.Promote {
		v.c.Verdict = dg.Inconclusive
	}
	v.c.Reasons = append(v.c.Reasons, fmt.Sprintf(format, args...))
}

// challengerUpper is the upper bound of the challenger's weighted accuracy.
func (v verdict) challengerUpper(s strata) float64 {
	var counts []estimate.Stratum
	for _, h := range s.all() {
		counts = append(counts, estimate.Stratum{N: max(h.N, h.Pairs), M: h.Pairs, K: float64(h.BothRight + h.Gains), Group: h.Group})
	}
	e, err := estimate.Stratified(counts)
	if err != nil {
		return 1
	}
	return e.Upper
}

// class judges one class's recall: against the champion's, and against the
// floor if there is one. Shares are of all predictions, so hard images weigh no
// more here than anywhere.
func (v verdict) class(class string, s strata) {
	of := func(p Pair) bool { return p.Label == class }
	n, right := 0, 0
	for _, k := range s.keys {
		for _, p := range s.pairs[k] {
			if of(p) {
				n++
				if p.Challenger == class {
					right++
				}
			}
		}
	}
	d, err := estimate.PairedDifference(s.tally(of))
	share := s.share(of)
	if err != nil || n < v.o.ClassPairs || share <= 0 {
		return
	}
	champion, challenger := min(1, d.Champion/share), min(1, d.Challenger/share)
	if d.Upper < 0 && champion-challenger > v.o.RecallDrop {
		v.say(dg.Reject, "but it forgets %q: recall falls from %s to %s over %d pairs, more than the %s allowed",
			class, percent(champion), percent(challenger), n, point(v.o.RecallDrop))
	}
	if v.o.ClassFloor > 0 && challenger < v.o.ClassFloor {
		_, upper := estimate.Wilson(right, n, estimate.Confidence)
		v.floor(fmt.Sprintf("the challenger's recall of %q", class), challenger, upper, v.o.ClassFloor)
	}
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

// remarks adds what a reader should see beside the deciding figure.
func remarks(c *dg.Comparison, d estimate.Paired, random [2]int, missing int) {
	add := func(format string, args ...any) { c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...)) }
	if n := random[0] + random[1]; n > 0 {
		add("among the random picks only the champion is right %d times, only the challenger %d times: exact McNemar p = %s", random[0], random[1], pValue(c.PValue))
	}
	if n := c.OnlyChampion + c.OnlyChallenger; n > random[0]+random[1] {
		add("biased, for comparison only: over all labels %d against %d, p = %s; these labels over-select the champion's own errors",
			c.OnlyChampion, c.OnlyChallenger, pValue(estimate.McNemar(c.OnlyChampion, c.OnlyChallenger)))
	}
	if d.Missing > .0005 {
		add("%s of the predictions were picked for a reason of which no pair is held out; the bounds allow them any difference", percent(d.Missing))
	}
	if missing > 0 {
		add("%d held-out samples were left out: an answer is missing", missing)
	}
}

// point renders a difference of ratios in percentage points.
func point(x float64) string { return fmt.Sprintf("%.1f points", 100*x) }

// points renders a difference with its bounds, signs always shown.
func points(x, lower, upper float64) string {
	return fmt.Sprintf("%+.1f points (95%%: %+.1f to %+.1f)", 100*x, 100*lower, 100*upper)
}

func percent(x float64) string { return fmt.Sprintf("%.1f%%", 100*x) }

func pValue(p float64) string {
	if p < .0001 {
		return "below .0001"
	}
	return fmt.Sprintf("%.4f", p)
}
