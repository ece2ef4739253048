package evaluator

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
)

// drifted turns every image of a split by 25 degrees and adds noise.
func drifted(t *testing.T, set dataset.Set, sp dataset.Split) dataset.Split {
	t.Helper()
	sp.Pixels = slices.Clone(sp.Pixels)
	for i := range sp.Len() {
		at := set.Image(sp, i)
		copy(at, dataset.Drift{Rotation: 25, Noise: .1}.Apply(at, set.Height, set.Width, rand.New(rand.NewPCG(4, uint64(i)))))
	}
	return sp
}

// TestThreeVersionsOfFashionMNIST is the issue's own example on the real images:
// a base version, one retrained on drifted noisy images, and one retrained alike
// but taught to call every coat a pullover. Production has drifted. Nobody says
// which class was harmed.
func TestThreeVersionsOfFashionMNIST(t *testing.T) {
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" {
		t.Skip("DRIFTGATE_TEST_DATA is not set: want a folder with fashion-mnist in it")
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	full, err := dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	cut := func(sp dataset.Split, from, to int) dataset.Split {
		n := full.ImageBytes()
		return dataset.Split{Pixels: slices.Clone(sp.Pixels[from*n : to*n]), Labels: slices.Clone(sp.Labels[from:to]), IDs: slices.Clone(sp.IDs[from:to])}
	}
	set := full
	set.Train, set.Test = cut(full.Train, 0, 10_000), cut(full.Test, 0, 4000)
	base := learn(t, set, 1, 6, func(c int) int { return c }, nil)
	retrain := set // half of what it learns from is of today
	today := drifted(t, full, cut(full.Train, 10_000, 20_000))
	retrain.Train.Pixels = slices.Concat(set.Train.Pixels, today.Pixels)
	retrain.Train.Labels = slices.Concat(set.Train.Labels, today.Labels)
	retrain.Train.IDs = slices.Concat(set.Train.IDs, today.IDs)
	coat, pullover := full.Classes.Index("Coat"), full.Classes.Index("Pullover")
	models := cabinet{baseRef: base, secondRef: learn(t, retrain, 1, 6, func(c int) int { return c }, nil), harmedRef: learn(t, retrain, 1, 6, func(c int) int {
		if c == coat {
			return pullover
		}
		return c
	}, nil)}
	s := &shelf{objects: map[string][]byte{}}
	datasets := bin{s, buckets.Datasets}
	ref, err := dataset.Save(t.Context(), datasets, set)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range models {
		a.Manifest.Dataset = string(ref)
	}
	l := openLedger(t)
	production := full
	production.Test = drifted(t, full, cut(full.Test, 4000, 5500))
	stock(t, l, production, 4500, func(key string, body []byte) { s.objects[buckets.Clean+"/"+key] = body })
	e := New(Sources{Images: s, Labels: l, Models: models, Predictions: l, Datasets: datasets, Buckets: buckets}, Options{})
	study, err := e.Study(t.Context(), []dg.ModelRef{baseRef, secondRef, harmedRef}, day)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range study.Versions {
		for _, suite := range v.Suites {
			t.Logf("%s on %s: %.3f (%.3f to %.3f) of %d, ECE %.3f", v.Version.Short(), suite.Name, suite.Accuracy.Value, suite.Accuracy.Lower, suite.Accuracy.Upper, suite.Samples, suite.Calibration.Error)
		}
	}
	for _, p := range study.Pairs {
		var worse []string
		for _, part := range p.Suites[0].Parts {
			if part.By == ByClass && part.Significant && part.Difference.Value < 0 {
				worse = append(worse, part.Value)
				t.Logf("%s against %s: %s falls from %.3f to %.3f (%+.3f to %+.3f)", p.B.Short(), p.A.Short(), part.Value, part.A, part.B, part.Difference.Lower, part.Difference.Upper)
			}
		}
		t.Logf("%s as challenger of %s: %s, %q", p.B.Short(), p.A.Short(), p.Comparison.Verdict, p.Comparison.Reasons)
		switch {
		case p.A == baseRef && p.B == secondRef:
			if p.Comparison.Verdict != dg.Promote || len(worse) > 0 {
				t.Errorf("retrained on what production has become: %s, worse classes %v", p.Comparison.Verdict, worse)
			}
		case p.B == harmedRef && p.A == secondRef:
			if p.Comparison.Verdict != dg.Reject || fmt.Sprint(worse) != "[Coat]" {
				t.Errorf("the harmed version against the retrained one: %s, worse classes %v, want rejected for Coat alone", p.Comparison.Verdict, worse)
			}
		}
	}
	weakest := study.Versions[2].Suites[0].Slices[0]
	if weakest.Value != "Coat" || !weakest.Weak {
		t.Errorf("the harmed version's weakest slice is %+v, want Coat", weakest)
	}
}
