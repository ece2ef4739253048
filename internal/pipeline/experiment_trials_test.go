package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/trainer"
)

func trialOn(number int, state string, accuracy float64) network.Trial {
	t := network.Trial{Trial: number, State: state, Epochs: 3, Seconds: 2, Settings: map[string]json.RawMessage{"learning_rate": json.RawMessage("0.0473"), "hidden": json.RawMessage("[64,32]"), "augment.share": json.RawMessage("0.25")}}
	if accuracy > 0 {
		t.BestEpoch, t.ValidationAccuracy, t.ValidationLoss = 3, accuracy, 1-accuracy
		t.Curve = []network.TrialPoint{{Epoch: 1, ValidationLoss: .9, ValidationAccuracy: .1}, {Epoch: 3, ValidationLoss: 1 - accuracy, ValidationAccuracy: accuracy}}
	} else {
		t.Reason = "the loss is NaN"
	}
	return t
}

func TestASearchsTrialsAreOnRecordWhileItRuns(t *testing.T) {
	s, store := recorded(t)
	s.crown(t)
	died := errors.New("killed")
	s.p.d.Train = func(_ context.Context, _ trainer.Job, progress func(trainer.Progress)) (map[string][]byte, error) {
		progress(trainer.Progress{Phase: trainer.Training, Epoch: 1, Trial: 1, Trials: 2, Loss: 5})
		for _, trial := range []network.Trial{trialOn(1, network.TrialGoing, .8), trialOn(2, network.TrialFailed, 0)} {
			progress(trainer.Progress{Phase: trainer.Training, Epoch: 3, Trial: trial.Trial, Trials: 2, Rested: &trial, BestTrial: 1, BestAccuracy: .8})
		}
		return nil, died
	}
	if _, err := s.retrain(t, s.run(t, "r1"), trigger()); !errors.Is(err, died) {
		t.Fatal(err)
	}
	first, second := record(t, store, "r1.trial-001"), record(t, store, "r1.trial-002")
	if first.Kind != experiment.Trial || first.State != experiment.Running || first.Parent != "r1" || first.RunID != "r1" || len(first.Curves["validation_accuracy"]) != 2 {
		t.Errorf("the trial that goes on: %+v", first)
	}
	for name, want := range map[string]string{"learning_rate": "0.0473", "hidden": "64,32", "augment.share": "0.25", "trial": "1", "outcome": "going", "model": "garments", "dataset": first.Parameters["dataset"]} {
		if first.Parameters[name] != want || want == "" {
			t.Errorf("parameters.%s = %q, want %q", name, first.Parameters[name], want)
		}
	}
	if second.State != experiment.Failed || second.Error != "the loss is NaN" || second.FinishedAt.IsZero() {
		t.Errorf("the trial that failed: %+v", second)
	}
	if r := record(t, store, "r1"); r.Metrics["validation_accuracy"] != .8 || r.Parameters["search.best"] != "1" || len(r.Curves) != 0 {
		t.Errorf("the training: %+v", r)
	}
	s.p.Finished(ledger.Run{ID: "r1", Pipeline: "retrain", State: ledger.RunCancelled, FinishedAt: noon.Add(time.Hour)}, time.Second)
	if r := record(t, store, "r1.trial-001"); r.State != experiment.Cancelled || r.Parameters["outcome"] != "cancelled" || len(r.Curves["validation_accuracy"]) != 2 {
		t.Errorf("after the run was cancelled: %+v", r)
	}
	if r := record(t, store, "r1.trial-002"); r.State != experiment.Failed {
		t.Errorf("the trial that had failed: %+v", r)
	}
}

func TestASearchsTrialsComeFromTheManifestInTheEnd(t *testing.T) {
	s, store := recorded(t)
	m := network.Manifest{Model: "garments", RunID: "t1", Options: []byte(`{"epochs":9,"learning_rate":0.1,"model":"cnn"}`), StartedAt: noon, FinishedAt: noon.Add(time.Minute),
		Search: &network.Search{Method: "halving", Best: 2, Epochs: 12, Trials: []network.Trial{trialOn(1, network.TrialStopped, .7), trialOn(2, network.TrialKept, .9), trialOn(3, network.TrialFailed, 0)}}}
	seen := TrialRecord(experiment.Record{ID: "t1", RunID: "t1", StartedAt: noon}, trialOn(2, network.TrialGoing, .6))
	seen.StartedAt = noon.Add(5 * time.Second)
	if err := store.Put(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	s.p.trainingDone(t.Context(), "t1", "sha256:aa", m)
	r := record(t, store, "t1")
	if r.Parameters["search.method"] != "halving" || r.Parameters["search.best"] != "2" || r.Parameters["search.trials"] != "3" || r.Metrics["search.epochs"] != 12 || r.Version != "sha256:aa" || r.Parameters["model"] != "garments" {
		t.Errorf("the training: %+v", r)
	}
	for id, state := range map[string]string{"t1.trial-001": experiment.Done, "t1.trial-002": experiment.Done, "t1.trial-003": experiment.Failed} {
		trial := record(t, store, id)
		if err := trial.Validate(); err != nil || trial.State != state || trial.Version != "" || trial.Parameters["learning_rate"] != "0.0473" || trial.Parameters["epochs"] != "9" || trial.Parameters["model"] != "garments" {
			t.Errorf("%v, %+v", err, trial)
		}
		if d := trial.FinishedAt.Sub(trial.StartedAt); d != 2*time.Second {
			t.Errorf("%s took %s", id, d)
		}
	}
	if trial := record(t, store, "t1.trial-002"); !trial.StartedAt.Equal(noon.Add(5*time.Second)) || trial.Parameters["outcome"] != "kept" || trial.Metrics["validation_accuracy"] != .9 {
		t.Errorf("the trial that was seen running: %+v", trial)
	}
	if made, err := store.Made(t.Context(), "sha256:aa"); err != nil || made.ID != "t1" {
		t.Errorf("the model was made by %s, %v", made.ID, err)
	}
	// As a gateway with a new ledger enters its models.
	s, store = recorded(t)
	if err := s.p.EnterModels(t.Context(), []Made{{"sha256:aa", m}}); err != nil {
		t.Fatal(err)
	}
	if trial := record(t, store, "t1.trial-002"); trial.Parent != "t1" || !trial.StartedAt.Equal(noon.Add(2*time.Second)) {
		t.Errorf("entered later: %+v", trial)
	}
}

func TestARunTellsWhatItsSearchCameTo(t *testing.T) {
	m := network.Manifest{Search: &network.Search{Method: "random", Best: 1, Epochs: 6, Trials: []network.Trial{trialOn(1, network.TrialKept, .7), trialOn(2, network.TrialFailed, 0)}}}
	if got := trainedOf("sha256:aa", m).Search; got == nil || got.Best != 1 || got.Trials != 2 || got.Failed != 1 || string(got.Settings["learning_rate"]) != "0.0473" {
		t.Errorf("%+v", got)
	}
	if got := trainedOf("sha256:aa", network.Manifest{}).Search; got != nil {
		t.Errorf("without a search: %+v", got)
	}
}
