package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	dg "driftgate"
)

func openRuns(t *testing.T) (*Ledger, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, path
}

var runTime = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func TestARunComesBackAsSaved(t *testing.T) {
	l, _ := openRuns(t)
	full := Run{ID: "retrain-m-1", Pipeline: "retrain", Model: "m", State: RunDone, TriggerID: "t", Verdict: "promote",
		Input: json.RawMessage(`{"a":1}`), Progress: json.RawMessage(`{"b":2}`), Result: json.RawMessage(`[3]`), Error: "none", CancelRequested: true,
		RequestedAt: runTime, StartedAt: runTime.Add(time.Second), FinishedAt: runTime.Add(time.Minute)}
	bare := Run{ID: "collect-1", Pipeline: "collect", State: RunRunning}
	for _, want := range []Run{full, bare} {
		for range 2 { // saving is idempotent
			if err := l.SaveRun(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		got, err := l.Run(t.Context(), want.ID)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := l.Run(t.Context(), "nobody"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("unknown run: %v", err)
	}
	if err := l.SaveRun(t.Context(), Run{ID: "x", State: RunDone}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("run without a pipeline: %v", err)
	}
}

func TestRunsAreListedNewestFirst(t *testing.T) {
	l, _ := openRuns(t)
	for i := range 6 {
		r := Run{ID: fmt.Sprint("r", i), Pipeline: []string{"curate", "collect"}[i%2], State: RunDone, RequestedAt: runTime.Add(time.Duration(i) * time.Second)}
		if err := l.SaveRun(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(pipeline string, limit int) (out []string) {
		runs, err := l.Runs(t.Context(), pipeline, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			out = append(out, r.ID)
		}
		return out
	}
	for _, tt := range []struct {
		pipeline string
		limit    int
		want     []string
	}{{"", 2, []string{"r5", "r4"}}, {"curate", 0, []string{"r4", "r2", "r0"}}, {"train", 5, nil}} {
		if got := ids(tt.pipeline, tt.limit); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Runs(%q, %d) = %v, want %v", tt.pipeline, tt.limit, got, tt.want)
		}
	}
}

func TestARunGoesThroughItsStatesOnce(t *testing.T) {
	l, _ := openRuns(t)
	ctx := t.Context()
	if err := l.SaveRun(ctx, Run{ID: "r", Pipeline: "retrain", Model: "m", State: RunRequested, Input: json.RawMessage(`"asked"`), RequestedAt: runTime}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := l.BeginRun(ctx, Run{ID: "r", Pipeline: "other", Input: json.RawMessage(`"other"`), StartedAt: runTime.Add(time.Hour)})
		if err != nil || r.State != RunRunning || string(r.Input) != `"asked"` || r.Pipeline != "retrain" || !r.StartedAt.Equal(runTime.Add(time.Hour)) {
			t.Fatalf("begun as %+v, %v", r, err)
		}
	}
	if err := l.SetRunProgress(ctx, "r", json.RawMessage(`{"epoch":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.FinishRun(ctx, Run{ID: "r", State: RunRunning}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("finished as running: %v", err)
	}
	for i, state := range []string{RunDone, RunFailed} {
		r, err := l.FinishRun(ctx, Run{ID: "r", State: state, Verdict: "reject", Error: fmt.Sprint(i), FinishedAt: runTime.Add(2 * time.Hour)})
		if err != nil || r.State != RunDone || r.Verdict != "reject" || r.Error != "0" || string(r.Progress) != `{"epoch":1}` {
			t.Errorf("finished as %+v, %v", r, err)
		}
	}
	if err := l.SetRunProgress(ctx, "r", json.RawMessage(`{"epoch":2}`)); err != nil {
		t.Fatal(err)
	}
	r, err := l.CancelRun(ctx, "r", runTime)
	if err != nil || r.State != RunDone || r.CancelRequested || string(r.Progress) != `{"epoch":1}` {
		t.Errorf("a finished run was changed: %+v, %v", r, err)
	}
	if r, err := l.RestartRun(ctx, "r", runTime); err != nil || r.State != RunDone {
		t.Errorf("a done run was restarted: %+v, %v", r, err)
	}
}

func TestCancelAndRestart(t *testing.T) {
	l, _ := openRuns(t)
	ctx := t.Context()
	for id, state := range map[string]string{"asked": RunRequested, "running": RunRunning} {
		if err := l.SaveRun(ctx, Run{ID: id, Pipeline: "p", State: state, Input: json.RawMessage(`1`), RequestedAt: runTime}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := l.CancelRun(ctx, "asked", runTime); err != nil || r.State != RunCancelled || r.FinishedAt.IsZero() {
		t.Errorf("a requested run was cancelled to %+v, %v", r, err)
	}
	if r, err := l.CancelRun(ctx, "running", runTime); err != nil || r.State != RunRunning || !r.CancelRequested {
		t.Errorf("a running run was cancelled to %+v, %v", r, err)
	}
	r, err := l.RestartRun(ctx, "asked", runTime.Add(time.Hour))
	if err != nil || r.State != RunRequested || r.Error != "" || r.CancelRequested || string(r.Input) != "1" || !r.FinishedAt.IsZero() {
		t.Errorf("restarted as %+v, %v", r, err)
	}
}

func TestAModelHasOneUnfinishedRun(t *testing.T) {
	l, _ := openRuns(t)
	ctx := t.Context()
	save := func(id, model, state string) error {
		return l.SaveRun(ctx, Run{ID: id, Pipeline: "retrain", Model: model, State: state, RequestedAt: runTime})
	}
	if err := errors.Join(save("a", "m", RunRequested), save("b", "n", RunRunning), save("c", "", RunRunning), save("d", "", RunRunning), save("old", "m", RunDone)); err != nil {
		t.Fatal(err)
	}
	if err := save("e", "m", RunRunning); !errors.Is(err, dg.ErrBusy) {
		t.Errorf("a second run of m: %v", err)
	}
	if _, err := l.BeginRun(ctx, Run{ID: "f", Pipeline: "train", Model: "m"}); !errors.Is(err, dg.ErrBusy) {
		t.Errorf("a second run of m, begun: %v", err)
	}
	if err := save("old", "m", RunRequested); !errors.Is(err, dg.ErrBusy) {
		t.Errorf("an old run of m, again: %v", err)
	}
	if r, err := l.Run(ctx, "a"); err != nil || r.State != RunRequested {
		t.Errorf("the first run suffered: %+v, %v", r, err)
	}
	// The index holds even against a writer that does not ask first.
	if _, err := l.write.ExecContext(ctx, `UPDATE runs SET state = 'running' WHERE id = 'old'`); err == nil {
		t.Error("the index let a second unfinished run through")
	}
}

func TestPruneKeepsHistory(t *testing.T) {
	l, _ := openRuns(t)
	ctx := t.Context()
	put := func(id, model, state string, age int) {
		if err := l.SaveRun(ctx, Run{ID: id, Pipeline: "p", Model: model, State: state, RequestedAt: runTime.Add(-time.Duration(age) * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		put(fmt.Sprint("small", i), "", RunDone, i)
	}
	put("model", "m", RunDone, 100)
	put("stuck", "", RunRunning, 100)
	if err := l.PruneRuns(ctx, 5); err != nil {
		t.Fatal(err)
	}
	runs, err := l.Runs(ctx, "", 0)
	if err != nil || len(runs) < 7 || len(runs) > 8 || runs[0].ID != "small0" {
		t.Errorf("%d kept, %v: %+v", len(runs), err, runs)
	}
	for _, id := range []string{"model", "stuck", "small0", "small4"} {
		if _, err := l.Run(ctx, id); err != nil {
			t.Error(err)
		}
	}
}

func TestTriggerAndRunAreWrittenTogetherOrNotAtAll(t *testing.T) {
	l, path := openRuns(t)
	ctx := t.Context()
	tr := dg.Trigger{ID: "t1", Source: dg.FromAlarm, Model: "m", DedupeKey: "k", At: runTime}
	broken := errors.New("broken")
	_, err := l.SubmitTrigger(ctx, tr, runTime, func(TriggerState) (TriggerPlan, error) { return TriggerPlan{}, broken })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	_, err = l.SubmitTrigger(ctx, tr, runTime, func(TriggerState) (TriggerPlan, error) {
		return TriggerPlan{Decision: dg.Accepted, IncidentID: "i", Run: &Run{ID: "r"}}, nil // a run without pipeline is refused
	})
	if !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("error %v", err)
	}
	if kept, err := l.Triggers(ctx, 0); err != nil || len(kept) != 0 {
		t.Errorf("kept %+v, %v", kept, err)
	}
	accept := func(s TriggerState) (TriggerPlan, error) {
		if s.Prior != nil || s.Incident != nil || s.Unfinished != "" || s.Recent != 0 {
			return TriggerPlan{}, fmt.Errorf("state %+v: want it empty", s)
		}
		return TriggerPlan{Decision: dg.Accepted, Note: "n", IncidentID: "i", AnswerID: "r", OwnAnswer: true,
			Run: &Run{ID: "r", Pipeline: "retrain", Model: "m", State: RunRequested, RequestedAt: runTime}}, nil
	}
	if _, err := l.SubmitTrigger(ctx, tr, runTime, accept); err != nil {
		t.Fatal(err)
	}
	other, err := Open(ctx, path) // what is committed, another reader sees
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	kept, err := other.TriggerFor(ctx, "r")
	if err != nil || kept.Decision != dg.Accepted || kept.IncidentID != "i" || kept.Note != "n" || kept.Trigger != tr {
		t.Errorf("kept %+v, %v", kept, err)
	}
	_, err = other.SubmitTrigger(ctx, tr, runTime.Add(time.Hour), func(s TriggerState) (TriggerPlan, error) {
		inc := s.Incident
		if s.Prior == nil || s.Accepted != 1 || s.Unfinished != "r" || s.Recent != 1 || inc == nil || !inc.OwnAnswer || inc.Answer == nil || inc.Answer.ID != "r" || len(inc.Causes) != 1 {
			return TriggerPlan{}, fmt.Errorf("state %+v", s)
		}
		return TriggerPlan{Decision: dg.Duplicate, IncidentID: "i"}, nil
	})
	if err != nil {
		t.Error(err)
	}
	if kept, _ := l.Triggers(ctx, 0); len(kept) != 1 || kept[0].Deliveries != 2 || !kept[0].HeardAt.Equal(runTime.Add(time.Hour)) {
		t.Errorf("kept %+v: want one decision with two deliveries", kept)
	}
	if _, err := l.TriggerFor(ctx, "nobody"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("trigger of an unknown run: %v", err)
	}
}
