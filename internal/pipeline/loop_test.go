package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/evaluator"
	"driftgate/internal/catalog"
	"driftgate/internal/dataset"
	"driftgate/internal/engine"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
	"driftgate/internal/pipeline"
	"driftgate/internal/registry"
	"driftgate/internal/trigger"
	"driftgate/trainer"
)

// house is the loop's background half from real parts: embedded store, SQLite,
// DBOS, trainer (in this process), evaluator, registry.
type house struct {
	dir      string
	now      atomic.Int64
	store    *objstore.Store
	buckets  objstore.Buckets
	ledger   *ledger.Ledger
	registry *registry.Registry
	inbox    *trigger.Inbox
	pipes    *pipeline.Pipelines
	engine   *engine.Engine
	trained  chan struct{} // told when a training begins; nil: nobody listens
	trainMu  sync.Mutex
}

const model = "garments"

var began = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func (h *house) Now() time.Time { return time.Unix(0, h.now.Load()).UTC() }

func build(t *testing.T) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), buckets: objstore.DefaultBuckets("")}
	h.now.Store(began.UnixNano())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: filepath.Join(h.dir, "store")})
	must(err)
	t.Cleanup(func() { _ = server.Close() })
	access, secret := server.Credentials()
	storeOptions := objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret, Region: "us-east-1"}
	h.store, err = objstore.Open(storeOptions)
	must(err)
	must(h.store.EnsureBuckets(t.Context(), h.buckets.All()...))
	h.ledger, err = ledger.Open(t.Context(), filepath.Join(h.dir, "ledger.db"))
	must(err)
	t.Cleanup(func() { _ = h.ledger.Close() })
	h.registry = registry.New(h.store, h.buckets.Models, registry.Options{Model: model, Now: h.Now})
	classes := func() dg.Classes { return dg.FashionMNIST }
	h.inbox = trigger.New(h.ledger, trigger.Options{CoolDown: time.Hour, Now: h.Now, Models: map[string]bool{model: true}})
	o := trainer.DefaultOptions()
	o.Hidden, o.Epochs, o.Replay, o.Threads = []int{32}, 8, 300, 1
	h.pipes = pipeline.New(pipeline.Deps{
		Labelling: labelling.New(labelling.Options{RandomQuota: 1000, Classes: classes, Now: h.Now}, h.store, h.ledger, h.buckets),
		Catalog:   catalog.New(h.store, h.ledger, h.buckets, catalog.Options{Classes: classes, Now: h.Now}),
		Ledger:    h.ledger, Registry: h.registry,
		Evaluator: evaluator.New(evaluator.Sources{Images: h.store, Labels: h.ledger, Models: h.registry, Predictions: h.ledger,
			Datasets: h.store.Bucket(h.buckets.Datasets), Buckets: h.buckets}, evaluator.Options{Gate: evaluator.Gate{MinPairs: 50}}),
		Train: h.train, Store: storeOptions, Buckets: h.buckets,
	}, pipeline.Options{Model: model, Dir: filepath.Join(h.dir, "runs"), Train: o, Now: h.Now,
		Gate: pipeline.Gate{MinPairs: 50, Wait: time.Hour, Poll: 10 * time.Millisecond}})
	h.open(t)
	t.Cleanup(func() { _ = h.engine.Close(5 * time.Second) })
	return h
}

// open starts the engine, as a new process would.
func (h *house) open(t *testing.T) {
	t.Helper()
	var err error
	h.engine, err = engine.Open(t.Context(), engine.Options{Path: filepath.Join(h.dir, "engine.db"), Now: h.Now,
		RetryBase: 10 * time.Millisecond, Finished: h.pipes.Finished, Logger: slog.New(slog.DiscardHandler)}, h.pipes.Funcs(), h.pipes.Steps(), h.ledger)
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) train(ctx context.Context, job trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error) {
	h.trainMu.Lock()
	told := h.trained
	h.trainMu.Unlock()
	if told != nil {
		select {
		case told <- struct{}{}:
			<-ctx.Done() // the first process never gets further
			return nil, ctx.Err()
		default:
		}
	}
	a, err := trainer.Train(ctx, job, progress)
	if err != nil {
		return nil, err
	}
	return a.Files()
}

// serve puts n predictions of the champion on inverted garments into
// production, over two hours, and returns their true classes.
func (h *house) serve(t *testing.T, n int) map[string]string {
	t.Helper()
	champion, err := h.registry.Champion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.registry.Load(t.Context(), champion.Version)
	if err != nil {
		t.Fatal(err)
	}
	c, err := network.NewClassifier(a)
	if err != nil {
		t.Fatal(err)
	}
	set := dataset.Synthetic(dataset.SyntheticOptions{Seed: 99, Test: n, Drift: dataset.Drift{Invert: true}})
	truth := map[string]string{}
	for i := range n {
		px := set.Image(set.Test, i)
		p, err := c.Pixels(px)
		if err != nil {
			t.Fatal(err)
		}
		best := network.Argmax(p)
		var b bytes.Buffer
		if err := png.Encode(&b, &image.Gray{Pix: px, Stride: set.Width, Rect: image.Rect(0, 0, set.Width, set.Height)}); err != nil {
			t.Fatal(err)
		}
		s := dg.Sample{Key: dg.SampleKey(best, fmt.Sprintf("sample-%04d.png", i)), PredictedClass: set.Classes[best], Confidence: float64(p[best]),
			Timestamp: began.Add(time.Duration(i) * 2 * time.Hour / time.Duration(n)), ModelVersion: champion.Version.Short()}
		if _, err := h.store.Put(t.Context(), h.buckets.Production, s.Key, b.Bytes(), objstore.PutOptions{Tags: s.Tags(), ContentType: "image/png"}); err != nil {
			t.Fatal(err)
		}
		truth[s.ID()] = set.Classes[set.Test.Labels[i]]
	}
	return truth
}

func (h *house) do(t *testing.T, id, name, model string, in, out any) {
	t.Helper()
	if err := errors.Join(h.engine.StartFor(t.Context(), id, name, model, in), h.engine.Wait(t.Context(), id, out)); err != nil {
		t.Fatal(err)
	}
}

// TestTheLoopFromTriggerToPromotion goes once around with real parts: a first
// champion, drifted production, reconcile, curate by backfill, labels, collect,
// an alarm, and a retrain that is cut off in its training by a shutdown.
func TestTheLoopFromTriggerToPromotion(t *testing.T) {
	if testing.Short() {
		t.Skip("trains twice")
	}
	h := build(t)
	ctx := t.Context()
	ref, err := dataset.Save(ctx, h.store.Bucket(h.buckets.Datasets), dataset.Synthetic(dataset.SyntheticOptions{Seed: 1, Train: 1200, Test: 100}))
	if err != nil {
		t.Fatal(err)
	}
	var first pipeline.TrainResult
	h.do(t, "train-1", "train", model, pipeline.TrainInput{Dataset: string(ref), Promote: true}, &first)
	if !first.Promoted || first.Metrics["test_accuracy"] < .5 {
		t.Fatalf("first champion %+v", first)
	}
	truth := h.serve(t, 300)
	h.now.Add(int64(3 * time.Hour))
	h.do(t, "reconcile-1", "reconcile", "", nil, nil)
	sched, err := pipeline.NewScheduler(h.engine, h.inbox, h.ledger, pipeline.SchedulerOptions{Now: h.Now, Tick: 10 * time.Millisecond, Model: model,
		Schedules: []pipeline.Schedule{{Pipeline: "curate", Every: time.Hour, Input: func(iv dg.Interval) any { return pipeline.CurateInput{Interval: iv, Late: true} }}}})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := sched.Backfill(ctx, "curate", dg.Interval{Start: began, End: began.Add(2 * time.Hour)})
	if err != nil || len(ids) != 2 {
		t.Fatalf("backfilled %v, %v", ids, err)
	}
	waiting, err := h.ledger.Waiting(ctx, 0)
	if err != nil || len(waiting) != len(truth) {
		t.Fatalf("%d waiting, %v; want all %d", len(waiting), err, len(truth))
	}
	for _, w := range waiting {
		if err := h.ledger.Answer(ctx, ledger.Answer{ID: w.ID(), Label: truth[w.ID()], Annotator: "test", At: h.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	var collected labelling.CollectReport
	h.do(t, "collect-1", "collect", "", nil, &collected)
	if collected.Collected != len(truth) {
		t.Fatalf("collected %+v", collected)
	}

	// The alarm, delivered twice; the first process is shut down while it trains.
	told := make(chan struct{}, 1)
	h.trainMu.Lock()
	h.trained = told
	h.trainMu.Unlock()
	alarm := dg.Trigger{Source: dg.FromAlarm, Model: model, DedupeKey: "alarm-1", Reason: "accuracy fell", Since: began}
	rec, err := h.inbox.Submit(ctx, alarm)
	if err != nil || rec.Decision != dg.Accepted {
		t.Fatalf("answer %+v, %v", rec, err)
	}
	if again, err := h.inbox.Submit(ctx, alarm); err != nil || again.Decision != dg.Duplicate {
		t.Fatalf("second answer %+v, %v", again, err)
	}
	stop := h.schedule(t, sched)
	for len(told) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if err := h.engine.Close(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if row, err := h.ledger.Run(ctx, rec.RunID); err != nil || row.State != ledger.RunRunning {
		t.Fatalf("after the shutdown %+v, %v", row, err)
	}
	h.open(t)
	var result pipeline.RetrainResult
	if err := h.engine.Wait(ctx, rec.RunID, &result); err != nil {
		t.Fatal(err)
	}
	champion, err := h.registry.Champion(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("champion %.3f, challenger %.3f on %d held-out pairs: %s", result.Comparison.ChampionAccuracy, result.Comparison.ChallengerAccuracy, result.Comparison.Pairs, result.Verdict)
	if !result.Promoted || result.Champion != first.Model || champion.Version != result.Challenger || champion.RunID != rec.RunID || champion.Generation != 2 {
		t.Errorf("result %+v, champion %+v", result, champion)
	}
	row, err := h.ledger.Run(ctx, rec.RunID)
	if err != nil || row.State != ledger.RunDone || row.Verdict != "promote" || row.TriggerID != rec.ID {
		t.Errorf("row %+v, %v", row, err)
	}
	h.checkManifest(t, result.Challenger, truth)
}

// schedule runs the scheduler until stop is called.
func (h *house) schedule(t *testing.T, s *pipeline.Scheduler) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// checkManifest demands that the challenger saw production, and no holdout.
func (h *house) checkManifest(t *testing.T, ref dg.ModelRef, truth map[string]string) {
	t.Helper()
	a, err := h.registry.Load(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, id := range a.Manifest.TrainedOn {
		if _, ok := truth[id]; !ok {
			continue
		}
		seen++
		if dg.Held(id, trainer.DefaultOptions().Holdout) {
			t.Errorf("%s was trained on, and is held out", id)
		}
	}
	if seen == 0 {
		t.Error("the challenger was trained on no production sample")
	}
}
