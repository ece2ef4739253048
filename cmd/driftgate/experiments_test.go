package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
)

// experimentsIn puts two records into a folder's ledger.
func experimentsIn(t *testing.T, dir string) {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := experiment.NewStore(l)
	for _, r := range []experiment.Record{
		{ID: "train-a", Kind: experiment.Train, State: experiment.Done, StartedAt: began, FinishedAt: began.Add(time.Minute), Parameters: map[string]string{"start": "scratch"},
			Metrics: map[string]float64{"test_accuracy": .85}, Curves: map[string][]experiment.Point{"train_loss": {{Step: 1, Value: .5}, {Step: 2, Value: .25}}}},
		{ID: "retrain-b", Kind: experiment.Retrain, Parent: "train-a", State: experiment.Done, StartedAt: began.Add(time.Hour), Parameters: map[string]string{"start": "warm"}, Metrics: map[string]float64{"test_accuracy": .9}},
	} {
		if err := store.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestExperimentsOnTheCommandLine(t *testing.T) {
	work := t.TempDir()
	dir := filepath.Join(work, "data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	experimentsIn(t, dir)
	// Paths are relative, and the embedded store changes the directory.
	driven := func(args ...string) string {
		t.Helper()
		t.Chdir(work)
		return driven(t, append(args, "--dir", dir)...)
	}
	if out := driven("experiments", "list", "--sort", "metrics.test_accuracy", "--columns", "kind,params.start,metrics.test_accuracy"); !strings.Contains(out, "train-a") ||
		strings.Index(out, "train-a") > strings.Index(out, "retrain-b") || !strings.Contains(out, "test_accuracy") || !strings.Contains(out, "warm") {
		t.Errorf("list:\n%s", out)
	}
	if out := driven("experiments", "list", "--filter", "metrics.test_accuracy>.87"); strings.Contains(out, "\ntrain-a") || !strings.Contains(out, "\nretrain-b") {
		t.Errorf("filtered:\n%s", out)
	}
	if out := driven("experiments", "list", "--limit", "1"); !strings.Contains(out, "and more: --after ") {
		t.Errorf("a page:\n%s", out)
	}
	driven("experiments", "tag", "retrain-b", "best", "supplier=new one")
	driven("experiments", "note", "retrain-b", "as good as it gets")
	out := driven("experiments", "show", "retrain-b")
	for _, want := range []string{"retrain-b  retrain  done", "tags.supplier", "new one", "as good as it gets", "goes on from", "train-a"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if out := driven("experiments", "tag", "retrain-b", "--off", "best"); strings.Contains(out, "tags.best") {
		t.Errorf("taken off:\n%s", out)
	}
	if out := driven("experiments", "show", "train-a"); !strings.Contains(out, "0.5 0.25") {
		t.Errorf("curves:\n%s", out)
	}
	var list experimentList
	if err := json.Unmarshal([]byte(driven("experiments", "list", "--format", "json", "--columns", "metrics.test_accuracy", "--filter", "kind=train")), &list); err != nil || len(list.Rows) != 1 || list.Rows[0]["metrics.test_accuracy"] != .85 {
		t.Errorf("as JSON: %+v, %v", list, err)
	}
	driven("experiments", "export", "--as", "csv", "runs.csv", "--columns", "id,params.start", "--sort", "started")
	b, err := os.ReadFile(filepath.Join(work, "runs.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll(); err != nil || len(rows) != 3 || rows[1][0] != "train-a" || rows[2][1] != "warm" {
		t.Errorf("CSV %v, %v", rows, err)
	}
	driven("experiments", "export", "--as", "mlflow", ".")
	found, err := filepath.Glob(filepath.Join(work, "mlruns", "*", experiment.MLflowRun("train-a"), "metrics", "train_loss"))
	if err != nil || len(found) != 1 {
		t.Fatalf("MLflow: %v, %v", found, err)
	}
	if b, err := os.ReadFile(found[0]); err != nil || strings.Count(string(b), "\n") != 2 {
		t.Errorf("MLflow's metric %q, %v", b, err)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a filter that means nothing": {[]string{"experiments", "list", "--filter", "kind"}, exitUsage, "want terms such as"},
		"a column that is none":       {[]string{"experiments", "list", "--columns", "colour"}, exitUsage, "want id, kind"},
		"an unknown form":             {[]string{"experiments", "export", "--as", "xml"}, exitUsage, "want csv, json or mlflow"},
		"MLflow without a folder":     {[]string{"experiments", "export", "--as", "mlflow"}, exitUsage, "want a folder"},
		"no tag":                      {[]string{"experiments", "tag", "train-a"}, exitUsage, "want a tag"},
		"an unknown experiment":       {[]string{"experiments", "show", "none"}, exitFailed, "not found"},
	} {
		t.Chdir(work)
		if code, _, stderr := drive(t, append(tt.args, "--dir", dir)...); code != tt.code || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s: exit code %d, want %d with %q: %s", name, code, tt.code, tt.says, stderr)
		}
	}
}
