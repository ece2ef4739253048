package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
	"driftgate/metrics"
)

type fakeAccuracy struct{ *fake }

// testAccuracy makes a window whose accuracy is acc, with honest-looking bounds.
func testAccuracy(name string, length time.Duration, end time.Time, acc float64, labels int) dg.Accuracy {
	a := dg.Accuracy{Window: name, Start: end.Add(-length), End: end, ModelVersion: champRef.Short(), Predictions: labels * 21, Selected: labels + labels/6, Labels: labels,
		NewestLabelAt: end.Add(-12 * time.Minute)}
	m, k := labels/4, int(float64(labels/4)*acc)
	a.Strata = []dg.StratumCount{{Stratum: dg.LowConfidence, Predictions: labels * 3 / 2, Selected: m, Labels: m, Correct: k * 2 / 3}, {Stratum: dg.Flagged, Predictions: labels / 8, Labels: labels / 9, Correct: labels / 20},
		{Stratum: dg.Corrected, Predictions: labels / 16, Labels: labels / 18, Correct: labels / 60}, {Stratum: dg.Random, Predictions: labels * 19, Labels: labels / 2, Correct: int(float64(labels/2) * acc)}}
	if labels < 30 {
		return a
	}
	half := 1.96 * math.Sqrt(acc*(1-acc)/float64(labels)) * 1.3
	a.Estimates = []dg.Estimate{{Estimator: "stratified", Accuracy: acc, Lower: max(acc-half*1.1, 0), Upper: min(acc+half*0.9, 1), StandardError: half / 2, Labels: labels, EffectiveLabels: float64(labels) * .7},
		{Estimator: "labelled", Accuracy: acc - .13, Lower: acc - .15, Upper: acc - .11, Labels: labels}}
	return a
}
func (f fakeAccuracy) Snapshot() metrics.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, _ := fakeModels(f).Champion(context.Background())
	s := metrics.Snapshot{At: testNow, Model: "garments", ModelVersion: champRef.Short(), Champion: c, Drift: metrics.DriftStatus{Tests: map[string]estimate.Drift{metrics.TestClassMix: {Score: 0.084, Threshold: 0.11, PValue: 0.011, Predictions: 5000, Reference: 1000}}, Window: "24h", End: testNow, ReferencePredictions: 1000, ReferenceNeeded: 1000, Complete: true},
		NewestLabelAt: testNow.Add(-12 * time.Minute)}
	s.Windows = []dg.Accuracy{testAccuracy("30m", 30*time.Minute, testNow, .9, 9), testAccuracy("1h", time.Hour, testNow, .871, 34), testAccuracy("6h", 6*time.Hour, testNow, .884, 161), testAccuracy("24h", 24*time.Hour, testNow, .889, 612), testAccuracy("7d", 7*24*time.Hour, testNow, .842, 3904)}
	s.Alarm = metrics.AlarmStatus{State: f.state, ThresholdYears: 10, Evidence: 0.31, Watching: true, ReferenceLabels: 300, ReferenceNeeded: 300, ReferenceError: .13, P0: .15, Slots: 23, Started: testNow.Add(-6 * 24 * time.Hour), ClosedUntil: testNow.Add(-30 * time.Hour), Text: "no sign of drift"}
	if f.state == estimate.Firing {
		s.Alarm.Since, s.Alarm.Onset, s.Alarm.Evidence = testNow.Add(-3*time.Hour), testNow.Add(-40*time.Hour), 14.2
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

type fakeLedger struct{ *fake }

func (f fakeLedger) Counts(context.Context, string, dg.Interval) ([]dg.StratumCount, error) {
	return []dg.StratumCount{{Stratum: dg.Random, Predictions: 12_000}, {Stratum: dg.Flagged, Predictions: 345}}, nil
}
func testRuns() []ledger.Run {
	return []ledger.Run{
		{ID: "retrain-garments-8f2c1a", Pipeline: "retrain", Model: "garments", State: ledger.RunRunning, TriggerID: "t3", Progress: testTrain, RequestedAt: testNow.Add(-40 * time.Second), StartedAt: testNow.Add(-38 * time.Second)},
		{ID: "curate-2026-03-14T14:30:00Z", Pipeline: "curate", State: ledger.RunDone, Result: json.RawMessage(`{"candidates":212,"selected":{"low_confidence":31,"random":5}}`), RequestedAt: testNow.Add(-30 * time.Minute), StartedAt: testNow.Add(-30 * time.Minute), FinishedAt: testNow.Add(-30*time.Minute + 2*time.Second)},
		{ID: knownRun, Pipeline: "retrain", Model: "garments", State: ledger.RunDone, Verdict: "promote", Result: testResult, RequestedAt: testNow.Add(-6 * 24 * time.Hour), StartedAt: testNow.Add(-6 * 24 * time.Hour), FinishedAt: testNow.Add(-6*24*time.Hour + 74*time.Second)},
		{ID: "retrain-garments-77d0e2", Pipeline: "retrain", Model: "garments", State: ledger.RunFailed, Error: "trainer: child: killed", RequestedAt: testNow.Add(-7 * 24 * time.Hour), StartedAt: testNow.Add(-7 * 24 * time.Hour), FinishedAt: testNow.Add(-7*24*time.Hour + 21*time.Second)},
	}
}
func (f fakeLedger) Run(_ context.Context, id string) (ledger.Run, error) {
	for _, r := range testRuns() {
		if r.ID == id {
			return r, nil
		}
	}
	return ledger.Run{}, fmt.Errorf("ledger: run %q: %w", id, dg.ErrNotFound)
}
func (f fakeLedger) Runs(_ context.Context, pipeline string, limit int) ([]ledger.Run, error) {
	var out []ledger.Run
	for _, r := range testRuns() {
		if (pipeline == "" || r.Pipeline == pipeline) && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}
func (f fakeLedger) Triggers(context.Context, int) ([]ledger.TriggerRecord, error) {
	at := testNow.Add(-6 * 24 * time.Hour)
	return []ledger.TriggerRecord{
		{Trigger: dg.Trigger{ID: "t3", Source: dg.FromPerson, Model: "garments", Reason: "new spring collection", At: testNow.Add(-40 * time.Second)}, Decision: dg.Accepted, RunID: "retrain-garments-8f2c1a", Deliveries: 1},
		{Trigger: dg.Trigger{ID: "t2", Source: dg.FromAlertmanager, Model: "garments", Reason: "ProductionAccuracyBelowReference: at most 82.0% over the last day", At: at.Add(time.Minute), Since: at.Add(-30 * time.Hour)}, Decision: dg.Joined, IncidentID: "i1", Note: "the incident has its run already", Deliveries: 7, HeardAt: at.Add(6 * time.Hour)},
		{Trigger: dg.Trigger{ID: "t1", Source: dg.FromAlarm, Model: "garments", Reason: "accuracy has fallen below 85.0%", At: at, Since: at.Add(-26 * time.Hour)}, Decision: dg.Accepted, RunID: knownRun, IncidentID: "i1", Deliveries: 1},
	}, nil
}
func (f fakeLedger) Events(_ context.Context, iv dg.Interval) ([]ledger.Event, error) {
	at := testNow.Add(-6 * 24 * time.Hour)
	var in []ledger.Event
	for _, e := range []ledger.Event{{At: at.Add(-3 * 24 * time.Hour), Kind: "drift_begin", Text: "rotation 25°"}, {At: at.Add(-time.Hour), Kind: "alarm_firing", Model: "garments", ModelVersion: oldRef.Short(), Text: "evidence of 14 years"},
		{At: at, Kind: "promotion", Model: "garments", ModelVersion: champRef.Short(), Text: "+6.7 points on 412 held-out labels"}, {At: at.Add(time.Hour), Kind: "alarm_resolved", Model: "garments", ModelVersion: oldRef.Short(), Text: "a new champion"}} {
		if iv.Contains(e.At) {
			in = append(in, e)
		}
	}
	return in, nil
}

type fakePipelines struct{ *fake }

func (f fakePipelines) Start(_ context.Context, p string) (string, error) {
	if p == "nonsense" {
		return "", fmt.Errorf("pipeline %q: %w", p, dg.ErrInvalid)
	}
	return p + "-manual-1", nil
}
func (f fakePipelines) Train(context.Context, TrainRequest) (string, error) { return "train-1", f.err }
func (f fakePipelines) Cancel(ctx context.Context, id string) error {
	f.cancelled = id
	if _, err := fakeLedger(f).Run(ctx, id); err != nil {
		return err
	}
	return nil
}
func (f fakePipelines) Backfill(_ context.Context, p string, iv dg.Interval) ([]string, error) {
	ivs, err := iv.Split(time.Hour)
	var ids []string
	for _, i := range ivs {
		ids = append(ids, p+"-"+i.Start.Format(time.RFC3339))
	}
	return ids, err
}
