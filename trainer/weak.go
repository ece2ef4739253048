package trainer

import (
	"fmt"
	"strconv"
	"strings"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// traits are what slices tell samples apart by.
type traits struct {
	class, predicted, stratum string
	confidence                float64 // NaN when there is none
	production                bool
}

func traitsOf(e Example, r ledger.Record) traits {
	return traits{class: e.Label, predicted: r.PredictedClass, stratum: string(r.Stratum), confidence: r.Confidence, production: true}
}

// parseSlice reads the name of a slice: class=LABEL, predicted=LABEL,
// stratum=NAME or confidence=LOW..HIGH (half-open, but for 1). A base sample is
// in slices by class alone. The error is [dg.ErrInvalid].
func parseSlice(name string) (func(traits) bool, error) {
	by, value, _ := strings.Cut(name, "=")
	if value != "" {
		switch by {
		case "class":
			return func(t traits) bool { return t.class == value }, nil
		case "predicted":
			return func(t traits) bool { return t.production && t.predicted == value }, nil
		case "stratum":
			return func(t traits) bool { return t.production && t.stratum == value }, nil
		case "confidence":
			lowText, highText, _ := strings.Cut(value, "..")
			low, err1 := strconv.ParseFloat(lowText, 64)
			high, err2 := strconv.ParseFloat(highText, 64)
			if err1 == nil && err2 == nil && low >= 0 && low < high && high <= 1 {
				return func(t traits) bool {
					return t.production && t.confidence >= low && (t.confidence < high || high == 1 && t.confidence == 1)
				}, nil
			}
		}
	}
	return nil, fmt.Errorf("quality.weak %q: want class=LABEL, predicted=LABEL, stratum=NAME or confidence=LOW..HIGH with 0 <= LOW < HIGH <= 1: %w", name, dg.ErrInvalid)
}

// weak makes slices heavier and counts what it does.
type weak struct {
	slices  []func(traits) bool
	by      float64
	account []network.WeakAccount
}

// newWeak expects options that passed Validate.
func newWeak(q Quality) *weak {
	w := &weak{by: q.WeakFactor}
	for _, name := range q.Weak {
		if in, err := parseSlice(name); err == nil {
			w.slices = append(w.slices, in)
			w.account = append(w.account, network.WeakAccount{Slice: name, Weight: q.WeakFactor})
		}
	}
	return w
}

// factor is what the sample's weight is multiplied with: once, in however many
// slices it is.
func (w *weak) factor(t traits) float64 {
	f := 1.0
	for i, in := range w.slices {
		if in(t) {
			w.account[i].Samples++
			f = w.by
		}
	}
	return f
}
