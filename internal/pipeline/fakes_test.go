package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/catalog"
	"driftgate/internal/dataset"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/trainer"

	"github.com/prometheus/client_golang/prometheus"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// memoryRun is an engine for one run: it keeps results, so that running a
// pipeline again with the same memory is a restart.
type memoryRun struct {
	id    string
	ctx   context.Context
	steps map[string]Step
	kept  map[string]json.RawMessage
	log   []string // steps really run
	after func(step string)
}

func (r *memoryRun) ID() string { return r.id }

func (r *memoryRun) Do(name string, in, out any) error {
	b, ok := r.kept[name]
	if !ok {
		input, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.log = append(r.log, name)
		v, err := r.steps[name](r.ctx, r.id, input)
		if err != nil {
			return err
		}
		if b, err = json.Marshal(v); err != nil {
			return err
		}
		if r.after != nil {
			r.after(name)
		}
		r.kept[name] = b
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// memoryRegistry follows the contract of the real one.
type memoryRegistry struct {
	clock    *clock
	models   map[dg.ModelRef]map[string][]byte
	champion *dg.Champion
	exposure *dg.Exposure
	oldStyle []string
	promoted int
	fail     error // of the next Promote, after its effect
}

func (m *memoryRegistry) Save(_ context.Context, files map[string][]byte) (dg.ModelRef, error) {
	ref := network.Digest(files)
	m.models[ref] = files
	return ref, nil
}

func (m *memoryRegistry) Load(_ context.Context, ref dg.ModelRef) (*network.Artifact, error) {
	files, ok := m.models[ref]
	if !ok {
		return nil, fmt.Errorf("model %s: %w", ref.Short(), dg.ErrNotFound)
	}
	a, _, err := network.ReadArtifact(files)
	return a, err
}

func (m *memoryRegistry) Champion(context.Context) (dg.Champion, error) {
	if m.champion == nil {
		return dg.Champion{}, fmt.Errorf("champion: %w", dg.ErrNotFound)
	}
	return *m.champion, nil
}

func (m *memoryRegistry) Promote(_ context.Context, ref dg.ModelRef, seen dg.Champion, reason, runID string) (dg.Champion, error) {
	var now dg.Champion
	if m.champion != nil {
		now = *m.champion
	}
	if now.RunID == runID && now.Version == ref {
		return now, nil
	}
	if now.ETag != seen.ETag {
		return now, fmt.Errorf("champion is %s: %w", now.Version.Short(), dg.ErrConflict)
	}
	m.champion = &dg.Champion{Version: ref, Previous: now.Version, Generation: now.Generation + 1, PromotedAt: m.clock.Now(),
		Reason: reason, RunID: runID, ETag: fmt.Sprint("etag-", now.Generation+1)}
	m.promoted++
	err := m.fail
	m.fail = nil
	return *m.champion, err
}

func (m *memoryRegistry) Rollback(_ context.Context, seen dg.Champion, reason string) (dg.Champion, error) {
	now := *m.champion
	if now.Generation != seen.Generation {
		return now, fmt.Errorf("champion is %s: %w", now.Version.Short(), dg.ErrConflict)
	}
	m.champion = &dg.Champion{Version: now.Previous, Generation: now.Generation + 1, PromotedAt: m.clock.Now(),
		Reason: "rollback: " + reason, ETag: fmt.Sprint("etag-", now.Generation+1)}
	return *m.champion, nil
}

func (m *memoryRegistry) UploadOldStyle(_ context.Context, ref dg.ModelRef, at time.Time) ([]string, error) {
	m.oldStyle = append(m.oldStyle, fmt.Sprintf("%s at %s", ref.Short(), at.UTC().Format(dg.TimeFormat)))
	return nil, nil
}

func (m *memoryRegistry) Exposure(context.Context) (dg.Exposure, error) {
	if m.exposure == nil {
		return dg.Exposure{}, fmt.Errorf("exposure: %w", dg.ErrNotFound)
	}
	return *m.exposure, nil
}

func (m *memoryRegistry) Expose(_ context.Context, next, seen dg.Exposure) (dg.Exposure, error) {
	var now dg.Exposure
	if m.exposure != nil {
		now = *m.exposure
	}
	if now.Generation != seen.Generation || (next.Challenger != "" && next.Against != m.champion.Version) {
		return now, fmt.Errorf("exposure is at generation %d, against %s: %w", now.Generation, now.Against.Short(), dg.ErrConflict)
	}
	if next.Since.IsZero() {
		next.Since = m.clock.Now()
	}
	next.Generation = now.Generation + 1
	m.exposure = &next
	return next, nil
}

// scriptedEvaluator answers as told.
type scriptedEvaluator struct {
	differences func(ctx context.Context, against, subject dg.ModelRef, slot dg.Interval) ([]float64, int, error)
	pairs       func(iv dg.Interval) int
	compare     func(iv dg.Interval) (dg.Comparison, error)
	looked      int
}

func (s *scriptedEvaluator) Pairs(_ context.Context, _, _ dg.ModelRef, iv dg.Interval) (int, error) {
	s.looked++
	return s.pairs(iv), nil
}

func (s *scriptedEvaluator) Judge(_ context.Context, a, b dg.ModelRef, iv dg.Interval) (dg.Comparison, error) {
	c, err := s.compare(iv)
	c.Champion, c.Challenger = a, b
	return c, err
}

func (s *scriptedEvaluator) Differences(ctx context.Context, against, subject dg.ModelRef, slot dg.Interval) ([]float64, int, error) {
	return s.differences(ctx, against, subject, slot)
}

type quietServices struct{ curated []dg.Interval }

func (q *quietServices) Curate(_ context.Context, iv dg.Interval, late bool) (labelling.CurateReport, error) {
	if !late {
		return labelling.CurateReport{}, errors.New("want late")
	}
	q.curated = append(q.curated, iv)
	return labelling.CurateReport{Interval: iv}, nil
}

func (q *quietServices) Collect(context.Context) (labelling.CollectReport, error) {
	return labelling.CollectReport{Collected: 3}, nil
}

func (q *quietServices) Reconcile(context.Context) (catalog.Report, error) {
	return catalog.Report{}, nil
}

// artifact is a small real one; the same seed gives the same.
func artifact(t testing.TB, seed uint64) map[string][]byte {
	t.Helper()
	spec := network.MLP(network.Flat(4), nil, 2)
	a := &network.Artifact{Weights: network.NewWeights(spec, rand.New(rand.NewPCG(seed, 1))), Manifest: network.Manifest{
		Model: "garments", Spec: spec, Classes: dg.Classes{"Bag", "Coat"}, Dataset: "synthetic@0123456789ab", Seed: seed,
		Preprocessing: dataset.Preprocessing{Width: 2, Height: 2, Channels: 1, Resize: "stretch", Mean: []float32{0}, Std: []float32{1}},
		Calibration:   network.Calibration{Temperature: 1}, Metrics: map[string]float64{"test_accuracy": 0.75},
	}}
	if err := a.RecordSelfTest([][]byte{{1, 2, 3, 4}}); err != nil {
		t.Fatal(err)
	}
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// stage is everything around the pipelines, scripted but for the ledger.
type stageSet struct {
	clock     *clock
	ledger    *ledger.Ledger
	registry  *memoryRegistry
	evaluator *scriptedEvaluator
	services  *quietServices
	jobs      []trainer.Job
	train     func(ctx context.Context, job trainer.Job) (map[string][]byte, error)
	reg       *prometheus.Registry
	p         *Pipelines
}

func newStage(t testing.TB) *stageSet {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &stageSet{clock: &clock{at: noon}, ledger: l, services: &quietServices{}, reg: prometheus.NewRegistry()}
	s.registry = &memoryRegistry{clock: s.clock, models: map[dg.ModelRef]map[string][]byte{}}
	s.evaluator = &scriptedEvaluator{pairs: func(dg.Interval) int { return 500 }, compare: func(dg.Interval) (dg.Comparison, error) {
		return dg.Comparison{Verdict: dg.Promote, Pairs: 500, ChampionAccuracy: .7, ChallengerAccuracy: .9, Difference: .2}, nil
	}}
	s.train = func(context.Context, trainer.Job) (map[string][]byte, error) { return artifact(t, 2), nil }
	o := trainer.DefaultOptions()
	s.p = New(Deps{Labelling: s.services, Catalog: s.services, Ledger: l, Registry: s.registry, Evaluator: s.evaluator,
		Store: objstore.Options{Endpoint: "http://127.0.0.1:1", AccessKey: "key", SecretKey: "very secret"}, Buckets: objstore.DefaultBuckets(""),
		Train: func(ctx context.Context, job trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error) {
			s.jobs = append(s.jobs, job)
			progress(trainer.Progress{Phase: trainer.Training, Epoch: 1, Epochs: 2, SamplesPerSecond: 1000})
			return s.train(ctx, job)
		},
	}, Options{Model: "garments", Dir: filepath.Join(t.TempDir(), "runs"), Train: o, Now: s.clock.Now, Registerer: s.reg,
		Lookback: 48 * time.Hour, Gate: Gate{MinPairs: 100, Window: 24 * time.Hour, Wait: 12 * time.Hour, Poll: time.Millisecond}})
	return s
}

// crown makes a first champion.
func (s *stageSet) crown(t testing.TB) dg.Champion {
	t.Helper()
	ref, err := s.registry.Save(t.Context(), artifact(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.registry.Promote(t.Context(), ref, dg.Champion{}, "first", "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *stageSet) run(t testing.TB, id string) *memoryRun {
	return &memoryRun{id: id, ctx: t.Context(), steps: s.p.Steps(), kept: map[string]json.RawMessage{}}
}

func (s *stageSet) retrain(t testing.TB, r *memoryRun, tr dg.Trigger) (RetrainResult, error) {
	t.Helper()
	in, err := json.Marshal(RetrainInput{Trigger: tr, Model: "garments"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.p.Funcs()["retrain"](r, in)
	result, _ := v.(RetrainResult)
	return result, err
}

func (s *stageSet) folderGone(t testing.TB, id string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(s.p.o.Dir, id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run's folder is still there: %v", err)
	}
}

// gathered returns a counter's or gauge's value by its label values, in the
// order of label names.
func (s *stageSet) gathered(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.GetMetric() {
			for i, l := range m.GetLabel() {
				if l.GetValue() != labels[i] {
					continue next
				}
			}
			if c := m.GetCounter(); c != nil {
				return c.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				return float64(h.GetSampleCount())
			}
			return m.GetGauge().GetValue()
		}
	}
	return -1
}
