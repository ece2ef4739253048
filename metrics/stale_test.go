package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	dg "driftgate"
)

func TestFiguresThatCannotBeRefreshedAreExportedNoMore(t *testing.T) {
	w := newWorld(t, Options{})
	w.snapshot()
	reg := prometheus.NewRegistry()
	reg.MustRegister(w.metrics)
	exported := func(name string) bool {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name })
	}
	if !exported("driftgate_window_predictions") {
		t.Fatal("a fresh snapshot has no figures")
	}
	w.metrics.refreshed.Store(time.Now().Add(-w.metrics.o.MaxAge - time.Second).UnixNano())
	if exported("driftgate_window_predictions") || exported("driftgate_accuracy_alarm_state") {
		t.Error("figures of long ago are exported as if they were of now")
	}
	if !exported("driftgate_label_delay_seconds") {
		t.Error("counters stop, though they stay true")
	}
	w.snapshot()
	if !exported("driftgate_window_predictions") {
		t.Error("figures do not come back")
	}
}

func TestABucketWithoutProductionSpeaksOfNoMissingPredictions(t *testing.T) {
	counts := []dg.StratumCount{{Stratum: dg.Random, Predictions: 40, Labels: 40, Correct: 30}}
	for known, want := range map[int]bool{0: false, 30: true} { // with none in production there is nothing to miss
		in := windowInputs{Start: noon.Add(-time.Hour), End: noon, MinLabels: 1, Known: known, Counts: counts}
		if note := in.figures().Note; strings.Contains(note, "not in production") != want {
			t.Errorf("%d of 40 known: %q", known, note)
		}
	}
}
