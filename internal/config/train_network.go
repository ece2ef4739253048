package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checkNetwork returns what is wrong with the settings of network and descent.
func (t Train) checkNetwork() []fault {
	var out []fault
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, fault{"train." + key, fmt.Sprintf(format, args...)})
		}
	}
	oneOf := func(s, key string, of ...string) { want(slices.Contains(of, s), key, "%q: want one of %v", s, of) }
	part := func(x float64, key string) { want(x >= 0 && x < 1, key, "%g: want 0 to below 1", x) }
	widths := func(of []int, key string) {
		ok := len(of) <= 8
		for _, w := range of {
			ok = ok && w >= 1 && w <= 8192
		}
		want(ok, key, "%v: want at most 8 widths of 1 to 8192", of)
	}
	oneOf(t.Model, "model", "mlp", "cnn", "mobilenet")
	widths(t.Hidden, "hidden")
	widths(t.Filters, "filters")
	widths(t.Dense, "dense")
	want(t.Convs >= 1 && t.Convs <= 8, "convs", "%d: want 1 to 8", t.Convs)
	part(t.Dropout, "dropout")
	want(t.Width > 0 && t.Width <= 4, "width", "%g: want over 0 to 4", t.Width)
	oneOf(t.Optimiser, "optimiser", "sgd", "adam")
	want(t.LearningRate > 0 && t.LearningRate <= 1e6, "learning_rate", "%g: want over 0, at most 1e6", t.LearningRate)
	oneOf(t.Schedule, "schedule", "cosine", "step", "constant")
	want(t.Warmup >= 0 && t.Warmup < max(1, t.Epochs), "warmup", "%d: want 0 to below train.epochs (%d)", t.Warmup, t.Epochs)
	part(t.Momentum, "momentum")
	want(t.MaxNorm >= 0 && t.MaxNorm <= 1e9, "max_norm", "%g: want 0 (none) to 1e9", t.MaxNorm)
	part(t.WeightDecay, "weight_decay")
	part(t.Smoothing, "smoothing")
	seen := map[string]bool{}
	for _, pair := range t.ClassWeights {
		label, factor, ok := classWeight(pair)
		want(ok && label != "" && factor >= minWeight && factor <= maxWeight && !seen[label], "class_weights", "%q: want LABEL=FACTOR, each label once, each factor %g to %g", pair, minWeight, maxWeight)
		seen[label] = true
	}
	return out
}

// ClassFactors are the class weights by label, of settings that passed the
// checks; nil without any.
func (t Train) ClassFactors() map[string]float64 {
	var out map[string]float64
	for _, pair := range t.ClassWeights {
		if label, factor, ok := classWeight(pair); ok {
			if out == nil {
				out = map[string]float64{}
			}
			out[label] = factor
		}
	}
	return out
}

func classWeight(pair string) (label string, factor float64, ok bool) {
	at := strings.LastIndex(pair, "=")
	if at < 0 {
		return "", 0, false
	}
	factor, err := strconv.ParseFloat(strings.TrimSpace(pair[at+1:]), 64)
	return strings.TrimSpace(pair[:at]), factor, err == nil
}
