package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"driftgate/internal/app"
	"driftgate/trainer"

	"github.com/spf13/cobra"
)

const trainLong = `Trains on a stored dataset, in a process of its own at low priority, and stores
the artifact. With --promote it becomes the champion at once, which is how a
first one comes to be.

What no flag names is set with --set train.KEY=VALUE (driftgate config lists the
keys); it holds for this training alone, whatever the gateway was configured with.

--search N trains N times with other settings and keeps the best by accuracy on
the validation split. Trial 1 has the settings as given, the others draw theirs
from the seed: --method halving trains all a little and the better third on, and
so on; random trains each to its end. Learning rate, batch, weight decay and what
suits the model are searched; --space puts another range in the place of one, or
takes it out. driftgate experiments list --filter kind=trial shows the trials.

The training is a run of the gateway: Ctrl-C ends the watching, and says how to go
on. Exit codes: 0 done, 1 failed, cancelled or not waited for, 2 wrong usage or
options that cannot be trained with, 3 busy: another run of the model is under way.`

const trainExample = `  driftgate train --dataset garments --promote
  driftgate train --dataset fashion-mnist --model cnn --epochs 10 --set train.dropout=0.3
  driftgate train --dataset fashion-mnist --search 20
  driftgate train --dataset garments --search 9 --space learning_rate=0.01..0.3 --space batch=32,64 --space hidden=
  driftgate train --dataset garments --format json 2>progress.jsonl >run.json`

// trainFlags are the options that have a flag of their own.
var trainFlags = []struct{ flag, option, kind, usage string }{
	{"model", "model", "string", "mlp, cnn or mobilenet"},
	{"epochs", "epochs", "int", "most passes over the data"},
	{"batch", "batch", "int", "samples a step"},
	{"learning-rate", "learning_rate", "float", "step size at its highest"},
	{"optimiser", "optimiser", "string", "sgd or adam"},
	{"seed", "seed", "int", "of weights, order, split and search"},
}

// optionFlag is the text of a flag whose value the trainer reads.
type optionFlag struct{ text, kind string }

func (f *optionFlag) String() string     { return f.text }
func (f *optionFlag) Set(s string) error { f.text = s; return nil }
func (f *optionFlag) Type() string       { return f.kind }

func newTrain(g *global) *cobra.Command {
	var dataset, method string
	var promote bool
	var trials int
	var space []string
	c := &cobra.Command{
		Use:     "train",
		Short:   "train a model on a stored dataset, or search for the settings that suit it",
		Long:    trainLong,
		Example: trainExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := g.trainOptions(cmd)
			if err == nil {
				err = withSearch(cmd, options, trials, method, space)
			}
			var request map[string]any
			if err == nil {
				request, err = trainRequest(options)
			}
			if err != nil {
				return usageError{err}
			}
			request["dataset"], request["promote"] = dataset, promote
			g.set = slices.DeleteFunc(g.set, func(s string) bool { // the request has them, flags beside them: alone they may not be right
				_, _, ours := trainSetting(s)
				return ours
			})
			return g.with(cmd, func(c *app.Client) error {
				var started struct {
					Run string `json:"run"`
				}
				if err := c.Post(cmd.Context(), "/api/v1/train", request, &started); err != nil {
					return err
				}
				return g.followRun(cmd, c, started.Run)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&dataset, "dataset", "", "name or reference of a stored dataset (driftgate ingest)")
	f.BoolVar(&promote, "promote", false, "make it the champion without comparing")
	for _, x := range trainFlags {
		f.Var(&optionFlag{kind: x.kind}, x.flag, x.usage+" (default as configured)")
	}
	f.IntVar(&trials, "search", 0, "trials of a search for settings, 1 to 200; 0 is none")
	f.StringVar(&method, "method", trainer.Halving, "of the search: halving or random")
	f.StringArrayVar(&space, "space", nil, "what a setting is drawn from, NAME=LOW..HIGH, NAME=VALUE,VALUE or, to leave it as given, NAME=; may be repeated")
	_ = c.MarkFlagRequired("dataset")
	return c
}

// trainOptions are the training's options by name: those of the flags, and the
// settings train.… given with --set, which a running gateway would not hear of.
func (g *global) trainOptions(cmd *cobra.Command) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range g.set {
		if option, text, ours := trainSetting(s); ours {
			out[option] = text
		}
	}
	for _, x := range trainFlags {
		if cmd.Flags().Changed(x.flag) {
			out[x.option] = cmd.Flags().Lookup(x.flag).Value.String()
		}
	}
	return out, nil
}

// trainSetting takes an option of a training out of a setting; others, and what
// has no "=", are refused or taken where the configuration is read.
func trainSetting(s string) (option, text string, ours bool) {
	name, text, given := strings.Cut(s, "=")
	option, ours = strings.CutPrefix(name, "train.")
	return option, text, given && ours && !slices.Contains(ofTheGateway, option)
}

// ofTheGateway are the settings train.… that are no options of a training.
var ofTheGateway = []string{"min_labels", "wait", "lookback"}

// withSearch adds the search to the options.
func withSearch(cmd *cobra.Command, options map[string]string, trials int, method string, space []string) error {
	if trials == 0 {
		for _, name := range []string{"method", "space"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s goes with --search N", name)
			}
		}
		if cmd.Flags().Changed("search") {
			return fmt.Errorf("--search 0: want 1 to 200 trials")
		}
		return nil
	}
	ranges := map[string]trainer.Range{}
	for _, s := range space {
		name, text, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--space %q: want NAME=LOW..HIGH, NAME=VALUE,VALUE or NAME=", s)
		}
		r, err := rangeOf(text)
		if err != nil {
			return fmt.Errorf("--space %q: %w", s, err)
		}
		ranges[name] = r
	}
	b, err := json.Marshal(trainer.Search{Trials: trials, Method: method, Space: ranges})
	options["search"] = string(b)
	return err
}

// rangeOf reads LOW..HIGH, values with commas between, a JSON list of values, or
// nothing.
func rangeOf(text string) (r trainer.Range, err error) {
	if low, high, ok := strings.Cut(text, ".."); ok {
		if r.Low, err = strconv.ParseFloat(low, 64); err == nil {
			r.High, err = strconv.ParseFloat(high, 64)
		}
		if err != nil {
			return r, fmt.Errorf("want two numbers, as 0.01..0.3")
		}
		return r, nil
	}
	if strings.HasPrefix(text, "[") {
		if err := json.Unmarshal([]byte(text), &r.Values); err != nil {
			return r, fmt.Errorf("want a list as JSON, as [[128,64],[256]]: %w", err)
		}
		return r, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		var v any = part
		if n, err := strconv.ParseFloat(part, 64); err == nil {
			v = n
		} else if b, err := strconv.ParseBool(part); err == nil {
			v = b
		}
		r.Values = append(r.Values, v)
	}
	return r, nil
}

// trainRequest is the body that asks for a training. Names that are no options
// and texts that are no values are refused here; whether they can be trained with
// is the gateway's to say, which knows what is configured beside them.
func trainRequest(options map[string]string) (map[string]any, error) {
	request := map[string]any{}
	if len(options) == 0 {
		return request, nil
	}
	raw, err := trainer.Overrides(options)
	if err != nil {
		return nil, err
	}
	request["options"] = raw
	return request, nil
}
