//go:build e2e

package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
)

// mlflowPackages read the export, from PyPI.
var mlflowPackages = []string{"mlflow-skinny==3.17.2"}

// mlflowScript tells everything that MLflow's own client reads. It knows
// nothing of driftgate.
const mlflowScript = `
import json, sys
from mlflow.tracking import MlflowClient

client = MlflowClient(sys.argv[1])
answer = {"experiments": {}, "found": []}
for e in client.search_experiments():
    runs = answer["experiments"][e.name] = {}
    for found in client.search_runs([e.experiment_id]):
        run = client.get_run(found.info.run_id)
        runs[run.info.run_name] = {
            "id": run.info.run_id, "status": run.info.status, "start": run.info.start_time, "end": run.info.end_time,
            "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
            "history": {m: [[h.step, h.value, h.timestamp] for h in client.get_metric_history(run.info.run_id, m)] for m in run.data.metrics},
            "artifacts": [a.path for a in client.list_artifacts(run.info.run_id)],
        }
        path = client.download_artifacts(run.info.run_id, "record.json")
        runs[run.info.run_name]["record"] = json.load(open(path))["id"]
    for run in client.search_runs([e.experiment_id], "metrics.test_accuracy > 0.85 and params.start = 'warm' and tags.baseline = 'yes'"):
        answer["found"].append(run.info.run_name)
json.dump(answer, sys.stdout)
`

type mlflowRun struct {
	ID, Status string
	Start, End *int64
	Params     map[string]string
	Metrics    map[string]float64
	Tags       map[string]string
	History    map[string][][]float64
	Artifacts  []string
	Record     string
}

func TestMLflowReadsTheExperiments(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	records := []experiment.Record{
		{ID: "retrain-1", Kind: experiment.Retrain, Parent: "train-0", State: experiment.Done, Version: "sha256:3fa91c7b", Verdict: "promote", StartedAt: began, FinishedAt: began.Add(time.Hour),
			Parameters: map[string]string{"start": "warm", "hidden": "128,64", "note": "umlauts: größer"}, Environment: map[string]string{"os": "linux"},
			Metrics: map[string]float64{"test_accuracy": .91, "validation_accuracy": .9, "tiny": 1e-12, "whole": 60000, "suites.look-alikes.difference": -.25},
			Curves:  map[string][]experiment.Point{"validation_accuracy": {{Step: 1, Value: .8, At: began.Add(time.Minute)}, {Step: 2, Value: .88}}},
			Tags:    map[string]string{"baseline": "yes", "empty": ""}, Note: "two\nlines: \"of\" #note"},
		{ID: "retrain-1.evaluation", Kind: experiment.Evaluation, Parent: "retrain-1", State: experiment.Failed, Error: "the store is away", StartedAt: began.Add(time.Hour), FinishedAt: began.Add(2 * time.Hour)},
		{ID: "train-0", Kind: experiment.Train, State: experiment.Cancelled, StartedAt: began, FinishedAt: began, Metrics: map[string]float64{"test_accuracy": .95}},
		{ID: "search.trial-7", Kind: experiment.Trial, Parent: "train-0", State: experiment.Running, StartedAt: began},
	}
	root, model := t.TempDir(), `garments: "v2"`
	all := func(yield func(experiment.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
	uri := (&url.URL{Scheme: "file", Path: filepath.ToSlash(root)}).String()
	if err := experiment.MLflow(all, model, uri, experiment.Folder(root)); err != nil {
		t.Fatal(err)
	}
	answer := askMLflow(t, root, uri+"/mlruns")
	runs := answer.Experiments[model]
	if len(answer.Experiments) != 1 || len(runs) != len(records) {
		t.Fatalf("experiments %v: want %d runs in one", answer.Experiments, len(records))
	}
	status := map[string]string{experiment.Done: "FINISHED", experiment.Failed: "FAILED", experiment.Cancelled: "KILLED", experiment.Running: "RUNNING"}
	for _, r := range records {
		got := runs[r.ID]
		if got.Status != status[r.State] || got.ID != experiment.MLflowRun(r.ID) || got.Record != r.ID || !slices.Equal(got.Artifacts, []string{"record.json"}) {
			t.Errorf("%s: %+v", r.ID, got)
		}
		if got.Start == nil || *got.Start != r.StartedAt.UnixMilli() || (got.End == nil) != r.FinishedAt.IsZero() {
			t.Errorf("%s: from %v until %v", r.ID, got.Start, got.End)
		}
		for name, want := range r.Parameters {
			if got.Params[name] != want {
				t.Errorf("%s: param %s = %q, want %q", r.ID, name, got.Params[name], want)
			}
		}
		for name, want := range r.Metrics {
			if v, ok := got.Metrics[name]; !ok || math.Abs(v-want) > 1e-15 {
				t.Errorf("%s: metric %s = %v, want %v", r.ID, name, v, want)
			}
		}
		for name, want := range r.Tags {
			if v, ok := got.Tags[name]; !ok || v != want {
				t.Errorf("%s: tag %s = %q, want %q", r.ID, name, v, want)
			}
		}
	}
	if h := runs["retrain-1"].History["validation_accuracy"]; len(h) != 3 || h[0][0] != 1 || h[0][1] != .8 || h[2][0] != 2 || h[2][1] != .9 {
		t.Errorf("history %v: want the two epochs, then the final figure", h)
	}
	if got := runs["retrain-1"].Tags["mlflow.note.content"]; got != records[0].Note {
		t.Errorf("note %q, want %q", got, records[0].Note)
	}
	if got := runs["retrain-1.evaluation"].Tags["mlflow.parentRunId"]; got != runs["retrain-1"].ID {
		t.Errorf("the evaluation lies below %q, want its training", got)
	}
	if !slices.Equal(answer.Found, []string{"retrain-1"}) {
		t.Errorf("MLflow's search finds %v", answer.Found)
	}
}

func TestMLflowReadsAnUnpackedArchive(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	store := experiment.NewStore(l)
	if err := store.Put(t.Context(), experiment.Record{ID: "train-0", Kind: experiment.Train, State: experiment.Done, StartedAt: began, FinishedAt: began}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if err := experiment.MLflow(store.Export(t.Context(), experiment.Filter{}, experiment.Order{}, true), "garments", "", experiment.Zip(z)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, r); err != nil {
		t.Fatal(err)
	}
	if run := askMLflow(t, dir, "mlruns").Experiments["garments"]["train-0"]; run.Status != "FINISHED" || run.Record != "train-0" {
		t.Errorf("read from the folder it was unpacked in: %+v", run)
	}
}

type mlflowAnswer struct {
	Experiments map[string]map[string]mlflowRun
	Found       []string
}

func askMLflow(t *testing.T, dir, store string) (answer mlflowAnswer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t, mlflowPackages...), "-c", mlflowScript, store)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MLFLOW_ALLOW_FILE_STORE=true", "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mlflow: %v\n%s", err, complaint.Bytes())
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("mlflow answered %.200q: %v", out, err)
	}
	return answer
}
