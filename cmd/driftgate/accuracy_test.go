package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

func TestAccuracyReadsWellAsText(t *testing.T) {
	end := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	a := driftgate.Accuracy{Window: "24h", Start: end.Add(-24 * time.Hour), End: end, Predictions: 10000, Selected: 612, Labels: 600, NewestLabelAt: end.Add(-time.Minute),
		Estimates: []driftgate.Estimate{
			{Estimator: "stratified", Accuracy: .891, Lower: .861, Upper: .915, Labels: 600, EffectiveLabels: 549.6},
			{Estimator: "ppi", Accuracy: .893, Lower: .861, Upper: .915, Labels: 600, EffectiveLabels: math.Inf(1), BoundsOf: "stratified", Partial: true}},
		Strata: []driftgate.StratumCount{{Stratum: driftgate.Random, Predictions: 9000, Labels: 300, Correct: 279}},
		Slices: []driftgate.Slice{
			{By: "class", Value: "Bread", Predictions: 9000, Labels: 500, Estimates: []driftgate.Estimate{{Estimator: "stratified", Accuracy: .9, Lower: .88, Upper: .92}, {Estimator: "expected", Accuracy: .95}}},
			{By: "class", Value: "Soup", Predictions: 1000, Labels: 9},
			{By: "confidence", Value: "0.50-0.70", Predictions: 1000, Labels: 9}},
		Gap: &driftgate.Gap{Difference: -.062, Lower: -.081, Upper: -.043, Significant: true}, Note: "8 labelled predictions are not in production"}
	var b strings.Builder
	printAccuracy(&b, a)
	want := `2026-11-19 12:00 to 2026-11-20 12:00 UTC: 10000 predictions, 612 picked, 600 labelled, newest label 2026-11-20 11:59
accuracy 89.1%, with 95% certainty 86.1% to 91.5%

estimator   accuracy  lower  upper  labels  worth  
stratified  0.891     0.861  0.915  600     550    
ppi         0.893     0.861  0.915  600     0      partial: a stratum has no label yet; bounds of stratified

stratum  predictions  labels  correct  
random   9000         300     279      

class  predictions  labels  accuracy        lower  upper  expected
Bread  9000         500     0.900           0.880  0.920  0.950
Soup   1000         9       too few labels                

confidence  predictions  labels  accuracy        lower  upper  expected
0.50-0.70   1000         9       too few labels                

the model is worse than its confidence says: measured against expected -6.2 points, with 95% certainty -8.1 to -4.3

8 labelled predictions are not in production
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAWindowWithoutLabelsSaysSo(t *testing.T) {
	var b strings.Builder
	printAccuracy(&b, driftgate.Accuracy{})
	if got := b.String(); !strings.Contains(got, "too few labels for a figure") || strings.Contains(got, "NaN") {
		t.Errorf("%s", got)
	}
}

func TestPlanAndReplayReadWellAsText(t *testing.T) {
	var b strings.Builder
	printPlan(&b, estimate.Plan{Wanted: .02, HalfWidth: .01997, RandomLabels: 412, PerDay: 412, NowLabels: 240, NowPerDay: 240, NowHalfWidth: .031, OtherLabels: 214}, "24h")
	printPlan(&b, estimate.Plan{Wanted: .02, HalfWidth: .015}, "7d")
	end := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	printReplay(&b, metrics.ReplayReport{Windows: 1200, Slots: 96, From: end.Add(-720 * time.Hour), To: end})
	printReplay(&b, metrics.ReplayReport{})
	want := `label 412.0 random predictions a day (412 in 24h), and the accuracy of 24h is known to within 2.0 points
now 240.0 a day (240 in 24h) give 3.1 points
214 labels of the other strata come anyway and are counted in
no random label is needed: the others give 1.5 points for 7d
now none of them is labelled
the same to the last digit: 1200 published windows, 96 slots of the alarm, 2026-10-21 12:00 to 2026-11-20 12:00 UTC
nothing was published or decided in that time
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
