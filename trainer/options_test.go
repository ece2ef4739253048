package trainer

import (
	"errors"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
)

func TestOptionsReportEveryFault(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	o := Options{Start: "cold", Hidden: []int{0}, Momentum: 1,
		Labelling:  Labelling{ProxyWeight: 2, HumanWeight: 1, Sources: []string{"oracle"}, Disagreement: 2},
		Active:     Active{MaxProduction: -1, Prefer: "best", Random: 2},
		Quality:    Quality{Folds: 1, Epochs: -1, ProxyFactor: 2, Weak: []string{"shoes", "source=luck", "confidence=0.9-0.1", "class+source=Bag", "class="}},
		Augment:    dataset.Augmentation{Rotation: 900},
		Sampling:   Sampling{Replay: -2, ReplayBy: "luck", Balance: "fair", BalanceBy: "hand"},
		Evaluation: Evaluation{Holdout: 1, Validation: 1}}
	err := o.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"hidden[0]", "epochs", "batch", "learning_rate", "momentum", "holdout", "replay -2", "proxy_weight",
		"start", "sources", "disagreement", "max_production", "prefer", "active.random", "folds", "quality.epochs", "proxy_factor", "human_factor", "base_factor",
		`weak "shoes"`, `weak "source=luck"`, `weak "confidence=0.9-0.1"`, `weak "class+source=Bag"`, `weak "class="`, "weak_factor", "rotation", "replay_by", "balance \"fair\"", "balance_by", "validation"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}
