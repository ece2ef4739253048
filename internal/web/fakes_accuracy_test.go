package web

import (
	"context"
	"fmt"
	"math"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

type fakeAccuracy struct{ *fake }

// testFigures are what the estimators say of a window of that accuracy.
func testFigures(acc float64, labels int) []dg.Estimate {
	half := 1.96 * math.Sqrt(acc*(1-acc)/float64(labels)) * 1.3
	strict := dg.Estimate{Estimator: "stratified", Accuracy: acc, Lower: max(acc-half*1.1, 0), Upper: min(acc+half*0.9, 1), StandardError: half / 2, Labels: labels, EffectiveLabels: float64(labels) * .7}
	sharp := dg.Estimate{Estimator: "ppi", Accuracy: acc + .004, Lower: acc + .004 - half*.8, Upper: min(acc+.004+half*.8, 1), Labels: labels, EffectiveLabels: float64(labels) * 1.05}
	if labels < 100 {
		sharp.Lower, sharp.Upper, sharp.BoundsOf = strict.Lower, strict.Upper, "stratified"
	}
	return []dg.Estimate{strict, sharp, {Estimator: "labelled", Accuracy: acc - .13, Lower: acc - .13 - half*.7, Upper: acc - .13 + half*.7, Labels: labels, EffectiveLabels: float64(labels)},
		{Estimator: "expected", Accuracy: min(acc+.024, .995), Lower: min(acc+.011, .99), Upper: min(acc+.037, 1)}}
}

// testSlices are the slices of a window: one class is much worse than the rest,
// and one has too few labels.
func testSlices(acc float64, labels int) []dg.Slice {
	var out []dg.Slice
	for i, class := range dg.FashionMNIST {
		shift := [...]float64{.01, .06, -.04, .03, -.07, .05, -.22, .04, .07, .05}[i]
		n := labels * (6 + i*5%11) / 110
		s := dg.Slice{By: "class", Value: class, Predictions: n * 21, Labels: n, Correct: int(float64(n) * (acc + shift - .1)), Estimates: []dg.Estimate{}}
		if n >= 30 {
			s.Estimates = testFigures(min(acc+shift, .985), n)
		}
		out = append(out, s)
	}
	for i, band := range []string{"0.00-0.50", "0.50-0.70", "0.70-0.90", "0.90-0.98", "0.98-1.00"} {
		n := labels * [...]int{6, 18, 26, 22, 28}[i] / 100
		s := dg.Slice{By: "confidence", Value: band, Predictions: labels * 21 * [...]int{2, 6, 12, 22, 58}[i] / 100, Labels: n, Estimates: []dg.Estimate{}}
		if n >= 30 {
			s.Estimates = testFigures([...]float64{.38, .56, .74, .91, .982}[i], n)
			s.Estimates[3].Accuracy = [...]float64{.43, .61, .82, .95, .99}[i]
		}
		out = append(out, s)
	}
	return out
}

// testAccuracy makes a window whose accuracy is acc, with honest-looking bounds.
func testAccuracy(name string, length time.Duration, end time.Time, acc float64, labels int) dg.Accuracy {
	a := dg.Accuracy{Window: name, Start: end.Add(-length), End: end, ModelVersion: champRef.Short(), Predictions: labels * 21, Selected: labels + labels/6, Labels: labels,
		NewestLabelAt: end.Add(-12 * time.Minute)}
	m, k := labels/4, int(float64(labels/4)*acc)
	a.Strata = []dg.StratumCount{{Stratum: dg.LowConfidence, Predictions: labels * 3 / 2, Selected: m, Labels: m, Correct: k * 2 / 3}, {Stratum: dg.Flagged, Predictions: labels / 8, Labels: labels / 9, Correct: labels / 20},
		{Stratum: dg.Corrected, Predictions: labels / 16, Labels: labels / 18, Correct: labels / 60}, {Stratum: dg.Random, Predictions: labels * 19, Labels: labels / 2, Correct: int(float64(labels/2) * acc)}}
	a.Slices = testSlices(acc, labels)
	if labels < 30 {
		return a
	}
	a.Estimates = testFigures(acc, labels)
	a.Gap = &dg.Gap{Difference: -.009, Lower: -.031, Upper: .013, Labels: labels, Reference: -.015}
	if acc < .85 {
		a.Gap = &dg.Gap{Difference: -.062, Lower: -.081, Upper: -.043, Labels: labels, Reference: -.015, Significant: true}
	}
	return a
}
func (f fakeAccuracy) Snapshot() metrics.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, _ := fakeModels(f).Champion(context.Background())
	s := metrics.Snapshot{At: testNow, Model: "garments", ModelVersion: champRef.Short(), Champion: c, NewestLabelAt: testNow.Add(-12 * time.Minute)}
	s.Drift = metrics.DriftStatus{Window: "24h", Start: testNow.Add(-24 * time.Hour), End: testNow, ReferencePredictions: 1041, ReferenceNeeded: 1000, Complete: true, Tests: map[string]estimate.Drift{
		metrics.TestClassMix:   {Score: 0.084, Threshold: 0.112, PValue: 0.011, Predictions: 5000, Reference: 1041},
		metrics.TestConfidence: {Score: 0.021, Threshold: 0.074, PValue: 0.62, Predictions: 5000, Reference: 1041},
		metrics.TestFeatures:   {Score: 0.19, Threshold: 0.131, PValue: 1e-7, Predictions: 5000, Reference: 1041}}}
	s.Windows = []dg.Accuracy{testAccuracy("30m", 30*time.Minute, testNow, .9, 9), testAccuracy("1h", time.Hour, testNow, .871, 34), testAccuracy("6h", 6*time.Hour, testNow, .884, 161), testAccuracy("24h", 24*time.Hour, testNow, .889, 612), testAccuracy("7d", 7*24*time.Hour, testNow, .842, 3904)}
	s.Alarm = metrics.AlarmStatus{State: f.state, ThresholdYears: 10, Evidence: 0.31, Watching: true, ReferenceLabels: 300, ReferenceNeeded: 300, ReferenceError: .13, P0: .15, Slots: 23, Started: testNow.Add(-6 * 24 * time.Hour), ClosedUntil: testNow.Add(-30 * time.Hour),
		WatchingSince: testNow.Add(-5 * 24 * time.Hour), EValue: 1.84, Sequence: metrics.Sequence{Lower: .861, Upper: .913, Blocks: 389}, Text: "no sign of drift"}
	if f.state == estimate.Firing {
		s.Alarm.Since, s.Alarm.Onset, s.Alarm.FiredEvidence = testNow.Add(-3*time.Hour), testNow.Add(-40*time.Hour), 14.2
		s.Alarm.Evidence, s.Alarm.EValue, s.Alarm.Sequence = 0.02, 41_200, metrics.Sequence{Lower: .741, Upper: .832, Blocks: 389}
	}
	if f.noModels {
		s = metrics.Snapshot{}
	}
	return s
}
func (f fakeAccuracy) Accuracy(_ context.Context, w time.Duration, at time.Time) (dg.Accuracy, error) {
	return testAccuracy(metrics.WindowName(w), w, at, .889, 612), f.err
}
func (f fakeAccuracy) AccuracyOf(_ context.Context, version string, w time.Duration, at time.Time) (dg.Accuracy, error) {
	a := testAccuracy(metrics.WindowName(w), w, at, .8, 300)
	a.ModelVersion = version
	return a, f.err
}
func (f fakeAccuracy) Series(_ context.Context, w time.Duration, iv dg.Interval, n int) ([]dg.Accuracy, error) {
	var out []dg.Accuracy
	for i := range n {
		at := iv.Start.Add(time.Duration(int64(iv.Length()) / int64(n-1) * int64(i)))
		acc := .905 + .008*math.Sin(float64(i)/3) + .004*math.Sin(float64(i)*1.7)
		if i > 38 && i < 72 {
			acc -= .16 * (1 - math.Exp(-float64(i-38)/8))
		}
		labels := 560 + 60*(i%5)
		if i > 20 && i < 26 {
			labels = 11
		}
		out = append(out, testAccuracy(metrics.WindowName(w), w, at, acc, labels))
	}
	return out, f.err
}

func (f fakeAccuracy) Plan(_ context.Context, w time.Duration, half float64) (estimate.Plan, error) {
	if f.err != nil {
		return estimate.Plan{}, f.err
	}
	if half < .005 {
		return estimate.Plan{Wanted: half, HalfWidth: .0093, RandomLabels: 507}, fmt.Errorf("metrics: plan: half-width %g: the best is 0.0093, with a label for each of 507 random predictions: want at least that: %w", half, dg.ErrInvalid)
	}
	days := w.Hours() / 24
	perDay := 412 * (.02 / half) * (.02 / half) / days
	return estimate.Plan{Wanted: half, HalfWidth: half * .999, RandomLabels: int(perDay * days), PerDay: perDay, NowLabels: int(240 * days), NowPerDay: 240, NowHalfWidth: .031, OtherLabels: 214}, nil
}

func (f fakeAccuracy) Replay(_ context.Context, iv dg.Interval) (metrics.ReplayReport, error) {
	return metrics.ReplayReport{Windows: 1200, Slots: 96, From: iv.Start, To: iv.End}, f.err
}
