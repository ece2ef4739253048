package config

import (
	"time"

	"driftgate/internal/rollout"
)

// Rollout is how a challenger that passed the gate comes to serve.
type Rollout struct {
	Stages     []string      `key:"stages" doc:"what it goes through first, such as: shadow 30m, canary 5% 1h, canary 25% 1h; empty: it serves in full at once"`
	MinLabels  int           `key:"min_labels" doc:"labelled samples of the rollout without which no stage is passed"`
	Watch      time.Duration `key:"watch" doc:"how long a fresh champion is watched, and taken back when it does harm; 0s: not at all"`
	Slot       time.Duration `key:"slot" doc:"event time that is judged at once"`
	LabelGrace time.Duration `key:"label_grace" doc:"how long a slot waits for its labels before it is closed"`
	Alpha      float64       `key:"alpha" doc:"chance of taking a model back that does no harm, over the whole watch"`
	Harm       float64       `key:"harm" doc:"how much more error is borne"`
	Every      time.Duration `key:"every" doc:"how often it is looked at"`
}

func defaultRollout() Rollout {
	return Rollout{MinLabels: 100, Watch: 7 * 24 * time.Hour, Slot: 6 * time.Hour, LabelGrace: 24 * time.Hour, Alpha: 0.05, Harm: 0.02, Every: time.Minute}
}

// Plan reads the stages; the error is [driftgate.ErrInvalid].
func (r Rollout) Plan() (rollout.Plan, error) {
	p := rollout.Plan{MinLabels: r.MinLabels, Watch: r.Watch, Slot: r.Slot, Grace: r.LabelGrace, Alpha: r.Alpha, Harm: r.Harm}
	for _, text := range r.Stages {
		s, err := rollout.ParseStage(text, ParseDuration)
		if err != nil {
			return p, err
		}
		p.Stages = append(p.Stages, s)
	}
	return p, p.Validate()
}

func (r Rollout) check() []fault {
	var out []fault
	if _, err := r.Plan(); err != nil {
		out = append(out, fault{"rollout.stages", err.Error()})
	}
	if r.Every <= 0 {
		out = append(out, fault{"rollout.every", r.Every.String() + ": want more than 0s"})
	}
	return out
}
