package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"time"

	dg "driftgate"
	"driftgate/internal/catalog"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/rollout"
	"driftgate/trainer"

	"github.com/prometheus/client_golang/prometheus"
)

// Deps are the services that the pipelines' steps call.
type Deps struct {
	Labelling Labelling
	Catalog   Catalog
	Ledger    Ledger
	Registry  Registry
	Evaluator Evaluator
	Train     Trainer

	Prune func(ctx context.Context) ([]dg.ModelRef, error) // deletes the models that the policy does not keep
	// Experiments is where trainings and evaluations are recorded. Nil: nowhere.
	Experiments Experiments

	// Accuracy is a version's own production accuracy, by its short name. Nil: not wanted.
	Accuracy func(ctx context.Context, version string, window time.Duration, at time.Time) (dg.Accuracy, error)

	Store   objstore.Options // handed to the trainer; its secrets are never written to a file
	Buckets objstore.Buckets
}

// Labelling is what curate and collect ask; see labelling.Service.
type Labelling interface {
	Curate(ctx context.Context, iv dg.Interval, late bool) (labelling.CurateReport, error)
	Collect(ctx context.Context) (labelling.CollectReport, error)
}

// Catalog is what reconcile asks; see catalog.Catalog.
type Catalog interface {
	Reconcile(ctx context.Context) (catalog.Report, error)
}

// Ledger is what retrain, train and rollout ask; see ledger.Ledger.
type Ledger interface {
	Training(ctx context.Context, iv dg.Interval) iter.Seq2[ledger.Record, error]
	Labelled(ctx context.Context, iv dg.Interval) iter.Seq2[ledger.Record, error]
	SetRunProgress(ctx context.Context, id string, progress json.RawMessage) error
	AddEvent(ctx context.Context, e ledger.Event) error
	WatchSlots(ctx context.Context, w ledger.Watch) ([]ledger.WatchSlot, error)
	CloseWatchSlot(ctx context.Context, w ledger.Watch, s ledger.WatchSlot, events ...ledger.Event) error
}

// Registry is what retrain, train and rollout ask; see registry.Registry. Save and
// Promote are idempotent: Save by contents, Promote by run id.
type Registry interface {
	Save(ctx context.Context, files map[string][]byte) (dg.ModelRef, error)
	Load(ctx context.Context, ref dg.ModelRef) (*network.Artifact, error)
	Champion(ctx context.Context) (dg.Champion, error)
	Promote(ctx context.Context, ref dg.ModelRef, seen dg.Champion, reason, runID string) (dg.Champion, error)
	Rollback(ctx context.Context, seen dg.Champion, reason string) (dg.Champion, error)
	Exposure(ctx context.Context) (dg.Exposure, error)
	Expose(ctx context.Context, next, seen dg.Exposure) (dg.Exposure, error)
	UploadOldStyle(ctx context.Context, ref dg.ModelRef, at time.Time) (keys []string, err error)
}

// Evaluator is what retrain asks; see evaluator.Evaluator.
type Evaluator interface {
	Pairs(ctx context.Context, champion, challenger dg.ModelRef, iv dg.Interval) (int, error)
	// Differences tells how subject's errors differ from those of against on the
	// labelled samples of a slot: one number a block (estimate.DealDifferences),
	// over 0 where subject errs more, and how many samples both have answered.
	// No blocks: too little is labelled to weigh.
	Differences(ctx context.Context, against, subject dg.ModelRef, slot dg.Interval) (blocks []float64, pairs int, err error)
	Judge(ctx context.Context, champion, challenger dg.ModelRef, iv dg.Interval) (dg.Comparison, error)
}

// Trainer trains a job and returns the artifact's files: trainer.Spawn with its
// first arguments filled in, or, in tests, trainer.Train in this process. A
// second call with the same job goes on from the checkpoint in job.Dir.
type Trainer func(ctx context.Context, job trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error)

// Gather is how long a retraining waits for labels to learn from.
type Gather struct {
	MinLabels int           // human labels since the cause began, holdout not counted; 0 waits for none
	Wait      time.Duration // event time after the trigger; then it goes on with what there is
}

// Gate is how long a challenger waits for its judgement, and on what.
type Gate struct {
	MinPairs int           // held-out labelled samples to wait for; default 100
	Window   time.Duration // event time judged on when the trigger's cause has no known start; default 7 days
	Wait     time.Duration // event time to wait for MinPairs; then it is judged on what there is; default 48h
	Poll     time.Duration // wall time between two counts; default 2s
}

// Options are the pipelines' figures. Zero figures mean their defaults.
type Options struct {
	Model      string // name in metrics and in the champion record; required
	Dir        string // folder of the runs' files, one folder a run; required, absolute
	Train      trainer.Options
	Lookback   time.Duration // event time before the cause from which training samples are taken; default 30 days
	Gather     Gather
	Gate       Gate
	Rollout    rollout.Plan  // what comes after the gate
	OldUploads bool          // copies of models in the old style, before and after a training
	Progress   time.Duration // least wall time between two writes of progress; default 500ms
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Validate reports every fault at once, as [driftgate.ErrInvalid].
func (o Options) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("pipeline: "+format+": %w", append(args, dg.ErrInvalid)...))
		}
	}
	want(o.Model != "", "model: want the model's name")
	want(filepath.IsAbs(o.Dir), "dir %q: want a folder for the runs' files, absolute: the embedded store changes the working directory", o.Dir)
	want(o.Lookback >= 0, "lookback %s: want 0s (the default) or more", o.Lookback)
	want(o.Gate.MinPairs >= 0, "gate.min_pairs %d: want 0 (the default) or more", o.Gate.MinPairs)
	want(o.Gate.Window >= 0 && o.Gate.Wait >= 0 && o.Gate.Poll >= 0, "gate: window %s, wait %s, poll %s: want 0s (the default) or more", o.Gate.Window, o.Gate.Wait, o.Gate.Poll)
	if err := o.Train.Validate(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, o.withDefaults().Rollout.Validate())
	return errors.Join(errs...)
}

// DefaultRollout has no stages: a challenger that passes the gate serves in
// full, and is watched for a week.
func DefaultRollout() rollout.Plan {
	return rollout.Plan{MinLabels: 100, Watch: 7 * 24 * time.Hour, Slot: 6 * time.Hour, Grace: 24 * time.Hour, Alpha: .05, Harm: .02}
}

func (o Options) withDefaults() Options {
	if o.Rollout.Slot == 0 {
		o.Rollout = DefaultRollout()
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.Lookback, 30*24*time.Hour)
	set(&o.Gate.Window, 7*24*time.Hour)
	set(&o.Gate.Wait, 48*time.Hour)
	set(&o.Gate.Poll, 2*time.Second)
	set(&o.Progress, 500*time.Millisecond)
	if o.Gate.MinPairs == 0 {
		o.Gate.MinPairs = 100
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
