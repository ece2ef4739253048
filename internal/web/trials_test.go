package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
)

// putTrials puts a search's trials below a training: the third was kept, the
// second failed.
func putTrials(t testing.TB, store *experiment.Store, of string) {
	t.Helper()
	for k, accuracy := range []float64{.81, 0, .893, .89, .4} {
		k++
		r := experiment.Record{ID: fmt.Sprintf("%s.trial-%03d", of, k), RunID: of, Kind: experiment.Trial, Parent: of, State: experiment.Done, StartedAt: testNow.Add(time.Duration(k) * time.Second), FinishedAt: testNow.Add(time.Minute),
			Parameters: map[string]string{"trial": fmt.Sprint(k), "outcome": "stopped", "learning_rate": fmt.Sprint(float64(k) / 100), "batch": "64"}, Metrics: map[string]float64{"epochs_run": float64(k), "train_seconds": 1.25}}
		switch k {
		case 2:
			r.State, r.Error, r.Parameters["outcome"] = experiment.Failed, "the loss is not finite", "failed"
		case 3:
			r.Parameters["outcome"] = "kept"
		}
		if accuracy > 0 {
			r.Metrics["validation_accuracy"], r.Metrics["validation_loss"] = accuracy, 1-accuracy
		}
		if err := store.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATrainingsPageShowsItsTrialsTheBestFirst(t *testing.T) {
	s, store := experimentServer(t)
	putTrials(t, store, knownRun)
	page := fetch(t, s, "/experiments/"+knownRun, 200)
	wants(t, page, "<h2>Trials</h2>", "learning_rate", `title="the loss is not finite"`, "0.893", "1.25 s", knownRun+".evaluation")
	table := page[strings.Index(page, "<h2>Trials</h2>"):strings.Index(page, "<h2>Lineage</h2>")]
	if strings.Contains(table, "batch") {
		t.Error("a setting that all trials share has a column")
	}
	last := -1
	for _, k := range []string{"003", "004", "001", "005", "002"} {
		at := strings.Index(table, ".trial-"+k+`"`)
		if at < last {
			t.Errorf("trial %s stands too early", k)
		}
		last = at
	}
	if strings.Contains(page[strings.Index(page, "<h2>Lineage</h2>"):], ".trial-") {
		t.Error("the lineage lists the trials again")
	}
	if page := fetch(t, s, "/experiments/"+knownRun+".trial-003", 200); !strings.Contains(page, `href="/experiments/`+knownRun+`"`) || strings.Contains(page, "<h2>Trials</h2>") {
		t.Error("a trial's page does not lead to its training")
	}
	if page := fetch(t, s, "/experiments?filter=kind%21%3Devaluation+kind%21%3Dtrial", 200); strings.Contains(page, ".trial-") || !strings.Contains(page, knownRun) {
		t.Error("the trainings list trials")
	}
	if page := fetch(t, s, "/experiments?filter=kind%3Dtrial+params.outcome%3Dkept", 200); !strings.Contains(page, ".trial-003") || strings.Contains(page, ".trial-004") {
		t.Error("trials are not found by their outcome")
	}
}

func TestARunsMeterIsOfTheWholeSearch(t *testing.T) {
	row := rowOf(ledger.Run{Progress: []byte(`{"phase":"training","epoch":2,"epochs":2,"step":3,"steps":3,"trial":4,"trials":9,"share":0.25,"best_trial":2,"best_accuracy":0.8}`)}, testNow)
	if row.Share != 25 || row.Progress.Trial != 4 || row.Progress.BestTrial != 2 {
		t.Errorf("%+v", row)
	}
}
