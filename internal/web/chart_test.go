package web

import (
	"math"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

func series(acc ...float64) []dg.Accuracy {
	var out []dg.Accuracy
	for i, v := range acc {
		a := dg.Accuracy{Window: "1h", End: testNow.Add(time.Duration(i) * time.Hour)}
		if !math.IsNaN(v) {
			a.Estimates = []dg.Estimate{{Estimator: headline, Accuracy: v, Lower: v - .05, Upper: min(v+.05, 1)}, {Estimator: plain, Accuracy: v - .1}, {Estimator: expected, Accuracy: min(v+.02, 1)}}
		}
		out = append(out, a)
	}
	return out
}

func chartOf(events []ledger.Event, acc ...float64) Chart {
	iv := dg.Interval{Start: testNow, End: testNow.Add(time.Duration(len(acc)-1) * time.Hour)}
	return drawChart(chartInput{Series: series(acc...), Events: events, Reference: .85, Interval: iv}, wideChart)
}

func TestTheChartDrawsNothingAcrossAGap(t *testing.T) {
	nan := math.NaN()
	c := chartOf(nil, .9, .91, nan, nan, .9, nan, .88, .87, .86)
	if len(c.Line) != 2 || len(c.Dots) != 1 || len(c.Bands) != 3 || len(c.Labelled) != 2 || len(c.Expected) != 2 {
		t.Errorf("%d lines, %d dots, %d bands, %d plain, %d promised lines; want 2, 1, 3, 2, 2", len(c.Line), len(c.Dots), len(c.Bands), len(c.Labelled), len(c.Expected))
	}
	if got := strings.Count(c.Line[1], "L"); got != 2 {
		t.Errorf("the last run has %d segments, want 2: %s", got, c.Line[1])
	}
}

func TestTheChartStaysInItsFrame(t *testing.T) {
	for _, acc := range [][]float64{{.999, 1, 1}, {.01, .02}, {.5, .99}, {.9}, {}} {
		if len(acc) == 0 {
			acc = []float64{math.NaN(), math.NaN()}
		}
		c := chartOf(nil, acc...)
		if low := c.YTicks[0].At; low > c.Bottom+.1 {
			t.Errorf("%v: lowest tick at %g, below %g", acc, low, c.Bottom)
		}
		for _, y := range append([]float64{c.Reference}, c.YTicks[len(c.YTicks)-1].At) {
			if y < c.Top-.1 || y > c.Bottom+.1 {
				t.Errorf("%v: something at %g, outside %g to %g", acc, y, c.Top, c.Bottom)
			}
		}
		for _, h := range c.Hits {
			if h.X < c.Left-.1 || h.X+h.Width > c.Right+.2 {
				t.Errorf("%v: a slice from %g to %g", acc, h.X, h.X+h.Width)
			}
		}
	}
}

func TestTheReferenceBeginsWithItsChampion(t *testing.T) {
	in := chartInput{Series: series(.9, .9, .9), Reference: .85, Interval: dg.Interval{Start: testNow, End: testNow.Add(2 * time.Hour)}}
	if c := drawChart(in, wideChart); c.ReferenceFrom != c.Left {
		t.Errorf("without a beginning it starts at %g, want the left edge %g", c.ReferenceFrom, c.Left)
	}
	in.Since = testNow.Add(time.Hour)
	if c := drawChart(in, wideChart); c.ReferenceFrom != (c.Left+c.Right)/2 {
		t.Errorf("half way it starts at %g, want %g", c.ReferenceFrom, (c.Left+c.Right)/2)
	}
}

func TestTheYAxisHasRoundStepsAndNoFalseDrama(t *testing.T) {
	for _, tt := range []struct {
		acc       []float64
		low, high float64
	}{{[]float64{.9, .9}, .8, .95}, {[]float64{.99, .99}, .85, 1}, {[]float64{.3, .9}, .2, 1}, {[]float64{.3, .35}, .2, .4}} {
		low, high := valueRange(chartInput{Series: series(tt.acc...), Reference: math.NaN()})
		if math.Abs(low-tt.low) > 1e-9 || math.Abs(high-tt.high) > 1e-9 {
			t.Errorf("%v: %g to %g, want %g to %g", tt.acc, low, high, tt.low, tt.high)
		}
		if high-low < .1-1e-9 {
			t.Errorf("%v: a span of %g makes noise look like a fall", tt.acc, high-low)
		}
	}
}

func TestMarksOfNeighboursDoNotLieOnEachOther(t *testing.T) {
	at := testNow.Add(4 * time.Hour)
	events := []ledger.Event{{At: at, Kind: "alarm_firing"}, {At: at.Add(time.Minute), Kind: "promotion"}, {At: at.Add(2 * time.Minute), Kind: "alarm_resolved"},
		{At: testNow.Add(8 * time.Hour), Kind: "rollback"}, {At: testNow.Add(99 * time.Hour), Kind: "promotion"}}
	c := chartOf(events, .9, .9, .9, .9, .9, .9, .9, .9, .9)
	if len(c.Marks) != 4 {
		t.Fatalf("%d marks, want 4: one event is outside", len(c.Marks))
	}
	if c.Marks[0].Y == c.Marks[1].Y || c.Marks[2].Text != "" || c.Marks[2].Title == "" {
		t.Errorf("marks %+v: want the first two in two rows and the third without a word", c.Marks[:3])
	}
	if last := c.Marks[3]; last.Anchor != "end" {
		t.Errorf("a word at the right edge is anchored at its %s", last.Anchor)
	}
}

func TestTimeTicksAreRoundAndFew(t *testing.T) {
	for _, length := range []time.Duration{30 * time.Minute, 12 * time.Hour, 14 * 24 * time.Hour, 98 * 24 * time.Hour, 180 * 24 * time.Hour} {
		iv := dg.Interval{Start: testNow.Add(-length), End: testNow}
		ticks := timeTicks(iv, func(time.Time) float64 { return 0 }, 9)
		if len(ticks) < 2 || len(ticks) > 11 {
			t.Errorf("%s: %d ticks", length, len(ticks))
		}
	}
}

func TestADifferenceKeepsOrderCentreAndSign(t *testing.T) {
	for _, tt := range []struct {
		value, lower, upper float64
		class               string
	}{{.067, .031, .104, "delta-better"}, {-.4, -.6, -.1, "delta-worse"}, {0, -.001, .001, ""}, {.9, -1, 1, ""}, {1, 1, 1, "delta-better"}} {
		scale := deltaScaleOf(max(math.Abs(tt.lower), math.Abs(tt.upper)))
		d := scale.row(tt.value, tt.lower, tt.upper)
		if !(d.Low <= d.At && d.At <= d.High) || d.Low < 0 || d.High > 100 || d.Zero != 50 || d.Class != tt.class || len(scale.ticks()) != 5 {
			t.Errorf("%+v: %+v", tt, d)
		}
		if (tt.value > 0) != (d.At > 50) {
			t.Errorf("%+v: the dot is on the wrong side, at %g", tt, d.At)
		}
	}
}
