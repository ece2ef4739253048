package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	dg "driftgate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/metrics"
)

// addLoopAPI registers what observes and moves the loop: status, accuracy,
// runs, curate, collect, triggers, ledger, datasets.
func (s *server) addLoopAPI(api huma.API) {
	register(s, api, op("status", "GET", "/status", "Loop", "The whole loop at a glance"),
		func(ctx context.Context, _ *none) (*out[Status], error) {
			st, err := s.status(ctx)
			return answer(st), err
		})
	s.addAccuracyAPI(api)
	s.addRunAPI(api)
	register(s, api, op("curate", "POST", "/curate", "Loop", "Pick predictions of an interval for labelling"), s.postCurate)
	register(s, api, op("collect", "POST", "/collect", "Loop", "Carry the answers into the clean and noisy buckets"),
		func(ctx context.Context, _ *none) (*out[labelling.CollectReport], error) {
			r, err := s.d.Labelling.Collect(ctx)
			return answer(r), err
		})
	register(s, api, op("triggers", "GET", "/triggers", "Loop", "Requests to retrain, newest first, with the answer each got"),
		func(ctx context.Context, in *struct {
			Limit int `query:"limit" default:"50" minimum:"1" maximum:"1000"`
		}) (*out[triggerList], error) {
			list, err := s.d.Ledger.Triggers(ctx, in.Limit)
			return answer(triggerList{orEmpty(list)}), err
		})
	register(s, api, op("rebuild", "POST", "/ledger/rebuild", "Loop", "Make the ledger anew from the buckets"), optional(s.d.Rebuild, "rebuilding the ledger"))
	register(s, api, op("check", "GET", "/check", "Loop", "Do buckets, ledger and models agree?"), optional(s.d.Check, "checking"))
	ingest := op("ingest", "POST", "/ingest", "Loop", "Validate a dataset and load it")
	register(s, api, ingest, func(ctx context.Context, in *struct{ Body IngestRequest }) (*report, error) {
		if s.d.Ingest == nil {
			return nil, notHere("loading datasets")
		}
		r, err := s.d.Ingest(ctx, in.Body)
		return &report{http.StatusOK, r}, err
	})
}

type triggerList struct {
	Triggers []ledger.TriggerRecord `json:"triggers"`
}

// optional is an operation without input that a gateway may lack.
func optional(f func(context.Context) (any, error), what string) func(context.Context, *none) (*report, error) {
	return func(ctx context.Context, _ *none) (*report, error) {
		if f == nil {
			return nil, notHere(what)
		}
		r, err := f(ctx)
		return &report{http.StatusOK, r}, err
	}
}

type curateInput struct {
	Body struct {
		Start time.Time `json:"start,omitzero" doc:"with end: the half-open interval of prediction times"`
		End   time.Time `json:"end,omitzero"`
		Last  string    `json:"last,omitempty" maxLength:"20" doc:"instead of start and end: the span until now, as 30m"`
	}
}

func (s *server) postCurate(ctx context.Context, in *curateInput) (*out[labelling.CurateReport], error) {
	iv := dg.Interval{Start: in.Body.Start.UTC(), End: in.Body.End.UTC()}
	switch {
	case in.Body.Last != "" && (!in.Body.Start.IsZero() || !in.Body.End.IsZero()):
		return nil, fmt.Errorf("want either last, or start and end, not both: %w", dg.ErrInvalid)
	case in.Body.Last != "":
		d, err := metrics.ParseWindow(in.Body.Last)
		if err != nil {
			return nil, err
		}
		now := s.o.Now().UTC()
		iv = dg.Interval{Start: now.Add(-d), End: now}
	case in.Body.Start.IsZero() || !in.Body.Start.Before(in.Body.End):
		return nil, fmt.Errorf("want last, or start and end with start before end: %w", dg.ErrInvalid)
	}
	r, err := s.d.Labelling.Curate(ctx, iv, false)
	return answer(r), err
}

// addRunAPI registers what lists, starts and ends runs.
func (s *server) addRunAPI(api huma.API) {
	register(s, api, op("runs", "GET", "/runs", "Runs", "Runs, newest first"),
		func(ctx context.Context, in *struct {
			Pipeline string `query:"pipeline" maxLength:"64" doc:"only of this pipeline"`
			Limit    int    `query:"limit" default:"50" minimum:"1" maximum:"1000"`
		}) (*out[runList], error) {
			runs, err := s.d.Ledger.Runs(ctx, in.Pipeline, in.Limit)
			return answer(runList{orEmpty(runs)}), err
		})
	register(s, api, op("run", "GET", "/runs/{id}", "Runs", "One run"),
		func(ctx context.Context, in *runPath) (*out[ledger.Run], error) {
			r, err := s.d.Ledger.Run(ctx, in.ID)
			return answer(r), err
		})
	start := op("start-run", "POST", "/runs", "Runs", "Start a run: a retraining, unless another pipeline is named")
	start.DefaultStatus, start.Errors = http.StatusAccepted, append(start.Errors, http.StatusLocked, http.StatusConflict)
	register(s, api, start, s.postRun)
	cancel := op("cancel-run", "POST", "/runs/{id}/cancel", "Runs", "Ask a run to end")
	cancel.DefaultStatus = http.StatusAccepted
	register(s, api, cancel, func(ctx context.Context, in *runPath) (*struct{}, error) {
		if s.d.Pipelines == nil {
			return nil, notHere("cancelling runs")
		}
		return nil, s.d.Pipelines.Cancel(ctx, in.ID)
	})
	backfill := op("backfill", "POST", "/runs/backfill", "Runs", "Start the runs of past intervals")
	backfill.DefaultStatus = http.StatusAccepted
	register(s, api, backfill, s.postBackfill)
	train := op("train", "POST", "/train", "Runs", "Train an artifact on a dataset")
	train.DefaultStatus = http.StatusAccepted
	register(s, api, train, func(ctx context.Context, in *struct{ Body TrainRequest }) (*out[runStarted], error) {
		if s.d.Pipelines == nil {
			return nil, notHere("training")
		}
		id, err := s.d.Pipelines.Train(ctx, in.Body)
		return answer(runStarted{Run: id}), err
	})
}

type runPath struct {
	ID string `path:"id" maxLength:"256"`
}

type runList struct {
	Runs []ledger.Run `json:"runs"`
}

type runStarted struct {
	Run      string `json:"run" doc:"id of the run"`
	Decision string `json:"decision,omitempty" doc:"accepted, for a retraining"`
	Note     string `json:"note,omitempty"`
	Trigger  string `json:"trigger,omitempty" doc:"id of the recorded request, for a retraining"`
}

type runInput struct {
	Body struct {
		Pipeline string `json:"pipeline,omitempty" maxLength:"64" doc:"retrain (the default), curate, collect, reconcile"`
		Reason   string `json:"reason,omitempty" maxLength:"2000" doc:"why, for a retraining"`
	}
}

func (s *server) postRun(ctx context.Context, in *runInput) (*out[runStarted], error) {
	if in.Body.Pipeline == "" || in.Body.Pipeline == "retrain" {
		a, err := s.retrain(ctx, in.Body.Reason)
		return answer(runStarted{a.Run, string(a.Decision), a.Note, a.Trigger}), err
	}
	if s.d.Pipelines == nil {
		return nil, notHere("starting runs")
	}
	id, err := s.d.Pipelines.Start(ctx, in.Body.Pipeline)
	return answer(runStarted{Run: id}), err
}

type backfillInput struct {
	Body struct {
		Pipeline string    `json:"pipeline" minLength:"1" maxLength:"64"`
		Start    time.Time `json:"start"`
		End      time.Time `json:"end"`
	}
}

type backfillAnswer struct {
	Runs []string `json:"runs" doc:"ids of the runs, in order of their intervals"`
}

func (s *server) postBackfill(ctx context.Context, in *backfillInput) (*out[backfillAnswer], error) {
	if s.d.Pipelines == nil {
		return nil, notHere("backfilling")
	}
	if !in.Body.Start.Before(in.Body.End) {
		return nil, fmt.Errorf("start %s: want it before end %s: %w", stamp(in.Body.Start), stamp(in.Body.End), dg.ErrInvalid)
	}
	ids, err := s.d.Pipelines.Backfill(ctx, in.Body.Pipeline, dg.Interval{Start: in.Body.Start.UTC(), End: in.Body.End.UTC()})
	return answer(backfillAnswer{orEmpty(ids)}), err
}

// orEmpty makes a missing list an empty one in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
