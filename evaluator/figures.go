package evaluator

import (
	"fmt"
	"math"
	"strconv"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// alpha is what bounds by themselves leave outside.
const alpha = 1 - estimate.Confidence

// weigh finds how many predictions each sample stands for: the answered ones
// share their stratum's predictions. Where nothing weighs, all weigh alike.
func (sh *sheet) weigh() {
	sh.weights = make([]float64, len(sh.samples))
	if sh.population == nil || unweighable(sh.population) {
		sh.Weighted = false
		for i := range sh.weights {
			if sh.complete(i) {
				sh.weights[i] = 1
			}
		}
		return
	}
	pairs := make([]Pair, 0, len(sh.samples))
	for i, s := range sh.samples {
		if sh.complete(i) {
			pairs = append(pairs, Pair{ID: s.id, Stratum: s.stratum, Interval: s.interval})
		}
	}
	s := weigh(pairs, sh.population)
	weight := map[stratumKey]float64{}
	for i, w := range estimate.SampleWeights(s.all()) {
		weight[s.keys[i]] = w
	}
	for i, s := range sh.samples {
		if sh.complete(i) {
			sh.weights[i] = weight[stratumKey{s.stratum, s.interval.UnixMilli()}]
		}
	}
}

// total is the number of predictions that the answered samples stand for.
func (sh *sheet) total() (sum float64) {
	for _, w := range sh.weights {
		sum += w
	}
	return sum
}

// ratio is the weighted share of right ones among the samples in a part, and
// the part's share of everything.
func (sh *sheet) ratio(in, right func(i int) bool, alpha float64) (b Bounded, share float64) {
	tallies := map[dg.Stratum]*estimate.Tally{}
	var part estimate.Part
	for i, w := range sh.weights {
		if w <= 0 || !in(i) {
			continue
		}
		reason := sh.samples[i].stratum
		t := tallies[reason]
		if t == nil {
			t = &estimate.Tally{Group: string(reason)}
			tallies[reason] = t
		}
		t.Add(w, right(i))
	}
	for _, reason := range append([]dg.Stratum{""}, dg.Strata...) {
		if t := tallies[reason]; t != nil {
			part = append(part, *t)
		}
	}
	b.Samples = part.Samples()
	b.Value, b.Lower, b.Upper = part.Rate(alpha)
	if total := sh.total(); total > 0 {
		share = part.Weight() / total
	}
	return b, share
}

func everything(int) bool { return true }

// report is version v on the suite.
func (sh *sheet) report(v int) SuiteReport {
	r := SuiteReport{Suite: sh.Suite, PerClass: make([]ClassReport, len(sh.classes)), Confusion: make([][]int, len(sh.classes))}
	right := func(i int) bool { return sh.right(v, i) }
	r.Accuracy, _ = sh.ratio(everything, right, alpha)
	for c, class := range sh.classes {
		r.Confusion[c] = make([]int, len(sh.classes))
		p := &r.PerClass[c]
		p.Class = class
		p.Recall, p.Share = sh.ratio(func(i int) bool { return sh.samples[i].label == class }, right, alpha)
		p.Precision, _ = sh.ratio(func(i int) bool { return sh.said(v, i) == class }, right, alpha)
	}
	for i, s := range sh.samples {
		if truth := sh.classes.Index(s.label); truth >= 0 && sh.complete(i) {
			r.Confusion[truth][sh.answers[v][i].class]++
		}
	}
	r.Calibration = sh.calibration(v)
	r.Slices = append([]Slice{}, WeakSlices(sh.items(v), sh.weighing())...) // a list in JSON, also without any
	return r
}

// weighing is the population, where it weighs.
func (sh *sheet) weighing() []dg.StratumCount {
	if !sh.Weighted {
		return nil
	}
	return sh.population
}

// calibrationBins is the usual number of bins (Guo et al., 2017).
const calibrationBins = 15

// calibration holds stated confidence against accuracy, both weighted.
func (sh *sheet) calibration(v int) Calibration {
	c := Calibration{Bins: []CalibrationBin{}}
	bin := func(i int) int { return min(calibrationBins-1, int(sh.answers[v][i].confidence*calibrationBins)) }
	total := sh.total()
	for k := range calibrationBins {
		b := CalibrationBin{Lower: float64(k) / calibrationBins, Upper: float64(k+1) / calibrationBins}
		var weight float64
		for i, w := range sh.weights {
			if w > 0 && bin(i) == k {
				weight += w
				b.Confidence += w * float64(sh.answers[v][i].confidence)
			}
		}
		if weight <= 0 {
			continue
		}
		b.Confidence /= weight
		b.Accuracy, b.Share = sh.ratio(func(i int) bool { return bin(i) == k }, func(i int) bool { return sh.right(v, i) }, alpha)
		c.Error += weight / total * math.Abs(b.Confidence-b.Accuracy.Value)
		c.Bins = append(c.Bins, b)
	}
	return c
}

// items are the samples with version v's answers and all their attributes.
func (sh *sheet) items(v int) []Item {
	out := make([]Item, 0, len(sh.samples))
	for i, s := range sh.samples {
		if !sh.complete(i) {
			continue
		}
		confidence := float64(sh.answers[v][i].confidence)
		out = append(out, Item{ID: s.id, Stratum: s.stratum, Interval: s.interval, Label: s.label, Answer: sh.said(v, i), Confidence: confidence,
			Attributes: append(sh.attributes(i), Attribute{ByConfidence, ledger.BandName(ledger.BandOf(confidence))})})
	}
	return out
}

// attributes are what is known of sample i, whoever answers.
func (sh *sheet) attributes(i int) []Attribute {
	s, image := sh.samples[i], sh.images[i]
	out := []Attribute{{ByClass, s.label}}
	if image.Width > 0 {
		out = append(out, Attribute{ByBrightness, brightnessBand(image.Brightness)}, Attribute{BySize, sizeBand(max(image.Width, image.Height))})
	}
	if s.stratum != "" {
		out = append(out, Attribute{BySource, string(s.stratum)})
	}
	if !s.predicted.IsZero() {
		out = append(out, Attribute{ByTime, s.predicted.UTC().Format("2006-01-02")})
	}
	return out
}

// brightnessBand names a tenth, or what is above: few images are that bright.
func brightnessBand(b float64) string {
	switch tenth := int(b * 10); {
	case tenth >= 8:
		return "0.8-1.0"
	case tenth >= 6:
		return "0.6-0.8"
	default:
		return fmt.Sprintf("%.1f-%.1f", float64(tenth)/10, float64(tenth+1)/10)
	}
}

// sizeBand names the powers of two, in pixels, between which a side lies.
func sizeBand(side int) string {
	lower := 1
	for lower*2 <= side {
		lower *= 2
	}
	if lower < 32 {
		return "below 32"
	}
	return strconv.Itoa(lower) + "-" + strconv.Itoa(2*lower-1)
}
