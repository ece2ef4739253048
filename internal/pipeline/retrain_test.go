package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/trainer"
)

var since = noon.Add(-6 * time.Hour)

func trigger() dg.Trigger {
	return dg.Trigger{ID: "t", Source: dg.FromAlarm, Model: "garments", Since: since}
}

func TestABetterChallengerIsPromoted(t *testing.T) {
	s := newStage(t)
	before := s.crown(t)
	var judgedOn dg.Interval
	s.evaluator.compare = func(iv dg.Interval) (dg.Comparison, error) {
		judgedOn = iv
		return dg.Comparison{Verdict: dg.Promote, Pairs: 500, Difference: .2, ChampionAccuracy: .7, ChallengerAccuracy: .9}, nil
	}
	r := s.run(t, "retrain-garments-1")
	result, err := s.retrain(t, r, trigger())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"gather", "compose", "train", "save", "await", "evaluate", "promote", "report"}; !slices.Equal(r.log, want) {
		t.Errorf("steps %v, want %v", r.log, want)
	}
	now := s.registry.champion
	if !result.Promoted || result.Verdict != dg.Promote || result.Challenger != now.Version || result.Champion != before.Version ||
		now.Previous != before.Version || now.RunID != r.id || !strings.HasPrefix(now.Reason, "gate: accuracy +0.200") {
		t.Errorf("result %+v, champion %+v", result, now)
	}
	if judgedOn.Start != since || judgedOn.End != noon {
		t.Errorf("judged on %s, want from the cause's start to now", judgedOn)
	}
	events, err := s.ledger.Events(t.Context(), dg.Interval{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)})
	if err != nil || len(events) != 1 || events[0].Kind != "promotion" || events[0].ModelVersion != now.Version.Short() {
		t.Errorf("events %+v, %v", events, err)
	}
	if a := s.gathered(t, "driftgate_evaluation_accuracy_ratio", "heldout", now.Version.Short()); a != .9 {
		t.Errorf("challenger's accuracy exported as %g", a)
	}
	s.folderGone(t, r.id)
}

func TestHowARetrainEnds(t *testing.T) {
	verdict := func(v dg.Verdict) func(*stageSet) {
		return func(s *stageSet) {
			s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) { return dg.Comparison{Verdict: v, Pairs: 500}, nil }
		}
	}
	for _, tt := range []struct {
		name     string
		set      func(*stageSet)
		want     dg.Verdict
		promoted bool
		note     string
	}{
		{"the gate promotes", verdict(dg.Promote), dg.Promote, true, "champion since"},
		{"the gate rejects", verdict(dg.Reject), dg.Reject, false, "not better"},
		{"the gate cannot tell", verdict(dg.Inconclusive), dg.Inconclusive, false, "too little is known"},
		{"there are too few samples to compare", func(s *stageSet) {
			s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) {
				return dg.Comparison{}, fmt.Errorf("7 pairs: %w", dg.ErrTooFewSamples)
			}
		}, dg.Inconclusive, false, "too little is known"},
		{"the champion changed while the challenger was judged", func(s *stageSet) {
			s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) {
				s.registry.champion.ETag = "somebody promoted by hand"
				return dg.Comparison{Verdict: dg.Promote, Pairs: 500}, nil
			}
		}, dg.Inconclusive, false, "the champion changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			before := s.crown(t)
			tt.set(s)
			result, err := s.retrain(t, s.run(t, "r"), trigger())
			if err != nil {
				t.Fatal(err)
			}
			if result.Verdict != tt.want || result.Judgement() != tt.want || result.Promoted != tt.promoted || !strings.Contains(result.Note, tt.note) {
				t.Errorf("result %+v, want %s, promoted %t, %q", result, tt.want, tt.promoted, tt.note)
			}
			if moved := s.registry.champion.Version != before.Version; moved != tt.promoted {
				t.Errorf("the champion moved: %t", moved)
			}
			s.folderGone(t, "r")
		})
	}
}

func TestNoChampionYetSaysWhatToDo(t *testing.T) {
	s := newStage(t)
	_, err := s.retrain(t, s.run(t, "r"), trigger())
	if !errors.Is(err, dg.ErrNotFound) || !Permanent(err) || !strings.Contains(err.Error(), "train and promote a first model") {
		t.Errorf("error %v", err)
	}
}

func TestAnotherGatewaysModelIsRefused(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	_, err := s.p.Funcs()["retrain"](s.run(t, "r"), json.RawMessage(`{"model":"shoes"}`))
	if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "garments") {
		t.Errorf("error %v", err)
	}
}

func TestARunIDThatIsAPathIsRefused(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	for _, id := range []string{"../../etc", "a/b", "", ".hidden"} {
		if _, err := s.retrain(t, s.run(t, id), trigger()); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestTheTrainingSetIsOfTheLookbackAndNeverOfTheHoldout(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	ctx := t.Context()
	put := func(id string, at time.Time) {
		sample := dg.Sample{Key: "class_00/" + id, PredictedClass: "Bag", Confidence: .5, Timestamp: at}
		if err := s.ledger.Captured(ctx, sample); err != nil {
			t.Fatal(err)
		}
		if err := s.ledger.Decide(ctx, []ledger.Decision{{ID: id, Stratum: dg.LowConfidence, SamplingFraction: 1, Interval: at, Selected: true}}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.ledger.Placed(ctx, id), s.ledger.Collected(ctx, ledger.Answer{ID: id, Label: "Coat", At: at})); err != nil {
			t.Fatal(err)
		}
	}
	inside, held := 0, 0
	for i := range 40 {
		id := fmt.Sprint("in-", i)
		put(id, since.Add(-47*time.Hour).Add(time.Duration(i)*time.Minute))
		if inside++; dg.Held(id, s.p.o.Train.Holdout) {
			held++
		}
	}
	put("too-old", since.Add(-49*time.Hour))
	if _, err := s.retrain(t, s.run(t, "r"), trigger()); err != nil {
		t.Fatal(err)
	}
	if held == 0 || held == inside {
		t.Fatalf("%d of %d held out: the test proves nothing", held, inside)
	}
	if n := len(s.jobs[0].Examples); n != inside-held {
		t.Errorf("%d examples, want %d of %d", n, inside-held, inside)
	}
	if c := s.jobs[0].Composition; c.Labelling.Records != inside || c.Labelling.Human != inside-held || c.Evaluation.Held != held || c.Labelling.Interval == nil || !c.Labelling.Interval.Start.Equal(since.Add(-48*time.Hour)) {
		t.Errorf("account %+v of %d records, %d held out", c, inside, held)
	}
	for _, e := range s.jobs[0].Examples {
		if dg.Held(e.ID, s.p.o.Train.Holdout) || e.ID == "too-old" || e.Label != "Coat" {
			t.Errorf("example %+v", e)
		}
	}
}

func TestProxyLabelsSinceTheCauseBeganAreNotTrusted(t *testing.T) {
	for name, tt := range map[string]struct{ since, want time.Time }{
		"a known start":         {since, since},
		"no known start":        {time.Time{}, time.Time{}},
		"a start in the future": {noon.Add(time.Hour), time.Time{}},
	} {
		s := newStage(t)
		s.crown(t)
		tr := trigger()
		tr.Since = tt.since
		if _, err := s.retrain(t, s.run(t, "r"), tr); err != nil {
			t.Fatal(err)
		}
		if got := s.jobs[0].Options.ProxyUntil; !got.Equal(tt.want) {
			t.Errorf("%s: proxy labels until %s, want %s", name, got, tt.want)
		}
	}
}

func TestOptionsNameEveryMistake(t *testing.T) {
	err := Options{Dir: "relative", Lookback: -time.Hour, Gate: Gate{MinPairs: -1, Wait: -time.Hour}}.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"model:", `dir "relative"`, "lookback -1h0m0s", "gate.min_pairs -1", "wait -1h0m0s", "epochs 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
}

func TestTheJobOnDiskHoldsNoSecret(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	s.train = func(_ context.Context, job trainer.Job) (map[string][]byte, error) {
		b, err := os.ReadFile(filepath.Join(job.Dir, "job.json"))
		if err != nil || strings.Contains(string(b), "very secret") || !strings.Contains(string(b), job.RunID) {
			t.Errorf("job file %s, %v", b, err)
		}
		if job.Store.SecretKey != "very secret" {
			t.Error("the trainer was not given the store")
		}
		return artifact(t, 2), nil
	}
	if _, err := s.retrain(t, s.run(t, "r"), trigger()); err != nil {
		t.Fatal(err)
	}
}

func TestItWaitsForEnoughPairsAndLooksAtCountsOnly(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	s.evaluator.pairs = func(dg.Interval) int { return 25 * s.evaluator.looked }
	compared := 0
	s.evaluator.compare = func(dg.Interval) (dg.Comparison, error) {
		compared++
		if s.evaluator.looked != 4 {
			t.Errorf("judged after %d looks, want 4: 100 pairs", s.evaluator.looked)
		}
		return dg.Comparison{Verdict: dg.Reject}, nil
	}
	if _, err := s.retrain(t, s.run(t, "r"), trigger()); err != nil || compared != 1 {
		t.Errorf("compared %d times, %v", compared, err)
	}
}

// TestItGathersLabelsBeforeItComposes has no label that ever comes: the wait
// must end in event time, and a trigger without a known cause must not wait.
func TestItGathersLabelsBeforeItComposes(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	s.p.o.Gather = Gather{MinLabels: 40, Wait: time.Hour}
	s.p.o.Gate.Poll = time.Millisecond
	looks := 0
	s.p.d.Ledger = passing{s.p.d.Ledger, func() { looks++; s.clock.pass(20 * time.Minute) }}
	tr := trigger()
	tr.At = s.clock.Now()
	if _, err := s.retrain(t, s.run(t, "r"), tr); err != nil || looks != 3 {
		t.Errorf("looked %d times in an hour at 20 minutes a look, want 3; %v", looks, err)
	}
	tr.Since, looks = time.Time{}, 0
	if _, err := s.retrain(t, s.run(t, "r2"), tr); err != nil || looks != 0 {
		t.Errorf("without a known cause it looked %d times, %v", looks, err)
	}
}

// passing is a ledger that does something at each count of labels.
type passing struct {
	Ledger
	each func()
}

func (p passing) Labelled(ctx context.Context, iv dg.Interval) iter.Seq2[ledger.Record, error] {
	p.each()
	return p.Ledger.Labelled(ctx, iv)
}

func TestTheWaitEndsInEventTime(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	if err := s.ledger.SaveRun(t.Context(), ledger.Run{ID: "r", Pipeline: "retrain", State: ledger.RunRunning}); err != nil {
		t.Fatal(err)
	}
	s.evaluator.pairs = func(dg.Interval) int {
		s.clock.pass(time.Hour)
		return 7
	}
	r := s.run(t, "r")
	r.after = func(step string) {
		if step != "await" {
			return
		}
		row, err := s.ledger.Run(t.Context(), "r")
		var g Progress
		if err != nil || json.Unmarshal(row.Progress, &g) != nil || g.Stage != "await" || g.Pairs != 7 || g.WantPairs != 100 || !g.Until.Equal(noon.Add(12*time.Hour)) {
			t.Errorf("progress %s, %v", row.Progress, err)
		}
		if line := g.Line(); !strings.Contains(line, "7 of 100 held-out samples, until 2 Mar 00:00") {
			t.Errorf("line %q", line)
		}
	}
	if _, err := s.retrain(t, r, trigger()); err != nil {
		t.Fatal(err)
	}
	if s.evaluator.looked != 12 {
		t.Errorf("looked %d times, want 12: one an hour for 12 hours", s.evaluator.looked)
	}
}

func TestTheJudgedInterval(t *testing.T) {
	s := newStage(t)
	for _, tt := range []struct {
		name  string
		since time.Time
		want  time.Time
	}{
		{"from the cause's start", since, since},
		{"the window when no start is known", time.Time{}, noon.Add(-24 * time.Hour)},
		{"the window when the start lies in the future", noon.Add(time.Hour), noon.Add(-24 * time.Hour)},
	} {
		if iv := s.p.interval(tt.since); !iv.Start.Equal(tt.want) || !iv.End.Equal(noon) {
			t.Errorf("%s: %s, want from %s", tt.name, iv, tt.want)
		}
	}
}

// TestEveryStepMayBeCutOff runs a retrain that dies after the effect of one
// step and before that is known, for each step, and then goes on.
func TestEveryStepMayBeCutOff(t *testing.T) {
	for _, cut := range []string{"gather", "compose", "train", "save", "await", "evaluate", "promote", "report"} {
		t.Run("after "+cut, func(t *testing.T) {
			s := newStage(t)
			s.crown(t)
			r := s.run(t, "r")
			died := false
			r.after = func(step string) {
				if step == cut && !died {
					died = true
					panic("kill -9")
				}
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("it did not die")
					}
				}()
				_, _ = s.retrain(t, r, trigger())
			}()
			result, err := s.retrain(t, r, trigger())
			if err != nil || !result.Promoted {
				t.Fatalf("result %+v, %v", result, err)
			}
			if s.registry.promoted != 2 { // the first champion, and this
				t.Errorf("%d promotions, want 2", s.registry.promoted)
			}
			if len(s.jobs) != 1 {
				t.Errorf("trained %d times, want once", len(s.jobs))
			}
			s.folderGone(t, "r")
		})
	}
}

func TestAPromotionWhoseReplyIsLostHappensOnce(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	s.registry.fail = errors.New("connection reset")
	r := s.run(t, "r")
	if _, err := s.retrain(t, r, trigger()); err == nil || Permanent(err) {
		t.Fatalf("error %v, want a transient one", err)
	}
	result, err := s.retrain(t, r, trigger()) // as the engine would
	if err != nil || !result.Promoted || s.registry.promoted != 2 {
		t.Errorf("result %+v, %v, %d promotions", result, err, s.registry.promoted)
	}
}

func TestACancelledRunStopsBeforeTheGateHasSpokenAndNotAfter(t *testing.T) {
	for _, tt := range []struct {
		after    string
		promoted bool
	}{{"gather", false}, {"compose", false}, {"save", false}, {"await", false}, {"evaluate", true}, {"promote", true}} {
		t.Run("after "+tt.after, func(t *testing.T) {
			s := newStage(t)
			s.crown(t)
			r := s.run(t, "r")
			ctx, cancel := context.WithCancel(t.Context())
			r.ctx = ctx
			r.after = func(step string) {
				if step == tt.after {
					cancel()
				}
			}
			result, err := s.retrain(t, r, trigger())
			if result.Promoted != tt.promoted || (err == nil) != tt.promoted {
				t.Errorf("result %+v, %v", result, err)
			}
		})
	}
}

func TestAFailedTrainingIsReadable(t *testing.T) {
	s := newStage(t)
	s.crown(t)
	s.train = func(context.Context, trainer.Job) (map[string][]byte, error) {
		return nil, errors.New("child was killed")
	}
	_, err := s.retrain(t, s.run(t, "r"), trigger())
	if err == nil || Permanent(err) || !strings.Contains(err.Error(), "child was killed") {
		t.Errorf("error %v, want the child's, transient", err)
	}
	s.train = func(context.Context, trainer.Job) (map[string][]byte, error) {
		return map[string][]byte{"manifest.json": []byte("{}")}, nil
	}
	if _, err = s.retrain(t, s.run(t, "r2"), trigger()); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a broken artifact: %v", err)
	}
	s.p.Finished(ledger.Run{ID: "r", Pipeline: "retrain", State: ledger.RunFailed}, time.Second)
	s.folderGone(t, "r")
}
