package web

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"driftgate/internal/experiment"
)

// spark is a curve drawn small: no axes, its last point marked.
type spark struct {
	Path    string
	X, Y    float64 // the last point
	Words   string
	Width   float64
	Height  float64
	Visible bool
}

// sparkCurves are the curves of which a row shows the first that it has.
var sparkCurves = []string{"validation_accuracy", "train_accuracy", "validation_loss", "train_loss"}

func sparkOf(r experiment.Record) spark {
	for _, name := range sparkCurves {
		curve := r.Curves[name]
		if len(curve) == 0 {
			continue
		}
		s := spark{Width: 96, Height: 24, Visible: true}
		box := boxFor(curve)
		x := func(p experiment.Point) float64 { return round1(3 + box.share(p.Step)*(s.Width-6)) }
		y := func(p experiment.Point) float64 { return round1(s.Height - 3 - box.height(p.Value)*(s.Height-6)) }
		s.Path = pathOf(curve, x, y)
		last := curve[len(curve)-1]
		s.X, s.Y = x(last), y(last)
		s.Words = fmt.Sprintf("%s over %s: %s to %s", words(name), plural(len(curve), "epoch", "epochs"), figureText(curve[0].Value), figureText(last.Value))
		return s
	}
	return spark{}
}

func pathOf(curve []experiment.Point, x, y func(experiment.Point) float64) string {
	var b strings.Builder
	for i, p := range curve {
		fmt.Fprintf(&b, "%s%g %g", command(i), x(p), y(p))
	}
	return b.String()
}

// curveBox is what a set of curves spans.
type curveBox struct {
	first, last int
	low, high   float64
}

func boxFor(curves ...[]experiment.Point) curveBox {
	b := curveBox{math.MaxInt, 0, math.Inf(1), math.Inf(-1)}
	for _, curve := range curves {
		for _, p := range curve {
			b.first, b.last = min(b.first, p.Step), max(b.last, p.Step)
			b.low, b.high = min(b.low, p.Value), max(b.high, p.Value)
		}
	}
	return b
}

func (b curveBox) share(step int) float64 {
	if b.last <= b.first {
		return .5
	}
	return float64(step-b.first) / float64(b.last-b.first)
}

func (b curveBox) height(v float64) float64 {
	if !(b.high > b.low) {
		return .5
	}
	return (v - b.low) / (b.high - b.low)
}

// curveChart is a chart of one or two curves over the epochs, laid out for its
// template in the units of its view box.
type curveChart struct {
	Title                    string
	Width, Height            float64
	Left, Right, Top, Bottom float64
	Lines                    []curveLine
	YTicks, XTicks           []Tick
	Summary                  string
}

type curveLine struct {
	Name, Class, Path, Last string
	Dots                    []Dot // of a curve of few points
}

// curvePairs are the curves that share a chart.
var curvePairs = [][]string{{"validation_accuracy", "train_accuracy"}, {"validation_loss", "train_loss"}}

func curveCharts(r experiment.Record) []curveChart {
	var out []curveChart
	drawn := map[string]bool{}
	for _, pair := range curvePairs {
		out = append(out, curveChartOf(strings.TrimPrefix(pair[0], "validation_"), pair, r)...)
		for _, name := range pair {
			drawn[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Curves)) {
		if !drawn[name] {
			out = append(out, curveChartOf(words(name), []string{name}, r)...)
		}
	}
	return out
}

// curveChartOf lays one chart out; none without a point.
func curveChartOf(title string, names []string, r experiment.Record) []curveChart {
	var curves [][]experiment.Point
	for _, name := range names {
		curves = append(curves, r.Curves[name])
	}
	box := boxFor(curves...)
	if box.first > box.last {
		return nil
	}
	c := curveChart{Title: strings.ToUpper(title[:1]) + title[1:] + " by epoch", Width: 440, Height: 220, Left: 52, Right: 432, Top: 10, Bottom: 192}
	step := roundStep((box.high - box.low) / 4)
	if box.high-box.low < 1e-12 {
		step = roundStep(max(math.Abs(box.high), 1e-6) / 4)
		box.low, box.high = box.low-step, box.high+step
	}
	box.low, box.high = math.Floor(box.low/step+1e-9)*step, math.Ceil(box.high/step-1e-9)*step
	x := func(p experiment.Point) float64 { return round1(c.Left + box.share(p.Step)*(c.Right-c.Left)) }
	y := func(p experiment.Point) float64 { return round1(c.Bottom - box.height(p.Value)*(c.Bottom-c.Top)) }
	for k := 0; k <= 12 && box.low+float64(k)*step <= box.high+step/2; k++ {
		v := box.low + float64(k)*step
		if math.Abs(v) < step/1e6 {
			v = 0
		}
		c.YTicks = append(c.YTicks, Tick{y(experiment.Point{Value: v}), figureText(v)})
	}
	every := max(1, int(roundStep(float64(box.last-box.first)/6)))
	for at := (box.first + every - 1) / every * every; at <= box.last; at += every {
		c.XTicks = append(c.XTicks, Tick{x(experiment.Point{Step: at}), count(at)})
	}
	var said []string
	for i, name := range names {
		curve := r.Curves[name]
		if len(curve) == 0 {
			continue
		}
		last := figureText(curve[len(curve)-1].Value)
		l := curveLine{Name: words(name), Class: []string{"line", "labelled"}[i], Path: pathOf(curve, x, y), Last: last}
		if len(curve) == 1 {
			l.Dots = []Dot{{x(curve[0]), y(curve[0])}}
		}
		c.Lines = append(c.Lines, l)
		said = append(said, fmt.Sprintf("%s from %s to %s", words(name), figureText(curve[0].Value), last))
	}
	c.Summary = fmt.Sprintf("%s over epochs %d to %d: %s", title, box.first, box.last, strings.Join(said, ", "))
	return []curveChart{c}
}

// roundStep rounds up to 1, 2 or 5 times a power of ten.
func roundStep(v float64) float64 {
	if !(v > 0) || math.IsInf(v, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*power >= v-1e-12*power {
			return m * power
		}
	}
	return 10 * power
}
