package app

import (
	"context"
	"path/filepath"
	"time"

	"driftgate"
	"driftgate/evaluator"
	"driftgate/internal/catalog"
	"driftgate/internal/dataset"
	"driftgate/internal/estimate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/serving"
	"driftgate/internal/trigger"
	"driftgate/internal/web"
	"driftgate/metrics"
	"driftgate/trainer"
)

// The options of each part, from the configuration: one func a part, nothing
// decided here.

func (a *App) limits() dataset.Limits {
	l := dataset.DefaultLimits
	l.MaxBytes, l.MaxPixels = a.Config.Serving.MaxImageBytes, a.Config.Serving.MaxPixels
	return l
}

func (a *App) servingOptions() serving.Options {
	return serving.Options{
		Dir:        filepath.Join(a.Config.Dir, "spool"),
		Limits:     a.limits(),
		SpoolItems: a.Config.Serving.SpoolItems,
		SpoolBytes: a.Config.Serving.SpoolBytes,
		Tracer:     a.tracer,
		Now:        a.Now, Logger: a.Logger, Registerer: a.metricsRegistry,
	}
}

func (a *App) labellingOptions() labelling.Options {
	c := a.Config.Curate
	caps := map[driftgate.Stratum]int{driftgate.Random: c.Random}
	if c.MaxLow > 0 {
		caps[driftgate.LowConfidence] = c.MaxLow
	}
	return labelling.Options{
		Threshold:  c.Threshold,
		Caps:       caps,
		UndoWindow: a.Config.Collect.Undo,
		Annotators: a.Config.Collect.Annotators,
		Seed:       a.Config.Train.Seed,
		Classes:    a.classes,
		Now:        a.Now, Logger: a.Logger,
	}
}

// classes is the class list: the champion's, or the configured one while
// nothing serves.
func (a *App) classes() driftgate.Classes {
	if c := a.serving.Classes(); len(c) > 0 {
		return c
	}
	return a.Config.ClassList()
}

func (a *App) metricsOptions() metrics.Options {
	c := a.Config
	grace := c.Alarm.LabelGrace
	if grace == 0 {
		grace = -1 // the default would be taken for 0
	}
	return metrics.Options{
		Model:     c.Model,
		Windows:   c.Metrics.Windows,
		MinLabels: c.Metrics.MinLabels,
		Stride:    c.Metrics.Stride,
		Alarm: metrics.AlarmOptions{
			ThresholdYears:  c.Alarm.Years,
			Tolerance:       c.Alarm.Tolerance,
			ReferenceLabels: c.Alarm.ReferenceLabels,
			SlotLength:      c.Alarm.Slot,
			LabelGrace:      grace,
			Hold:            c.Alarm.Hold,
			ResolveHold:     c.Alarm.ResolveHold,
		},
		Drift: metrics.DriftOptions{
			ReferencePredictions: c.Drift.ReferencePredictions,
			Every:                c.Drift.Every,
			Window:               c.Drift.Window,
			MinPredictions:       c.Drift.MinPredictions,
			RunLength:            time.Duration(c.Drift.Years * float64(estimate.Year)),
		},
		RecordEvery: c.Metrics.RecordEvery,
		MaxAge:      max(time.Minute, 3*c.Metrics.Refresh),
		Keep:        c.Metrics.Keep,
		Now:         a.Now, Logger: a.Logger,
	}
}

func (a *App) catalogOptions() catalog.Options {
	return catalog.Options{Classes: a.classes, Step: a.Config.Curate.Every, TagsEvery: a.Config.Reconcile.TagsEvery, Now: a.Now, Logger: a.Logger, Registerer: a.metricsRegistry}
}

func (a *App) evaluatorOptions() evaluator.Options {
	return evaluator.Options{Gate: a.Config.Gate.Document(), Limits: a.limits(), Now: a.Now}
}

func (a *App) evaluatorSources() evaluator.Sources {
	return evaluator.Sources{Images: a.store, Labels: a.ledger, Models: a.registry, Predictions: a.ledger,
		Datasets: a.store.Bucket(a.buckets.Datasets), Buckets: a.buckets}
}

func (a *App) triggerOptions() trigger.Options {
	return trigger.Options{
		CoolDown:     a.Config.Trigger.CoolDown,
		BudgetPerDay: a.Config.Trigger.BudgetPerDay,
		Models:       map[string]bool{a.Config.Model: true},
		Now:          a.Now, Logger: a.Logger, Registerer: a.metricsRegistry,
	}
}

func (a *App) trainerOptions() trainer.Options {
	c := a.Config.Train
	o := trainer.DefaultOptions()
	o.Start, o.Epochs, o.Batch, o.Patience, o.Seed = c.Start, c.Epochs, c.Batch, c.Patience, c.Seed
	o.Network = trainer.Network{Model: c.Model, Hidden: c.Hidden, Filters: c.Filters, Convs: c.Convs, Dense: c.Dense, BatchNorm: c.BatchNorm, Dropout: c.Dropout, Width: c.Width}
	o.Descent = trainer.Descent{Optimiser: c.Optimiser, LearningRate: c.LearningRate, Schedule: c.Schedule, Warmup: c.Warmup,
		Momentum: c.Momentum, MaxNorm: c.MaxNorm, WeightDecay: c.WeightDecay, Smoothing: c.Smoothing}
	o.Labelling = trainer.Labelling{Sources: c.Sources, HumanWeight: c.HumanWeight, ProxyWeight: c.ProxyWeight, MinProxyConfidence: c.MinProxyConfidence, Disagreement: c.Disagreement}
	o.Active, o.Quality, o.Augment = trainer.Active(c.Active), trainer.Quality(c.Quality), dataset.Augmentation(c.Augment)
	o.Sampling = trainer.Sampling{Replay: c.Replay, ReplayBy: c.ReplayBy, Balance: c.Balance, BalanceBy: c.BalanceBy, ClassWeights: c.ClassFactors()}
	o.Evaluation = trainer.Evaluation{Holdout: c.Holdout, Validation: c.Validation}
	return o
}

func (a *App) webOptions() web.Options {
	live := liveWeb(a.Config)
	return web.Options{
		Model: a.Config.Model, Token: a.token, Version: a.Version,
		OpenTriggers: a.Config.HTTP.OpenTriggers, OpenMetrics: a.Config.HTTP.OpenMetrics,
		SecureCookies: a.Config.HTTP.SecureCookies, TrustedProxies: a.Config.HTTP.TrustedProxies,
		MaxUploadBytes: a.Config.Serving.MaxImageBytes, MaxInFlight: a.Config.HTTP.MaxInFlight,
		AlertsWindow: a.Config.Trigger.AlertWindow,
		AlertsToken:  live.AlertsToken, RatePerSecond: live.RatePerSecond, RateBurst: live.RateBurst,
		Tracer: a.tracer,
		Now:    a.Now, Logger: a.Logger, Registerer: a.metricsRegistry,
	}
}

func (a *App) webDeps() web.Deps {
	return web.Deps{
		Serving: a.serving, Labelling: shared{a.labelling, &a.moving}, Models: moves{a.registry, a}, Artifacts: artifacts{a.registry, a, ledger.ByPerson}, Accuracy: a.metrics,
		Ledger: a.ledger, Inbox: a.inbox, Pipelines: runs{a},
		Evaluation: &web.Evaluation{Interval: a.judged, Report: a.evaluator.Report, Study: a.evaluator.Study,
			Discordant: a.evaluator.Discordant, Picture: a.evaluator.Picture},
		Experiments: a.experiments,
		Compare:     a.compare,
		Rollout:     a.pipelines.Rollout,
		Ingest:      a.ingest,
		Rebuild:     a.rebuild,
		Check:       a.check,
		Reload:      func(ctx context.Context) (any, error) { return a.Reload(ctx) },
		Ready:       a.ready,
		Enter:       a.doors.lets,
		Gatherer:    a.metricsRegistry,
	}
}

func (a *App) statsd(ctx context.Context) error {
	if _, err := a.metrics.Refresh(ctx); err != nil { // what counters stand at now is where the deltas begin
		a.log.Warn("figures not ready for StatsD", "error", err)
	}
	c := a.Config.StatsD
	return metrics.RunStatsD(ctx, a.metricsRegistry, metrics.StatsDOptions{
		Address: c.Address, Prefix: c.Prefix, Tags: c.Style, Every: c.Every, Logger: a.Logger, Registerer: a.metricsRegistry,
	})
}

// compare judges two versions on the labels of the gate's window.
func (a *App) compare(ctx context.Context, champion, challenger driftgate.ModelRef) (driftgate.Comparison, error) {
	return a.evaluator.Judge(ctx, champion, challenger, a.judged())
}

// judged is the gate's window, up to now: what versions are judged on when
// nobody says otherwise.
func (a *App) judged() driftgate.Interval {
	now := a.Now().UTC()
	return driftgate.Interval{Start: now.Add(-a.Config.Gate.Window), End: now.Add(time.Second)}
}
