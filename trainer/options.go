// Package trainer makes models: it composes a training set from production and
// a base dataset, trains a network on it, and leaves an artifact that says what
// it was trained on.
//
// Two promises matter more than the accuracy. A sample whose id is held out
// ([driftgate.Held]) is never trained on, whatever it is labelled as. And the
// same job gives the same artifact, apart from the time it finished, no matter
// how often it was killed and resumed on the way.
//
// [Train] works in this process. [Spawn] runs it in a child process at low
// priority, the same binary calling [Child], so that serving does not suffer; a
// child ends when its parent does. A broken production image is skipped, named
// and counted; a broken base dataset stops the training.
package trainer

import (
	"errors"
	"fmt"
	"math"
	"time"

	dg "driftgate"
)

// Options say how a model is trained. Weights are relative to a sample of the
// base dataset, which weighs 1.
type Options struct {
	Hidden       []int   `json:"hidden"`        // widths of the hidden layers; empty is a linear model
	Epochs       int     `json:"epochs"`        // most passes over the data
	Batch        int     `json:"batch"`         // samples a step
	LearningRate float64 `json:"learning_rate"` // of the first step; falls to a fiftieth by a cosine
	Momentum     float64 `json:"momentum"`      // 0 to below 1
	MaxNorm      float64 `json:"max_norm"`      // longer gradients are cut to this length: one odd batch must not undo an epoch; 0 is no limit
	WeightDecay  float64 `json:"weight_decay"`  // 0 to below 1
	Patience     int     `json:"patience"`      // epochs without a lower validation loss before stopping; 0 is never
	Validation   float64 `json:"validation"`    // share of the samples that validates, 0 to 0.5
	Seed         uint64  `json:"seed"`          // of weights, order, split and replay

	HumanWeight        float64 `json:"human_weight"`         // of a sample labelled by a person
	ProxyWeight        float64 `json:"proxy_weight"`         // of a sample under the model's own label; 0 leaves them out
	MinProxyConfidence float64 `json:"min_proxy_confidence"` // below it, a proxy label is not used; 0 to 1
	// ProxyUntil leaves out proxy labels of predictions made at or after it: once
	// a model is known to fail, its confidence is no reason to believe it. Zero
	// is no limit.
	ProxyUntil time.Time `json:"proxy_until,omitzero"`

	Replay  int     `json:"replay"`  // samples of the base dataset, evenly by class share; -1 is all
	Holdout float64 `json:"holdout"` // share of production samples that is never trained on, 0 to below 1

	Threads int `json:"threads"` // of the training process; 0 is all cores
}

// DefaultOptions suit 28x28 garments on two cores. Proxy labels weigh next to
// nothing: after a drift hard enough to raise an alarm most of them are wrong,
// and at a weight of 0.2 they took a third off the challenger's accuracy.
func DefaultOptions() Options {
	return Options{
		Hidden: []int{128, 64}, Epochs: 15, Batch: 64, LearningRate: 0.1, Momentum: 0.9, MaxNorm: 0.5, WeightDecay: 1e-4,
		Patience: 5, Validation: 0.1, Seed: 1,
		HumanWeight: 3, ProxyWeight: 0.05, MinProxyConfidence: 0.95, Replay: 6000, Holdout: 0.3,
	}
}

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (o Options) Validate() error {
	var errs []error
	want := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	want(len(o.Hidden) <= 8, "hidden: %d layers, want at most 8", len(o.Hidden))
	for i, h := range o.Hidden {
		want(h >= 1 && h <= 8192, "hidden[%d] %d: want 1 to 8192", i, h)
	}
	want(o.Epochs >= 1 && o.Epochs <= 100_000, "epochs %d: want 1 to 100000", o.Epochs)
	want(o.Batch >= 1 && o.Batch <= 8192, "batch %d: want 1 to 8192", o.Batch)
	want(o.LearningRate > 0 && o.LearningRate <= 1e6, "learning_rate %g: want over 0, at most 1e6", o.LearningRate)
	want(o.Momentum >= 0 && o.Momentum < 1, "momentum %g: want 0 to below 1", o.Momentum)
	want(o.MaxNorm >= 0, "max_norm %g: want 0 or more", o.MaxNorm)
	want(o.WeightDecay >= 0 && o.WeightDecay < 1, "weight_decay %g: want 0 to below 1", o.WeightDecay)
	want(o.Patience >= 0, "patience %d: want 0 or more", o.Patience)
	want(o.Validation >= 0 && o.Validation <= 0.5, "validation %g: want 0 to 0.5", o.Validation)
	want(o.HumanWeight > 0 && !math.IsInf(o.HumanWeight, 1), "human_weight %g: want over 0", o.HumanWeight)
	want(o.ProxyWeight >= 0 && o.ProxyWeight <= o.HumanWeight, "proxy_weight %g: want 0 to human_weight (%g)", o.ProxyWeight, o.HumanWeight)
	want(o.MinProxyConfidence >= 0 && o.MinProxyConfidence <= 1, "min_proxy_confidence %g: want 0 to 1", o.MinProxyConfidence)
	want(o.Replay >= -1, "replay %d: want -1 (all) or more", o.Replay)
	want(o.Holdout >= 0 && o.Holdout < 1, "holdout %g: want 0 to below 1", o.Holdout)
	want(o.Threads >= 0 && o.Threads <= 1024, "threads %d: want 0 (all) to 1024", o.Threads)
	if len(errs) > 0 {
		return fmt.Errorf("trainer: options: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}
