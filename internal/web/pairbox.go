package web

import (
	"fmt"
	"math"
	"slices"
	"strings"

	dg "driftgate"
	"driftgate/evaluator"
)

// pairBox is one version against another, laid out.
type pairBox struct {
	A, B     pairSide
	Name     string // the letters of both
	C        dg.Comparison
	Verdict  string
	Headline string   // the comparison in a sentence
	ForWhom  []string // what it gains and loses, in words
	Suites   []deltaRow
	Ticks    []PlotTick
	Suite    evaluator.SuitePair // whose parts and images are shown
	Title    string              // of Suite
	Others   []pairChoice        // the suites to choose from
	Groups   []deltaGroup        // of Suite
	Demands  []dg.SuiteComparison
	Asks     bool // a person should decide: neither verdict, and B could take over from A
}

type pairSide struct {
	Letter, Short, Class string
	Ref                  dg.ModelRef
}

// deltaRow is a difference of one suite or part.
type deltaRow struct {
	Name, Detail, Note string
	Link               string
	A, B               float64
	Difference         evaluator.Bounded
	OnlyA, OnlyB       int
	Plot               Delta
	Sign               string // "better", "worse" or empty: chance explains it
	Fault              string
	Current            bool
}

// deltaGroup is the parts by one attribute.
type deltaGroup struct {
	By    string
	Rows  []deltaRow
	Ticks []PlotTick
}

var verdictWords = map[dg.Verdict]string{
	dg.Promote:      "Promote: the challenger is better by more than chance explains.",
	dg.Reject:       "Reject: the challenger must not take over.",
	dg.Inconclusive: "Inconclusive: not enough is known, so nothing changes.",
	dg.Errored:      "It could not be judged, so nothing changes.",
}

func pairBoxOf(p evaluator.PairStudy, letters map[dg.ModelRef]string, suite string, champion dg.ModelRef) pairBox {
	side := func(ref dg.ModelRef) pairSide {
		return pairSide{letters[ref], ref.Short(), versionClass(int(letters[ref][0] - 'A')), ref}
	}
	b := pairBox{A: side(p.A), B: side(p.B), C: p.Comparison, Verdict: verdictWords[p.Comparison.Verdict], Demands: p.Comparison.Suites}
	b.Name = b.A.Letter + b.B.Letter
	b.Asks = p.Comparison.Verdict == dg.Inconclusive && p.A == champion
	reach := .02
	for _, s := range p.Suites {
		if s.Fault == "" && s.Difference.Samples > 0 {
			reach = max(reach, math.Abs(s.Difference.Lower), math.Abs(s.Difference.Upper))
		}
	}
	scale := deltaScaleOf(reach)
	b.Ticks = scale.ticks()
	at := max(0, slices.IndexFunc(p.Suites, func(s evaluator.SuitePair) bool { return s.Suite == suite }))
	for i, s := range p.Suites {
		row := deltaRow{Name: suiteName(s.Suite), Difference: s.Difference, OnlyA: s.OnlyA, OnlyB: s.OnlyB, Fault: s.Fault, Link: s.Suite, Current: i == at}
		if s.Fault == "" && s.Difference.Samples > 0 {
			row.Detail = fmt.Sprintf("%s; only %s right on %s, only %s on %s", plural(s.Difference.Samples, "image", "images"), b.A.Letter, count(s.OnlyA), b.B.Letter, count(s.OnlyB))
			row.Plot = scale.row(s.Difference.Value, s.Difference.Lower, s.Difference.Upper)
			row.Sign = signOf(s.Difference)
		}
		b.Suites = append(b.Suites, row)
	}
	if len(p.Suites) > 0 {
		b.Suite, b.Title = p.Suites[at], suiteName(p.Suites[at].Suite)
		b.Groups = deltaGroups(p.Suites[at].Parts)
		b.ForWhom = forWhom(p.Suites, b.A.Letter, b.B.Letter)
	}
	b.Headline = fmt.Sprintf("%s against %s: %s.", b.B.Short, b.A.Short, strings.ToLower(strings.TrimSuffix(b.Verdict, ".")))
	if c := p.Comparison; c.Pairs > 0 {
		b.Headline = fmt.Sprintf("%s against %s: %s points (%s to %s) on %s. %s", b.B.Short, b.A.Short, points(c.Difference), points(c.Lower), points(c.Upper), plural(c.Pairs, "held-out label", "held-out labels"), b.Verdict)
	}
	return b
}

// suiteName is a suite for people.
func suiteName(name string) string {
	switch name {
	case evaluator.KindHeldout:
		return "Held-out production"
	case evaluator.KindTest:
		return "Test set"
	}
	return name
}

func signOf(d evaluator.Bounded) string {
	switch {
	case d.Lower > 0:
		return "better"
	case d.Upper < 0:
		return "worse"
	}
	return ""
}

// deltaGroups lays parts out by attribute, each group on a scale of its own;
// those that are significant come first.
func deltaGroups(parts []evaluator.PartDelta) []deltaGroup {
	var out []deltaGroup
	for _, p := range parts {
		if i := slices.IndexFunc(out, func(g deltaGroup) bool { return g.By == p.By }); i < 0 {
			out = append(out, deltaGroup{By: p.By})
		}
	}
	for i := range out {
		g := &out[i]
		var own []evaluator.PartDelta
		reach := .02
		for _, p := range parts {
			if p.By == g.By {
				own = append(own, p)
				// Bounds of small parts reach far; what is shown must be legible.
				reach = max(reach, math.Abs(p.Difference.Value)*1.5, min(max(math.Abs(p.Difference.Lower), math.Abs(p.Difference.Upper)), .5))
			}
		}
		slices.SortStableFunc(own, func(x, y evaluator.PartDelta) int {
			return rank(y) - rank(x)
		})
		scale := deltaScaleOf(reach)
		g.Ticks = scale.ticks()
		for _, p := range own[:min(len(own), maxSlices)] {
			row := deltaRow{Name: words(p.Value), Detail: fmt.Sprintf("%s, %s of all", plural(p.Difference.Samples, "image", "images"), percent(p.Share)), A: p.A, B: p.B, Difference: p.Difference, OnlyA: p.OnlyA, OnlyB: p.OnlyB,
				Plot: scale.row(p.Difference.Value, p.Difference.Lower, p.Difference.Upper)}
			row.Plot.Class = ""
			if p.Significant {
				row.Sign = signOf(p.Difference)
				row.Plot.Class = "delta-" + row.Sign
			}
			g.Rows = append(g.Rows, row)
		}
	}
	return out
}

// rank puts what got worse first, then what got better, then the rest.
func rank(p evaluator.PartDelta) int {
	switch {
	case p.Significant && p.Difference.Value < 0:
		return 2
	case p.Significant:
		return 1
	}
	return 0
}

// forWhom says in words which classes and slices differ beyond chance.
func forWhom(suites []evaluator.SuitePair, a, b string) (out []string) {
	for _, s := range suites {
		var worse, better []string
		for _, p := range s.Parts {
			if !p.Significant {
				continue
			}
			text := fmt.Sprintf("%s (%s points)", words(p.Value), points(p.Difference.Value))
			if p.By != evaluator.ByClass {
				text = words(p.By) + " " + text
			}
			if p.Difference.Value < 0 {
				worse = append(worse, text)
			} else {
				better = append(better, text)
			}
		}
		for _, x := range []struct {
			word string
			list []string
		}{{"worse", worse}, {"better", better}} {
			if len(x.list) > 0 {
				out = append(out, fmt.Sprintf("%s, %s is %s than %s on %s.", suiteName(s.Suite), b, x.word, a, strings.Join(x.list[:min(len(x.list), 6)], ", ")))
			}
		}
		if len(worse)+len(better) == 0 && len(s.Parts) > 0 {
			out = append(out, fmt.Sprintf("%s: no difference beyond chance on any of %s.", suiteName(s.Suite), plural(len(s.Parts), "class or slice", "classes and slices")))
		}
	}
	return out
}

// Percent of all pairs, for the two-by-two table.
func (b pairBox) Percent(n int) string {
	all := b.Suite.BothRight + b.Suite.OnlyA + b.Suite.OnlyB + b.Suite.BothWrong
	if all == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(all))
}

// P renders the p-value.
func (b pairBox) P() string { return pValue(b.C.PValue) }
