package web

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"driftgate/internal/experiment"
)

// trialTable is what a search tried, the best first.
type trialTable struct {
	Heads []string // the settings in which trials differ
	Rows  []trialRow
}

type trialRow struct {
	experiment.Record
	Number, Outcome string
	Settings        []string // in the order of the heads
	Accuracy, Loss  string
	Epochs, Took    string
}

// trialsOf takes the trials out of what lies below a training.
func trialsOf(below []experiment.Record) (t trialTable, others []experiment.Record) {
	var trials []experiment.Record
	values := map[string]map[string]bool{}
	for _, r := range below {
		if r.Kind != experiment.Trial {
			others = append(others, r)
			continue
		}
		trials = append(trials, r)
		for name, v := range r.Parameters {
			if values[name] == nil {
				values[name] = map[string]bool{}
			}
			values[name][v] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if name != "trial" && name != "outcome" && len(values[name]) > 1 {
			t.Heads = append(t.Heads, name)
		}
	}
	accuracy := func(r experiment.Record) float64 {
		if v, ok := r.Metrics["validation_accuracy"]; ok && r.State != experiment.Failed {
			return v
		}
		return -1
	}
	slices.SortStableFunc(trials, func(a, b experiment.Record) int {
		kept := func(r experiment.Record) int { return -strings.Count(r.Parameters["outcome"], "kept") }
		return cmp.Or(cmp.Compare(kept(a), kept(b)), cmp.Compare(accuracy(b), accuracy(a)), cmp.Compare(a.ID, b.ID))
	})
	for _, r := range trials {
		row := trialRow{Record: r, Number: r.Parameters["trial"], Outcome: r.Parameters["outcome"], Took: "–", Accuracy: "–", Loss: "–"}
		for _, name := range t.Heads {
			row.Settings = append(row.Settings, cmp.Or(clipRunes(r.Parameters[name], 40), "–"))
		}
		if v, ok := r.Metrics["validation_accuracy"]; ok {
			row.Accuracy, row.Loss = figureText(v), figureText(r.Metrics["validation_loss"])
		}
		row.Epochs = figureText(r.Metrics["epochs_run"])
		if s, ok := r.Metrics["train_seconds"]; ok {
			row.Took = figureText(s) + " s"
		}
		t.Rows = append(t.Rows, row)
	}
	return t, others
}
