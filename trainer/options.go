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
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// Options say how a model is trained. Weights are relative to a sample of the
// base dataset, which weighs 1. The six groups are the six concerns of a
// retraining set; what each did stands in the manifest ([network.Composition]).
// The zero value of each setting that is not required does nothing.
type Options struct {
	Start string `json:"start,omitempty"` // Scratch (also when empty), Warm or Head
	Network
	Epochs   int    `json:"epochs"`   // most passes over the data
	Batch    int    `json:"batch"`    // samples a step
	Patience int    `json:"patience"` // epochs without a lower validation loss before stopping; 0 is never
	Seed     uint64 `json:"seed"`     // of weights, order, split, replay and dropout
	Descent

	Labelling
	Active  Active               `json:"active"`
	Quality Quality              `json:"quality"`
	Augment dataset.Augmentation `json:"augment"`
	Sampling
	Evaluation
	Search Search `json:"search,omitzero"`

	Threads int `json:"threads"` // of the training process; 0 is all cores
}

// What training begins with.
const (
	Scratch = "scratch" // weights drawn by the seed
	Warm    = "warm"    // the parent's weights; all learn
	Head    = "head"    // the parent's weights; the last layer learns, the others stay bit for bit
)

// Labelling says whose labels are used, and how much they weigh.
type Labelling struct {
	Sources            []string `json:"sources,omitempty"`    // human, proxy; empty is both
	HumanWeight        float64  `json:"human_weight"`         // of a sample labelled by a person
	ProxyWeight        float64  `json:"proxy_weight"`         // of a sample under the model's own label; 0 leaves them out
	MinProxyConfidence float64  `json:"min_proxy_confidence"` // below it, a proxy label is not used; 0 to 1
	// ProxyUntil leaves out proxy labels of predictions made at or after it: once
	// a model is known to fail, its confidence is no reason to believe it. Zero
	// is no limit.
	ProxyUntil time.Time `json:"proxy_until,omitzero"`
	// Disagreement is how much of a human label's weight is lost when the people
	// who were asked disagree, 0 to 1: the weight becomes
	// HumanWeight x (1 - Disagreement x (1 - share of them behind the label)).
	Disagreement float64 `json:"disagreement,omitempty"`
}

// Active prefers the samples that have most to teach when there are more
// production samples than wanted: those that people labelled first.
type Active struct {
	MaxProduction int     `json:"max_production,omitempty"` // most production samples; 0 is all
	Prefer        string  `json:"prefer,omitempty"`         // Uncertain (also when empty) or Surprising
	Random        float64 `json:"random,omitempty"`         // share of the places for human labels that is drawn by lot, 0 to 1
}

// What makes a labelled sample worth learning from.
const (
	Uncertain  = "uncertain"  // the model was least sure of its answer (Lewis & Gale, 1994)
	Surprising = "surprising" // the label was least likely by the model's answer: sure and wrong first, sure and right last
)

// Quality looks for wrong labels by cross-validation with short trainings of the
// same network ([estimate.ConfidentLearning]), and gives slices known to be weak
// more weight. A suspect's weight is multiplied with the ratio of its label's
// probability to that of the class it looks like, or with a factor, whichever is
// larger. Samples that a user flagged or corrected and nobody labelled are never used.
type Quality struct {
	Folds       int      `json:"folds,omitempty"`        // 2 to 20; 0 does not check
	Epochs      int      `json:"epochs,omitempty"`       // of each short training; 0 is a quarter of the training's, at least 4
	ProxyFactor float64  `json:"proxy_factor,omitempty"` // of a suspect proxy label, 0 to 1; 0 drops it
	HumanFactor float64  `json:"human_factor,omitempty"` // of a suspect human label, over 0 to 1: it is never dropped; 1 only reports it
	BaseFactor  float64  `json:"base_factor,omitempty"`  // of a suspect base sample, over 0 to 1
	Weak        []string `json:"weak,omitempty"`         // slices, named as the evaluator does: class=LABEL, source=STRATUM, confidence=LOW-HIGH, or joined by +; also predicted=LABEL
	WeakFactor  float64  `json:"weak_factor,omitempty"`  // weight of samples in any of them times this, at least 1
}

// Sampling says how many of each class are seen: of the base dataset, against
// forgetting, and of all, against imbalance.
type Sampling struct {
	Replay    int    `json:"replay"`               // samples of the base dataset; -1 is all
	ReplayBy  string `json:"replay_by,omitempty"`  // ByShare (also when empty): each class by its share; Evenly: as many of each
	Balance   string `json:"balance,omitempty"`    // None (also when empty), Sqrt or Equal
	BalanceBy string `json:"balance_by,omitempty"` // ByWeights (also when empty) or BySamples: by leaving out and repeating

	// ClassWeights multiplies the weight of every sample of a label, after
	// balancing; labels that are not named keep theirs.
	ClassWeights ClassWeights `json:"class_weights,omitempty"`
}

// How base samples are shared out, and how classes are balanced.
const (
	ByShare   = "share"
	Evenly    = "even"
	None      = "none"
	Sqrt      = "sqrt"  // each class counts by the square root of what it has
	Equal     = "equal" // each class counts the same
	ByWeights = "weights"
	BySamples = "samples"
)

// Evaluation is what is kept back.
type Evaluation struct {
	Holdout    float64 `json:"holdout"`    // share of production samples that is never trained on, 0 to below 1
	Validation float64 `json:"validation"` // share of the training samples that validates, 0 to 0.5
}

// DefaultOptions suit 28x28 garments on two cores. Proxy labels weigh next to
// nothing: after a drift hard enough to raise an alarm most of them are wrong,
// and at a weight of 0.2 they took a third off the challenger's accuracy.
func DefaultOptions() Options {
	return Options{
		Start: Scratch, Epochs: 15, Batch: 64, Patience: 5, Seed: 1,
		Network:    Network{Model: network.FamilyMLP, Hidden: []int{128, 64}, Convs: 1, Width: 1},
		Descent:    Descent{Optimiser: SGD, LearningRate: 0.1, Schedule: Cosine, Momentum: 0.9, MaxNorm: 0.5, WeightDecay: 1e-4},
		Labelling:  Labelling{HumanWeight: 3, ProxyWeight: 0.05, MinProxyConfidence: 0.95},
		Active:     Active{Prefer: Uncertain, Random: 0.2},
		Quality:    Quality{HumanFactor: 1, BaseFactor: 1, WeakFactor: 2},
		Augment:    dataset.Augmentation{Share: 0.5},
		Sampling:   Sampling{Replay: 6000, ReplayBy: ByShare, Balance: None, BalanceBy: ByWeights},
		Evaluation: Evaluation{Holdout: 0.3, Validation: 0.1},
	}
}
