package estimate

import (
	"math"
	"sort"
)

// MostPairs is where [LabelsToDecide] stops looking.
const MostPairs = 1_000_000

// LabelsToDecide is about how many more pairs it takes until the bounds of
// [PairedDifference] lie above margin, or at or below bar (the challenger is
// clearly better, or clearly not worth it), if the models go on differing as
// observed and labels come from the strata as they did. ok is false when even
// [MostPairs] would not do: the difference lies at the bar itself.
//
// It multiplies every cell's pairs until the bounds fit, with the observed
// differences held fixed. The observed difference carries its own error, so the
// figure is for orientation: simulated, the pairs that it took in all lie within
// a factor of two of those named in the median (TestLabelsToDecideKeepsItsWord),
// and one judgement in ten is decided with less than a fifth of them.
func LabelsToDecide(strata []PairStratum, margin, bar float64) (more int, ok bool) {
	out, contrast, err := pairedOf(strata)
	if err != nil {
		return 0, false
	}
	decided := func(pairs int) bool {
		lower, upper := contrast.scaled(float64(pairs) / float64(out.Pairs)).bounds(tail)
		return lower > margin || upper <= bar
	}
	if decided(out.Pairs) {
		return 0, true
	}
	if !decided(MostPairs) {
		return 0, false
	}
	n := out.Pairs + sort.Search(MostPairs-out.Pairs, func(more int) bool { return decided(out.Pairs + more) })
	return roundUp(n - out.Pairs), true
}

// scaled is the contrast with factor times as many pairs of every kind.
func (c pairedContrast) scaled(factor float64) pairedContrast {
	times := func(cells []cell) []cell {
		out := make([]cell, len(cells))
		for i, x := range cells {
			x.k, x.m = x.k*factor, x.m*factor
			out[i] = x
		}
		return out
	}
	c.up, c.down = times(c.up), times(c.down)
	return c
}

// roundUp keeps two digits: more would promise what the figure is not.
func roundUp(n int) int {
	if n <= 10 {
		return n
	}
	unit := int(math.Pow(10, math.Floor(math.Log10(float64(n)))-1))
	return (n + unit - 1) / unit * unit
}
