package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"driftgate"
	"driftgate/internal/ledger"
	"driftgate/trainer"

	"github.com/spf13/cobra"
)

var (
	midway = trainer.Progress{Phase: trainer.Training, Epoch: 7, Epochs: 15, Step: 40, Steps: 100, Loss: .3123, Accuracy: .8931, SamplesPerSecond: 12345, SecondsLeft: 83, ValidationAccuracy: .871}
	ofNine = trainer.Progress{Phase: trainer.Training, Epoch: 1, Epochs: 2, Step: 40, Steps: 100, Loss: .9, Accuracy: .7, SamplesPerSecond: 9000, SecondsLeft: 7260,
		Trial: 4, Trials: 9, Round: 1, Rounds: 3, Share: .1, BestTrial: 2, BestAccuracy: .8731}
)

func TestTheBarFitsEveryTerminal(t *testing.T) {
	for _, tt := range []struct {
		p       trainer.Progress
		columns int
		want    string
	}{
		{midway, 120, "training [############-----------------]  43%  epoch 7/15  left 1m23s  loss 0.312  acc 0.893  validation 0.871  12345/s"},
		{midway, 100, "training [###------]  43%  epoch 7/15  left 1m23s  loss 0.312  acc 0.893  validation 0.871  12345/s"},
		{midway, 80, "training [####------]  43%  epoch 7/15  left 1m23s  acc 0.893  validation 0.871"},
		{midway, 60, "training [###-----]  43%  epoch 7/15  left 1m23s  acc 0.893"},
		{midway, 30, "training [#####--------]  43%"},
		{midway, 15, "training  43%"},
		{ofNine, 100, "round 1/3 trial 4/9 [#---------------]  10%  epoch 1/2  left 2h01m  acc 0.700  best 0.873 (trial 2)"},
		{ofNine, 60, "round 1/3 trial 4/9 [---------]  10%  epoch 1/2  left 2h01m"},
		{trainer.Progress{Phase: trainer.Loading, Step: 20, Steps: 80}, 60, "loading [#######-----------------------]  25%  20/80"},
		{trainer.Progress{Phase: "saving the challenger"}, 60, "saving the challenger"},
		{trainer.Progress{Phase: trainer.Calibrating, Trial: 2, Trials: 3, Epoch: 9}, 60, "calibrating trial 2/3 [##############################] 100%"},
	} {
		if got := bar(tt.p, tt.columns); got != tt.want {
			t.Errorf("%d columns:\n%q, want\n%q", tt.columns, got, tt.want)
		}
	}
	for _, p := range []trainer.Progress{midway, ofNine, {Phase: "waiting for labels to learn from: 3 of 100 since the drift began"}, {}} {
		for columns := range 250 {
			if got := bar(p, columns); utf8.RuneCountInString(got) > max(columns-1, minBar+2) {
				t.Fatalf("%d columns: %q", columns, got)
			}
		}
	}
}

// told shows runs and returns what was written.
func told(t *testing.T, s progressShower, gap time.Duration, progress ...trainer.Progress) string {
	t.Helper()
	var out bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.w, s.now = &out, func() time.Time { return at }
	for _, p := range progress {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		s.show(ledger.Run{ID: "train-1", State: ledger.RunRunning, Progress: b})
		at = at.Add(gap)
	}
	s.end()
	return out.String()
}

func TestProgressIsABarLinesOrJSON(t *testing.T) {
	next := midway
	next.Step = 60
	if got := told(t, progressShower{form: "bar", width: func() int { return 60 }}, time.Second, midway, midway, next); strings.Count(got, "\r") != 2 || strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\x1b[K\n") {
		t.Errorf("bar: %q", got)
	}
	lines := progressShower{form: "lines", every: 5 * time.Second}
	if got := told(t, lines, time.Second, midway, next, midway); got != midway.Line()+"\n" {
		t.Errorf("lines within five seconds: %q", got)
	}
	if got := told(t, lines, 6*time.Second, midway, next, next); got != midway.Line()+"\n"+next.Line()+"\n" {
		t.Errorf("lines: %q", got)
	}
	if got := told(t, lines, time.Second, midway, trainer.Progress{Phase: trainer.Calibrating, Epoch: 15}); strings.Count(got, "\n") != 2 {
		t.Errorf("a new phase is told at once: %q", got)
	}
	got := told(t, progressShower{form: "json"}, time.Second, midway, midway, next)
	var last struct {
		Run, State string
		Progress   trainer.Progress
	}
	rows := strings.Split(strings.TrimSpace(got), "\n")
	if err := json.Unmarshal([]byte(rows[len(rows)-1]), &last); err != nil || len(rows) != 2 || last.Progress != next || last.Run != "train-1" || last.State != "running" {
		t.Errorf("JSON: %v, %q", err, got)
	}
}

func TestFlagsBecomeTheOptionsOfTheRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"none":             {nil, ""},
		"lists":            {[]string{"--set", "train.class_weights=[Bag=2, Coat=3]", "--set", "train.dense="}, `{"class_weights":["Bag=2","Coat=3"],"dense":null}`},
		"flags":            {[]string{"--epochs", "8", "--learning-rate", "1e-2", "--model", "cnn", "--optimiser", "adam"}, `{"epochs":8,"learning_rate":1e-2,"model":"cnn","optimiser":"adam"}`},
		"settings":         {[]string{"--set", "train.hidden=64", "--set", "train.augment.flip=true", "--set", "train.augment.shift=2", "--set", "train.wait=1h", "--set", "alarm.years=20"}, `{"augment":{"flip":true,"shift":2},"hidden":[64]}`},
		"a flag wins":      {[]string{"--set", "train.epochs=3", "--epochs", "4"}, `{"epochs":4}`},
		"search":           {[]string{"--search", "5"}, `{"search":{"trials":5,"method":"halving"}}`},
		"search in bounds": {[]string{"--search", "5", "--method", "random", "--space", "learning_rate=0.01..0.3", "--space", "batch=32,64", "--space", "weight_decay=", "--space", "hidden=[[8],[16,8]]", "--space", "optimiser=sgd,adam"}, `{"search":{"trials":5,"method":"random","space":{"batch":{"values":[32,64]},"hidden":{"values":[[8],[16,8]]},"learning_rate":{"low":0.01,"high":0.3},"optimiser":{"values":["sgd","adam"]},"weight_decay":{}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := &global{}
			c := newTrain(g)
			c.Flags().StringArrayVar(&g.set, "set", nil, "")
			var request map[string]any
			c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
				trials, _ := cmd.Flags().GetInt("search")
				method, _ := cmd.Flags().GetString("method")
				space, _ := cmd.Flags().GetStringArray("space")
				options, err := g.trainOptions(cmd)
				if err == nil {
					err = withSearch(cmd, options, trials, method, space)
				}
				if err == nil {
					request, err = trainRequest(options)
				}
				return err
			}
			c.SetArgs(append(tt.args, "--dataset", "x"))
			if err := c.Execute(); err != nil {
				t.Fatal(err)
			}
			got := ""
			if raw, ok := request["options"].(json.RawMessage); ok {
				got = string(raw)
			}
			if got != tt.want {
				t.Errorf("options %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTrainingsThatCannotBeAreRefusedBeforeTheyBegin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("train:\n  epochs: 50\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What is right beside what is configured gets as far as the missing dataset.
	for _, args := range []string{"--config " + file + " --set train.warmup=20", "--epochs 30 --set train.warmup=20", "--set train.class_weights=[Bag=2]"} {
		code, _, stderr := drive(t, append([]string{"train", "--dataset", "garments", "--dir", t.TempDir()}, strings.Fields(args)...)...)
		if code != exitFailed || !strings.Contains(stderr, "dataset") {
			t.Errorf("%s: exit code %d: %s", args, code, stderr)
		}
	}
	for name, tt := range map[string]struct{ args, says string }{
		"no number":               {"--epochs many", `option epochs: "many": want a whole number`},
		"out of bounds":           {"--batch 0", "batch 0: want 1 to 8192"},
		"a model nobody knows":    {"--model resnet", `"resnet"`},
		"too many trials":         {"--search 201", "search.trials 201: want 0 (no search) to 200"},
		"no trials":               {"--search 0", "--search 0: want 1 to 200"},
		"a method without trials": {"--method random", "--method goes with --search N"},
		"no range":                {"--search 2 --space batch", `--space "batch": want NAME=LOW..HIGH`},
		"half a range":            {"--search 2 --space batch=1..", "want two numbers, as 0.01..0.3"},
		"a setting nobody knows":  {"--search 2 --space colour=1", "search.space.colour: want one of learning_rate, batch"},
		"without a split":         {"--search 2 --set train.validation=0", "search with validation 0"},
		"a section and its part":  {"--set train.quality={} --set train.quality.folds=5", "option quality.folds: quality is given as a whole too"},
		"beside the file":         {"--config " + file + " --set train.warmup=60", "warmup 60: want 0 to below epochs (50)"},
		"beside a flag":           {"--epochs 30 --set train.warmup=30", "warmup 30: want 0 to below epochs (30)"},
		"no value":                {"--set train.hidden", `--set "train.hidden": want key=value`},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := drive(t, append([]string{"train", "--dataset", "garments", "--dir", t.TempDir()}, strings.Fields(tt.args)...)...)
			if code != exitUsage || !strings.Contains(stderr, tt.says) {
				t.Errorf("exit code %d, want %d with %q: %s", code, exitUsage, tt.says, stderr)
			}
		})
	}
}

func TestASearchFromTheCommandLine(t *testing.T) {
	t.Setenv(asProgram, "1") // this binary plays the training process too
	dir := t.TempDir()
	driven(t, "ingest", "synthetic", "--dir", dir)
	code, out, stderr := drive(t, "train", "--dataset", "garments", "--epochs", "12", "--search", "3", "--space", "hidden=[[128],[256]]", "--set", "train.hidden=128", "--promote", "--dir", dir)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"search    method halving, trials 3, failed 0, epochs 20, best ", "promoted  true"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if !strings.Contains(stderr, "round 1 of 2, trial ") || strings.Contains(stderr, "INFO") {
		t.Errorf("progress:\n%s", stderr)
	}
	var list experimentList
	listed := driven(t, "experiments", "list", "--filter", "kind=trial", "--sort", "-metrics.validation_accuracy", "--columns", "params.outcome,parent,params.hidden,metrics.epochs_run", "--format", "json", "--dir", dir)
	if err := json.Unmarshal([]byte(listed), &list); err != nil || len(list.Rows) != 3 {
		t.Fatalf("%v, %s", err, listed)
	}
	if best := list.Rows[0]; best["params.outcome"] != "kept" || best["metrics.epochs_run"] != 12. || !strings.HasPrefix(fmt.Sprint(best["id"]), fmt.Sprint(best["parent"])+".trial-00") {
		t.Errorf("the best trial: %v", best)
	}
	for _, row := range list.Rows[1:] {
		if row["params.outcome"] != "stopped" || row["metrics.epochs_run"] != 4. {
			t.Errorf("another: %v", row)
		}
	}
	// So that a program can read why: the last line is JSON too.
	code, out, stderr = drive(t, "train", "--dataset", "garments", "--learning-rate", "1e6", "--set", "train.hidden=16", "--format", "json", "--dir", dir)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	var last struct{ Run, State, Error string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code != exitFailed || last.State != "failed" || last.Run == "" || !strings.Contains(last.Error, "learning_rate") || !strings.Contains(out, `"state": "failed"`) {
		t.Errorf("exit code %d, %v: last line of\n%s", code, err, stderr)
	}
	// One that diverges ends with its reason and the code of a failure.
	if code, _, stderr := drive(t, "train", "--dataset", "garments", "--learning-rate", "1e6", "--set", "train.hidden=16", "--dir", dir); code != exitFailed || !strings.Contains(stderr, "learning_rate") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestTheLastLineOfARunThatIsNotDone(t *testing.T) {
	failed := errors.New("run train-1 failed: it diverged")
	var out bytes.Buffer
	text := progressShower{w: &out, form: "lines"}
	if err := text.fault("train-1", "failed", failed); !errors.Is(err, failed) || errors.As(err, new(toldError)) || out.Len() != 0 {
		t.Errorf("text: %v, %q", err, out.String())
	}
	program := progressShower{w: &out, form: "json"}
	err := program.fault("train-1", "failed", fmt.Errorf("%w: %w", failed, driftgate.ErrBusy))
	if want := `{"run":"train-1","state":"failed","error":"run train-1 failed: it diverged: busy"}` + "\n"; out.String() != want || !errors.As(err, new(toldError)) || exitCode(err) != exitRefused {
		t.Errorf("JSON: %v, %q, want %q", err, out.String(), want)
	}
	out.Reset()
	if err := program.fault("train-1", "done", nil); err != nil || out.Len() != 0 {
		t.Errorf("done: %v, %q", err, out.String())
	}
}

func TestInterruptionsSayWhatBecomesOfTheRun(t *testing.T) {
	for private, want := range map[bool]string{true: "its checkpoint stays", false: "the run goes on in the gateway"} {
		err := interrupted(private, "train-1")
		for _, want := range []string{want, "driftgate runs show train-1 --wait", "driftgate runs cancel train-1"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("private %v: no %q in %v", private, want, err)
			}
		}
		if exitCode(err) != exitFailed {
			t.Errorf("exit code %d", exitCode(err))
		}
	}
}
