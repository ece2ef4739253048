package config

import (
	"strings"
	"testing"
)

func TestTrainSettingsAreReadAndJudged(t *testing.T) {
	c, _, err := Load(Sources{Lookup: none, File: write(t, `train:
  start: head
  sources: [human]
  disagreement: 0.5
  active: {max_production: 400, prefer: surprising, random: 0.1}
  quality:
    folds: 3
    weak: [class=Shirt, class+confidence=Bag+0.00-0.50]
  augment: {shift: 2, flip: true, rotation: 15, brightness: 0.2, noise: 0.05, cutout: 8}
  balance: sqrt
  balance_by: samples
  replay_by: even
  model: cnn
  filters: [32, 64, 128]
  dense: [256]
  batch_norm: true
  dropout: 0.25
  optimiser: adam
  learning_rate: 0.002
  schedule: step
  warmup: 2
  smoothing: 0.1
  class_weights: [Shirt=2, "T-shirt/top=1.5"]
`)})
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Train; r.Start != "head" || r.Active.MaxProduction != 400 || r.Quality.Folds != 3 || len(r.Quality.Weak) != 2 || !r.Augment.Flip || r.Augment.Share != 0.5 || r.BalanceBy != "samples" {
		t.Errorf("read %+v", r)
	}
	if r := c.Train; r.Model != "cnn" || len(r.Filters) != 3 || r.Dense[0] != 256 || !r.BatchNorm || r.Dropout != 0.25 || r.Optimiser != "adam" || r.Schedule != "step" || r.Warmup != 2 || r.Smoothing != 0.1 {
		t.Errorf("network and descent %+v", r)
	} else if f := r.ClassFactors(); len(f) != 2 || f["Shirt"] != 2 || f["T-shirt/top"] != 1.5 {
		t.Errorf("class weights %v", f)
	}
	_, _, err = Load(Sources{Lookup: none, File: write(t, `train:
  start: lukewarm
  holdout: 0
  validation: 0.9
  sources: [oracle]
  disagreement: 2
  replay_by: luck
  balance: fair
  balance_by: hand
  active: {max_production: -1, prefer: best, random: 3}
  quality: {folds: 1, epochs: -1, proxy_factor: 2, human_factor: 0, base_factor: 0, weak: [shoes], weak_factor: 0.5}
  augment: {share: 2, shift: -1, rotation: 200, brightness: 1, contrast: 1, saturation: 1, noise: 2, cutout: -1}
`)})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, key := range []string{"start", "holdout", "validation", "sources", "disagreement", "replay_by", "balance", "balance_by", "active.max_production",
		"active.prefer", "active.random", "quality.folds", "quality.epochs", "quality.proxy_factor", "quality.human_factor", "quality.base_factor", "quality.weak",
		"quality.weak_factor", "augment.share", "augment.shift", "augment.rotation", "augment.brightness", "augment.noise", "augment.cutout"} {
		if !strings.Contains(err.Error(), "train."+key+": ") {
			t.Errorf("the mistake in train.%s is not reported", key)
		}
	}
}

func TestEmptyListsAreTheUsualOnes(t *testing.T) {
	for name, src := range map[string]Sources{
		"file": {Lookup: none, File: write(t, "train:\n  filters: []\n  dense:\n")},
		"environment": {Lookup: func(name string) (string, bool) {
			return "", strings.HasPrefix(name, "DRIFTGATE_TRAIN_FILTERS") || name == "DRIFTGATE_TRAIN_DENSE"
		}},
		"flags": {Lookup: none, Flags: map[string]string{"train.filters": "", "train.dense": "[]"}},
	} {
		if c, _, err := Load(src); err != nil || c.Train.Filters != nil || c.Train.Dense != nil {
			t.Errorf("%s: %v %v, %v", name, c.Train.Filters, c.Train.Dense, err)
		}
	}
}

func TestClassWeightsAreWrittenInThreeWays(t *testing.T) {
	for name, src := range map[string]Sources{
		"list":     {Lookup: none, File: write(t, "train:\n  class_weights: [Shirt=2, T-shirt/top=0.5]\n")},
		"map":      {Lookup: none, File: write(t, "train:\n  class_weights: {Shirt: 2, T-shirt/top: 0.5}\n")},
		"block":    {Lookup: none, File: write(t, "train:\n  class_weights:\n    Shirt: 2\n    T-shirt/top: 0.5\n")},
		"flag":     {Lookup: none, Flags: map[string]string{"train.class_weights": "Shirt=2,T-shirt/top=0.5"}},
		"brackets": {Lookup: none, Flags: map[string]string{"train.class_weights": "[Shirt=2, T-shirt/top=0.5]"}},
	} {
		c, _, err := Load(src)
		if f := c.Train.ClassFactors(); err != nil || len(f) != 2 || f["Shirt"] != 2 || f["T-shirt/top"] != 0.5 {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	if c, _, err := Load(Sources{Lookup: none, File: write(t, "train:\n  class_weights:\n    Shirt: 2\n")}); err != nil || c.Train.ClassFactors()["Shirt"] != 2 {
		t.Errorf("a map of one: %v, %v", c.Train.ClassWeights, err)
	}
	for text, want := range map[string]string{
		"class_weights: {Shirt: heavy}":  `train.class_weights: "Shirt=heavy": want LABEL=FACTOR`,
		"class_weights: {Shirt: [1, 2]}": "train.class_weights: want a value, or a list of values",
		"class_weights: {Shirt: {a: 2}}": "train.class_weights: want a value, or a list of values",
		"hidden: {first: 2}":             "train.hidden: want a value, or a list of values",
		"epochs: {first: 2}":             "train.epochs: want a value, or a list of values",
		"class_weight: {Shirt: 2}":       "unknown key train.class_weight; did you mean train.class_weights?",
	} {
		_, _, err := Load(Sources{Lookup: none, File: write(t, "train:\n  "+text+"\n")})
		if err == nil || !strings.Contains(err.Error(), ":2: "+want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
