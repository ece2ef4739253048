package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"driftgate"
	"driftgate/internal/engine"
	"driftgate/internal/pipeline"
	"driftgate/internal/web"
	"driftgate/trainer"

	"github.com/google/uuid"
)

func (a *App) newPipelines() (*pipeline.Pipelines, error) {
	plan, err := a.Config.Rollout.Plan()
	if err != nil {
		return nil, err
	}
	o := pipeline.Options{
		OldUploads: a.Config.Models.OldUploads,
		Model:      a.Config.Model,
		Dir:        filepath.Join(a.Config.Dir, "runs"),
		Train:      a.trainerOptions(),
		Lookback:   a.Config.Train.Lookback,
		Gather:     pipeline.Gather{MinLabels: a.Config.Train.MinLabels, Wait: a.Config.Train.Wait},
		Gate: pipeline.Gate{MinPairs: a.Config.Gate.MinPairs, Window: a.Config.Gate.Window, Wait: a.Config.Gate.Wait,
			Poll: min(2*time.Second, a.Config.Metrics.Refresh)},
		Rollout: plan,
		Now:     a.Now, Logger: a.Logger, Registerer: a.metricsRegistry,
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return pipeline.New(pipeline.Deps{
		Labelling: shared{a.labelling, &a.moving}, Catalog: sharedCatalog{a.catalog, &a.moving}, Ledger: a.ledger, Registry: a.registry, Evaluator: a.evaluator, Experiments: a.experiments, Accuracy: a.metrics.AccuracyOf,
		Prune: a.prune,
		Train: a.train, Store: a.storeOptions, Buckets: a.buckets,
	}, o), nil
}

// prune lets go of the models that the configured policy does not keep.
func (a *App) prune(ctx context.Context) ([]driftgate.ModelRef, error) {
	own := artifacts{Registry: a.registry, app: a}
	return own.Prune(ctx, own.Retention())
}

// train runs a job in a child process of this binary.
func (a *App) train(ctx context.Context, job trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error) {
	job.Trace = a.tracer.Handover(ctx)
	args := []string{"train-child"}
	if a.Quiet { // its log is a person's terminal
		args = append(args, "--quiet")
	}
	return trainer.Spawn(ctx, a.Exe, args, job, progress)
}

func (a *App) engineOptions() engine.Options {
	return engine.Options{
		Path: filepath.Join(a.Config.Dir, "engine.db"),
		Now:  a.Now, Tracer: a.tracer, Logger: a.Logger,
		Finished: a.pipelines.Finished,
	}
}

// newScheduler names what runs by the clock; a gateway for one command runs
// accepted retrainings only.
func (a *App) newScheduler() (*pipeline.Scheduler, error) {
	c := a.Config
	late := func(iv driftgate.Interval) any { return pipeline.CurateInput{Interval: iv, Late: true} }
	schedules := []pipeline.Schedule{
		{Pipeline: "curate", Every: c.Curate.Every, Input: late, Paused: a.Quiet || c.Curate.Paused},
		{Pipeline: "collect", Every: c.Collect.Every, Latest: true, Paused: a.Quiet},
		{Pipeline: "rollout", Every: c.Rollout.Every, Latest: true, Paused: a.Quiet},
	}
	if c.Reconcile.Every > 0 {
		schedules = append(schedules, pipeline.Schedule{Pipeline: "reconcile", Every: c.Reconcile.Every, Latest: true, Paused: a.Quiet})
	}
	if c.Models.Keep > 0 {
		schedules = append(schedules, pipeline.Schedule{Pipeline: "prune", Every: 24 * time.Hour, Latest: true, Paused: a.Quiet})
	}
	cron := c.Trigger.Schedule
	if a.Quiet {
		cron = ""
	}
	return pipeline.NewScheduler(a.engine, a.inbox, a.ledger, pipeline.SchedulerOptions{
		Schedules: schedules, RetrainCron: cron, Model: c.Model,
		Now: a.Now, Logger: a.Logger, Registerer: a.metricsRegistry,
	})
}

// runs is what the web asks of pipelines.
type runs struct{ *App }

// Start begins a run of a pipeline that needs no input but the time.
func (r runs) Start(ctx context.Context, name string) (string, error) {
	id := name + "-manual-" + uuid.NewString()[:8]
	var in any
	switch name {
	case "curate":
		iv := driftgate.Slot(r.Now().Add(-r.Config.Curate.Every), r.Config.Curate.Every)
		in = pipeline.CurateInput{Interval: iv, Late: true}
	case "collect", "reconcile", "rollout":
	default:
		return "", fmt.Errorf("run: pipeline %q: want curate, collect, reconcile, rollout or retrain: %w", name, driftgate.ErrInvalid)
	}
	return id, r.engine.Start(ctx, id, name, in)
}

// Train begins a training run on a stored dataset. Options that cannot be
// trained with, beside those that are configured, begin none.
func (r runs) Train(ctx context.Context, t web.TrainRequest) (string, error) {
	if _, err := r.pipelines.TrainOptions(t.Options); err != nil {
		return "", err
	}
	ref, err := r.resolveDataset(ctx, t.Dataset)
	if err != nil {
		return "", err
	}
	in := pipeline.TrainInput{Dataset: string(ref), Options: t.Options, Promote: t.Promote}
	id := "train-" + r.Config.Model + "-" + uuid.NewString()[:8]
	return id, r.engine.StartFor(ctx, id, "train", r.Config.Model, in)
}

func (r runs) Cancel(ctx context.Context, id string) error { return r.engine.Cancel(ctx, id) }

func (r runs) Backfill(ctx context.Context, name string, iv driftgate.Interval) ([]string, error) {
	return r.scheduler.Backfill(ctx, name, iv)
}
