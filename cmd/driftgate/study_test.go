package main

import (
	"strings"
	"testing"

	"driftgate"
	"driftgate/evaluator"
)

func TestAStudyIsPrintedWithWhatDiffersBeyondChanceOnly(t *testing.T) {
	bounded := func(v float64) evaluator.Bounded {
		return evaluator.Bounded{Value: v, Lower: v - .1, Upper: v + .1, Samples: 90}
	}
	report := func(ref driftgate.ModelRef, v float64) evaluator.Report {
		return evaluator.Report{Version: ref, Suites: []evaluator.SuiteReport{
			{Suite: evaluator.Suite{Name: "heldout", Samples: 90}, Accuracy: bounded(v), Slices: []evaluator.Slice{{By: "class", Value: "Shirt", Accuracy: bounded(.4), Weak: true}, {By: "class", Value: "Bag", Accuracy: bounded(.9)}}},
			{Suite: evaluator.Suite{Name: "look-alikes"}, Fault: "the folder is empty"}}}
	}
	s := evaluator.Study{
		Versions: []evaluator.Report{report("sha256:aaaaaaaaaaaa", .8), report("sha256:bbbbbbbbbbbb", .7)},
		Pairs: []evaluator.PairStudy{{A: "sha256:aaaaaaaaaaaa", B: "sha256:bbbbbbbbbbbb", Comparison: driftgate.Comparison{Verdict: driftgate.Inconclusive, Reasons: []string{"too few"}, LabelsToDecide: 120},
			Suites: []evaluator.SuitePair{{Suite: "heldout", OnlyA: 12, OnlyB: 3, Difference: bounded(-.1), Parts: []evaluator.PartDelta{
				{By: "class", Value: "Shirt", A: .8, B: .4, Difference: bounded(-.4), Significant: true}, {By: "class", Value: "Bag", Difference: bounded(0)}}}, {Suite: "look-alikes", Fault: "the folder is empty"}}}},
		Training: []evaluator.Difference{{What: "counts.human", Values: []string{"10", "20"}}},
	}
	var out strings.Builder
	printStudy(&out, s)
	printReport(&out, s.Versions[0])
	for _, want := range []string{"A aaaaaaaaaaaa", "B as challenger of A: inconclusive", "about 120 more labels", "heldout: -10.0 points [-20.0, +0.0] on 90; only A right 12, only B 3", "class Shirt: -40.0 points", "80.0% -> 40.0%",
		"look-alikes: the folder is empty", "counts.human", "weak: class Shirt: 0.400 [0.300, 0.500]"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "class Bag") || strings.Contains(out.String(), "weak: class Bag") {
		t.Errorf("what chance explains is printed:\n%s", out.String())
	}
}
