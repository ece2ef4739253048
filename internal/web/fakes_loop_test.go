package web

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

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

func (f fakeLedger) Moves(ctx context.Context, limit int) (moves []ledger.Event, err error) {
	events, err := f.Events(ctx, dg.Interval{Start: testNow.Add(-1000 * 24 * time.Hour), End: endOfTime})
	for _, e := range slices.Backward(events) {
		if len(moves) < limit && slices.Contains([]string{ledger.EventPromotion, ledger.EventRollback, ledger.EventExposure, ledger.EventExposureEnd, ledger.EventRejection}, e.Kind) {
			moves = append(moves, e)
		}
	}
	return moves, err
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

func (f fakeLedger) Revision(context.Context) (ledger.Revision, error) {
	return ledger.Revision{}, nil
}
