package trainer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// traits are what slices tell samples apart by.
type traits struct {
	class, predicted, source string
	confidence               float64 // NaN when there is none
	production               bool
}

func traitsOf(e Example, r ledger.Record) traits {
	return traits{class: e.Label, predicted: r.PredictedClass, source: string(r.Stratum), confidence: r.Confidence, production: true}
}

// parseSlice reads the name of a slice as the evaluator prints it: class=LABEL,
// source=STRATUM (why it was picked for labelling), confidence=LOW-HIGH
// (half-open, but for 1), or several joined, as class+source=Coat+flagged;
// beside them predicted=LABEL. A base sample is in slices by class alone. The
// error is [dg.ErrInvalid].
func parseSlice(name string) (func(traits) bool, error) {
	by, value, _ := strings.Cut(name, "=")
	attributes, values := []string{by}, []string{value}
	if strings.Contains(by, "+") {
		attributes, values = strings.Split(by, "+"), strings.Split(value, "+")
	}
	var all []func(traits) bool
	for i := range attributes {
		if len(values) == len(attributes) {
			if in := attribute(attributes[i], values[i]); in != nil {
				all = append(all, in)
			}
		}
	}
	if len(all) != len(attributes) {
		return nil, fmt.Errorf("quality.weak %q: want class=LABEL, predicted=LABEL, source=STRATUM, confidence=LOW-HIGH with 0 <= LOW < HIGH <= 1, or such joined by +: %w", name, dg.ErrInvalid)
	}
	return func(t traits) bool {
		for _, in := range all {
			if !in(t) {
				return false
			}
		}
		return true
	}, nil
}

// KnownSlice reports whether Quality.Weak may name a slice so.
func KnownSlice(name string) bool {
	_, err := parseSlice(name)
	return err == nil
}

// attribute tests one attribute; nil when there is no such one, or no such value.
func attribute(by, value string) func(traits) bool {
	if value == "" {
		return nil
	}
	switch by {
	case "class":
		return func(t traits) bool { return t.class == value }
	case "predicted":
		return func(t traits) bool { return t.production && t.predicted == value }
	case "source":
		if !slices.Contains(dg.Strata, dg.Stratum(value)) {
			return nil
		}
		return func(t traits) bool { return t.production && t.source == value }
	case "confidence":
		lowText, highText, _ := strings.Cut(value, "-")
		low, err1 := strconv.ParseFloat(lowText, 64)
		high, err2 := strconv.ParseFloat(highText, 64)
		if err1 == nil && err2 == nil && low >= 0 && low < high && high <= 1 {
			return func(t traits) bool {
				return t.production && t.confidence >= low && (t.confidence < high || high == 1 && t.confidence == 1)
			}
		}
	}
	return nil
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
