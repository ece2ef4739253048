package web

import (
	"fmt"
	"math"

	"driftgate/internal/estimate"
	"driftgate/metrics"
)

// driftBox is the comparison of inputs as the page shows it.
type driftBox struct {
	metrics.DriftStatus
	Kind string // quiet, over, or idle: nothing to show yet
	Rows []driftRow
	Note string
}

type driftRow struct {
	estimate.Drift
	Test, Title, Meaning string
	Over                 bool
	Share                float64 // of the meter's width
}

// driftMark is where a meter has its threshold, as a share of its width.
const driftMark = 0.62

var driftMeaning = map[string]estimatorWords{
	metrics.TestClassMix:   {"Classes", "which it predicts, and how often"},
	metrics.TestConfidence: {"Confidence", "how sure it is"},
	metrics.TestFeatures:   {"Features", "what its last layer sees of the images"},
}

// driftOf lays out the tests of input drift.
func driftOf(d metrics.DriftStatus) driftBox {
	b := driftBox{DriftStatus: d, Kind: "idle"}
	for _, test := range metrics.DriftTests {
		t, ok := d.Tests[test]
		if !ok {
			continue
		}
		r := driftRow{Drift: t, Test: test, Title: driftMeaning[test].Title, Meaning: driftMeaning[test].Meaning, Over: t.Exceeded()}
		if t.Threshold > 0 && !math.IsNaN(t.Score) {
			r.Share = min(max(t.Score/t.Threshold*driftMark, 0), 1)
		}
		if r.Over {
			b.Kind = "over"
		} else if b.Kind == "idle" {
			b.Kind = "quiet"
		}
		b.Rows = append(b.Rows, r)
	}
	switch {
	case d.ReferenceNeeded == 0:
		b.Note = "There is no champion whose predictions could be compared."
	case !d.Complete:
		b.Note = fmt.Sprintf("%s of %s predictions of this champion are in. They say what its images look like when all is well; later ones are compared with them.",
			count(d.ReferencePredictions), count(d.ReferenceNeeded))
	case len(b.Rows) == 0:
		b.Note = "Too few predictions since then to compare."
	default:
		b.Note = fmt.Sprintf("%s of predictions until %s against the champion's first %s.", d.Window, clock(d.End), count(d.ReferencePredictions))
	}
	return b
}

// Words says the whole in one sentence.
func (b driftBox) Words() string {
	over := 0
	for _, r := range b.Rows {
		if r.Over {
			over++
		}
	}
	switch {
	case len(b.Rows) == 0:
		return ""
	case over == 0:
		return "What comes in looks as it did at first."
	case over == len(b.Rows):
		return "What comes in looks different from before, by every test."
	}
	return fmt.Sprintf("What comes in looks different from before, by %d of %d tests.", over, len(b.Rows))
}

// pValue renders a probability without pretending to more digits than it has.
func pValue(p float64) string {
	switch {
	case math.IsNaN(p):
		return "–"
	case p < 0.0001:
		return "under 0.0001"
	default:
		return fmt.Sprintf("%.2g", p)
	}
}
