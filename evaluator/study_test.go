package evaluator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/network"
)

// served is a cabinet whose versions have been champion.
type served struct {
	cabinet
	history []dg.Champion
}

func (s served) History(context.Context) ([]dg.Champion, error) { return s.history, nil }

// TestAStudyNamesTheHarmedClass is the issue's own case: three versions, one of
// which was taught nonsense about one class, and nobody says which.
func TestAStudyNamesTheHarmedClass(t *testing.T) {
	s := newShop(t)
	e := s.evaluator(Options{Gate: Gate{Suites: []SuiteRule{{Name: KindTest}}}})
	study, err := e.Study(t.Context(), []dg.ModelRef{baseRef, secondRef, harmedRef}, day)
	if err != nil {
		t.Fatal(err)
	}
	if len(study.Versions) != 3 || len(study.Pairs) != 3 || len(study.Agreement) != 2 {
		t.Fatalf("%d versions, %d pairs, %d suites", len(study.Versions), len(study.Pairs), len(study.Agreement))
	}
	for _, p := range study.Pairs {
		t.Logf("%s -> %s: %s, %q", p.A.Short(), p.B.Short(), p.Comparison.Verdict, p.Comparison.Reasons)
		for _, suite := range p.Suites {
			var named []string
			for _, part := range suite.Parts {
				within(t, part.Value, part.Difference)
				if part.Significant && part.By == ByClass && part.Difference.Value < 0 {
					named = append(named, part.Value)
					t.Logf("  %s: %s %s falls from %.3f to %.3f, %+.3f (%+.3f to %+.3f)", suite.Suite, part.By, part.Value, part.A, part.B, part.Difference.Value, part.Difference.Lower, part.Difference.Upper)
				}
			}
			harmed := p.B == harmedRef
			if got := fmt.Sprint(named); harmed != strings.Contains(got, harmedName) || (harmed && len(named) != 1) {
				t.Errorf("%s against %s on %s: worse classes %v, harmed %v", p.B.Short(), p.A.Short(), suite.Suite, named, harmed)
			}
		}
		switch {
		case p.B == harmedRef && p.Comparison.Verdict != dg.Reject:
			t.Errorf("the gate says %s of the harmed version: %q", p.Comparison.Verdict, p.Comparison.Reasons)
		case p.B == secondRef && p.Comparison.Verdict == dg.Promote:
			t.Errorf("the gate promotes a version of another seed: %q", p.Comparison.Reasons)
		}
		if p.Comparison.Champion != p.A || p.Comparison.Challenger != p.B {
			t.Errorf("comparison of %s and %s", p.Comparison.Champion, p.Comparison.Challenger)
		}
	}
	if _, err := json.Marshal(study); err != nil {
		t.Errorf("a study must travel: %v", err)
	}
}

func TestAgreementIsSymmetricAndCounted(t *testing.T) {
	s := newShop(t)
	study, err := s.evaluator(Options{}).Study(t.Context(), []dg.ModelRef{baseRef, harmedRef}, day)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range study.Agreement {
		p := study.Pairs[0].Suites[i]
		if a.Suite != p.Suite || a.Counts[0][1] != a.Counts[1][0] || a.Counts[0][0] != a.Samples || math.Abs(a.Shares[0][0]-1) > 1e-9 {
			t.Errorf("%+v", a)
		}
		// Where both are right they agree; where one is, they do not.
		if n := a.Counts[0][1]; n < p.BothRight || n > p.BothRight+p.BothWrong || p.BothRight+p.OnlyA+p.OnlyB+p.BothWrong != a.Samples {
			t.Errorf("they agree on %d of %+v", n, p)
		}
		if a.Suite == KindTest && math.Abs(a.Shares[0][1]-float64(a.Counts[0][1])/float64(a.Samples)) > 1e-9 {
			t.Errorf("the test suite does not weigh: %+v", a)
		}
	}
}

func TestAStudyTellsWhatVersionsLearnedFrom(t *testing.T) {
	s := newShop(t)
	s.Models = served{s.Models.(cabinet), []dg.Champion{
		{Version: baseRef, Generation: 1, PromotedAt: noon, Reason: "first"},
		{Version: harmedRef, Previous: baseRef, Generation: 2, PromotedAt: noon, Reason: "person"},
		{Version: baseRef, Previous: "", Generation: 3, PromotedAt: noon, Reason: "rollback"},
	}}
	study, err := s.evaluator(Options{}).Study(t.Context(), []dg.ModelRef{secondRef, harmedRef}, day)
	if err != nil {
		t.Fatal(err)
	}
	differs := map[string][]string{}
	for _, d := range study.Training {
		differs[d.What] = d.Values
	}
	if got := fmt.Sprint(differs["epochs"]); got != "[11 10]" {
		t.Errorf("epochs %s", got)
	}
	for _, same := range []string{"seed", "dataset", "counts.human", "options.quality.folds", "parent"} {
		if v, ok := differs[same]; ok {
			t.Errorf("%s does not differ, but is listed: %v", same, v)
		}
	}
	if got := fmt.Sprint(study.Overlap); got != "[[40 30] [30 40]]" {
		t.Errorf("overlap %s, want 30 of 40 production samples in common", got)
	}
	nodes, edges := map[string]Node{}, map[string]bool{}
	for _, n := range study.Lineage.Nodes {
		if _, twice := nodes[n.ID]; twice {
			t.Errorf("node %s twice", n.ID)
		}
		nodes[n.ID] = n
	}
	for _, edge := range study.Lineage.Edges {
		edges[edge.From+" "+edge.Kind+" "+edge.To] = true
		if nodes[edge.From].ID == "" || nodes[edge.To].ID == "" {
			t.Errorf("edge %+v leads nowhere", edge)
		}
	}
	data := "dataset/" + string(s.set.Ref())
	for _, want := range []string{
		data + " trained on " + string(harmedRef), "labels/" + string(harmedRef) + " trained on " + string(harmedRef),
		string(baseRef) + " parent of " + string(secondRef), data + " trained on " + string(baseRef), // an ancestor, not asked for
		string(baseRef) + " deployed as generation/1", string(harmedRef) + " deployed as generation/2", string(baseRef) + " deployed as generation/3",
		"generation/1 followed by generation/2", "generation/2 followed by generation/3",
	} {
		if !edges[want] {
			t.Errorf("no edge %q among %v", want, edges)
		}
	}
}

func TestAStudyOfDifferentDatasetsSaysSo(t *testing.T) {
	s := newShop(t)
	other := *s.Models.(cabinet)[secondRef]
	other.Manifest.Dataset, other.Manifest.Parent = "garments@0123456789ab", "sha256:gone"
	s.Models.(cabinet)["sha256:07e4"] = &other
	study, err := s.evaluator(Options{}).Study(t.Context(), []dg.ModelRef{baseRef, "sha256:07e4"}, day)
	if err != nil {
		t.Fatal(err)
	}
	if len(study.Notes) != 1 || !strings.Contains(study.Notes[0], "garments@0123456789ab") {
		t.Errorf("notes %q", study.Notes)
	}
	gone := false
	for _, n := range study.Lineage.Nodes {
		gone = gone || (n.ID == "sha256:gone" && n.Detail == "no longer there")
	}
	if !gone {
		t.Errorf("a parent that was deleted: %+v", study.Lineage.Nodes)
	}
}

func TestAStudyRefusesWhatCannotBeCompared(t *testing.T) {
	s := newShop(t)
	strange := *s.Models.(cabinet)[secondRef]
	strange.Manifest.Classes = append(dg.Classes{"Hat"}, strange.Manifest.Classes[1:]...)
	s.Models.(cabinet)["sha256:04a7"] = &strange
	broken := *s.Models.(cabinet)[secondRef]
	broken.Manifest.SelfTest = []network.SelfTest{broken.Manifest.SelfTest[0]}
	broken.Manifest.SelfTest[0].Probabilities = []float32{1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	s.Models.(cabinet)["sha256:b4d"] = &broken
	e := s.evaluator(Options{})
	for name, tt := range map[string]struct {
		refs []dg.ModelRef
		want error
	}{
		"one version":             {[]dg.ModelRef{baseRef}, dg.ErrInvalid},
		"nine":                    {make([]dg.ModelRef, 9), dg.ErrInvalid},
		"itself":                  {[]dg.ModelRef{baseRef, baseRef}, dg.ErrRefused},
		"one that is not there":   {[]dg.ModelRef{baseRef, "sha256:00"}, dg.ErrNotFound},
		"one of other classes":    {[]dg.ModelRef{baseRef, "sha256:04a7"}, dg.ErrInvalid},
		"one that fails its test": {[]dg.ModelRef{baseRef, "sha256:b4d"}, dg.ErrInvalid},
	} {
		if _, err := e.Study(t.Context(), tt.refs, day); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	c, err := e.Judge(t.Context(), baseRef, "sha256:b4d", day)
	if err != nil || c.Verdict != dg.Errored || !strings.Contains(strings.Join(c.Reasons, " "), "self-test") {
		t.Errorf("a challenger that fails its self-test: %s, %q, %v", c.Verdict, c.Reasons, err)
	}
}
