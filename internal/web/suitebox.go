package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	dg "driftgate"
	"driftgate/evaluator"
)

// suiteBox is one suite of a report, laid out.
type suiteBox struct {
	evaluator.SuiteReport
	ID          string
	Title       string
	Has         bool // there is a figure
	BelowFloor  bool
	Plot        Plot
	Classes     []classRow
	ClassTicks  []PlotTick
	Heat        [][]heatCell
	Heads       []string
	Mistakes    []mistake
	Calibration XY
	Slices      []weakRow
	MoreSlices  []weakRow
	SliceTicks  []PlotTick
}

// barMark is one bar of a row with its bounds, in percent of the width and
// height.
type barMark struct {
	From, Length, Low, High, Y, Mid float64
	Class                           string
	Has                             bool
}

// barRow is the bars of a row.
type barRow struct {
	Grid []float64
	Bars []barMark
}

// classRow is one class of a suite.
type classRow struct {
	evaluator.ClassReport
	Plot barRow
	Weak bool // its recall lies below the suite's accuracy, bounds and all
}

// heatCell is one cell of a confusion matrix.
type heatCell struct {
	Count int
	Text  string
	Class string // "hit-0" ... "hit-9" on the diagonal, "miss-0" ... elsewhere
	Title string
}

// mistake is a class taken for another.
type mistake struct {
	Truth, Answer string
	Count, Of     int
}

// weakRow is one slice.
type weakRow struct {
	evaluator.Slice
	Plot Plot
}

const (
	maxHeat     = 24 // classes of a confusion matrix that is drawn
	maxMistakes = 8
	maxSlices   = 60
	minBin      = 5 // images, below which a bin of confidence says nothing
)

func suiteBoxOf(s evaluator.SuiteReport, classes dg.Classes, scale plotScale) suiteBox {
	b := suiteBox{SuiteReport: s, Title: suiteTitle(s.Suite), Has: s.Fault == "" && s.Samples > 0}
	if !b.Has {
		return b
	}
	b.Plot = scale.row(estimateOf(s.Accuracy))
	if s.Floor > 0 {
		b.Plot.Rule, b.Plot.HasRule = scale.at(s.Floor), true
		b.BelowFloor = s.Accuracy.Value < s.Floor
	}
	b.drawClasses()
	b.drawHeat(classes)
	b.drawCalibration()
	b.drawSlices()
	return b
}

// estimateOf makes a bounded ratio one that a plot takes.
func estimateOf(x evaluator.Bounded) dg.Estimate {
	return dg.Estimate{Accuracy: x.Value, Lower: x.Lower, Upper: x.Upper, Labels: x.Samples}
}

func (b *suiteBox) drawClasses() {
	scale := plotScale{0, 1, .25}
	b.ClassTicks = scale.ticks()
	bar := func(x evaluator.Bounded, class string, y float64) barMark {
		return barMark{scale.at(0), round1(scale.at(x.Value) - scale.at(0)), scale.at(x.Lower), scale.at(x.Upper), y, y + 11, class, x.Samples > 0}
	}
	for _, c := range b.PerClass {
		b.Classes = append(b.Classes, classRow{c, barRow{scale.grid(), []barMark{bar(c.Recall, "recall", 22), bar(c.Precision, "precision", 56)}}, c.Recall.Samples > 0 && c.Recall.Upper < b.Accuracy.Value})
	}
}

func (b *suiteBox) drawHeat(classes dg.Classes) {
	if len(b.Confusion) != len(classes) {
		return
	}
	for t, row := range b.Confusion {
		sum := 0
		for _, n := range row {
			sum += n
		}
		var cells []heatCell
		for a, n := range row {
			share := 0.0
			if sum > 0 {
				share = float64(n) / float64(sum)
			}
			kind := "miss"
			if t == a {
				kind = "hit"
			} else if n > 0 {
				b.Mistakes = append(b.Mistakes, mistake{classes[t], classes[a], n, sum})
			}
			cell := heatCell{Count: n, Class: fmt.Sprintf("%s-%d", kind, heatLevel(share, t == a)), Title: fmt.Sprintf("%s called %s: %d of %d, %s", classes[t], classes[a], n, sum, percent(share))}
			if n > 0 {
				cell.Text = count(n)
			}
			cells = append(cells, cell)
		}
		b.Heat = append(b.Heat, cells)
	}
	slices.SortStableFunc(b.Mistakes, func(x, y mistake) int { return cmp.Compare(y.Count, x.Count) })
	b.Mistakes = b.Mistakes[:min(len(b.Mistakes), maxMistakes)]
	b.Heads = classes
	if len(classes) > maxHeat {
		b.Heat = nil // nobody could read it; the mistakes say what matters
	}
}

// heatLevel is the depth of a cell's colour, 0 to 9: errors show from one in
// fifty on, for they are what one looks for.
func heatLevel(share float64, right bool) int {
	if right {
		return min(9, int(math.Ceil(share*9)))
	}
	return min(9, int(math.Ceil(math.Sqrt(share*2)*9-.4)))
}

func (b *suiteBox) drawCalibration() {
	c := curve{Name: "accuracy", Class: versionClass(0)}
	for _, x := range b.SuiteReport.Calibration.Bins {
		if x.Accuracy.Samples >= minBin {
			c.Points = append(c.Points, calibrationPoint(x))
		}
	}
	b.Calibration = drawXY(xyOptions{XName: "stated confidence", Percent: true, XPercent: true, Diagonal: true, Size: squareChart}, c)
}

var squareChart = chartSize{320, 300, 42, 10, 10, 36, 60}

func calibrationPoint(x evaluator.CalibrationBin) curvePoint {
	return curvePoint{X: x.Confidence, Y: x.Accuracy.Value, Lower: x.Accuracy.Lower, Upper: x.Accuracy.Upper, Share: x.Share,
		Title: fmt.Sprintf("stated %s, right %s (%s), %s of the predictions", percent(x.Confidence), percent(x.Accuracy.Value), bounds(x.Accuracy.Lower, x.Accuracy.Upper), percent(x.Share))}
}

func (b *suiteBox) drawSlices() {
	rows := b.SuiteReport.Slices[:min(len(b.SuiteReport.Slices), maxSlices)]
	values := []float64{b.Accuracy.Value}
	for _, s := range rows {
		values = append(values, s.Accuracy.Lower, s.Accuracy.Upper)
	}
	scale := scaleOf(4, values...)
	b.SliceTicks = scale.ticks()
	var out []weakRow
	for _, s := range rows {
		r := weakRow{s, scale.row(estimateOf(s.Accuracy))}
		r.Plot.Rule, r.Plot.HasRule = scale.at(b.Accuracy.Value), true
		out = append(out, r)
	}
	shown := 8
	for _, r := range out[min(shown, len(out)):] {
		if r.Weak {
			shown++
		}
	}
	shown = min(shown, len(out))
	b.Slices, b.MoreSlices = out[:shown], out[shown:]
}
