package web

import (
	"fmt"

	dg "driftgate"
)

// gapBox says in words whether the people's labels and the model's own
// confidence tell the same story.
type gapBox struct {
	Kind  string // worse, better, same, or none: nothing to compare yet
	Title string
	Words []string
	Plot  Plot
	Ticks []PlotTick
	dg.Gap
}

// gapOf reads the gap of a window; references says that the champion's own
// reference is complete.
func gapOf(a dg.Accuracy, referenced bool) gapBox {
	measured, hasMeasured := a.Estimate(headline)
	promised, hasExpected := a.Estimate(expected)
	if a.Gap == nil {
		b := gapBox{Kind: "none", Title: "Not compared yet"}
		switch {
		case hasExpected && !hasMeasured:
			b.Words = append(b.Words, fmt.Sprintf("Its confidence promises %s. There are too few labels in this window to hold against it.", percent(promised.Accuracy)))
		case !referenced:
			b.Words = append(b.Words, "A model may be a little too sure of itself even when all is well. How much, the labels of its first days say; they are still being gathered.")
		default:
			b.Words = append(b.Words, "There are too few labels in this window to compare.")
		}
		return b
	}
	g := *a.Gap
	b := gapBox{Gap: g, Kind: "same", Title: "Labels and confidence agree"}
	if hasMeasured && hasExpected {
		b.Words = append(b.Words, fmt.Sprintf("People find %s right; the model's confidence promises %s.", percent(measured.Accuracy), percent(promised.Accuracy)))
	}
	change := fmt.Sprintf("%s points (95%% bounds %s to %s)", points(g.Difference), points(g.Lower), points(g.Upper))
	switch {
	case g.Significant && g.Difference < 0:
		b.Kind, b.Title = "worse", "Worse than it believes"
		b.Words = append(b.Words, "Against the time when it was at its best that is "+change+". The model doesn't know that it is wrong: what the images mean has changed, or images of a kind that it never learned are coming.")
	case g.Significant:
		b.Kind, b.Title = "better", "Better than it believes"
		b.Words = append(b.Words, "Against the time of its reference that is "+change+". Nothing to fear, but its confidence promises too little.")
	default:
		b.Words = append(b.Words, "Against the time of its reference that is "+change+", which chance explains.")
	}
	b.Plot, b.Ticks = gapPlot(g)
	return b
}

// gapPlot draws the gap around zero, on a scale that is the same on both sides.
func gapPlot(g dg.Gap) (Plot, []PlotTick) {
	reach := 0.05
	for reach < max(g.Upper, -g.Lower) && reach < 1 {
		reach *= 2
	}
	// The scale of ratios is shifted: its middle is no difference.
	s := plotScale{0, 2 * reach, reach}
	p := Plot{Grid: s.grid(), Low: s.at(g.Lower + reach), At: s.at(g.Difference + reach), High: s.at(g.Upper + reach), Has: true, Rule: s.at(reach), HasRule: true}
	var ticks []PlotTick
	for _, v := range []float64{-reach, 0, reach} {
		text := "no difference"
		if v != 0 {
			text = points(v)[:len(points(v))-2]
		}
		ticks = append(ticks, PlotTick{s.at(v + reach), text})
	}
	return p, ticks
}
