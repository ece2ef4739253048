package web

import (
	"math"
	"strings"
	"testing"

	dg "driftgate"
)

func TestAScaleHoldsEveryValueInFewWholeSteps(t *testing.T) {
	for _, tt := range []struct {
		name      string
		steps     int
		values    []float64
		low, high float64
	}{
		{"nothing", 5, nil, 0, 1},
		{"one value", 5, []float64{.9}, .8, .9},
		{"all right", 5, []float64{1, 1}, .9, 1},
		{"all wrong", 5, []float64{0, 0}, 0, 0.1},
		{"narrow", 5, []float64{.87, .91}, .85, .95},
		{"wide", 3, []float64{.2, .95}, 0, 1},
		{"missing", 5, []float64{math.NaN(), math.Inf(1), .9}, .8, .9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := scaleOf(tt.steps, tt.values...)
			if math.Abs(s.low-tt.low) > 1e-9 || math.Abs(s.high-tt.high) > 1e-9 {
				t.Errorf("%g to %g, want %g to %g", s.low, s.high, tt.low, tt.high)
			}
			if n := len(s.ticks()); n < 3 || n > tt.steps+1 {
				t.Errorf("%d ticks, want 3 to %d", n, tt.steps+1)
			}
			for _, v := range append(tt.values, -9, 9) {
				if at := s.at(v); !math.IsNaN(v) && (at < plotMargin || at > 100-plotMargin) {
					t.Errorf("%g lies at %g%%", v, at)
				}
			}
		})
	}
}

func TestEveryEstimatorHasItsMeaningItsWidthAndWhoseBoundsItShows(t *testing.T) {
	a := testAccuracy("1h", 3600e9, testNow, .871, 34)
	rows, ticks := estimateRows(a)
	if len(rows) != 4 || len(ticks) < 3 {
		t.Fatalf("%d rows, %d ticks", len(rows), len(ticks))
	}
	for _, r := range rows {
		if r.Title == "" || r.Meaning == "" || math.Abs(r.Half-(r.Upper-r.Lower)/2) > 1e-12 || !(r.Plot.Low <= r.Plot.At && r.Plot.At <= r.Plot.High) {
			t.Errorf("%+v", r)
		}
		if r.Decide != (r.Estimator == headline) || r.Plot.HasRule == r.Decide {
			t.Errorf("%s: decides %v, compared %v", r.Estimator, r.Decide, r.Plot.HasRule)
		}
		if (r.Worth == "") != (r.Estimator == "expected") {
			t.Errorf("%s is worth %q labels", r.Estimator, r.Worth)
		}
	}
	f := newFake()
	page := get(t, f, "/accuracy?window=1h")
	wants(t, page, "One window, 4 ways to count it", "Its bounds are those of stratified: there are too few errors or labels for its own.", "none used")
	if rows, _ := estimateRows(dg.Accuracy{Estimates: []dg.Estimate{{Estimator: "a_new_one", Accuracy: .5, Lower: .4, Upper: .6}}}); len(rows) != 1 || rows[0].Title != "a new one" {
		t.Errorf("an estimator without a meaning: %+v", rows)
	}
}

func names(t sliceTable) string {
	var out []string
	for _, r := range append(append([]sliceRow{}, t.Rows...), t.Rest...) {
		out = append(out, r.Value)
	}
	return strings.Join(out, " ")
}

func slice(by, value string, n int, acc float64) dg.Slice {
	s := dg.Slice{By: by, Value: value, Predictions: n}
	if acc > 0 {
		s.Estimates = []dg.Estimate{{Estimator: headline, Accuracy: acc, Lower: acc - .05, Upper: acc + .05}, {Estimator: "expected", Accuracy: .9}}
	}
	return s
}

func TestClassesComeInTheOrderAskedForThoseWithoutAFigureLast(t *testing.T) {
	a := dg.Accuracy{Estimates: []dg.Estimate{{Estimator: headline, Accuracy: .9, Lower: .88, Upper: .92}}, Slices: []dg.Slice{
		slice("class", "b", 10, .9), slice("class", "A", 30, 0), slice("class", "c", 20, .6), slice("class", "d", 5, 0), slice("confidence", "0.50-0.70", 1, .6), slice("confidence", "0.00-0.50", 1, .95)}}
	for order, want := range map[string]string{byWorst: "c b A d", byName: "A b c d", byCount: "A c b d", "nonsense": "c b A d"} {
		if got := names(slicesOf(a, "class", order)); got != want {
			t.Errorf("%s: %s, want %s", order, got, want)
		}
	}
	bands := slicesOf(a, "confidence", byWorst)
	if got := names(bands); got != "0.50-0.70 0.00-0.50" {
		t.Errorf("bands %s: want the order in which they came", got)
	}
	if r := bands.Rows[0]; r.Name != "50 to 70%" || !r.Plot.HasBand || !r.TooSure || r.Worse {
		t.Errorf("%+v: want a band from 50 to 70%%, too sure at 60%% of 90%% promised", r)
	}
	if r := bands.Rows[1]; r.TooSure {
		t.Errorf("%+v is right more often than promised", r)
	}
	classes := slicesOf(a, "class", byWorst)
	if r := classes.Rows[0]; !r.Worse || r.TooSure || classes.Rows[1].Worse || classes.Quiet != 2 || classes.MostQuiet() {
		t.Errorf("%+v: want c below average, b not, two without a figure", classes)
	}
	page := get(t, newFake(), "/accuracy?window=6h&sort=name")
	wants(t, get(t, newFake(), "/accuracy?window=7d"), "below average", "too sure")
	wants(t, get(t, newFake(), "/accuracy?window=1h"), "Most have too few labels in 1h; a longer window has more.")
	wants(t, page, "too few labels", "Ankle boot", `sort=name#classes" aria-current="true"`)
}

func TestManyClassesAreFoldedAway(t *testing.T) {
	var a dg.Accuracy
	for i := range 40 {
		a.Slices = append(a.Slices, slice("class", string(rune('a'+i)), i, .5+float64(i)/100))
	}
	if s := slicesOf(a, "class", byWorst); len(s.Rows) != shownSlices || len(s.Rest) != 40-shownSlices {
		t.Errorf("%d shown, %d folded", len(s.Rows), len(s.Rest))
	}
	a.Slices = a.Slices[:shownSlices+2]
	if s := slicesOf(a, "class", byWorst); len(s.Rest) != 0 {
		t.Errorf("folding %d rows away saves nothing", len(s.Rest))
	}
}

func TestBandsOfConfidence(t *testing.T) {
	for name, want := range map[string]string{"0.50-0.70": "50 to 70%", "0.98-1.00": "98 to 100%", "0.995-1.00": "99.5 to 100%", "0.00-0.50": "0 to 50%"} {
		if low, high, ok := bandOf(name); !ok || bandName(low, high) != want {
			t.Errorf("%s: %v %q, want %q", name, ok, bandName(low, high), want)
		}
	}
	for _, name := range []string{"", "0.5", "a-b", "0.7-0.5", "0.5-1.5", "-0.5-0.7"} {
		if low, high, ok := bandOf(name); ok {
			t.Errorf("%q is read as %g to %g", name, low, high)
		}
	}
}

func TestTheGapIsDrawnAroundNoDifference(t *testing.T) {
	for _, g := range []dg.Gap{{}, {Difference: -.06, Lower: -.08, Upper: -.04}, {Difference: .9, Lower: .7, Upper: 1.1}, {Lower: -1, Upper: 1}} {
		p, ticks := gapPlot(g)
		if !(p.Low <= p.At && p.At <= p.High) || p.Rule != 50 || len(ticks) != 3 || ticks[1].Text != "no difference" {
			t.Errorf("%+v: %+v %+v", g, p, ticks)
		}
		if (g.Upper < 0) != (p.High < 50) || (g.Lower > 0) != (p.Low > 50) {
			t.Errorf("%+v: %+v lies on the wrong side", g, p)
		}
	}
	if _, ticks := gapPlot(dg.Gap{Difference: -.06, Lower: -.08, Upper: -.04}); ticks[0].Text != "−10" || ticks[2].Text != "+10" {
		t.Errorf("ticks %+v, want −10 and +10", ticks)
	}
}
