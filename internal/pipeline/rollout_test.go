package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/rollout"
	"driftgate/trainer"
)

// onStages is a stage with a plan of shadow and two canaries, whose challenger
// differs from the champion by worse in every block of an hour.
func onStages(t *testing.T, worse *float64) *stageSet {
	t.Helper()
	s := newStage(t)
	s.p.o.Rollout = rollout.Plan{
		Stages:    []rollout.Stage{{Stage: dg.Shadow, For: time.Hour}, {Stage: dg.Canary, Share: .1, For: 2 * time.Hour}, {Stage: dg.Canary, Share: .5, For: 2 * time.Hour}},
		MinLabels: 10, Watch: 24 * time.Hour, Slot: time.Hour, Grace: 10 * time.Minute, Alpha: .05, Harm: .02,
	}
	s.evaluator.differences = func(_ context.Context, against, subject dg.ModelRef, _ dg.Interval) ([]float64, int, error) {
		if against == subject {
			t.Errorf("%s compared with itself", subject.Short())
		}
		return slices.Repeat([]float64{*worse}, 30), 30, nil
	}
	s.p.d.Accuracy = func(_ context.Context, _ string, _ time.Duration, _ time.Time) (dg.Accuracy, error) {
		return dg.Accuracy{Estimates: []dg.Estimate{{Estimator: "stratified", Accuracy: .8, Lower: .7, Upper: .9}}}, nil
	}
	return s
}

// hour lets an hour pass and the rollout run.
func (s *stageSet) hour(t *testing.T) rollout.Status {
	t.Helper()
	s.clock.pass(time.Hour)
	v, err := s.p.Funcs()["rollout"](s.run(t, "rollout-"+s.clock.Now().Format("15:04")), nil)
	if err != nil {
		t.Fatal(err)
	}
	var status rollout.Status
	if err := json.Unmarshal(v.(json.RawMessage), &status); err != nil {
		t.Fatal(err)
	}
	return status
}

func (s *stageSet) kinds(t *testing.T) (kinds []string) {
	t.Helper()
	events, err := s.ledger.Events(t.Context(), dg.Interval{Start: noon.Add(-time.Hour), End: noon.Add(100 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Who == "" || e.Text == "" {
			t.Errorf("event %+v: want who and why", e)
		}
		kinds = append(kinds, e.Who+" "+e.Kind)
	}
	return kinds
}

func TestAHarmlessChallengerGoesThroughEveryStageAndServes(t *testing.T) {
	worse := 0.0
	s := onStages(t, &worse)
	before := s.crown(t)
	result, err := s.retrain(t, s.run(t, "r1"), trigger())
	if err != nil || result.Verdict != dg.Promote || result.Promoted || !strings.Contains(result.Note, "stage 1 of 3, shadow") {
		t.Fatalf("result %+v, %v", result, err)
	}
	if s.registry.champion.Version != before.Version {
		t.Fatal("it serves in full before its stages")
	}
	var shares []float64
	for range 9 {
		s.hour(t)
		if e := s.registry.exposure; e.Challenger != "" {
			shares = append(shares, e.Share)
		}
	}
	if want := []float64{0, .1, .1, .5, .5}; !slices.Equal(shares, want) {
		t.Errorf("shares by the hour %v, want %v", shares, want)
	}
	now := s.registry.champion
	if now.Version != result.Challenger || now.Previous != before.Version || !strings.HasPrefix(now.Reason, "rollout: no harm shown") || s.registry.exposure.Challenger != "" {
		t.Errorf("champion %+v, exposure %+v", now, s.registry.exposure)
	}
	want := []string{"gate exposure", "rollout exposure", "rollout exposure", "rollout exposure_end", "rollout promotion"}
	if got := s.kinds(t); !slices.Equal(got, want) {
		t.Errorf("audit %v, want %v", got, want)
	}
}

func TestACanaryThatDoesHarmIsEndedAndAFreshChampionTakenBack(t *testing.T) {
	worse := .3
	s := onStages(t, &worse)
	before := s.crown(t)
	if _, err := s.retrain(t, s.run(t, "r1"), trigger()); err != nil {
		t.Fatal(err)
	}
	hours := 0
	for s.registry.exposure.Challenger != "" {
		if hours++; hours > 30 {
			t.Fatal("harm goes on")
		}
		s.hour(t)
	}
	if s.registry.champion.Version != before.Version || !strings.Contains(s.registry.exposure.Reason, "does harm") {
		t.Errorf("champion %+v, exposure %+v", s.registry.champion, s.registry.exposure)
	}
	if n := s.gathered(t, "driftgate_rollout_moves_total", "end"); n != 1 {
		t.Errorf("%v ends counted", n)
	}

	// A person promotes it nevertheless.
	bad, err := s.registry.Save(t.Context(), artifact(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.Promote(t.Context(), bad, *s.registry.champion, "person: I know better", ""); err != nil {
		t.Fatal(err)
	}
	promoted := s.clock.Now()
	for s.registry.champion.Version == bad {
		if s.clock.Now().Sub(promoted) > 24*time.Hour {
			t.Fatal("the harmful champion serves on")
		}
		s.hour(t)
	}
	if c := s.registry.champion; c.Version != before.Version || !strings.HasPrefix(c.Reason, "rollback: the fresh champion does harm") {
		t.Errorf("champion %+v", c)
	}
	if got := s.kinds(t); !slices.Contains(got, "rollout rollback") || !slices.Contains(got, "rollout exposure_end") {
		t.Errorf("audit %v", got)
	}
	// What was taken back stays back: a champion that came by a rollback is not watched.
	for range 30 {
		if s.hour(t); s.registry.champion.Version != before.Version {
			t.Fatal("the harmful model came back")
		}
	}
}

func TestAFreshChampionIsWatchedBesideATrial(t *testing.T) {
	worse := .3
	s := onStages(t, &worse)
	before := s.crown(t)
	bad, err := s.registry.Save(t.Context(), artifact(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := s.registry.Promote(t.Context(), bad, *s.registry.champion, "person: why not", "")
	if err != nil {
		t.Fatal(err)
	}
	// What is tried beside it must not turn the watch off.
	third := dg.ModelRef("sha256:" + strings.Repeat("c", 64))
	if _, err := s.registry.Expose(t.Context(), dg.Exposure{Challenger: third, Against: fresh.Version, Stage: dg.Shadow, Step: dg.ByHand, Began: s.clock.Now()}, dg.Exposure{}); err != nil {
		t.Fatal(err)
	}
	for hour := 0; s.registry.champion.Version == bad; hour++ {
		if hour > 20 {
			t.Fatal("a harmful champion serves on beside a trial")
		}
		s.hour(t)
	}
	if s.hour(t); s.registry.champion.Version != before.Version || s.registry.exposure.Challenger != "" {
		t.Errorf("champion %+v, exposure %+v; want the one before and no trial against the bad one", s.registry.champion, s.registry.exposure)
	}
}

func TestModelsThatCannotBeComparedEndTheTrial(t *testing.T) {
	worse := 0.0
	s := onStages(t, &worse)
	s.crown(t)
	s.evaluator.differences = func(context.Context, dg.ModelRef, dg.ModelRef, dg.Interval) ([]float64, int, error) {
		return nil, 0, fmt.Errorf("other classes: %w", dg.ErrInvalid)
	}
	if _, err := s.retrain(t, s.run(t, "r1"), trigger()); err != nil {
		t.Fatal(err)
	}
	s.hour(t)
	s.hour(t)
	if e := s.registry.exposure; e.Challenger != "" || !strings.Contains(e.Reason, "cannot be compared: other classes") {
		t.Errorf("exposure %+v", e)
	}
}

func TestARolloutRunsAgainWithoutDoingTwice(t *testing.T) {
	worse := 0.0
	s := onStages(t, &worse)
	s.crown(t)
	calls := 0
	inner := s.evaluator.differences
	s.evaluator.differences = func(ctx context.Context, against, subject dg.ModelRef, slot dg.Interval) ([]float64, int, error) {
		calls++
		if calls == 2 {
			return nil, 0, errors.New("the store is away")
		}
		return inner(ctx, against, subject, slot)
	}
	if _, err := s.retrain(t, s.run(t, "r1"), trigger()); err != nil {
		t.Fatal(err)
	}
	s.clock.pass(150 * time.Minute)
	if _, err := s.p.Funcs()["rollout"](s.run(t, "x"), nil); err == nil {
		t.Fatal("a store that is away is no error")
	}
	before := *s.registry.exposure
	for range 3 {
		if _, err := s.p.Funcs()["rollout"](s.run(t, "x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	after := *s.registry.exposure
	if after.Generation != before.Generation+1 || after.Share != .1 {
		t.Errorf("from %+v to %+v in one hour", before, after)
	}
	if calls != 3 { // two slots and one failure
		t.Errorf("%d slots were asked for, want each closed once", calls)
	}
}

func TestOneChallengerIsTriedAtATime(t *testing.T) {
	worse := 0.0
	s := onStages(t, &worse)
	s.crown(t)
	if _, err := s.retrain(t, s.run(t, "r1"), trigger()); err != nil {
		t.Fatal(err)
	}
	s.train = func(context.Context, trainer.Job) (map[string][]byte, error) { return artifact(t, 3), nil }
	first := *s.registry.exposure
	result, err := s.retrain(t, s.run(t, "r2"), trigger())
	if err != nil || result.Verdict != dg.Inconclusive || !strings.Contains(result.Note, "is tried on production already") {
		t.Errorf("result %+v, %v", result, err)
	}
	if *s.registry.exposure != first {
		t.Errorf("exposure %+v, was %+v", s.registry.exposure, first)
	}
}

func TestOldUploadsFrameATraining(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		s := newStage(t)
		before := s.crown(t)
		s.p.o.OldUploads = wanted
		result, err := s.retrain(t, s.run(t, "r"), trigger())
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.registry.Load(t.Context(), result.Challenger)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if wanted {
			want = []string{before.Version.Short() + " at " + noon.Format(dg.TimeFormat), result.Challenger.Short() + " at " + a.Manifest.FinishedAt.UTC().Format(dg.TimeFormat)}
		}
		if !slices.Equal(s.registry.oldStyle, want) {
			t.Errorf("copies %v, want %v", s.registry.oldStyle, want)
		}
	}
}

func TestPruningSaysWhatIsGone(t *testing.T) {
	s := newStage(t)
	s.p.d.Prune = func(context.Context) ([]dg.ModelRef, error) { return []dg.ModelRef{"sha256:aa"}, nil }
	v, err := s.p.Funcs()["prune"](s.run(t, "prune-1"), nil)
	if err != nil || !strings.Contains(string(v.(json.RawMessage)), `"deleted":["sha256:aa"]`) {
		t.Errorf("%s, %v", v, err)
	}
}

func TestWhatTheGateDidNotPassIsOnRecord(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) {
		return dg.Comparison{Verdict: dg.Reject, Pairs: 500, Reasons: []string{"the challenger is worse"}}, nil
	}
	if _, err := s.retrain(t, s.run(t, "r"), trigger()); err != nil {
		t.Fatal(err)
	}
	events, err := s.ledger.Events(t.Context(), dg.Interval{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)})
	if err != nil || len(events) != 1 || events[0].Kind != ledger.EventRejection || events[0].Who != ledger.ByGate || !strings.Contains(events[0].Text, "the challenger is not better; the challenger is worse") ||
		!strings.Contains(string(events[0].Evidence), `"pairs":500`) {
		t.Errorf("events %+v, %v", events, err)
	}
}
