package pipeline

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/trainer"
)

// recorded is a stage whose experiments are kept.
func recorded(t *testing.T) (*stageSet, *experiment.Store) {
	t.Helper()
	s := newStage(t)
	store := experiment.NewStore(s.ledger)
	s.p.d.Experiments = store
	return s, store
}

func record(t *testing.T, store *experiment.Store, id string) experiment.Record {
	t.Helper()
	r, err := store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// epochs makes the trainer tell of n epochs before it goes on to then.
func (s *stageSet) epochs(n int, then func(context.Context, trainer.Job) (map[string][]byte, error)) {
	s.p.d.Train = func(ctx context.Context, job trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error) {
		s.jobs = append(s.jobs, job)
		progress(trainer.Progress{Phase: trainer.Loading, Step: 1})
		for e := 1; e <= n; e++ {
			progress(trainer.Progress{Phase: trainer.Training, Epoch: e, Step: 1, Loss: 9})
			progress(trainer.Progress{Phase: trainer.Training, Epoch: e, Step: 2, Loss: 1 / float64(e), Accuracy: .5})
		}
		progress(trainer.Progress{Phase: trainer.Calibrating, Epoch: n, ValidationLoss: .3, ValidationAccuracy: .8})
		return then(ctx, job)
	}
}

func TestARetrainingAndItsEvaluationAreRecorded(t *testing.T) {
	s, store := recorded(t)
	champion := s.crown(t)
	first := ManifestRecord("train-0", champion.Version, network.Manifest{Model: "garments", StartedAt: noon, FinishedAt: noon})
	if err := store.Put(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) {
		return dg.Comparison{Verdict: dg.Reject, Pairs: 500, ChampionAccuracy: .7, ChallengerAccuracy: .6, Difference: -.1,
			Reasons: []string{"worse"}, Suites: []dg.SuiteComparison{{Suite: "look-alikes", Pairs: 40, Difference: -.2, Verdict: dg.Reject}}}, nil
	}
	s.epochs(3, s.train)
	result, err := s.retrain(t, s.run(t, "r1"), trigger())
	if err != nil {
		t.Fatal(err)
	}
	s.p.Finished(ledger.Run{ID: "r1", Pipeline: "retrain", State: ledger.RunDone, Verdict: result.Verdict.String(), StartedAt: noon, FinishedAt: noon}, time.Second)

	r := record(t, store, "r1")
	if r.Kind != experiment.Retrain || r.State != experiment.Done || r.Parent != "train-0" || r.Version != result.Challenger || r.Verdict != "reject" {
		t.Errorf("record %+v", r)
	}
	if r.Parameters["model"] != "garments" || r.Metrics["test_accuracy"] != .75 {
		t.Errorf("parameters %v, metrics %v: want those of the manifest", r.Parameters, r.Metrics)
	}
	e := record(t, store, "r1.evaluation")
	if e.Kind != experiment.Evaluation || e.Parent != "r1" || e.RunID != "r1" || e.Verdict != "reject" || e.Version != result.Challenger {
		t.Errorf("evaluation %+v", e)
	}
	for name, want := range map[string]float64{"pairs": 500, "difference": -.1, "challenger_accuracy": .6, "suites.look-alikes.difference": -.2} {
		if e.Metrics[name] != want {
			t.Errorf("metrics.%s = %v, want %v", name, e.Metrics[name], want)
		}
	}
	if e.Parameters["reasons"] != "worse" || e.Parameters["suites.look-alikes.verdict"] != "reject" {
		t.Errorf("parameters %v", e.Parameters)
	}
}

func TestATrainingThatFailsLeavesWhatItHadLearnedOnRecord(t *testing.T) {
	for state, cause := range map[string]error{experiment.Failed: errors.New("the disk is full"), experiment.Cancelled: context.Canceled} {
		t.Run(state, func(t *testing.T) {
			s, store := recorded(t)
			champion := s.crown(t)
			s.epochs(2, func(context.Context, trainer.Job) (map[string][]byte, error) { return nil, cause })
			if _, err := s.retrain(t, s.run(t, "r1"), trigger()); !errors.Is(err, cause) {
				t.Fatal(err)
			}
			if r := record(t, store, "r1"); r.State != experiment.Running || len(r.Curves["train_loss"]) != 2 {
				t.Errorf("before its end: %+v", r)
			}
			s.p.Finished(ledger.Run{ID: "r1", Pipeline: "retrain", State: state, Error: "train: " + cause.Error(), FinishedAt: noon.Add(time.Hour)}, time.Second)
			r := record(t, store, "r1")
			want := []experiment.Point{{Step: 1, Value: 1, At: noon}, {Step: 2, Value: .5, At: noon}}
			if r.State != state || r.Kind != experiment.Retrain || r.Error != "train: "+cause.Error() || !reflect.DeepEqual(r.Curves["train_loss"], want) {
				t.Errorf("record %+v", r)
			}
			if r.Parameters["epochs"] != fmt.Sprint(s.jobs[0].Options.Epochs) || r.Parameters["parent_version"] != champion.Version.Short() || !r.FinishedAt.Equal(noon.Add(time.Hour)) {
				t.Errorf("parameters %v, finished %s", r.Parameters, r.FinishedAt)
			}
			if r.Environment["os"] == "" || r.Environment["cpus"] == "" {
				t.Errorf("environment %v", r.Environment)
			}
			if v := r.Curves["validation_accuracy"]; len(v) != 1 || v[0].Step != 2 || v[0].Value != .8 {
				t.Errorf("validation curve %v", v)
			}
		})
	}
}

func TestARunThatFailsBeforeItTrainsIsRecordedToo(t *testing.T) {
	s, store := recorded(t)
	s.p.Finished(ledger.Run{ID: "t1", Pipeline: "train", State: ledger.RunFailed, Error: "prepare: no such dataset", Input: []byte(`{"dataset":"none@0"}`), StartedAt: noon, FinishedAt: noon}, time.Second)
	if r := record(t, store, "t1"); r.State != experiment.Failed || r.Kind != experiment.Train || r.Parameters["input.dataset"] != "none@0" || r.Error == "" {
		t.Errorf("record %+v", r)
	}
	s.p.Finished(ledger.Run{ID: "c1", Pipeline: "curate", State: ledger.RunFailed, StartedAt: noon, FinishedAt: noon}, time.Second)
	if _, err := store.Get(t.Context(), "c1"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("a curate run is an experiment: %v", err)
	}
}

func TestAnEvaluationThatFailsIsOnRecordBesideItsTraining(t *testing.T) {
	s, store := recorded(t)
	s.crown(t)
	s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) { return dg.Comparison{}, errors.New("the store is away") }
	if _, err := s.retrain(t, s.run(t, "r1"), trigger()); err == nil {
		t.Fatal("no error")
	}
	s.p.Finished(ledger.Run{ID: "r1", Pipeline: "retrain", State: ledger.RunFailed, Error: "evaluate: the store is away", Progress: []byte(`{"stage":"evaluate"}`), FinishedAt: noon.Add(time.Hour)}, time.Second)
	if r := record(t, store, "r1"); r.State != experiment.Done {
		t.Errorf("training %s: it was done", r.State)
	}
	if e := record(t, store, "r1.evaluation"); e.State != experiment.Failed || e.Error != "evaluate: the store is away" || e.Parent != "r1" {
		t.Errorf("evaluation %+v", e)
	}
}

func TestARestartGoesOnWithTheCurvesAndEndsWhatDied(t *testing.T) {
	s, store := recorded(t)
	s.crown(t)
	died := errors.New("killed")
	s.epochs(2, func(context.Context, trainer.Job) (map[string][]byte, error) { return nil, died })
	r := s.run(t, "r1")
	if _, err := s.retrain(t, r, trigger()); !errors.Is(err, died) {
		t.Fatal(err)
	}
	s.p.d.Train = func(_ context.Context, job trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error) {
		progress(trainer.Progress{Phase: trainer.Training, Epoch: 2, Loss: .7}) // from the checkpoint: the second epoch again
		progress(trainer.Progress{Phase: trainer.Training, Epoch: 3, Loss: .6})
		progress(trainer.Progress{Phase: trainer.Calibrating})
		return nil, died
	}
	if _, err := s.retrain(t, r, trigger()); !errors.Is(err, died) {
		t.Fatal(err)
	}
	got := []float64{}
	for _, p := range record(t, store, "r1").Curves["train_loss"] {
		got = append(got, p.Value)
	}
	if !reflect.DeepEqual(got, []float64{1, .7, .6}) {
		t.Errorf("train_loss %v, want the first epoch of the first attempt and the rest of the second", got)
	}
	err := s.p.EndExperiments(t.Context(), func(_ context.Context, id string) (ledger.Run, error) {
		return ledger.Run{ID: id, Pipeline: "retrain", State: ledger.RunCancelled, FinishedAt: noon.Add(time.Minute)}, nil
	})
	if e := record(t, store, "r1"); err != nil || e.State != experiment.Cancelled {
		t.Errorf("%v, state %s, want it cancelled as its run", err, e.State)
	}
}

func TestAManifestBecomesARecord(t *testing.T) {
	m := network.Manifest{Model: "garments", RunID: "r1", Dataset: "fashion-mnist@0", Options: []byte(`{"epochs":8,"hidden":[128,64],"start":"warm","active":{"cap":10}}`),
		Counts: map[string]int{"base": 6000, "human": 120}, Epochs: 2, Metrics: map[string]float64{"test_accuracy": .9}, StartedAt: noon, FinishedAt: noon.Add(time.Minute),
		GoVersion: "go1.26", Modules: map[string]string{"gorgonia.org/tensor": "v0.9"}, Environment: &network.Environment{OS: "linux", CPUs: 2},
		Curves:      []network.Epoch{{Epoch: 1, TrainLoss: .5, ValidationAccuracy: .8}, {Epoch: 2, TrainLoss: .4, ValidationAccuracy: .85}},
		Composition: &network.Composition{Labelling: network.LabellingAccount{Interval: &dg.Interval{Start: noon, End: noon.Add(time.Hour)}, Human: 120, UnknownLabels: []string{"Hat"}}}}
	r := ManifestRecord("r1", "sha256:aa", m)
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"epochs": "8", "hidden": "128,64", "start": "warm", "active.cap": "10", "dataset": "fashion-mnist@0", "set.labelling.unknown_labels": "Hat"} {
		if r.Parameters[name] != want {
			t.Errorf("parameters.%s = %q, want %q", name, r.Parameters[name], want)
		}
	}
	for name, want := range map[string]float64{"test_accuracy": .9, "samples.human": 120, "set.labelling.human": 120, "epochs_run": 2} {
		if r.Metrics[name] != want {
			t.Errorf("metrics.%s = %v, want %v", name, r.Metrics[name], want)
		}
	}
	if r.Environment["os"] != "linux" || r.Environment["module.gorgonia.org_tensor"] != "v0.9" || r.Environment["go_version"] != "go1.26" {
		t.Errorf("environment %v", r.Environment)
	}
	if c := r.Curves["validation_accuracy"]; len(c) != 2 || c[1].Value != .85 || r.Kind != experiment.Retrain {
		t.Errorf("curve %v, kind %s", c, r.Kind)
	}
}

func TestModelsFromBeforeThereWereRecordsAreEntered(t *testing.T) {
	s, store := recorded(t)
	manifest := func(run string, parent dg.ModelRef, after time.Duration) network.Manifest {
		return network.Manifest{RunID: run, Model: "garments", Parent: parent, StartedAt: noon.Add(after), FinishedAt: noon.Add(after + time.Minute)}
	}
	models := []Made{{"sha256:bb", manifest("r2", "sha256:aa", time.Hour)}, {"sha256:aa", manifest("r1", "", 0)}, {"sha256:cc", manifest("r2", "", 2*time.Hour)}, {"sha256:dd", network.Manifest{}}}
	for range 2 {
		if err := s.p.EnterModels(t.Context(), models); err != nil {
			t.Fatal(err)
		}
	}
	page, err := store.List(t.Context(), experiment.Query{})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, r := range page.Records {
		got = append(got, r.ID+"<"+r.Parent+" "+string(r.Version))
	}
	if want := []string{"model-cc< sha256:cc", "r2<r1 sha256:bb", "r1< sha256:aa"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
