package web

import (
	"context"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/evaluator"
)

// testReport is a version on a held-out suite, a test set and a suite that
// cannot be read.
func testReport(ref dg.ModelRef, accuracy float64, iv dg.Interval) evaluator.Report {
	bounded := func(v float64, n int) evaluator.Bounded {
		return evaluator.Bounded{Value: v, Lower: max(0, v-.03), Upper: min(1, v+.03), Samples: n}
	}
	suite := func(name, kind string, n int) evaluator.SuiteReport {
		s := evaluator.SuiteReport{Suite: evaluator.Suite{Name: name, Kind: kind, Samples: n, Weighted: kind == evaluator.KindHeldout}, Accuracy: bounded(accuracy, n)}
		for i, class := range dg.FashionMNIST {
			v := accuracy
			if class == "Shirt" {
				v -= .25
			}
			s.PerClass = append(s.PerClass, evaluator.ClassReport{Class: class, Share: .1, Recall: bounded(v, n/10), Precision: bounded(v+.02, n/10)})
			row := make([]int, len(dg.FashionMNIST))
			row[i] = n / 12
			row[(i+3)%10] = n/10 - n/12
			s.Confusion = append(s.Confusion, row)
		}
		for _, c := range []float64{.45, .65, .85, .97} {
			s.Calibration.Bins = append(s.Calibration.Bins, evaluator.CalibrationBin{Lower: c - .1, Upper: min(1, c+.1), Share: .25, Confidence: c, Accuracy: bounded(c-.05, n/4)})
		}
		s.Calibration.Error = .05
		for i := range 14 {
			s.Slices = append(s.Slices, evaluator.Slice{By: "brightness", Value: fmt.Sprintf("band %d", i), Samples: 30, Share: .07, Accuracy: bounded(.6+float64(i)/50, 30), Rest: bounded(accuracy, n-30), Weak: i == 0, Adjusted: .01})
		}
		return s
	}
	broken := evaluator.SuiteReport{Suite: evaluator.Suite{Name: "look-alikes", Kind: evaluator.KindSpecial, Floor: .6}, Fault: "the folder is empty"}
	r := evaluator.Report{Version: ref, Model: "garments", Interval: iv, At: testNow, Classes: dg.FashionMNIST,
		Suites: []evaluator.SuiteReport{suite(evaluator.KindHeldout, evaluator.KindHeldout, 412), suite(evaluator.KindTest, evaluator.KindTest, 1000), broken},
		Speed:  evaluator.Speed{P50: .00021, P95: .0004, Batched: .00003, Runs: 100, CPU: "amd64, 2 cores"}, Size: evaluator.Size{Bytes: 1 << 20, Parameters: 262_144},
		Notes: []string{"look-alikes could not be read"}}
	for _, knob := range []string{"rotation", "noise", "blur", "brightness"} {
		k := evaluator.Curve{Knob: knob, Unit: "degrees"}
		for i := range 6 {
			k.Points = append(k.Points, evaluator.Point{Strength: float64(i) * 5, Accuracy: bounded(accuracy-float64(i*i)*.015, 1000)})
		}
		r.Robustness = append(r.Robustness, k)
	}
	return r
}

// testStudy compares versions of which each later one is better in all and
// worse on shirts.
func testStudy(refs []dg.ModelRef, iv dg.Interval) evaluator.Study {
	s := evaluator.Study{Interval: iv, Notes: []string{"the test suite is that of the first"}}
	for i, ref := range refs {
		s.Versions = append(s.Versions, testReport(ref, .8+.04*float64(i), iv))
		s.Overlap = append(s.Overlap, slices.Repeat([]int{120}, len(refs)))
		s.Lineage.Nodes = append(s.Lineage.Nodes, evaluator.Node{ID: string(ref), Kind: evaluator.NodeVersion, Title: ref.Short(), Detail: testNow.Add(time.Duration(i) * time.Hour).Format(dg.TimeFormat)})
		s.Lineage.Edges = append(s.Lineage.Edges, evaluator.Edge{From: "dataset/x@1", To: string(ref), Kind: "trained on"})
		if i > 0 {
			s.Lineage.Edges = append(s.Lineage.Edges, evaluator.Edge{From: string(refs[i-1]), To: string(ref), Kind: "parent of"})
		}
	}
	s.Lineage.Nodes = append(s.Lineage.Nodes, evaluator.Node{ID: "dataset/x@1", Kind: evaluator.NodeDataset, Title: "x@1", Detail: "6000 samples"},
		evaluator.Node{ID: "generation/1", Kind: evaluator.NodeDeployment, Title: "generation 1"})
	s.Lineage.Edges = append(s.Lineage.Edges, evaluator.Edge{From: string(refs[0]), To: "generation/1", Kind: "deployed as"})
	for a := range refs {
		for b := a + 1; b < len(refs); b++ {
			s.Pairs = append(s.Pairs, testPair(refs[a], refs[b]))
		}
	}
	shares := make([][]float64, len(refs))
	counts := make([][]int, len(refs))
	for i := range refs {
		shares[i], counts[i] = slices.Repeat([]float64{.87}, len(refs)), slices.Repeat([]int{358}, len(refs))
	}
	s.Agreement = []evaluator.Agreement{{Suite: evaluator.KindHeldout, Samples: 412, Shares: shares, Counts: counts}}
	values := slices.Repeat([]string{"612"}, len(refs))
	s.Training = []evaluator.Difference{{What: "counts.human", Values: values}, {What: "options.learning_rate", Values: values}, {What: "composition.quality.dropped", Values: values}, {What: "go_version", Values: values}}
	return s
}

func testPair(a, b dg.ModelRef) evaluator.PairStudy {
	c := testComparison(a, b)
	p := evaluator.PairStudy{A: a, B: b, Comparison: c}
	for _, name := range []string{evaluator.KindHeldout, evaluator.KindTest} {
		s := evaluator.SuitePair{Suite: name, BothRight: 290, OnlyA: 14, OnlyB: 61, BothWrong: 47, Difference: evaluator.Bounded{Value: .067, Lower: .031, Upper: .104, Samples: 412}}
		for _, class := range dg.FashionMNIST {
			d := evaluator.PartDelta{By: evaluator.ByClass, Value: class, Share: .1, A: .8, B: .86, Difference: evaluator.Bounded{Value: .06, Lower: -.04, Upper: .16, Samples: 41}, OnlyA: 1, OnlyB: 6}
			if class == "Shirt" {
				d.B, d.Difference, d.Significant = .6, evaluator.Bounded{Value: -.2, Lower: -.35, Upper: -.05, Samples: 41}, true
			}
			s.Parts = append(s.Parts, d)
		}
		s.Parts = append(s.Parts, evaluator.PartDelta{By: evaluator.ByBrightness, Value: "dark", Share: .2, A: .7, B: .85, Difference: evaluator.Bounded{Value: .15, Lower: .05, Upper: .25, Samples: 80}, Significant: true})
		p.Suites = append(p.Suites, s)
	}
	p.Suites = append(p.Suites, evaluator.SuitePair{Suite: "look-alikes", Fault: "the folder is empty"})
	return p
}

func (f *fake) evaluation() *Evaluation {
	return &Evaluation{
		Interval: func() dg.Interval { return dg.Interval{Start: testNow.Add(-28 * 24 * time.Hour), End: testNow} },
		Report: func(ctx context.Context, ref dg.ModelRef, iv dg.Interval) (evaluator.Report, error) {
			if err := f.slow(ctx); err != nil {
				return evaluator.Report{}, err
			}
			return testReport(ref, .84, iv), f.evalErr
		},
		Study: func(ctx context.Context, refs []dg.ModelRef, iv dg.Interval) (evaluator.Study, error) {
			if err := f.slow(ctx); err != nil {
				return evaluator.Study{}, err
			}
			s := testStudy(refs, iv)
			if f.verdict != dg.Promote {
				for i := range s.Pairs {
					s.Pairs[i].Comparison.Verdict, s.Pairs[i].Comparison.LabelsToDecide = f.verdict, 240
				}
			}
			return s, f.evalErr
		},
		Discordant: func(_ context.Context, a, b dg.ModelRef, _ dg.Interval, suite string, kind evaluator.Discord, after string, limit int) ([]evaluator.Shown, error) {
			var out []evaluator.Shown
			for i := range 61 {
				x := evaluator.Shown{ID: fmt.Sprintf("%02d<&>.png", i), Suite: suite, Label: "Dress", A: evaluator.Said{Answer: "Coat", Confidence: .5}, B: evaluator.Said{Answer: "Dress", Confidence: .9}, Stratum: "low_confidence"}
				if x.ID > after && len(out) < limit {
					out = append(out, x)
				}
			}
			return out, f.evalErr
		},
		Picture: func(_ context.Context, _ dg.ModelRef, suite, id string) ([]byte, string, error) {
			switch id {
			case "page.png":
				return []byte("<script>"), "text/html; charset=utf-8", nil
			case "none":
				return nil, "", fmt.Errorf("picture %q of %s: %w", id, suite, dg.ErrNotFound)
			}
			return testPNG(), "image/png", nil
		},
	}
}

// slow waits while the test says so.
func (f *fake) slow(ctx context.Context) error {
	if f.evalWait == nil {
		return nil
	}
	select {
	case <-f.evalWait:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
