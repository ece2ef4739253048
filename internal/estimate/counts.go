package estimate

import (
	"fmt"

	dg "driftgate"
)

// The names of the estimators, as they stand in JSON and in metric labels.
const (
	NameStratified = "stratified" // the headline: every stratum by its share of the predictions
	NamePPI        = "ppi"        // the same, sharpened by the model's confidence on every prediction
	NameLabelled   = "labelled"   // the plain share over all labels: for comparison only
	NameExpected   = "expected"   // what the model's confidence promises, without any label
)

// Names lists the estimators in the order of a window's figures.
var Names = []string{NameStratified, NamePPI, NameLabelled, NameExpected}

// Estimates returns the figures for a window's counts in the order of [Names],
// the headline first. l comes from an earlier window ([LambdasOf]; nil leaves
// `ppi` equal to `stratified`), calibration from the time when the champion was
// at its best ([RectifierOf]; zero when it is not known yet).
//
// With fewer than minLabels labels (at least 1) there is no measured figure,
// because a gap is honest: then `expected`, which needs no label, stands alone.
// Figures that need a confidence are left out when no prediction has one.
// Without a count of predictions (every stratum not curated by driftgate, and
// no prediction beyond the labels: a clean bucket alone) there is nothing to
// weigh by: then `labelled` is the only figure, and [Note] says so. Impossible
// counts give nil.
func Estimates(counts []dg.StratumCount, minLabels int, l Lambdas, calibration Rectifier) []dg.Estimate {
	strata := FromCounts(counts)
	if _, _, _, err := checkStrata(strata); err != nil {
		return nil
	}
	var k float64
	var m int
	for _, c := range counts {
		k += c.Agreement()
		m += c.Labels
	}
	measured, counted := m >= max(1, minLabels), !Uncounted(counts)
	var out []dg.Estimate
	if measured && counted {
		stratified, err := Stratified(strata)
		if err != nil {
			return nil
		}
		out = append(out, stratified)
		if ppi, err := sharpen(stratified, counts, l); err == nil {
			out = append(out, ppi)
		}
	}
	if measured {
		if labelled, err := Labelled(k, m); err == nil {
			out = append(out, labelled)
		}
	}
	if counted {
		if expected, err := ExpectedOf(counts, calibration); err == nil {
			out = append(out, expected)
		}
	}
	return out
}

// Note says in words what a reader of the window's figures must know: that
// there are too few labels, no count of predictions, or strata without labels.
// Empty when there is nothing to say.
func Note(counts []dg.StratumCount, minLabels int) string {
	var n, m, bare int
	for _, c := range counts {
		n += max(c.Predictions, c.Labels)
		m += c.Labels
		if c.Labels == 0 {
			bare += c.Predictions
		}
	}
	switch {
	case m < max(1, minLabels):
		return fmt.Sprintf("%d labels, no measured figure below %d", m, max(1, minLabels))
	case Uncounted(counts):
		return "no count of predictions: the plain average over the labels is shown, which is biased when hard images are labelled more often"
	case bare > 0:
		return fmt.Sprintf("%d of %d predictions lie in strata without a label yet: the point leaves them out, the bounds allow for them", bare, n)
	}
	return ""
}

// FromCounts makes the strata of a window: reason x curate interval, grouped by
// reason for their bounds.
func FromCounts(counts []dg.StratumCount) []Stratum {
	s := make([]Stratum, len(counts))
	for i, c := range counts {
		s[i] = Stratum{N: c.Predictions, M: c.Labels, K: c.Agreement(), Group: string(c.Stratum)}
	}
	return s
}

// Uncounted reports whether nothing is known of predictions without a label.
// A curate interval of driftgate's own with every image labelled is a census,
// not a missing count.
func Uncounted(counts []dg.StratumCount) bool {
	for _, c := range counts {
		if c.Predictions > c.Labels || (!c.Interval.IsZero() && c.Predictions > 0) {
			return false
		}
	}
	return true
}

// Reference is the upper 97.5% bound of the error RATE behind the counts, with
// every stratum by its weight: what the alarm takes for the champion's error at
// its best. 100 wrong of 1,000 is .120288.
//
// Unlike a window's bounds it does not treat the labelled predictions as known:
// the rate must hold for predictions still to come, so the finite population
// plays no part, and the chance in the strata's shares is added. ok is false
// without labels, with impossible counts, or when the bound reaches 1.
func Reference(counts []dg.StratumCount) (upper float64, ok bool) {
	s, total, labels, err := checkStrata(FromCounts(counts))
	if err != nil || labels == 0 {
		return 0, false
	}
	cells := meldCells(s, total, true)
	upper = 1 - meld(cells, 0, shareVariance(cells, total))
	return upper, upper < 1
}

// shareVariance is what chance in the strata's shares adds to the variance of
// the accuracy: sum W_h (p_h - p)^2 / N over the labelled cells.
func shareVariance(cells []cell, total float64) float64 {
	var w, mean float64
	for _, c := range cells {
		if c.m > 0 {
			w += c.open
			mean += c.open * c.k / c.m
		}
	}
	if w == 0 {
		return 0
	}
	mean /= w
	var sum float64
	for _, c := range cells {
		if c.m > 0 {
			d := c.k/c.m - mean
			sum += c.open * d * d
		}
	}
	return sum / total
}
