package evaluator

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

func suiteOf(t *testing.T, r Report, name string) SuiteReport {
	t.Helper()
	for _, s := range r.Suites {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no suite %q among %d", name, len(r.Suites))
	return SuiteReport{}
}

func within(t *testing.T, what string, b Bounded) {
	t.Helper()
	if !(b.Lower <= b.Value && b.Value <= b.Upper && b.Lower >= -1 && b.Upper <= 1) {
		t.Errorf("%s: %+v is not within its bounds", what, b)
	}
}

func TestAReportAgreesWithACountByHand(t *testing.T) {
	s := newShop(t)
	e := s.evaluator(Options{})
	r, err := e.Report(t.Context(), baseRef, day)
	if err != nil {
		t.Fatal(err)
	}
	// The test split, counted by the classifier itself.
	c, err := network.NewClassifier(s.Models.(cabinet)[baseRef])
	if err != nil {
		t.Fatal(err)
	}
	right, confusion := 0, [10][10]int{}
	for i, label := range s.set.Test.Labels {
		p, err := c.Pixels(s.set.Image(s.set.Test, i))
		if err != nil {
			t.Fatal(err)
		}
		best := network.Argmax(p)
		confusion[label][best]++
		if best == int(label) {
			right++
		}
	}
	test := suiteOf(t, r, KindTest)
	if got, want := test.Accuracy.Value, float64(right)/400; math.Abs(got-want) > 1e-12 || test.Samples != 400 || test.Weighted {
		t.Errorf("test accuracy %+v of %d, want %g of 400, not weighted", test.Accuracy, test.Samples, want)
	}
	if want := float64(right) / 400; want < .6 || want == 1 {
		t.Fatalf("the version reaches %g: these tests want one that errs now and then", want)
	}
	for truth := range confusion {
		column, row := 0, 0
		for other := range confusion {
			if test.Confusion[truth][other] != confusion[truth][other] {
				t.Fatalf("confusion %v, want %v", test.Confusion, confusion)
			}
			row, column = row+confusion[truth][other], column+confusion[other][truth]
		}
		class := test.PerClass[truth]
		if want := float64(confusion[truth][truth]) / float64(row); math.Abs(class.Recall.Value-want) > 1e-12 || class.Recall.Samples != row {
			t.Errorf("recall of %s %+v, want %g of %d", class.Class, class.Recall, want, row)
		}
		if column > 0 {
			if want := float64(confusion[truth][truth]) / float64(column); math.Abs(class.Precision.Value-want) > 1e-12 || class.Precision.Samples != column {
				t.Errorf("precision of %s %+v, want %g of %d", class.Class, class.Precision, want, column)
			}
		}
		within(t, class.Class, class.Recall)
		within(t, class.Class, class.Precision)
	}
	share := 0.
	for _, b := range test.Calibration.Bins {
		share += b.Share
		if b.Confidence < b.Lower || b.Confidence > b.Upper {
			t.Errorf("mean confidence %g outside its bin %g to %g", b.Confidence, b.Lower, b.Upper)
		}
	}
	if math.Abs(share-1) > 1e-9 || test.Calibration.Error <= 0 || test.Calibration.Error > .3 {
		t.Errorf("calibration error %g over a share of %g", test.Calibration.Error, share)
	}
	if r.Speed.Runs < 1 || !(r.Speed.P50 > 0 && r.Speed.P95 >= r.Speed.P50 && r.Speed.Batched > 0) {
		t.Errorf("speed %+v", r.Speed)
	}
	if want := r.Size.Parameters; want != 784*48+48+480+10 || r.Size.Bytes != int64(4*want) {
		t.Errorf("size %+v", r.Size)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("a report must travel: %v", err)
	}
}

func TestHeldOutFiguresAreWeighted(t *testing.T) {
	s := newShop(t)
	e := s.evaluator(Options{})
	r, err := e.Report(t.Context(), baseRef, day)
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Judge(t.Context(), baseRef, harmedRef, day)
	if err != nil {
		t.Fatal(err)
	}
	heldout := suiteOf(t, r, KindHeldout)
	plain, n := 0, 0
	for truth, row := range heldout.Confusion {
		for answer, count := range row {
			if n += count; truth == answer {
				plain += count
			}
		}
	}
	if n != 650 || heldout.Samples != 650 || !heldout.Weighted {
		t.Errorf("%d samples in the confusion matrix, %+v, want 650 weighted", n, heldout.Suite)
	}
	// A third of the labels stand for few predictions: the weighted figure must
	// be the gate's, and not the plain one.
	if w := heldout.Accuracy.Value; math.Abs(w-float64(plain)/650) < 1e-6 {
		t.Errorf("weighted accuracy %g is the plain one", w)
	}
	within(t, "accuracy", heldout.Accuracy)
	// The judgement leaves out what the other was trained on; on the same samples
	// they must agree.
	study, err := e.Study(t.Context(), []dg.ModelRef{baseRef, harmedRef}, day)
	if err != nil {
		t.Fatal(err)
	}
	a, b := suiteOf(t, study.Versions[0], KindHeldout), suiteOf(t, study.Versions[1], KindHeldout)
	if math.Abs(a.Accuracy.Value-c.ChampionAccuracy) > 1e-9 || math.Abs(b.Accuracy.Value-c.ChallengerAccuracy) > 1e-9 || a.Samples != c.Pairs {
		t.Errorf("report %g and %g on %d, judgement %g and %g on %d pairs", a.Accuracy.Value, b.Accuracy.Value, a.Samples, c.ChampionAccuracy, c.ChallengerAccuracy, c.Pairs)
	}
}

func TestRobustnessFallsWithTheStrength(t *testing.T) {
	s := newShop(t)
	r, err := s.evaluator(Options{}).Report(t.Context(), baseRef, day)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Robustness) != len(dataset.Knobs) {
		t.Fatalf("%d curves, want %d", len(r.Robustness), len(dataset.Knobs))
	}
	test := suiteOf(t, r, KindTest)
	for i, c := range r.Robustness {
		worst := 1.
		for j, p := range c.Points {
			within(t, c.Knob, p.Accuracy)
			if p.Strength != dataset.Knobs[i].Strengths[j] || p.Accuracy.Samples != 400 {
				t.Errorf("%s: %+v", c.Knob, p)
			}
			if p.Strength == 0 && p.Accuracy.Value != test.Accuracy.Value {
				t.Errorf("%s without drift %g, want the test suite's %g", c.Knob, p.Accuracy.Value, test.Accuracy.Value)
			}
			worst = min(worst, p.Accuracy.Value)
		}
		if worst > test.Accuracy.Value-.1 {
			t.Errorf("%s: at worst %g of %g: a knob turned so far must cost ten points", c.Knob, worst, test.Accuracy.Value)
		}
	}
}

func TestSlicesNameWhatAVersionIsBadAt(t *testing.T) {
	s := newShop(t)
	r, err := s.evaluator(Options{}).Report(t.Context(), harmedRef, day)
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{KindHeldout, KindTest} {
		slices := suiteOf(t, r, suite).Slices
		if len(slices) == 0 || slices[0].By != ByClass || slices[0].Value != harmedName || !slices[0].Weak {
			t.Errorf("%s: weakest slice %+v, want class %s", suite, slices[:min(2, len(slices))], harmedName)
		}
		seen := map[string]bool{}
		for _, x := range slices {
			seen[x.By] = true
			within(t, x.By+" "+x.Value, x.Accuracy)
		}
		want := []string{ByClass, ByConfidence, ByBrightness}
		if suite == KindHeldout {
			want = append(want, BySource)
		}
		for _, by := range want {
			if !seen[by] {
				t.Errorf("%s: no slice by %s", suite, by)
			}
		}
	}
	if n := r.Training.Production; n != 40 || r.Training.Options["quality.folds"] != "5" || r.Training.Parent != baseRef {
		t.Errorf("training %+v", r.Training)
	}
	if left := suiteOf(t, r, KindHeldout).Left; left != 40 {
		t.Errorf("%d left out, want the 40 that it was trained on", left)
	}
}

func TestAReportSaysWhatCouldNotBeRead(t *testing.T) {
	ctx := t.Context()
	s := newShop(t)
	e := s.evaluator(Options{Gate: Gate{Suites: []SuiteRule{{Name: "look-alikes", Source: "datasets/look-alikes/"}}}})
	r, err := e.Report(ctx, baseRef, day)
	if err != nil {
		t.Fatal(err)
	}
	if got := suiteOf(t, r, "look-alikes"); !strings.Contains(got.Fault, "none of them an image in a folder named by one of the classes") || got.Confusion == nil {
		t.Errorf("a suite without images: %+v", got)
	}
	s.Datasets = nil
	r, err = s.evaluator(Options{}).Report(ctx, baseRef, day)
	if err != nil || suiteOf(t, r, KindTest).Fault == "" || len(r.Robustness) != 0 {
		t.Errorf("without datasets: %+v, %v", r.Suites, err)
	}
	if _, err := s.evaluator(Options{}).Report(ctx, "sha256:00", day); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown version: %v", err)
	}
	down := errors.New("connection refused")
	s.shelf.fails = map[string]error{dg.SampleKey(int(dataset.Synthetic(dataset.SyntheticOptions{Seed: 6, Test: 10}).Test.Labels[3]), "p0003.png"): down}
	s.Predictions = nil
	if _, err := s.evaluator(Options{}).Report(ctx, baseRef, day); !errors.Is(err, down) {
		t.Errorf("a store that does not answer: %v, want its error", err)
	}
	empty, err := s.evaluator(Options{}).Report(ctx, baseRef, dg.Interval{Start: day.End, End: day.End.Add(1)})
	if err != nil || suiteOf(t, empty, KindHeldout).Samples != 0 {
		t.Errorf("an interval without labels: %+v, %v", empty.Suites, err)
	}
	if _, err := json.Marshal(empty); err != nil {
		t.Errorf("an empty report must travel: %v", err)
	}
}
