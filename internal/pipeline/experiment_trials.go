package pipeline

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/trainer"
)

// trialOf is the id of the record of a search's trial.
func trialOf(id string, trial int) string { return fmt.Sprintf("%s.trial-%03d", id, trial) }

// trialStates are the states of records by those of trials.
var trialStates = map[string]string{network.TrialKept: experiment.Done, network.TrialFinished: experiment.Done, network.TrialStopped: experiment.Done,
	network.TrialFailed: experiment.Failed, network.TrialGoing: experiment.Running}

// TrialRecord is the record of a trial of a search, below that of the training
// that the search is part of: the training's parameters with the trial's own
// settings in their place.
func TrialRecord(of experiment.Record, trial network.Trial) experiment.Record {
	r := experiment.Record{ID: trialOf(of.ID, trial.Trial), RunID: of.RunID, Parent: of.ID, Kind: experiment.Trial, State: trialStates[trial.State], Error: trial.Reason,
		StartedAt: of.StartedAt, Parameters: maps.Clone(of.Parameters), Environment: of.Environment, Curves: map[string][]experiment.Point{}}
	if r.Parameters == nil {
		r.Parameters = map[string]string{}
	}
	name := r.Parameters["model"]
	for name := range trial.Settings {
		delete(r.Parameters, name) // an empty one leaves nothing
	}
	experiment.Flatten(r.Parameters, "", trial.Settings)
	if family, ok := r.Parameters["model"]; ok && trial.Settings["model"] != nil {
		r.Parameters["architecture"] = family
	}
	if delete(r.Parameters, "model"); name != "" {
		r.Parameters["model"] = name
	}
	r.Parameters["trial"], r.Parameters["outcome"] = strconv.Itoa(trial.Trial), trial.State
	r.Metrics = map[string]float64{"epochs_run": float64(trial.Epochs), "train_seconds": trial.Seconds}
	if trial.BestEpoch > 0 {
		r.Metrics["best_epoch"], r.Metrics["validation_loss"], r.Metrics["validation_accuracy"] = float64(trial.BestEpoch), trial.ValidationLoss, trial.ValidationAccuracy
	}
	for _, e := range trial.Curve {
		addPoint(r.Curves, "validation_loss", e.Epoch, e.ValidationLoss, time.Time{})
		addPoint(r.Curves, "validation_accuracy", e.Epoch, e.ValidationAccuracy, time.Time{})
	}
	r.Metrics = experiment.Finite(r.Metrics)
	if r.State != experiment.Running {
		r.FinishedAt = r.StartedAt.Add(seconds(trial.Seconds))
	}
	return r
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// trialRests enters a trial of a training under way that is over or rests, and
// the best figure so far.
func (p *Pipelines) trialRests(ctx context.Context, of experiment.Record, t trainer.Progress) {
	if t.Rested == nil {
		return
	}
	r := TrialRecord(of, *t.Rested)
	r.StartedAt = p.o.Now().UTC().Add(-seconds(t.Rested.Seconds))
	p.keepTrial(ctx, r)
	if t.BestTrial > 0 {
		if of.Metrics == nil {
			of.Metrics = map[string]float64{}
		}
		of.Metrics["validation_accuracy"], of.Parameters["search.best"] = t.BestAccuracy, strconv.Itoa(t.BestTrial)
		p.keep(ctx, of)
	}
}

// keepTrial writes a trial's record; it began when it was first seen.
func (p *Pipelines) keepTrial(ctx context.Context, r experiment.Record) {
	if before, err := p.d.Experiments.Get(ctx, r.ID); err == nil {
		r.StartedAt = before.StartedAt
	}
	if r.State != experiment.Running {
		r.FinishedAt = r.StartedAt.Add(seconds(r.Metrics["train_seconds"]))
	}
	p.keep(ctx, r)
}

// keepTrials enters the trials of a finished training.
func (p *Pipelines) keepTrials(ctx context.Context, of experiment.Record, s *network.Search) {
	if s == nil {
		return
	}
	began := of.StartedAt
	for _, trial := range s.Trials {
		r := TrialRecord(of, trial)
		r.StartedAt, began = began, began.Add(seconds(trial.Seconds)) // of one that was never seen running
		p.keepTrial(ctx, r)
	}
}

// pipelineOf is the pipeline that a record's run is of, when nothing else tells.
func pipelineOf(r experiment.Record) string {
	if r.Kind == experiment.Trial {
		return experiment.Train
	}
	return r.Kind
}

// endTrials ends the trials that a run left when it ended.
func (p *Pipelines) endTrials(ctx context.Context, row ledger.Run) {
	open, err := p.d.Experiments.Unfinished(ctx)
	if err != nil {
		p.log.WarnContext(ctx, "trials were not ended", "run", row.ID, "error", err)
		return
	}
	for _, r := range open {
		if r.Kind != experiment.Trial || r.RunID != row.ID {
			continue
		}
		whole, err := p.d.Experiments.Get(ctx, r.ID) // with its curves
		if err != nil {
			p.log.WarnContext(ctx, "trial was not ended", "id", r.ID, "error", err)
			continue
		}
		if whole.State = row.State; row.State == ledger.RunDone {
			whole.State = experiment.Done
		}
		if whole.Parameters == nil {
			whole.Parameters = map[string]string{}
		}
		whole.Parameters["outcome"] = whole.State
		whole.FinishedAt = row.FinishedAt.UTC()
		p.keep(ctx, whole)
	}
}
