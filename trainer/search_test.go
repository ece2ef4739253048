package trainer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/network"
)

// trying is a job that searches, in a second or so.
func trying(t testing.TB, method string, trials int) Job {
	job := quick(t)
	job.Options.Epochs, job.Options.Validation, job.Options.Momentum = 9, 0.3, 0.9
	job.Options.Search = Search{Trials: trials, Method: method, Space: map[string]Range{"hidden": {}, "batch": {Values: []any{16, 32, 64}}}}
	return job
}

// ageless is an artifact without times, those of its trials included.
func ageless(t testing.TB, a *network.Artifact) dg.ModelRef {
	t.Helper()
	b := *a
	s := *a.Manifest.Search
	s.Trials = slices.Clone(s.Trials)
	for i := range s.Trials {
		s.Trials[i].Seconds = 0
	}
	b.Manifest.Search = &s
	return timeless(t, &b)
}

func TestATrialIsTheSameWhateverElseIsSearched(t *testing.T) {
	o := DefaultOptions()
	few, many := Search{Trials: 3}, Search{Trials: 200}
	fewer := Search{Trials: 200, Space: map[string]Range{"batch": {}}}
	seen := map[string]bool{}
	for k := 1; k <= 200; k++ {
		x, settings, err := many.trial(o, k)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Validate(); err != nil {
			t.Fatalf("trial %d cannot be trained: %v", k, err)
		}
		if k <= 3 {
			if y, _, err := few.trial(o, k); err != nil || !reflect.DeepEqual(x, y) {
				t.Errorf("trial %d of 3 has %+v, of 200 %+v, %v", k, y, x, err)
			}
		}
		z, _, err := fewer.trial(o, k)
		if err != nil || z.LearningRate != x.LearningRate || z.WeightDecay != x.WeightDecay || z.Batch != o.Batch {
			t.Errorf("trial %d without batch: %+v, %v", k, z, err)
		}
		if got, want := slices.Sorted(maps.Keys(settings)), []string{"batch", "hidden", "learning_rate", "weight_decay"}; !slices.Equal(got, want) {
			t.Errorf("settings %v, want %v", got, want)
		}
		if x.LearningRate < 0.003 || x.LearningRate > 0.5 {
			t.Errorf("trial %d: learning_rate %g", k, x.LearningRate)
		}
		seen[fmt.Sprint(settings)] = true
	}
	if len(seen) < 190 {
		t.Errorf("%d different settings of 200", len(seen))
	}
	first, _, err := many.trial(o, 1)
	if err != nil || !reflect.DeepEqual(first, o) {
		t.Errorf("trial 1 is %+v, want the options as given %+v, %v", first, o, err)
	}
}

func TestEmptySettingsAreSaidAsWhatTheyMean(t *testing.T) {
	o := DefaultOptions()
	o.Model, o.BatchNorm, o.Dense = network.FamilyCNN, true, nil
	s := Search{Trials: 2, Space: map[string]Range{"batch_norm": {Values: []any{true, false}}, "dense": {Values: []any{[]any{64}, []any{}}}, "smoothing": {High: 0.1}}}
	_, settings, err := s.trial(o, 1)
	for name, want := range map[string]string{"dropout": "0", "batch_norm": "true", "dense": "null", "smoothing": "0", "learning_rate": "0.1"} {
		if err != nil || string(settings[name]) != want {
			t.Errorf("%s is %s, want %s (%v)", name, settings[name], want, err)
		}
	}
	o.BatchNorm = false
	if _, settings, err := s.trial(o, 1); err != nil || string(settings["batch_norm"]) != "false" {
		t.Errorf("batch_norm is %s, %v", settings["batch_norm"], err)
	}
}

func TestDrawsFillTheirRange(t *testing.T) {
	o := DefaultOptions()
	s := Search{Trials: 200, Space: map[string]Range{"learning_rate": {Low: 1e-4, High: 1}, "momentum": {Low: 0.5, High: 0.9}, "batch": {Low: 10, High: 20}}}
	below, low := 0, 0
	for k := 2; k <= 200; k++ {
		x, _, err := s.trial(o, k)
		if err != nil {
			t.Fatal(err)
		}
		if x.LearningRate < 1e-4 || x.LearningRate > 1 || x.Momentum < 0.5 || x.Momentum > 0.9 || x.Batch < 10 || x.Batch > 20 {
			t.Fatalf("trial %d: %+v", k, x)
		}
		if x.LearningRate < 1e-2 { // half of the decades
			below++
		}
		if x.Momentum < 0.7 {
			low++
		}
	}
	for name, n := range map[string]int{"learning rates in the lower half of the decades": below, "momenta in the lower half": low} {
		if n < 80 || n > 120 {
			t.Errorf("%d of 199 %s", n, name)
		}
	}
}

func TestHalvingSpendsLessThanRandom(t *testing.T) {
	for _, tt := range []struct {
		trials, epochs int
		want           []rung
	}{
		{9, 9, []rung{{1, 9}, {3, 3}, {9, 1}}},
		{9, 15, []rung{{2, 9}, {5, 3}, {15, 1}}},
		{10, 15, []rung{{2, 10}, {5, 4}, {15, 2}}},
		{2, 15, []rung{{5, 2}, {15, 1}}},
		{1, 15, []rung{{15, 1}}},
		{9, 2, []rung{{2, 9}}},
		{200, 81, []rung{{1, 200}, {3, 67}, {9, 23}, {27, 8}, {81, 3}}},
	} {
		if got := (Search{Trials: tt.trials}).rungs(tt.epochs); !slices.Equal(got, tt.want) {
			t.Errorf("%d trials of %d epochs: %v, want %v", tt.trials, tt.epochs, got, tt.want)
		}
	}
	for trials := 2; trials <= 200; trials++ {
		for _, epochs := range []int{3, 4, 7, 15, 100} {
			halving, random := Search{Trials: trials}.rungs(epochs), Search{Trials: trials, Method: Random}.rungs(epochs)
			if a, b := planned(halving), planned(random); a >= b || b != trials*epochs {
				t.Fatalf("%d trials of %d epochs: halving %d, random %d epochs", trials, epochs, a, b)
			}
			if !slices.IsSortedFunc(halving, func(a, b rung) int { return a.epochs - b.epochs }) || halving[0].epochs < 1 || halving[len(halving)-1].epochs != epochs {
				t.Fatalf("%d trials of %d epochs: %v", trials, epochs, halving)
			}
		}
	}
}

func TestASearchMendsBadSettings(t *testing.T) {
	epochs := map[string]int{}
	for _, method := range []string{Halving, Random} {
		job := trying(t, method, 6)
		job.Options.LearningRate = 0.0005 // a hundredth of what is good
		a := mustTrain(t, job, newMemory())
		s := a.Manifest.Search
		given, best := s.Trials[0], s.Trials[s.Best-1]
		t.Logf("%s: as given %.4f after %d epochs, trial %d %.4f with %s; %d epochs in all", method, given.ValidationAccuracy, given.Epochs, s.Best, best.ValidationAccuracy, best.Settings["learning_rate"], s.Epochs)
		if s.Best == 1 || best.ValidationAccuracy < given.ValidationAccuracy+0.2 || best.State != network.TrialKept || best.Epochs != 9 {
			t.Errorf("%s: trials %+v", method, s.Trials)
		}
		for _, trial := range s.Trials {
			if trial.State == network.TrialFinished && trial.ValidationAccuracy > best.ValidationAccuracy {
				t.Errorf("%s: trial %d was better than the best", method, trial.Trial)
			}
			if trial.Epochs == 0 || trial.Seconds <= 0 || len(trial.Curve) == 0 || len(trial.Settings) == 0 {
				t.Errorf("%s: trial %+v", method, trial)
			}
		}
		epochs[method] = s.Epochs
		if m := a.Manifest.Metrics["validation_accuracy"]; round4(m) != best.ValidationAccuracy {
			t.Errorf("%s: the artifact has %.4f, its trial %.4f", method, m, best.ValidationAccuracy)
		}
		// The model is the one that its settings alone give.
		alone := job
		alone.Dir = t.TempDir()
		var err error
		if alone.Options, _, err = job.Options.Search.trial(job.Options, s.Best); err != nil {
			t.Fatal(err)
		}
		if b := mustTrain(t, alone, newMemory()); !reflect.DeepEqual(a.Weights, b.Weights) || string(a.Manifest.Options) != string(b.Manifest.Options) {
			t.Errorf("%s: training with the best trial's settings gives another model", method)
		}
	}
	if epochs[Halving]*2 > epochs[Random] {
		t.Errorf("halving took %d epochs, random %d: want less than half", epochs[Halving], epochs[Random])
	}
}

func TestASearchIsTheSameHoweverItWasInterrupted(t *testing.T) {
	whole := mustTrain(t, trying(t, Halving, 5), newMemory())
	again := mustTrain(t, trying(t, Halving, 5), newMemory())
	if ageless(t, whole) != ageless(t, again) {
		t.Error("the same search gave another artifact")
	}
	for _, after := range []int{3, 17, 40, 66} {
		job := trying(t, Halving, 5)
		tries := 0
		var a *network.Artifact
		for a == nil {
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			var err error
			a, err = train(ctx, job, newMemory(), func(p Progress) {
				if n++; n == after && tries < 4 {
					cancel()
				}
			})
			if tries++; err != nil && !errors.Is(err, context.Canceled) || tries > 9 {
				t.Fatal(err)
			}
			cancel()
		}
		if ageless(t, a) != ageless(t, whole) {
			t.Errorf("interrupted after %d steps, %d times: another artifact", after, tries-1)
		}
		if _, err := os.Stat(filepath.Join(job.Dir, trialsDir)); !os.IsNotExist(err) {
			t.Errorf("the trials' folder is left behind: %v", err)
		}
	}
}

func TestASearchKeepsFewCheckpoints(t *testing.T) {
	job := trying(t, Halving, 9)
	most, share := 0, 0.0
	a, err := train(t.Context(), job, newMemory(), func(p Progress) {
		if p.Rested == nil && p.Phase == Training {
			if p.Fraction() < share || p.SecondsLeft < 0 || p.Epoch > p.Epochs || p.Trials != 9 || p.Rounds != 3 || !strings.HasPrefix(p.Line(), fmt.Sprintf("round %d of 3, trial %d of 9, epoch", p.Round, p.Trial)) {
				t.Errorf("after %.3f came %.3f of %+v", share, p.Fraction(), p)
			}
			share = p.Fraction()
		}
		files, err := filepath.Glob(filepath.Join(job.Dir, trialsDir, "*", checkpointFile))
		if err != nil {
			t.Error(err)
		}
		most = max(most, len(files))
	})
	if err != nil {
		t.Fatal(err)
	}
	if share != 1 {
		t.Errorf("it ended at %g of all epochs", share)
	}
	if most > 4 { // three that may go on, and the one at work
		t.Errorf("%d checkpoints at a time", most)
	}
	// Of nine, three went on, then one.
	var stopped, kept int
	for _, trial := range a.Manifest.Search.Trials {
		switch trial.State {
		case network.TrialStopped:
			stopped++
		case network.TrialKept:
			kept++
		}
	}
	if stopped != 8 || kept != 1 || a.Manifest.Search.Epochs != planned(Search{Trials: 9}.rungs(9)) {
		t.Errorf("%d stopped, %d kept, %d epochs", stopped, kept, a.Manifest.Search.Epochs)
	}
}

func TestATrialThatDivergesIsNotTheEnd(t *testing.T) {
	for _, method := range []string{Halving, Random} {
		job := trying(t, method, 6)
		job.Options.LearningRate, job.Options.MaxNorm = 0.05, 0
		job.Options.Search.Space = map[string]Range{"learning_rate": {Values: []any{0.05, 1e6}}, "batch": {}, "hidden": {}, "weight_decay": {}}
		var rested []network.Trial
		a, err := train(t.Context(), job, newMemory(), func(p Progress) {
			if p.Rested != nil {
				rested = append(rested, *p.Rested)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, trial := range a.Manifest.Search.Trials {
			if trial.State == network.TrialFailed {
				if failed++; !strings.Contains(trial.Reason, "learning_rate") || string(trial.Settings["learning_rate"]) != "1000000" || len(trial.Reason) > network.MaxReason {
					t.Errorf("trial %+v", trial)
				}
			}
		}
		if failed == 0 || failed == 6 {
			t.Errorf("%d of 6 failed: the draw is no test", failed)
		}
		if !slices.ContainsFunc(rested, func(x network.Trial) bool { return x.State == network.TrialFailed }) || len(rested) < 6 {
			t.Errorf("%d trials were told of", len(rested))
		}

		job = trying(t, method, 4)
		job.Options.LearningRate, job.Options.MaxNorm = 1e6, 0
		job.Options.Search.Space = map[string]Range{"learning_rate": {Low: 9e5, High: 1e6}, "hidden": {}}
		if _, err := train(t.Context(), job, newMemory(), nil); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "all 4 trials failed: trial 1:") {
			t.Errorf("%s: all diverge: %v", method, err)
		}
	}
}

// When every trial that went on fails, those that were stopped take their place.
func TestStoppedTrialsTakeThePlaceOfThoseThatFailed(t *testing.T) {
	st := &standing{Round: 1, Going: []int{2}, Rounds: []int{1, 2, 1}, Trials: []network.Trial{
		{Trial: 1, State: network.TrialStopped, ValidationAccuracy: .3}, {Trial: 2, State: network.TrialFailed}, {Trial: 3, State: network.TrialStopped, ValidationAccuracy: .4}}}
	s := &searching{job: Job{Dir: t.TempDir()}, plan: []rung{{1, 3}, {3, 1}}, standing: st, progress: func(Progress) {}}
	if err := s.advance(); err != nil || !slices.Equal(st.Going, []int{3}) || st.Round != 1 || st.Trials[2].State != network.TrialGoing {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestATrialsAccountIsShort(t *testing.T) {
	for _, epochs := range []int{1, 2, 11, 12, 13, 25, 499} {
		s := &state{}
		for e := 1; e <= epochs; e++ {
			s.Epoch = e
			s.plot(network.Epoch{Epoch: e, ValidationLoss: 1 / float64(e), ValidationAccuracy: .5, Seconds: .5})
		}
		got := account(network.Trial{}, s)
		n := len(got.Curve)
		if n < 1 || n > network.MaxTrialPoints || got.Curve[n-1].Epoch != epochs || (epochs <= 11 && n != epochs) || got.Epochs != epochs || got.Seconds != .5*float64(epochs) {
			t.Errorf("%d epochs: %+v", epochs, got)
		}
	}
	if got := reason(errors.New("trainer: " + strings.Repeat("ä", 400))); len(got) > network.MaxReason || !strings.HasPrefix(got, "ä") {
		t.Errorf("a reason of %d bytes: %q", len(got), got)
	}
}

func TestSearchesThatCannotBeAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"without a validation split": {func(o *Options) { o.Validation = 0 }, "search with validation 0: want a share over 0"},
		"too many":                   {func(o *Options) { o.Search.Trials = 201 }, "search.trials 201: want 0 (no search) to 200"},
		"an unknown method":          {func(o *Options) { o.Search.Method = "bayes" }, `search.method "bayes": want one of ["random" "halving"]`},
		"a setting that is none":     {func(o *Options) { o.Search.Space["colour"] = Range{Low: 1, High: 2} }, "search.space.colour: want one of learning_rate, batch"},
		"a setting of the set":       {func(o *Options) { o.Search.Space["replay"] = Range{Low: 1, High: 2} }, "search.space.replay: want one of"},
		"the wrong way round":        {func(o *Options) { o.Search.Space["momentum"] = Range{Low: .9, High: .5} }, "search.space.momentum: low 0.9, high 0.5: want low at most high"},
		"no logarithm of zero":       {func(o *Options) { o.Search.Space["learning_rate"] = Range{High: 1} }, "search.space.learning_rate: low 0, high 1: want low at most high, and over 0"},
		"out of the option's bounds": {func(o *Options) { o.Search.Space["momentum"] = Range{Low: .5, High: 1} }, "momentum 1: want 0 to below 1"},
		"a value of another kind":    {func(o *Options) { o.Search.Space["hidden"] = Range{Values: []any{"wide"}} }, "search.space.hidden: wide: hidden: json"},
		"both":                       {func(o *Options) { o.Search.Space["batch"] = Range{Low: 1, High: 2, Values: []any{1}} }, "search.space.batch: want low and high, or values, not both"},
		"layers of a made network":   {func(o *Options) { o.Start = Warm; o.Search.Space["hidden"] = Range{Values: []any{[]any{8}}} }, "search.space.hidden: start warm begins with a network that is made already"},
		"a space without any trials": {func(o *Options) { o.Search = Search{Space: map[string]Range{"batch": {}}} }, "search.space: want search.trials beside it"},
		"nothing left to search": {func(o *Options) {
			o.Search.Space = map[string]Range{"learning_rate": {}, "batch": {}, "weight_decay": {}, "hidden": {}}
		}, "search.space: it leaves nothing to search, and all 3 trials would be the same"},
		"a setting of another model": {func(o *Options) { o.Search.Space["dropout"] = Range{High: .5} }, "search.space.dropout: no model [mlp] has it: it is a setting of cnn"},
		"of none that is tried": {func(o *Options) {
			o.Search.Space["width"], o.Search.Space["model"] = Range{Low: .25, High: 1}, Range{Values: []any{"mlp", "cnn"}}
		}, "search.space.width: no model [mlp mlp cnn] has it"},
		"a search that has no method": {func(o *Options) { o.Search.Method = ""; o.Epochs = 0 }, "epochs 0"},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.Search = Search{Trials: 3, Space: map[string]Range{}}
			tt.change(&o)
			if err := o.Validate(); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	o := DefaultOptions()
	o.Search = Search{Trials: 3, Space: map[string]Range{"dropout": {High: .5}, "model": {Values: []any{"mlp", "cnn"}}}}
	if err := o.Validate(); err != nil {
		t.Errorf("a setting of a model that may be drawn: %v", err)
	}
	o.Search = Search{Trials: 1, Space: map[string]Range{"learning_rate": {}, "batch": {}, "weight_decay": {}, "hidden": {}}}
	if err := o.Validate(); err != nil {
		t.Errorf("one trial, nothing searched: %v", err)
	}
	job := trying(t, Random, 2)
	job.Options.Replay, job.Options.Validation = 20, 0.001
	if _, err := train(t.Context(), job, newMemory(), nil); !errors.Is(err, dg.ErrTooFewSamples) || !strings.Contains(err.Error(), "validation split") {
		t.Errorf("an empty validation split: %v", err)
	}
}
