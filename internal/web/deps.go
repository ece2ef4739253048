package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/registry"
	"driftgate/internal/rollout"
	"driftgate/internal/serving"
	"driftgate/metrics"
)

// Deps are the services behind the routes. Serving, Labelling, Models,
// Accuracy, Ledger and Inbox are required; a route whose service is missing
// answers 501.
type Deps struct {
	Serving   Serving
	Labelling Labelling
	Models    Models
	Artifacts Artifacts
	Accuracy  Accuracy
	Ledger    Ledger
	Inbox     Inbox
	Pipelines Pipelines
	// Experiments keeps what was tried; nil: this gateway doesn't.
	Experiments Experiments

	// Evaluation judges versions at length; nil: this gateway doesn't.
	Evaluation *Evaluation
	// Compare judges a challenger against a champion on held-out labels. It may
	// take seconds; the web keeps no result.
	Compare func(ctx context.Context, champion, challenger dg.ModelRef) (dg.Comparison, error)
	// Rollout tells what is tried on production or watched, and on what evidence.
	Rollout func(ctx context.Context) (rollout.Status, error)
	// Ingest validates a dataset and loads it; the report is shown as it is.
	Ingest func(ctx context.Context, r IngestRequest) (any, error)
	// Rebuild makes the ledger anew from the buckets; the report is shown as it is.
	Rebuild func(ctx context.Context) (any, error)
	// Check looks whether buckets, ledger and models agree; the report is shown as it is.
	Check func(ctx context.Context) (any, error)
	// Reload reads the configuration again; the report of what changed is shown
	// as it is, an error keeps the old one.
	Reload func(ctx context.Context) (any, error)
	// Ready says why the gateway can't serve; nil asks only for a loaded model.
	Ready func(ctx context.Context) error

	// Enter is the outer door: it reports whether the request may ask for anything
	// at all. Whoever shows the token of the route has passed it, and the health
	// checks stand before it. Nil lets everyone in.
	Enter func(r *http.Request) bool

	Gatherer prometheus.Gatherer // what /metrics shows
}

// Serving is what the web asks of [serving.Service].
type Serving interface {
	Predict(ctx context.Context, upload []byte, filename string) (serving.Prediction, error)
	Flag(ctx context.Context, key string) error
	Correct(ctx context.Context, key, class string) error
	Image(ctx context.Context, key string) (body []byte, contentType string, err error)
	Version() dg.ModelRef
	Classes() dg.Classes
	Spooled() (items int, bytes int64)
}

// Labelling is what the web asks of [labelling.Service].
type Labelling interface {
	Curate(ctx context.Context, iv dg.Interval, late bool) (labelling.CurateReport, error)
	Collect(ctx context.Context) (labelling.CollectReport, error)
	Lease(ctx context.Context, annotator string, n int) ([]labelling.Task, error)
	Answer(ctx context.Context, annotator, id, label string) error
	Skip(ctx context.Context, annotator, id string) error
	Undo(ctx context.Context, annotator string) (labelling.Task, error)
	Withdraw(ctx context.Context, id string) error
	Progress(ctx context.Context) (ledger.LabelProgress, error)
	Image(ctx context.Context, id string) (body []byte, contentType string, err error)
	Export(ctx context.Context, w io.Writer, format string) (n int, err error)
	Import(ctx context.Context, r io.Reader, format, annotator string) (labelling.ImportReport, error)
}

// Models is what the web asks of [registry.Registry].
type Models interface {
	Models(ctx context.Context) ([]registry.Entry, error)
	History(ctx context.Context) ([]dg.Champion, error)
	Champion(ctx context.Context) (dg.Champion, error)
	Resolve(ctx context.Context, short string) (dg.ModelRef, error)
	Promote(ctx context.Context, ref dg.ModelRef, seen dg.Champion, reason, runID string) (dg.Champion, error)
	Rollback(ctx context.Context, seen dg.Champion, reason string) (dg.Champion, error)
	// Try exposes a version beside the champion until a person or harm ends it.
	Try(ctx context.Context, ref dg.ModelRef, stage dg.Stage, share float64, reason string) (dg.Exposure, error)
	// EndTrial ends what is exposed.
	EndTrial(ctx context.Context, reason string) (dg.Exposure, error)
	// Reject keeps it on record that a version does not take over.
	Reject(ctx context.Context, ref dg.ModelRef, reason string) error
}

// Accuracy is what the web asks of [metrics.Metrics].
type Accuracy interface {
	Snapshot() metrics.Snapshot
	Accuracy(ctx context.Context, window time.Duration, at time.Time) (dg.Accuracy, error)
	AccuracyOf(ctx context.Context, version string, window time.Duration, at time.Time) (dg.Accuracy, error)
	Series(ctx context.Context, window time.Duration, iv dg.Interval, points int) ([]dg.Accuracy, error)
	Plan(ctx context.Context, window time.Duration, halfWidth float64) (estimate.Plan, error)
	// Replay recomputes what was published and decided within iv, all of it for
	// the zero interval; the error is [dg.ErrConflict] at the first difference.
	Replay(ctx context.Context, iv dg.Interval) (metrics.ReplayReport, error)
}

// Ledger is what the web asks of [ledger.Ledger].
type Ledger interface {
	Counts(ctx context.Context, version string, iv dg.Interval) ([]dg.StratumCount, error)
	Run(ctx context.Context, id string) (ledger.Run, error)
	Runs(ctx context.Context, pipeline string, limit int) ([]ledger.Run, error)
	Triggers(ctx context.Context, limit int) ([]ledger.TriggerRecord, error)
	Events(ctx context.Context, iv dg.Interval) ([]ledger.Event, error)
	// Moves returns the newest moves of models, newest first.
	Moves(ctx context.Context, limit int) ([]ledger.Event, error)
	// Revision tells whether anything has been written since.
	Revision(ctx context.Context) (ledger.Revision, error)
}

// Inbox records a trigger and its answer before anybody is told that it was
// accepted.
type Inbox interface {
	Submit(ctx context.Context, t dg.Trigger) (ledger.TriggerRecord, error)
}

// Pipelines starts and ends runs.
type Pipelines interface {
	// Start begins a run of the named pipeline with its default input. The error
	// is [dg.ErrInvalid] for an unknown pipeline, [dg.ErrBusy] when one is under
	// way and only one may be.
	Start(ctx context.Context, pipeline string) (runID string, err error)
	// Train begins a training run.
	Train(ctx context.Context, r TrainRequest) (runID string, err error)
	// Cancel asks a run to end. The error is [dg.ErrNotFound], or
	// [dg.ErrConflict] when it has ended already.
	Cancel(ctx context.Context, runID string) error
	// Backfill starts one run for each interval of the pipeline's schedule within
	// iv; those that ran before are not run again.
	Backfill(ctx context.Context, pipeline string, iv dg.Interval) (runIDs []string, err error)
}

// TrainRequest asks for a training run.
type TrainRequest struct {
	Dataset string          `json:"dataset,omitempty" doc:"reference of a dataset in the datasets bucket, name@fingerprint; empty means the newest" maxLength:"200"`
	Options json.RawMessage `json:"options,omitempty" doc:"the trainer's options; each missing one is as configured"`
	Promote bool            `json:"promote,omitempty" doc:"promote the artifact without the gate; refused when a champion serves already, unless it is the first"`
}

// IngestRequest asks for a dataset to be loaded.
type IngestRequest struct {
	Source string `json:"source" enum:"synthetic,fashion-mnist,folder" doc:"what kind of records"`
	Data   string `json:"data,omitempty" maxLength:"4096" doc:"a folder of the gateway, a mirror's address, or s3://bucket/prefix"`
	Seed   uint64 `json:"seed,omitempty" doc:"of the synthetic set"`
	Train  int    `json:"train,omitempty" minimum:"0" maximum:"10000000" doc:"images to train on, of the synthetic set"`
	Test   int    `json:"test,omitempty" minimum:"0" maximum:"10000000" doc:"images to test on, of the synthetic set"`
	Size   int    `json:"size,omitempty" minimum:"0" maximum:"1024" doc:"height and width to which a folder's images are brought"`
}
