package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	dg "driftgate"
)

func experimentRow(id string, after time.Duration) Experiment {
	return Experiment{ID: id, Kind: "train", Parent: "p", RunID: "r-" + id, Version: "sha256:aa", State: "running", StartedAt: t0.Add(after),
		Parameters: json.RawMessage(`{"epochs":"3"}`), Metrics: json.RawMessage(`{"a":0.5}`), Environment: json.RawMessage(`{"os":"linux"}`),
		Curves: json.RawMessage(`{"loss":[{"step":1,"value":2}]}`), Tags: json.RawMessage(`{"baseline":""}`), Note: "first"}
}

func TestAnExperimentIsReplacedButForWhatPeopleWroteOnIt(t *testing.T) {
	ctx, l := t.Context(), open(t)
	first := experimentRow("a", 0)
	must(t, l.PutExperiment(ctx, first))
	must(t, l.PutExperiment(ctx, first)) // a step that is run again
	if got := get[Experiment](t)(l.Experiment(ctx, "a")); !reflect.DeepEqual(got, first) {
		t.Errorf("got %+v\nwant %+v", got, first)
	}
	edited := get[Experiment](t)(l.EditExperiment(ctx, "a", func(tags json.RawMessage, note string) (json.RawMessage, string, error) {
		return json.RawMessage(`{"best":"yes"}`), note + ", and best", nil
	}))
	done := first
	done.State, done.Verdict, done.FinishedAt, done.Metrics = "done", "promote", t0.Add(time.Minute), json.RawMessage(`{"a":0.9}`)
	done.Tags, done.Note = nil, "" // the pipeline knows nothing of them
	must(t, l.PutExperiment(ctx, done))
	done.Tags, done.Note = edited.Tags, "first, and best"
	if got := get[Experiment](t)(l.Experiment(ctx, "a")); !reflect.DeepEqual(got, done) {
		t.Errorf("got %+v\nwant %+v", got, done)
	}
	refused := errors.New("no")
	if _, err := l.EditExperiment(ctx, "a", func(json.RawMessage, string) (json.RawMessage, string, error) { return nil, "", refused }); !errors.Is(err, refused) {
		t.Errorf("a refused edit: %v", err)
	}
	if got := get[Experiment](t)(l.Experiment(ctx, "a")); got.Note != done.Note {
		t.Errorf("a refused edit has changed the note to %q", got.Note)
	}
	if _, err := l.Experiment(ctx, "b"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown id: %v", err)
	}
	if _, err := l.EditExperiment(ctx, "b", nil); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("editing an unknown id: %v", err)
	}
	for _, bad := range []Experiment{{}, {ID: "x", Kind: "train", State: "done"}, {ID: "x", State: "done", StartedAt: t0}} {
		if err := l.PutExperiment(ctx, bad); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%+v: %v, want invalid", bad, err)
		}
	}
}

func TestPagesOfExperimentsMissNoneAndRepeatNone(t *testing.T) {
	ctx, l := t.Context(), open(t)
	for i := range 23 { // several start at the same moment
		must(t, l.PutExperiment(ctx, experimentRow(fmt.Sprintf("e%02d", i), time.Duration(i/4)*time.Second)))
	}
	q, seen := ExperimentQuery{Limit: 5}, []string{}
	for {
		page := get[[]Experiment](t)(l.Experiments(ctx, q))
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if e.Curves != nil {
				t.Fatalf("curves of %s were not asked for", e.ID)
			}
			seen = append(seen, e.ID)
		}
		last := page[len(page)-1]
		q.BeforeTime, q.BeforeID = last.StartedAt, last.ID
	}
	if len(seen) != 23 || seen[0] != "e22" || seen[22] != "e00" {
		t.Errorf("seen %v", seen)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] >= seen[i-1] {
			t.Errorf("%s comes after %s", seen[i], seen[i-1])
		}
	}
}

func TestExperimentsAreChosenByTheirColumns(t *testing.T) {
	ctx, l := t.Context(), open(t)
	other := Experiment{ID: "b", Kind: "evaluation", Parent: "a", RunID: "r", Version: "sha256:bb", State: "done", StartedAt: t0}
	must(t, l.PutExperiment(ctx, experimentRow("a", 0)))
	must(t, l.PutExperiment(ctx, other))
	for name, q := range map[string]ExperimentQuery{
		"kind": {Kind: "evaluation"}, "parent": {Parent: "a"}, "run": {RunID: "r"}, "version": {Version: "sha256:bb"}, "state": {State: "done"},
		"all": {Kind: "evaluation", State: "done", Limit: 1, Curves: true},
	} {
		if got := get[[]Experiment](t)(l.Experiments(ctx, q)); len(got) != 1 || !reflect.DeepEqual(got[0], other) {
			t.Errorf("by %s: %+v", name, got)
		}
	}
	if got := get[[]Experiment](t)(l.Experiments(ctx, ExperimentQuery{Kind: "x' OR '1'='1"})); len(got) != 0 {
		t.Errorf("%d rows of a made-up kind", len(got))
	}
	if got := get[[]Experiment](t)(l.Experiments(ctx, ExperimentQuery{Kind: "train", Curves: true})); len(got) != 1 || string(got[0].Curves) != string(experimentRow("a", 0).Curves) {
		t.Errorf("with curves: %+v", got)
	}
}
