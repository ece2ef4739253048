package trainer

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
)

func TestOptionsReportEveryFault(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	o := Options{Start: "cold",
		Network:    Network{Model: "forest", Hidden: []int{0}, Filters: make([]int, 9), Convs: 9, Dense: []int{9000}, Dropout: 1, Width: -1},
		Descent:    Descent{Optimiser: "luck", Schedule: "never", Warmup: 3, Momentum: 1, MaxNorm: -1, WeightDecay: 1, Smoothing: 1},
		Labelling:  Labelling{ProxyWeight: 2, HumanWeight: 1, Sources: []string{"oracle"}, Disagreement: 2},
		Active:     Active{MaxProduction: -1, Prefer: "best", Random: 2},
		Quality:    Quality{Folds: 1, Epochs: -1, ProxyFactor: 2, Weak: []string{"shoes", "source=luck", "confidence=0.9-0.1", "class+source=Bag", "class="}},
		Augment:    dataset.Augmentation{Rotation: 900},
		Sampling:   Sampling{Replay: -2, ReplayBy: "luck", Balance: "fair", BalanceBy: "hand", ClassWeights: map[string]float64{"Bag": 0, "Coat": math.Inf(1), "Dress": 2}},
		Evaluation: Evaluation{Holdout: 1, Validation: 1}}
	err := o.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, v := range []float64{math.Inf(1), math.NaN(), 1e10} {
		o := DefaultOptions()
		if o.MaxNorm = v; !errors.Is(o.Validate(), dg.ErrInvalid) {
			t.Errorf("max_norm %g is let through", v)
		}
	}
	for _, v := range []float64{1e-50, 1e-7, 1e7, math.Inf(1), math.NaN()} {
		for name, set := range map[string]func(*Options){
			"human_weight":  func(o *Options) { o.HumanWeight, o.ProxyWeight = v, 0 },
			"proxy_weight":  func(o *Options) { o.ProxyWeight, o.HumanWeight = v, 1e6 },
			"class_weights": func(o *Options) { o.ClassWeights = ClassWeights{"Bag": v} },
			"human_factor":  func(o *Options) { o.Quality.Folds, o.Quality.HumanFactor = 2, v },
		} {
			o := DefaultOptions()
			if set(&o); !errors.Is(o.Validate(), dg.ErrInvalid) {
				t.Errorf("%s %g is let through", name, v)
			}
		}
	}
	for _, want := range []string{`model "forest"`, "hidden[0]", "filters: 9 layers", "filters[0]", "convs 9", "dense[0] 9000", "dropout 1", "width -1",
		`optimiser "luck"`, `schedule "never"`, "warmup 3", "max_norm", "weight_decay", "smoothing", `class_weights: "Bag"`, `class_weights: "Coat"`, "epochs", "batch", "learning_rate", "momentum", "holdout", "replay -2", "proxy_weight",
		"start", "sources", "disagreement", "max_production", "prefer", "active.random", "folds", "quality.epochs", "proxy_factor", "human_factor", "base_factor",
		`weak "shoes"`, `weak "source=luck"`, `weak "confidence=0.9-0.1"`, `weak "class+source=Bag"`, `weak "class="`, "weak_factor", "rotation", "replay_by", "balance \"fair\"", "balance_by", "validation"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func TestScheduleRisesAndFalls(t *testing.T) {
	at := func(d Descent, epoch, step int) float64 { return d.rate(epoch, 10, step, 4) }
	for _, tt := range []struct {
		name        string
		d           Descent
		epoch, step int
		want        float64
	}{
		{"a cosine begins at its height", Descent{}, 0, 0, 1},
		{"is half way down in the middle", Descent{Schedule: Cosine}, 5, 0, 0.5},
		{"and ends at next to nothing", Descent{}, 9, 3, (1 + math.Cos(math.Pi*39/40)) / 2},
		{"steps stay", Descent{Schedule: Stepwise}, 4, 3, 1},
		{"fall after half", Descent{Schedule: Stepwise}, 5, 0, 0.1},
		{"and after three quarters", Descent{Schedule: Stepwise}, 7, 2, 0.01},
		{"a constant stays", Descent{Schedule: Constant}, 9, 3, 1},
		{"warming up begins above nothing", Descent{Warmup: 2}, 0, 0, 1. / 8},
		{"rises with each step", Descent{Warmup: 2}, 1, 2, 7. / 8},
		{"reaches its height", Descent{Warmup: 2}, 1, 3, 1},
		{"and falls over what is left", Descent{Warmup: 2}, 6, 0, 0.5},
		{"whatever comes after", Descent{Warmup: 2, Schedule: Constant}, 2, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.LearningRate = 0.3
			if got := at(tt.d, tt.epoch, tt.step); math.Abs(got-0.3*tt.want) > 1e-12 {
				t.Errorf("%g, want %g", got, 0.3*tt.want)
			}
		})
	}
}

func TestClassWeightsAreReadInBothForms(t *testing.T) {
	for text, want := range map[string]ClassWeights{
		`{"class_weights": {"Bag": 2, "a=b": 0.5}}`: {"Bag": 2, "a=b": 0.5},
		`{"class_weights": ["Bag=2", "a=b = 0.5"]}`: {"Bag": 2, "a=b": 0.5},
		`{"class_weights": []}`:                     nil,
		`{"class_weights": null}`:                   nil,
	} {
		var o Options
		if err := json.Unmarshal([]byte(text), &o); err != nil || !maps.Equal(o.ClassWeights, want) {
			t.Errorf("%s: %v, %v, want %v", text, o.ClassWeights, err, want)
		}
	}
	for _, text := range []string{`{"class_weights": ["Bag"]}`, `{"class_weights": ["=2"]}`, `{"class_weights": ["Bag=heavy"]}`, `{"class_weights": 2}`} {
		var o Options
		if err := json.Unmarshal([]byte(text), &o); err == nil || !strings.Contains(err.Error(), "LABEL") {
			t.Errorf("%s: %v", text, err)
		}
	}
	raw, err := Overrides(map[string]string{"class_weights": "Bag=2,Coat=3"})
	if err != nil || string(raw) != `{"class_weights":["Bag=2","Coat=3"]}` {
		t.Errorf("from the command line: %s, %v", raw, err)
	}
}
