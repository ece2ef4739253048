package evaluator

import (
	"fmt"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// verdict collects the reasons of one comparison.
type verdict struct {
	c *dg.Comparison
	g Gate
}

// say settles the verdict with its reason.
func (v verdict) say(verdict dg.Verdict, format string, args ...any) {
	v.c.Verdict = verdict
	v.c.Reasons = append(v.c.Reasons, fmt.Sprintf(format, args...))
}

// hold turns a promotion into inconclusive; a rejection stays.
func (v verdict) hold(format string, args ...any) {
	if v.c.Verdict == dg.Promote {
		v.c.Verdict = dg.Inconclusive
	}
	v.c.Reasons = append(v.c.Reasons, fmt.Sprintf(format, args...))
}

// gain judges the held-out gain; everything after it can only hold back.
func (v verdict) gain(s shown) {
	n := len(s.pairs)
	switch {
	case s.fault != "":
	case n == 0:
		v.say(dg.Inconclusive, "no labelled sample that neither model was trained on: wait for labels")
		v.c.LabelsToDecide = v.g.MinPairs
	case unweighable(s.population):
		v.say(dg.Inconclusive, "how many predictions stand behind these labels is not known, so hard images cannot be weighed against easy ones")
	case n < v.g.MinPairs:
		v.c.LabelsToDecide, _ = estimate.LabelsToDecide(s.strata.all(), v.g.Margin, v.bar())
		v.c.LabelsToDecide = max(v.c.LabelsToDecide, v.g.MinPairs-n)
		v.say(dg.Inconclusive, "%d held-out pairs, want at least %d: wait for more labels", n, v.g.MinPairs)
	default:
		v.weighGain(s)
	}
}

// bar is the gain that is worth a promotion.
func (v verdict) bar() float64 { return max(v.g.Margin, v.g.Worthwhile) }

func (v verdict) weighGain(s shown) {
	d := s.d
	gain := points(d.Difference, d.Lower, d.Upper)
	switch {
	case d.Lower > v.g.Margin:
		v.say(dg.Promote, "the challenger is better by %s over %d held-out pairs, each weighted by the predictions it stands for", gain, d.Pairs)
	case d.Upper < 0:
		v.say(dg.Reject, "the challenger is worse: %s over %d held-out pairs", gain, d.Pairs)
	case d.Upper <= v.bar():
		v.say(dg.Reject, "no gain worth a promotion: %s over %d held-out pairs, at best %s", gain, d.Pairs, point(d.Upper))
	default:
		more, ok := estimate.LabelsToDecide(s.strata.all(), v.g.Margin, v.bar())
		wait := fmt.Sprintf("about %d more held-out labels would decide it, if the models go on differing as they do", more)
		if !ok {
			wait = fmt.Sprintf("the difference lies so near to that, that %d more labels would not tell", estimate.MostPairs)
		}
		v.c.LabelsToDecide = more
		v.say(dg.Inconclusive, "the difference is %s over %d held-out pairs: too wide to tell whether it exceeds %s; %s", gain, d.Pairs, point(v.g.Margin), wait)
	}
}

// floor rejects when even the upper bound stays below, and holds back otherwise.
func (v verdict) floor(what string, value, upper, floor float64) {
	switch {
	case floor <= 0 || value >= floor:
	case upper < floor:
		v.say(dg.Reject, "but %s is %s (at best %s), below the floor of %s", what, percent(value), percent(upper), percent(floor))
	default:
		v.hold("but %s is %s, below the floor of %s, though by no more than chance allows: a person must decide", what, percent(value), percent(floor))
	}
}

// challengerUpper is the upper bound of the challenger's weighted accuracy on
// held-out samples.
func (s shown) challengerUpper() float64 {
	var counts []estimate.Stratum
	for _, h := range s.strata.all() {
		counts = append(counts, estimate.Stratum{N: max(h.N, h.Pairs), M: h.Pairs, K: float64(h.BothRight + h.Gains), Group: h.Group})
	}
	e, err := estimate.Stratified(counts)
	if err != nil {
		return 1
	}
	return e.Upper
}

// oneClass is a class on a suite with pairs enough to be judged.
type oneClass struct {
	s     shown
	class string
	part  estimate.Part // the challenger's answers
	share float64       // of the class among all predictions
}

// classes judges recall, class by class, on held-out labels and on the test
// set: against the champion's, with bounds that hold for all classes at once,
// and on held-out labels against the floor if there is one.
func (v verdict) classes(all []shown) {
	var family []oneClass
	for _, s := range all {
		switch {
		case s.rule.Special(), s.rule.Name == KindHeldout && !s.enough(v.g.MinPairs), !s.enough(1):
			continue
		}
		for _, class := range s.strata.classes() {
			of := func(p Pair) bool { return p.Label == class }
			c := oneClass{s, class, s.strata.part(of), s.strata.share(of)}
			if c.part.Samples() >= v.g.ClassPairs && c.share > 0 {
				family = append(family, c)
			}
		}
	}
	for _, c := range family {
		v.class(c, (1-estimate.Confidence)/float64(len(family)))
	}
}

// class judges one class. Shares are of all predictions, so hard images weigh
// no more here than anywhere.
func (v verdict) class(c oneClass, alpha float64) {
	d, err := estimate.PairedDifferenceAt(c.s.strata.tally(func(p Pair) bool { return p.Label == c.class }), alpha)
	if err != nil {
		return
	}
	where := "held-out"
	if c.s.rule.Name != KindHeldout {
		where = c.s.rule.Name
	}
	champion, challenger := min(1, d.Champion/c.share), min(1, d.Challenger/c.share)
	if d.Upper < 0 && champion-challenger > v.g.RecallDrop {
		v.say(dg.Reject, "it forgets %q: recall falls from %s to %s over %d %s pairs, more than the %s allowed",
			c.class, percent(champion), percent(challenger), c.part.Samples(), where, point(v.g.RecallDrop))
	}
	if c.s.rule.Name == KindHeldout {
		_, _, upper := c.part.Rate(alpha)
		v.floor(fmt.Sprintf("the challenger's recall of %q", c.class), challenger, upper, v.g.Floors.Class)
	}
}

// suite judges one of the other suites, of which there are k: its floor, and
// what may be lost there.
func (v verdict) suite(s shown, k int) {
	r := s.rule
	out := dg.SuiteComparison{Suite: r.Name, Pairs: len(s.pairs), Lower: -1, Upper: 1, Floor: r.Floor, MayLose: r.MayLose, Verdict: dg.Promote}
	own := verdict{c: &dg.Comparison{Verdict: dg.Promote}, g: v.g} // what it says by itself
	alpha := (1 - estimate.Confidence) / float64(k)
	d, err := estimate.PairedDifferenceAt(s.strata.all(), alpha)
	if err == nil {
		out.Champion, out.Challenger, out.Difference, out.Lower, out.Upper = d.Champion, d.Challenger, d.Difference, d.Lower, d.Upper
	}
	lost := fmt.Sprintf("%s over %d images of %q, where it may lose %s", points(d.Difference, d.Lower, d.Upper), d.Pairs, r.Name, point(r.MayLose))
	switch {
	case s.fault != "":
		own.c.Verdict = dg.Errored
		own.c.Reasons = append(own.c.Reasons, s.fault)
	case len(s.pairs) < r.MinPairs || err != nil:
		own.hold("but %q has %d images, want at least %d: it cannot be judged there", r.Name, len(s.pairs), r.MinPairs)
	default:
		value, _, upper := s.strata.part(func(Pair) bool { return true }).Rate(alpha)
		own.floor(fmt.Sprintf("the challenger's accuracy on %q", r.Name), value, upper, r.Floor)
		switch {
		case d.Upper < -r.MayLose:
			own.say(dg.Reject, "but it clearly loses: %s", lost)
		case d.Difference < -r.MayLose:
			own.hold("but it loses, though by no more than chance allows: %s: a person must decide", lost)
		}
	}
	out.Verdict, out.Reasons = own.c.Verdict, own.c.Reasons
	v.c.Suites = append(v.c.Suites, out)
	for _, reason := range out.Reasons {
		switch out.Verdict {
		case dg.Reject:
			v.say(dg.Reject, "%s", reason)
		case dg.Inconclusive:
			v.hold("%s", reason)
		}
	}
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
