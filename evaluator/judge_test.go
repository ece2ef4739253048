package evaluator

import (
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

// plain makes pairs of a suite where every image weighs alike, of one class:
// both right, only the champion, only the challenger, neither.
func plain(class string, both, champion, challenger, neither int) []Pair {
	var out []Pair
	for outcome, n := range map[string]int{"both": both, "champion": champion, "challenger": challenger, "neither": neither} {
		out = append(out, batch("", class, outcome, n)...)
	}
	return out
}

func TestJudgeOverSuites(t *testing.T) {
	better := slices.Concat(batch(dg.Random, "Bag", "both", 300), batch(dg.Random, "Bag", "challenger", 60), batch(dg.Random, "Bag", "champion", 5),
		batch(dg.LowConfidence, "Bag", "both", 50), batch(dg.LowConfidence, "Bag", "challenger", 60))
	few := batch(dg.Random, "Bag", "challenger", 60)
	even := slices.Concat(batch(dg.Random, "Bag", "both", 200), batch(dg.Random, "Bag", "champion", 20), batch(dg.Random, "Bag", "challenger", 20))
	won := Trial{Suite: KindHeldout, Pairs: better, Population: mostly}
	test := SuiteRule{Name: KindTest}
	alike := SuiteRule{Name: "look-alikes", Source: "s/", Floor: .6}
	for _, tt := range []struct {
		name   string
		suites []SuiteRule
		floors Floors
		trials []Trial
		want   dg.Verdict
		says   string
	}{
		{"every suite passes", []SuiteRule{test, alike}, Floors{}, []Trial{won, {Suite: KindTest, Pairs: plain("Bag", 900, 10, 10, 80)}, {Suite: "look-alikes", Pairs: plain("Bag", 60, 5, 10, 25)}}, dg.Promote, "better by"},
		{"clearly worse on the test set", []SuiteRule{test}, Floors{}, []Trial{won, {Suite: KindTest, Pairs: plain("Bag", 900, 60, 10, 30)}}, dg.Reject, "clearly loses"},
		{"worse on the test set, by less than it may lose", []SuiteRule{test}, Floors{}, []Trial{won, {Suite: KindTest, Pairs: plain("Bag", 900, 25, 10, 30)}}, dg.Promote, "better by"},
		{"perhaps worse on the test set than it may be", []SuiteRule{test}, Floors{}, []Trial{won, {Suite: KindTest, Pairs: plain("Bag", 80, 6, 1, 10)}}, dg.Inconclusive, "a person must decide"},
		{"a larger loss allowed", []SuiteRule{{Name: KindTest, MayLose: .2}}, Floors{}, []Trial{won, {Suite: KindTest, Pairs: plain("Bag", 900, 60, 10, 30)}}, dg.Promote, "better by"},
		{"clearly below a special suite's floor", []SuiteRule{alike}, Floors{}, []Trial{won, {Suite: "look-alikes", Pairs: plain("Bag", 30, 0, 0, 70)}}, dg.Reject, `accuracy on "look-alikes" is 30.0%`},
		{"the floor of all special suites", []SuiteRule{{Name: "look-alikes", Source: "s/"}}, Floors{Suite: .6}, []Trial{won, {Suite: "look-alikes", Pairs: plain("Bag", 30, 0, 0, 70)}}, dg.Reject, "below the floor of 60.0%"},
		{"which is not the test set's", []SuiteRule{test}, Floors{Suite: .6}, []Trial{won, {Suite: KindTest, Pairs: plain("Bag", 30, 0, 0, 70)}}, dg.Promote, "better by"},
		{"perhaps below a special suite's floor", []SuiteRule{alike}, Floors{}, []Trial{won, {Suite: "look-alikes", Pairs: plain("Bag", 23, 0, 0, 17)}}, dg.Inconclusive, "no more than chance allows"},
		{"a suite too small to be judged", []SuiteRule{alike}, Floors{}, []Trial{won, {Suite: "look-alikes", Pairs: plain("Bag", 10, 0, 0, 0)}}, dg.Inconclusive, "10 images, want at least 20"},
		{"a class forgotten on the test set", []SuiteRule{{Name: KindTest, MayLose: .5}}, Floors{}, []Trial{won, {Suite: KindTest, Pairs: slices.Concat(plain("Bag", 900, 0, 0, 10), plain("Coat", 40, 60, 0, 0))}}, dg.Reject, `forgets "Coat": recall falls from 100.0% to 40.0% over 100 test pairs`},
		{"a suite that was not tried is a failure", []SuiteRule{alike}, Floors{}, []Trial{won}, dg.Errored, `"look-alikes" could not be judged: it was not tried`},
		{"a suite that could not be read is a failure, whatever the others say", []SuiteRule{test, alike}, Floors{},
			[]Trial{won, {Suite: KindTest, Pairs: plain("Bag", 900, 60, 10, 30)}, {Suite: "look-alikes", Fault: "no such bucket"}}, dg.Errored, "no such bucket"},
		{"a fault of the held-out suite is a failure, not inconclusive", nil, Floors{}, []Trial{{Suite: KindHeldout, Fault: "the ledger does not answer"}}, dg.Errored, "does not answer"},
		{"nothing tried at all", nil, Floors{}, nil, dg.Errored, "not tried"},
		{"few held-out pairs, but a suite is clearly broken: no wait helps", []SuiteRule{alike}, Floors{},
			[]Trial{{Suite: KindHeldout, Pairs: few, Population: mostly}, {Suite: "look-alikes", Pairs: plain("Bag", 30, 0, 0, 70)}}, dg.Reject, "below the floor"},
		{"an undecided gain stays so when the suites pass", []SuiteRule{alike}, Floors{},
			[]Trial{{Suite: KindHeldout, Pairs: even, Population: mostly[:1]}, {Suite: "look-alikes", Pairs: plain("Bag", 60, 5, 10, 25)}}, dg.Inconclusive, "would decide it"},
		{"an undecided gain, and a class clearly forgotten", nil, Floors{},
			[]Trial{{Suite: KindHeldout, Pairs: slices.Concat(even, batch(dg.Random, "Coat", "champion", 15), batch(dg.Random, "Coat", "both", 6), batch(dg.Random, "Bag", "challenger", 13)), Population: mostly[:1]}}, dg.Reject, `forgets "Coat"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := Gate{Suites: tt.suites, Floors: tt.floors}
			if err := g.Validate(); err != nil {
				t.Fatal(err)
			}
			c := g.Judge(tt.trials)
			if c.Verdict != tt.want {
				t.Errorf("verdict %s, want %s: %q", c.Verdict, tt.want, c.Reasons)
			}
			if all := strings.Join(c.Reasons, "\n"); !strings.Contains(all, tt.says) {
				t.Errorf("reasons %q do not say %q", c.Reasons, tt.says)
			}
			if len(c.Suites) != len(tt.suites) {
				t.Errorf("%d suites told, want %d", len(c.Suites), len(tt.suites))
			}
			for _, s := range c.Suites {
				if !finite(s.Champion, s.Challenger, s.Difference, s.Lower, s.Upper) || s.Lower > s.Difference || s.Difference > s.Upper {
					t.Errorf("figures of %+v", s)
				}
			}
			if (c.LabelsToDecide > 0) != (c.Verdict == dg.Inconclusive && strings.Contains(strings.Join(c.Reasons, "\n"), "more held-out labels")) {
				t.Errorf("%s with %d labels to decide: %q", c.Verdict, c.LabelsToDecide, c.Reasons)
			}
		})
	}
}

func TestGateFaultsNameTheirKeys(t *testing.T) {
	for _, tt := range []struct {
		name string
		g    Gate
		key  string
	}{
		{"a percentage", Gate{RecallDrop: 10}, "recall_drop"},
		{"a negative number of pairs", Gate{MinPairs: -1}, "min_pairs"},
		{"a floor above everything", Gate{Floors: Floors{Class: 1.5}}, "floors.class"},
		{"a suite without a name", Gate{Suites: []SuiteRule{{Source: "s/"}}}, "suites[0].name"},
		{"a suite named like a path", Gate{Suites: []SuiteRule{{Name: "../x", Source: "s/"}}}, "suites[0].name"},
		{"a suite twice", Gate{Suites: []SuiteRule{{Name: "a", Source: "s/"}, {Name: "a", Source: "t/"}}}, "suites[1].name"},
		{"a special suite without a source", Gate{Suites: []SuiteRule{{Name: "a"}}}, "suites[0].source"},
		{"a source for the test set", Gate{Suites: []SuiteRule{{Name: "test", Source: "x/"}}}, "suites[0].source"},
		{"what the held-out suite may lose", Gate{Suites: []SuiteRule{{Name: "heldout", MayLose: .1}}}, "suites[0].may_lose"},
		{"two floors of the held-out suite", Gate{Floors: Floors{Overall: .8}, Suites: []SuiteRule{{Name: "heldout", Floor: .7}}}, "suites[0].floor"},
		{"too many suites", Gate{Suites: make([]SuiteRule, maxSuites+1)}, "suites"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.g.Validate(); err == nil || !strings.Contains(err.Error(), tt.key+":") {
				t.Errorf("error %v, want one of %s", err, tt.key)
			}
		})
	}
}

func TestGateDefaultsAreThere(t *testing.T) {
	rules := Gate{Floors: Floors{Overall: .85, Suite: .6}, Suites: []SuiteRule{{Name: "a", Source: "s/"}, {Name: KindTest}, {Name: KindHeldout}}}.Rules()
	want := []SuiteRule{{Name: KindHeldout, Floor: .85}, {Name: "a", Source: "s/", Floor: .6, MayLose: .02, MinPairs: 20}, {Name: KindTest, MayLose: .02, MinPairs: 20}}
	if !slices.Equal(rules, want) {
		t.Errorf("rules %+v, want %+v", rules, want)
	}
}
