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
  quality: {folds: 1, epochs: 0, proxy_factor: 2, human_factor: 0, base_factor: 0, weak: [shoes], weak_factor: 0.5}
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
