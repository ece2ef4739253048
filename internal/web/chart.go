package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Chart is a production-accuracy chart laid out for its template: every figure
// is in the units of the SVG's view box. The series have gaps where a window
// had too few labels; nothing is drawn across a gap.
type Chart struct {
	Width, Height            float64
	Left, Right, Top, Bottom float64 // edges of the plot area
	Bands                    []string
	Line                     []string // the headline, one path a run of points
	Dots                     []Dot    // headline points without a neighbour: a path would not show
	Labelled                 []string // the unweighted average of the labelled samples
	Expected                 []string // what the model's confidence promises
	Reference                float64  // y of the reference line; see HasReference
	ReferenceFrom            float64  // x where it begins: an earlier champion had another
	HasReference             bool
	YTicks, XTicks           []Tick
	Marks                    []Mark
	Hits                     []Hit
	Summary                  string // the chart in one sentence, for those who don't see it
}

// Dot is a point of the chart.
type Dot struct{ X, Y float64 }

// Tick is a labelled place on an axis.
type Tick struct {
	At   float64
	Text string
}

// Mark is an event: a vertical line with a word. Row staggers the words of
// neighbours.
type Mark struct {
	X      float64
	Y      float64 // of the word
	Kind   string
	Text   string // the word
	Title  string // the whole
	Anchor string // text-anchor: start, or end near the right edge
	TextX  float64
}

// Hit is the slice of the plot area that belongs to one point, with its
// figures in words.
type Hit struct {
	X, Width float64
	Dot      Dot
	HasDot   bool
	Text     string
}

// chartSize is a form of the chart: one for wide screens, one for phones.
type chartSize struct{ width, height, left, right, top, bottom, perTick float64 }

var (
	wideChart   = chartSize{960, 340, 46, 12, 34, 28, 96}
	narrowChart = chartSize{400, 300, 42, 8, 34, 26, 62}
)

// chartInput is what a chart shows.
type chartInput struct {
	Series    []dg.Accuracy // by End, evenly spaced
	Events    []ledger.Event
	Reference float64   // 0 to 1; NaN when there is none
	Since     time.Time // from when the reference holds; zero: all along
	Interval  dg.Interval
}

const (
	headline = "stratified" // the estimator that decides
	plain    = "labelled"   // the old system's average
	expected = "expected"   // what the model's confidence promises
)

// drawChart lays the chart out.
func drawChart(in chartInput, size chartSize) Chart {
	c := Chart{
		Width: size.width, Height: size.height, Left: size.left, Top: size.top,
		Right: size.width - size.right, Bottom: size.height - size.bottom,
	}
	low, high := valueRange(in)
	y := func(v float64) float64 { return round1(c.Bottom - (v-low)/(high-low)*(c.Bottom-c.Top)) }
	x := func(t time.Time) float64 {
		share := float64(t.Sub(in.Interval.Start)) / float64(max(in.Interval.Length(), 1))
		return round1(c.Left + min(max(share, 0), 1)*(c.Right-c.Left))
	}
	for v := low; v <= high+1e-9; v += yStep(low, high) {
		c.YTicks = append(c.YTicks, Tick{y(v), fmt.Sprintf("%.0f%%", v*100)})
	}
	c.XTicks = timeTicks(in.Interval, x, int((c.Right-c.Left)/size.perTick))
	if !math.IsNaN(in.Reference) {
		c.HasReference, c.Reference, c.ReferenceFrom = true, y(in.Reference), x(in.Since)
	}
	c.drawHeadline(in.Series, x, y)
	c.Labelled, c.Expected = thinLines(in.Series, plain, x, y), thinLines(in.Series, expected, x, y)
	c.drawMarks(in.Events, in.Interval, x)
	c.drawHits(in.Series, x, y)
	c.Summary = chartSummary(in)
	return c
}

// drawHeadline adds the weighted figure and its band, run by run.
func (c *Chart) drawHeadline(series []dg.Accuracy, x func(time.Time) float64, y func(float64) float64) {
	for run := range runsOf(series, headline) {
		if len(run) == 1 {
			c.Dots = append(c.Dots, Dot{x(run[0].end), y(run[0].Accuracy)})
		}
		var line, lower strings.Builder
		var upper []string
		for i, p := range run {
			px := x(p.end)
			fmt.Fprintf(&line, "%s%g %g", command(i), px, y(p.Accuracy))
			fmt.Fprintf(&lower, "%s%g %g", command(i), px, y(p.Lower))
			upper = append(upper, fmt.Sprintf("L%g %g", px, y(p.Upper)))
		}
		for i := len(upper) - 1; i >= 0; i-- {
			lower.WriteString(upper[i])
		}
		if len(run) > 1 {
			c.Line = append(c.Line, line.String())
			c.Bands = append(c.Bands, lower.String()+"Z")
		} else {
			px := x(run[0].end)
			c.Bands = append(c.Bands, fmt.Sprintf("M%g %gH%gV%gH%gZ", px-2, y(run[0].Lower), px+2, y(run[0].Upper), px-2))
		}
	}
}

// thinLines are the paths of an estimator that is shown for comparison.
func thinLines(series []dg.Accuracy, estimator string, x func(time.Time) float64, y func(float64) float64) (paths []string) {
	for run := range runsOf(series, estimator) {
		var line strings.Builder
		for i, p := range run {
			fmt.Fprintf(&line, "%s%g %g", command(i), x(p.end), y(p.Accuracy))
		}
		if len(run) > 1 {
			paths = append(paths, line.String())
		}
	}
	return paths
}

var markWords = map[string]string{
	"promotion": "promoted", "rollback": "rolled back", "exposure": "tried", "exposure_end": "trial over", "rejection": "rejected", "alarm_firing": "alarm",
	"alarm_resolved": "alarm over", "drift_begin": "drift begins", "reference": "reference",
}

// drawMarks adds the events in the interval; words that would lie on each
// other go to the next of two rows.
func (c *Chart) drawMarks(events []ledger.Event, iv dg.Interval, x func(time.Time) float64) {
	const perRune, rows = 6.2, 2
	var free [rows]float64
	for _, e := range events {
		if e.At.Before(iv.Start) || e.At.After(iv.End) || e.Kind == "reference" {
			continue
		}
		word := markWords[e.Kind]
		if word == "" {
			word = strings.ReplaceAll(e.Kind, "_", " ")
		}
		m := Mark{X: x(e.At), Kind: strings.ReplaceAll(e.Kind, "_", "-"), Text: word, Anchor: "start", Title: word + " " + clock(e.At) + ": " + e.Text}
		m.TextX = m.X + 4
		width := float64(len(word)) * perRune
		if m.TextX+width > c.Right {
			m.Anchor, m.TextX = "end", m.X-4
		}
		begin := m.TextX
		if m.Anchor == "end" {
			begin -= width
		}
		row := -1
		for r := range free {
			if begin >= free[r] {
				row = r
				break
			}
		}
		if row < 0 {
			m.Text = "" // no room: the line and its title stay
		} else {
			free[row] = begin + width + 6
			m.Y = 13 + float64(row)*13
		}
		c.Marks = append(c.Marks, m)
	}
}

// drawHits cuts the plot area into one slice a point.
func (c *Chart) drawHits(series []dg.Accuracy, x func(time.Time) float64, y func(float64) float64) {
	for i, a := range series {
		at := x(a.End)
		begin, end := c.Left, c.Right
		if i > 0 {
			begin = (x(series[i-1].End) + at) / 2
		}
		if i+1 < len(series) {
			end = (x(series[i+1].End) + at) / 2
		}
		h := Hit{X: round1(begin), Width: round1(max(end-begin, 0)), Text: "Window ending " + clock(a.End) + ": " + accuracyWords(a)}
		if e, ok := a.Estimate(headline); ok {
			h.Dot, h.HasDot = Dot{at, y(e.Accuracy)}, true
		}
		c.Hits = append(c.Hits, h)
	}
}

type point struct {
	dg.Estimate
	end time.Time
}

// runsOf yields the stretches of consecutive windows that have the estimator's
// figure.
func runsOf(series []dg.Accuracy, estimator string) func(yield func([]point) bool) {
	return func(yield func([]point) bool) {
		var run []point
		for _, a := range series {
			if e, ok := a.Estimate(estimator); ok {
				run = append(run, point{e, a.End})
				continue
			}
			if len(run) > 0 && !yield(run) {
				return
			}
			run = nil
		}
		if len(run) > 0 {
			yield(run)
		}
	}
}

// valueRange picks the y axis: all that is drawn, on whole steps, at least ten
// points high and never beyond 0 and 1.
func valueRange(in chartInput) (low, high float64) {
	low, high = 1, 0
	take := func(v float64) {
		if !math.IsNaN(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	take(in.Reference)
	for _, a := range in.Series {
		if e, ok := a.Estimate(headline); ok {
			take(e.Lower)
			take(e.Upper)
		}
		for _, thin := range []string{plain, expected} {
			if e, ok := a.Estimate(thin); ok {
				take(e.Accuracy)
			}
		}
	}
	if low > high {
		return 0.5, 1
	}
	step := yStep(low, high)
	low, high = math.Floor(low/step+1e-9)*step, math.Ceil(high/step-1e-9)*step
	if high-low < 0.1 {
		low = high - 0.1
	}
	return max(low, 0), min(high, 1)
}

func yStep(low, high float64) float64 {
	switch span := high - low; {
	case span > 0.5:
		return 0.2
	case span > 0.25:
		return 0.1
	default:
		return 0.05
	}
}

var timeSteps = []time.Duration{
	time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	12 * time.Hour, 24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 28 * 24 * time.Hour, 91 * 24 * time.Hour,
}

// timeTicks labels the x axis with at most n ticks on round times, UTC.
func timeTicks(iv dg.Interval, x func(time.Time) float64, n int) []Tick {
	if iv.Length() <= 0 {
		return nil
	}
	step := timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if int(iv.Length()/s) <= max(n, 1) {
			step = s
			break
		}
	}
	format := "15:04"
	if step >= 24*time.Hour {
		format = "2 Jan"
	}
	var ticks []Tick
	for t := dg.Slot(iv.Start.Add(step-1), step).Start; !t.After(iv.End); t = t.Add(step) {
		text := t.Format(format)
		if step < 24*time.Hour && t.Truncate(24*time.Hour).Equal(t) {
			text = t.Format("2 Jan")
		}
		ticks = append(ticks, Tick{x(t), text})
	}
	return ticks
}

func chartSummary(in chartInput) string {
	last := "no figure yet"
	for _, a := range in.Series {
		if _, ok := a.Estimate(headline); ok {
			last = accuracyWords(a)
		}
	}
	return fmt.Sprintf("Production accuracy from %s to %s, %d events; latest: %s", clock(in.Interval.Start), clock(in.Interval.End), len(in.Events), last)
}

func command(i int) string {
	if i == 0 {
		return "M"
	}
	return "L"
}

func round1(v float64) float64 { return math.Round(v*10) / 10 }
