package pipeline

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/trainer"
)

func TestTrain(t *testing.T) {
	run := func(t *testing.T, s *stageSet, in string) (TrainResult, error) {
		t.Helper()
		v, err := s.p.Funcs()["train"](s.run(t, "train-1"), json.RawMessage(in))
		result, _ := v.(TrainResult)
		return result, err
	}
	t.Run("the first model becomes champion when asked to", func(t *testing.T) {
		s := newStage(t)
		result, err := run(t, s, `{"dataset":"synthetic@0123456789ab","promote":true,"options":{"epochs":2}}`)
		if err != nil || !result.Promoted || s.registry.champion.Reason != "first" || s.registry.champion.Version != result.Model || result.Metrics["test_accuracy"] != .75 {
			t.Errorf("result %+v, %v, champion %+v", result, err, s.registry.champion)
		}
		if o := s.jobs[0].Options; o.Epochs != 2 || o.Batch != trainer.DefaultOptions().Batch || o.Replay != -1 || len(s.jobs[0].Examples) != 0 {
			t.Errorf("options %+v", o)
		}
		s.folderGone(t, "train-1")
	})
	t.Run("it stays a candidate when not asked to", func(t *testing.T) {
		s := newStage(t)
		result, err := run(t, s, `{"dataset":"synthetic@0123456789ab"}`)
		if err != nil || result.Promoted || s.registry.champion != nil || s.registry.models[result.Model] == nil {
			t.Errorf("result %+v, %v", result, err)
		}
	})
	t.Run("it starts from scratch whatever is configured, from the champion when asked to", func(t *testing.T) {
		s := newStage(t)
		before := s.crown(t)
		s.p.o.Train.Start = trainer.Head
		if _, err := run(t, s, `{"dataset":"synthetic@0123456789ab"}`); err != nil || s.jobs[0].Options.Start != trainer.Scratch || s.jobs[0].Parent != "" {
			t.Errorf("start %q from %q, %v", s.jobs[0].Options.Start, s.jobs[0].Parent, err)
		}
		if _, err := run(t, s, `{"dataset":"synthetic@0123456789ab","options":{"start":"warm"}}`); err != nil || s.jobs[1].Options.Start != trainer.Warm || s.jobs[1].Parent != before.Version {
			t.Errorf("start %q from %q, %v", s.jobs[1].Options.Start, s.jobs[1].Parent, err)
		}
	})
	t.Run("what one asks for is nobody else's", func(t *testing.T) {
		s := newStage(t)
		o := &s.p.o.Train
		o.Hidden, o.Sources, o.Filters, o.Dense, o.Quality.Weak = []int{128, 64}, []string{"human", "proxy"}, []int{8, 16}, []int{32}, []string{"class=Bag"}
		o.Epochs, o.ClassWeights = 50, trainer.ClassWeights{"Bag": 2}
		before, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, s, `{"dataset":"synthetic@0123456789ab","options":{"hidden":[7],"sources":["proxy"],"filters":[1],"dense":[2],"quality":{"weak":["class=Coat"]},"class_weights":{"Bag":3}}}`); err != nil {
			t.Fatal(err)
		}
		if after, err := json.Marshal(o); err != nil || string(after) != string(before) {
			t.Errorf("configured were\n%s\nand are now\n%s", before, after)
		}
		if got := s.jobs[0].Options; got.Hidden[0] != 7 || got.ClassWeights["Bag"] != 3 || got.Epochs != 50 {
			t.Errorf("trained with %+v", got)
		}
	})
	t.Run("what is asked for is judged beside what is configured", func(t *testing.T) {
		s := newStage(t)
		s.p.o.Train.Epochs = 50
		if o, err := s.p.TrainOptions(json.RawMessage(`{"warmup":20}`)); err != nil || o.Epochs != 50 || o.Warmup != 20 {
			t.Errorf("%+v, %v", o, err)
		}
		if _, err := s.p.TrainOptions(json.RawMessage(`{"warmup":50}`)); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "want 0 to below epochs (50)") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("where there is a champion it stays", func(t *testing.T) {
		s := newStage(t)
		before := s.crown(t)
		result, err := run(t, s, `{"dataset":"synthetic@0123456789ab","promote":true}`)
		if err != nil || result.Promoted || *s.registry.champion != before || !strings.Contains(result.Note, "compare, then promote") {
			t.Errorf("result %+v, %v", result, err)
		}
	})
	for name, in := range map[string]string{
		"no dataset":           `{"promote":true}`,
		"an unknown option":    `{"dataset":"d","options":{"epoch":2}}`,
		"an impossible option": `{"dataset":"d","options":{"epochs":-2}}`,
		"no JSON":              `{`,
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			s := newStage(t)
			if _, err := run(t, s, in); !errors.Is(err, dg.ErrInvalid) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSmallPipelinesPassTheirReportOn(t *testing.T) {
	s := newStage(t)
	iv := dg.Interval{Start: noon, End: noon.Add(time.Hour)}
	in, _ := json.Marshal(CurateInput{iv, true})
	if _, err := s.p.Funcs()["curate"](s.run(t, "c"), in); err != nil || len(s.services.curated) != 1 || s.services.curated[0] != iv {
		t.Errorf("curated %v, %v", s.services.curated, err)
	}
	out, err := s.p.Funcs()["collect"](s.run(t, "c"), nil)
	if b, _ := json.Marshal(out); err != nil || !strings.Contains(string(b), `"collected":3`) {
		t.Errorf("collected %s, %v", b, err)
	}
	if _, err := s.p.Funcs()["reconcile"](s.run(t, "c"), nil); err != nil {
		t.Error(err)
	}
}

func TestRunsAreCountedFromZero(t *testing.T) {
	s := newStage(t)
	for _, p := range Names {
		if s.p.Funcs()[p] == nil {
			t.Errorf("no pipeline %s", p)
		}
		for _, state := range []string{"done", "failed", "cancelled"} {
			if n := s.gathered(t, "driftgate_pipeline_runs_total", p, state); n != 0 {
				t.Errorf("%s %s starts at %g", p, state, n)
			}
		}
	}
	in, _ := json.Marshal(RetrainInput{Trigger: trigger()})
	for _, r := range []ledger.Run{
		{Pipeline: "retrain", State: ledger.RunDone, Verdict: "reject", Input: in, FinishedAt: noon},
		{Pipeline: "retrain", State: ledger.RunFailed, Input: in},
		{Pipeline: "retrain", State: ledger.RunCancelled, Input: in},
		{Pipeline: "curate", State: ledger.RunDone, FinishedAt: noon},
		{Pipeline: "unheard of", State: ledger.RunDone},
	} {
		s.p.Finished(r, 3*time.Second)
	}
	for _, tt := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"driftgate_retrain_runs_total", []string{"alarm", "reject"}, 1},
		{"driftgate_retrain_runs_total", []string{"alarm", "promote"}, 0},
		{"driftgate_retrain_runs_total", []string{"alarm", "error"}, 1},
		{"driftgate_retrain_runs_total", []string{"alarm", "cancelled"}, 1},
		{"driftgate_retrain_duration_seconds", nil, 3},
		{"driftgate_pipeline_runs_total", []string{"retrain", "failed"}, 1},
		{"driftgate_pipeline_last_success_timestamp_seconds", []string{"curate"}, float64(noon.Unix())},
		{"driftgate_pipeline_last_success_timestamp_seconds", []string{"collect"}, -1},
	} {
		if got := s.gathered(t, tt.name, tt.labels...); got != tt.want {
			t.Errorf("%s%v = %g, want %g", tt.name, tt.labels, got, tt.want)
		}
	}
}
