package estimate

import (
	"math"
	"slices"
)

// sequenceBlocks is where the confidence sequence of [Evidence] is tightest, in
// blocks: some weeks of a small deployment, some days of a large one. It is
// fixed, because it must not be chosen after looking.
const sequenceBlocks = 1000

// Evidence is what the closed slots say since the reference was complete,
// without any reset: a plain e-process against "the error is at most p0", and a
// confidence sequence. Both may be looked at after every slot. The zero value
// has seen nothing.
type Evidence struct {
	Blocks int       `json:"blocks"`         // seen so far
	Errors float64   `json:"errors"`         // sum of their weighted errors T
	Logs   []float64 `json:"logs,omitempty"` // per bet of the detector's grid: log of the product of 1 + lambda (T - p0)
}

// Add counts the weighted errors T of one slot's blocks ([SlotResult].Errors),
// each 0 to 1; p0 is that of the detector and must stay the same. e itself is
// not changed.
func (e Evidence) Add(errors []float64, p0 float64) Evidence {
	e.Logs = slices.Clone(e.Logs)
	if len(e.Logs) != len(deltas) {
		e.Logs = make([]float64, len(deltas))
	}
	for _, t := range errors {
		e.Blocks++
		e.Errors += t
		for j, lambda := range (Detector{P0: p0}).lambdas() {
			e.Logs[j] += math.Log1p(lambda * (t - p0))
		}
	}
	return e
}

// E is the e-value: the mean over the bets of their products (a mixture), 1
// before the first block, at most 1e250. While the error stays at or below p0,
// the chance that it ever reaches x is at most 1/x.
func (e Evidence) E() float64 {
	if len(e.Logs) == 0 {
		return 1
	}
	var sum float64
	for _, l := range e.Logs {
		sum += math.Exp(min(l, math.Log(maxEvidence))) / float64(len(e.Logs))
	}
	return min(sum, maxEvidence)
}

// Sequence is the 95% confidence sequence of the accuracy behind the blocks: see
// [ConfidenceSequence]. As in the detector, picks without a label count as
// right. It holds for an accuracy that stays what it is; after a change it
// lags, as every average over the past does. Without blocks it is 0 to 1.
func (e Evidence) Sequence() (lower, upper float64) {
	low, high := ConfidenceSequence(e.Errors, e.Blocks, 1-Confidence, sequenceBlocks)
	return 1 - high, 1 - low
}
