package web

import (
	"fmt"
	"math"
	"strings"
)

// XY is a small chart of curves over a number, laid out for its template in
// the units of the SVG's view box.
type XY struct {
	Width, Height            float64
	Left, Right, Top, Bottom float64 // edges of the plot area
	Lines                    []XYLine
	Diagonal                 string // path of the line on which x is y; empty: none
	XTicks, YTicks           []Tick
	XName                    string
	Summary                  string // the chart in words
}

// XYLine is one curve. Class is a word of the stylesheet.
type XYLine struct {
	Class, Path, Band string
	Dots              []XYDot
}

// XYDot is one point of a curve with its bounds.
type XYDot struct {
	X, Y, R   float64
	Low, High float64 // y of the bounds; see Has
	Has       bool
	Title     string
}

// curve is what an XY shows.
type curve struct {
	Name, Class string
	Points      []curvePoint
	Banded      bool // bounds as a band, not as a bar at each dot
}

type curvePoint struct {
	X, Y         float64
	Lower, Upper float64 // NaN: not known
	Share        float64 // size of the dot, 0 to 1
	Title        string
}

// xyOptions are the axes of an XY.
type xyOptions struct {
	XName    string
	Percent  bool // y is a ratio
	XPercent bool
	Diagonal bool
	Low      float64 // of the y axis, where Low < High; else it fits the curves
	High     float64
	Size     chartSize
}

var smallChart = chartSize{300, 190, 40, 10, 10, 34, 50}

// drawXY lays curves out. What is not finite is not drawn.
func drawXY(o xyOptions, curves ...curve) XY {
	size := o.Size
	if size.width == 0 {
		size = smallChart
	}
	c := XY{Width: size.width, Height: size.height, Left: size.left, Top: size.top, Right: size.width - size.right, Bottom: size.height - size.bottom, XName: o.XName}
	xl, xh, yl, yh := extent(curves)
	if o.Low < o.High {
		yl, yh = o.Low, o.High
	}
	if o.Diagonal {
		xl, xh, yl, yh = 0, 1, 0, 1
	}
	if o.Percent {
		yh = min(yh, 1)
	}
	yStep := xyStep(yl, yh, 4)
	yl, yh = math.Floor(yl/yStep+1e-9)*yStep, math.Ceil(yh/yStep-1e-9)*yStep
	if yl == yh {
		yh += yStep
	}
	x := func(v float64) float64 { return round1(c.Left + (v-xl)/max(xh-xl, 1e-12)*(c.Right-c.Left)) }
	y := func(v float64) float64 { return round1(c.Bottom - (min(max(v, yl), yh)-yl)/(yh-yl)*(c.Bottom-c.Top)) }
	for v := yl; v <= yh+yStep/100; v += yStep {
		c.YTicks = append(c.YTicks, Tick{y(v), axisText(v, yStep, o.Percent)})
	}
	xStep := xyStep(xl, xh, int((c.Right-c.Left)/size.perTick))
	for v := math.Ceil(xl/xStep-1e-9) * xStep; v <= xh+xStep/100; v += xStep {
		c.XTicks = append(c.XTicks, Tick{x(v), axisText(v, xStep, o.XPercent)})
	}
	if o.Diagonal {
		c.Diagonal = fmt.Sprintf("M%g %gL%g %g", x(0), y(0), x(1), y(1))
	}
	var names []string
	for _, k := range curves {
		c.Lines = append(c.Lines, k.lay(x, y))
		names = append(names, k.Name)
	}
	c.Summary = strings.Join(names, ", ") + " over " + o.XName
	return c
}

func finiteNumber(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// lay places one curve.
func (k curve) lay(x, y func(float64) float64) XYLine {
	out := XYLine{Class: k.Class}
	var path, lower strings.Builder
	var upper []string
	for _, p := range k.Points {
		if !finiteNumber(p.X) || !finiteNumber(p.Y) {
			continue
		}
		d := XYDot{X: x(p.X), Y: y(p.Y), R: round1(2.2 + 4*math.Sqrt(min(max(p.Share, 0), 1))), Title: p.Title}
		fmt.Fprintf(&path, "%s%g %g", command(len(out.Dots)), d.X, d.Y)
		if finiteNumber(p.Lower) && finiteNumber(p.Upper) && p.Upper > p.Lower {
			d.Low, d.High, d.Has = y(p.Lower), y(p.Upper), !k.Banded
			fmt.Fprintf(&lower, "%s%g %g", command(len(upper)), d.X, d.Low)
			upper = append(upper, fmt.Sprintf("L%g %g", d.X, d.High))
		}
		out.Dots = append(out.Dots, d)
	}
	if len(out.Dots) > 1 {
		out.Path = path.String()
	}
	if k.Banded && len(upper) > 1 {
		for i := len(upper) - 1; i >= 0; i-- {
			lower.WriteString(upper[i])
		}
		out.Band = lower.String() + "Z"
	}
	if len(out.Dots) > maxDots { // a line says it all
		out.Dots = nil
	}
	return out
}

const maxDots = 40

// extent is what holds all of the curves.
func extent(curves []curve) (xl, xh, yl, yh float64) {
	xl, xh, yl, yh = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, k := range curves {
		for _, p := range k.Points {
			if !finiteNumber(p.X) || !finiteNumber(p.Y) {
				continue
			}
			xl, xh = min(xl, p.X), max(xh, p.X)
			for _, v := range []float64{p.Y, p.Lower, p.Upper} {
				if finiteNumber(v) {
					yl, yh = min(yl, v), max(yh, v)
				}
			}
		}
	}
	if xl > xh {
		return 0, 1, 0, 1
	}
	return xl, xh, yl, yh
}

// xyStep is 1, 2 or 5 times a power of ten, such that about n of them fill
// the range.
func xyStep(low, high float64, n int) float64 {
	raw := (high - low) / float64(max(n, 1))
	if !(raw > 0) || math.IsInf(raw, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if raw <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// axisText writes a tick with the digits that its step needs.
func axisText(v, step float64, ratio bool) string {
	if math.Abs(v) < step/1e6 {
		v = 0
	}
	suffix := ""
	if ratio {
		v, step, suffix = v*100, step*100, "%"
	}
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	return strings.ReplaceAll(fmt.Sprintf("%.*f", min(digits, 6), v), "-", "−") + suffix
}

// Delta is a difference with its bounds on a row, in percent of the width.
type Delta struct {
	Zero, Low, At, High float64
	Grid                []float64
	Has                 bool
	Class               string // "delta-better", "delta-worse", or empty: 0 lies within
}

// deltaScale lays differences out around zero, from -span to span.
type deltaScale struct{ span float64 }

// deltaScaleOf holds most of what is given: a part with few samples has bounds
// that would squeeze all others, and is cut off at the edge.
func deltaScaleOf(reach float64) deltaScale {
	for _, s := range []float64{.02, .05, .1, .2, .3, .5} {
		if reach <= s {
			return deltaScale{s}
		}
	}
	return deltaScale{1}
}

func (s deltaScale) at(v float64) float64 {
	return round1(50 + min(max(v/s.span, -1), 1)*(50-plotMargin))
}

func (s deltaScale) row(value, lower, upper float64) Delta {
	d := Delta{Zero: s.at(0), Low: s.at(lower), At: s.at(value), High: s.at(upper), Has: true, Grid: []float64{s.at(-s.span), s.at(-s.span / 2), s.at(s.span / 2), s.at(s.span)}}
	switch {
	case lower > 0:
		d.Class = "delta-better"
	case upper < 0:
		d.Class = "delta-worse"
	}
	return d
}

func (s deltaScale) ticks() []PlotTick {
	text := func(v float64) string { return strings.ReplaceAll(fmt.Sprintf("%+.3g", v*100), "-", "−") }
	return []PlotTick{{s.at(-s.span), text(-s.span)}, {s.at(-s.span / 2), text(-s.span / 2)}, {50, "0"}, {s.at(s.span / 2), text(s.span / 2)}, {s.at(s.span), text(s.span)}}
}
