package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
)

// Plot is one row of a dot plot: a figure with its bounds on a scale that all
// rows of its table share. Places are in percent of the width, so that a row
// needs no view box and no figure is stretched.
type Plot struct {
	Grid             []float64 // faint lines at the ticks
	Rule             float64   // the value that the rows are compared with; see HasRule
	HasRule          bool
	Low, At, High    float64 // bounds and figure; see Has
	Has              bool
	Expected         float64 // what the model's confidence promises; see HasExpected
	HasExpected      bool
	BandLow, BandLen float64 // where the figure would lie if confidence were accuracy; see HasBand
	HasBand          bool
}

// PlotTick is a labelled place of a scale, in percent of the width.
type PlotTick struct {
	At   float64
	Text string
}

// plotScale places ratios on a row.
type plotScale struct{ low, high, step float64 }

// plotMargin is left free on each side, in percent, for dots at the ends.
const plotMargin = 4

// scaleOf is a scale with at most the given number of whole steps that holds
// every value; it never goes beyond 0 and 1.
func scaleOf(steps int, values ...float64) plotScale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		low, high = 0, 1
	}
	for _, step := range []float64{.05, .1, .25, .5} {
		s := plotScale{math.Floor(low/step+1e-9) * step, math.Ceil(high/step-1e-9) * step, step}
		s.low, s.high = max(s.low, 0), min(s.high, 1)
		if s.high-s.low < 2*step-1e-9 {
			s.low = max(s.high-2*step, 0)
			s.high = s.low + 2*step
		}
		if s.high-s.low < float64(steps)*step+1e-9 {
			return s
		}
	}
	return plotScale{0, 1, .5}
}

func (s plotScale) at(v float64) float64 {
	share := (v - s.low) / max(s.high-s.low, 1e-9)
	return round1(plotMargin + min(max(share, 0), 1)*(100-2*plotMargin))
}

func (s plotScale) ticks() []PlotTick {
	var out []PlotTick
	for v := s.low; v <= s.high+1e-9; v += s.step {
		out = append(out, PlotTick{s.at(v), fmt.Sprintf("%.0f%%", v*100)})
	}
	return out
}

func (s plotScale) grid() []float64 {
	var out []float64
	for _, t := range s.ticks() {
		out = append(out, t.At)
	}
	return out
}

// row places one estimate.
func (s plotScale) row(e dg.Estimate) Plot {
	return Plot{Grid: s.grid(), Low: s.at(e.Lower), At: s.at(e.Accuracy), High: s.at(e.Upper), Has: true}
}

// estimatorWords says what an estimator is, for people.
type estimatorWords struct{ Title, Meaning string }

var estimatorMeaning = map[string]estimatorWords{
	"stratified": {"Weighted", "Each stratum counts by its share of all predictions. This figure decides."},
	"ppi":        {"Sharpened", "The weighted figure, made narrower by the model's confidence in what nobody labelled."},
	"labelled":   {"Plain average", "Right among the labelled. Hard images are labelled more often, so it is off; it decides nothing."},
	"expected":   {"Expected", "What the model's own confidence promises. It needs no labels, and does not see when the world changes."},
}

// estimateRow is one estimator beside the others.
type estimateRow struct {
	dg.Estimate
	estimatorWords
	Plot   Plot
	Half   float64 // half the width of the bounds
	Decide bool    // the headline
	Worth  string  // in labels of a simple random sample
}

// estimateRows lays the estimators of a window out on one scale.
func estimateRows(a dg.Accuracy) ([]estimateRow, []PlotTick) {
	var values []float64
	for _, e := range a.Estimates {
		values = append(values, e.Lower, e.Accuracy, e.Upper)
	}
	scale := scaleOf(5, values...)
	head, has := a.Estimate(headline)
	var rows []estimateRow
	for _, e := range a.Estimates {
		r := estimateRow{Estimate: e, estimatorWords: estimatorMeaning[e.Estimator], Plot: scale.row(e), Half: (e.Upper - e.Lower) / 2, Decide: e.Estimator == headline}
		if r.Title == "" {
			r.Title = words(e.Estimator)
		}
		if has && !r.Decide {
			r.Plot.Rule, r.Plot.HasRule = scale.at(head.Accuracy), true
		}
		if e.EffectiveLabels > 0 && !math.IsInf(e.EffectiveLabels, 0) && e.Labels > 0 {
			r.Worth = count(int(math.Round(e.EffectiveLabels)))
		}
		rows = append(rows, r)
	}
	return rows, scale.ticks()
}

// headPlot places the headline beside the accuracy from which all is well.
func headPlot(e dg.Estimate, limit float64, known bool) (Plot, []PlotTick) {
	values := []float64{e.Lower, e.Upper, 1}
	if known {
		values = append(values, limit)
	}
	scale := scaleOf(6, values...)
	p := scale.row(e)
	if known {
		p.Rule, p.HasRule = scale.at(limit), true
	}
	return p, scale.ticks()
}

// sliceRow is one class, or one band of confidence.
type sliceRow struct {
	dg.Slice
	Name     string
	Headline dg.Estimate
	Has      bool
	Expected float64
	Worse    bool // of a class: its upper bound lies below the window's figure
	TooSure  bool // of a band: its upper bound lies below what its confidence promises
	Plot     Plot
}

// sliceTable is the slices of one kind, on one scale.
type sliceTable struct {
	Rows  []sliceRow // shown
	Rest  []sliceRow // folded away
	Ticks []PlotTick
	Quiet int // rows without a figure
}

// MostQuiet says that a longer window would show more.
func (t sliceTable) MostQuiet() bool { return 2*t.Quiet > len(t.Rows)+len(t.Rest) }

// shownSlices is how many rows a table shows before it folds the rest away.
const shownSlices = 12

// Orders of the table of classes.
const (
	byWorst = "worst"
	byName  = "name"
	byCount = "predictions"
)

// slicesOf lays out the slices of one kind. Bands of confidence stay in their
// order; classes are put in the one asked for, those without a figure last.
func slicesOf(a dg.Accuracy, by, order string) sliceTable {
	var rows []sliceRow
	var values []float64
	head, hasHead := a.Estimate(headline)
	if hasHead {
		values = append(values, head.Accuracy)
	}
	for _, s := range a.Slices {
		if s.By != by {
			continue
		}
		r := sliceRow{Slice: s, Name: s.Value}
		for _, e := range s.Estimates {
			switch e.Estimator {
			case headline:
				r.Headline, r.Has = e, true
				values = append(values, e.Lower, e.Upper)
			case expected:
				r.Expected, r.Plot.HasExpected = e.Accuracy, true
				values = append(values, e.Accuracy)
			}
		}
		r.Worse = by == "class" && r.Has && hasHead && r.Headline.Upper < head.Accuracy
		r.TooSure = by == "confidence" && r.Has && r.Plot.HasExpected && r.Headline.Upper < r.Expected
		rows = append(rows, r)
	}
	scale := scaleOf(3, values...)
	for i := range rows {
		rows[i].place(scale, by)
		if hasHead {
			rows[i].Plot.Rule, rows[i].Plot.HasRule = scale.at(head.Accuracy), true
		}
	}
	if by != "confidence" {
		slices.SortStableFunc(rows, func(x, y sliceRow) int { return compareSlices(x, y, order) })
	}
	t := sliceTable{Rows: rows, Ticks: scale.ticks()}
	for _, r := range rows {
		if !r.Has {
			t.Quiet++
		}
	}
	if len(rows) > shownSlices+2 { // folding two rows away saves nothing
		t.Rows, t.Rest = rows[:shownSlices], rows[shownSlices:]
	}
	return t
}

func (r *sliceRow) place(scale plotScale, by string) {
	p := Plot{Grid: scale.grid(), HasExpected: r.Plot.HasExpected}
	if r.Has {
		p = scale.row(r.Headline)
		p.HasExpected = r.Plot.HasExpected
	}
	if p.HasExpected {
		p.Expected = scale.at(r.Expected)
	}
	if by == "confidence" {
		if low, high, ok := bandOf(r.Value); ok {
			p.BandLow, p.HasBand = scale.at(low), high > scale.low
			p.BandLen = round1(scale.at(high) - p.BandLow)
			r.Name = bandName(low, high)
		}
	}
	r.Plot = p
}

func compareSlices(x, y sliceRow, order string) int {
	switch order {
	case byName:
		return strings.Compare(strings.ToLower(x.Value), strings.ToLower(y.Value))
	case byCount:
		return cmp.Compare(y.Predictions, x.Predictions)
	}
	if x.Has != y.Has {
		if x.Has {
			return -1
		}
		return 1
	}
	if !x.Has {
		return cmp.Compare(y.Predictions, x.Predictions)
	}
	return cmp.Compare(x.Headline.Accuracy, y.Headline.Accuracy)
}

// bandOf reads a band of confidence such as 0.50-0.70.
func bandOf(name string) (low, high float64, ok bool) {
	a, b, found := strings.Cut(name, "-")
	low, err := strconv.ParseFloat(a, 64)
	if err != nil || !found {
		return 0, 0, false
	}
	high, err = strconv.ParseFloat(b, 64)
	return low, high, err == nil && low < high && low >= 0 && high <= 1
}

// bandName is a band in percent, with the digits that it needs.
func bandName(low, high float64) string {
	text := func(v float64) string { return strings.TrimSuffix(strconv.FormatFloat(v*100, 'f', 1, 64), ".0") }
	return text(low) + " to " + text(high) + "%"
}
