package network

import (
	dg "driftgate"
	"driftgate/internal/dataset"
)

// Composition is the account of a training set: what it was made from, concern
// by concern, what was left out and why. Every ratio is 0 to 1, every count is
// of samples.
type Composition struct {
	Start        StartAccount        `json:"start"`
	Labelling    LabellingAccount    `json:"labelling"`
	Active       ActiveAccount       `json:"active"`
	Quality      QualityAccount      `json:"quality"`
	Augmentation AugmentationAccount `json:"augmentation"`
	Sampling     SamplingAccount     `json:"sampling"`
	Evaluation   EvaluationAccount   `json:"evaluation"`
}

// StartAccount says what training began from.
type StartAccount struct {
	From      string      `json:"from"`                // scratch, warm or head
	Parent    dg.ModelRef `json:"parent,omitempty"`    // whose weights it began with
	Learned   int         `json:"learned"`             // parameters that learned
	Frozen    int         `json:"frozen,omitempty"`    // parameters that stayed the parent's, bit for bit
	Inherited int         `json:"inherited,omitempty"` // ids that the parent had learned from and this set does not hold: they count as trained on
}

// LabellingAccount says whose labels were used. Every production record is in
// exactly one of Human to Duplicate, QualityAccount.KnownErrors,
// ActiveAccount.LeftOut and EvaluationAccount.Held.
type LabellingAccount struct {
	Interval      *dg.Interval `json:"interval,omitempty"` // of the predictions that the records are of
	Records       int          `json:"records"`
	Human         int          `json:"human"`                    // used, labelled by a person
	Proxy         int          `json:"proxy"`                    // used, under the model's own label
	Source        int          `json:"source,omitempty"`         // left out: labels of this source are not wanted
	Unlabelled    int          `json:"unlabelled,omitempty"`     // left out: not decided on yet, or waiting for a person
	Doubted       int          `json:"doubted,omitempty"`        // left out: a proxy label given when the model was known to fail
	LowConfidence int          `json:"low_confidence,omitempty"` // left out: a proxy label below the confidence wanted
	UnknownLabel  int          `json:"unknown_label,omitempty"`  // left out: a label that is not in the class list
	Duplicate     int          `json:"duplicate,omitempty"`      // left out: the same id again
	UnknownLabels []string     `json:"unknown_labels,omitempty"` // which ones, sorted, at most 100
	Disputed      int          `json:"disputed,omitempty"`       // human labels that weigh less because people disagreed
	HumanWeight   float64      `json:"human_weight"`             // sum over the human labels; a base sample weighs 1
	ProxyWeight   float64      `json:"proxy_weight"`             // likewise, over the proxy labels
}

// ActiveAccount says which production samples were preferred when there were
// more than wanted.
type ActiveAccount struct {
	Cap                 int     `json:"cap,omitempty"` // most production samples; 0 is all
	Prefer              string  `json:"prefer,omitempty"`
	Candidates          int     `json:"candidates,omitempty"`
	Informative         int     `json:"informative,omitempty"` // kept for what they can teach
	Random              int     `json:"random,omitempty"`      // kept by lot
	LeftOut             int     `json:"left_out,omitempty"`
	CandidateConfidence float64 `json:"candidate_confidence,omitempty"` // mean, of the candidates that people labelled
	KeptConfidence      float64 `json:"kept_confidence,omitempty"`      // likewise, of those kept
}

// QualityAccount says what was wrong with labels, as far as could be seen.
type QualityAccount struct {
	KnownErrors int `json:"known_errors"` // left out: a user flagged or corrected the model's answer and nobody labelled it

	Folds    int            `json:"folds,omitempty"`    // of the cross-validation; 0: labels were not checked
	Checked  int            `json:"checked,omitempty"`  // labels
	Accuracy float64        `json:"accuracy,omitempty"` // of the checking models on labels they had not learned, proxy labels aside
	Suspects map[string]int `json:"suspects,omitempty"` // by source: base, human, proxy
	Dropped  int            `json:"dropped,omitempty"`
	Lowered  int            `json:"lowered,omitempty"` // in weight
	List     []Suspect      `json:"list,omitempty"`    // the most confident, at most 100

	Weak []WeakAccount `json:"weak,omitempty"` // slices that were made heavier
}

// MaxSuspects is how many suspects a manifest names.
const MaxSuspects = 100

// Suspect is a sample whose label a model that had not learned it is confident
// is another.
type Suspect struct {
	ID         string  `json:"id"`
	Source     string  `json:"source"` // base, human or proxy
	Label      string  `json:"label"`
	Looks      string  `json:"looks"`      // the class that the model is confident of
	Confidence float64 `json:"confidence"` // that it gives that class
	Action     string  `json:"action"`     // dropped, lowered or reported
}

// WeakAccount is a slice that was made heavier.
type WeakAccount struct {
	Slice   string  `json:"slice"`
	Weight  float64 `json:"weight"` // factor
	Samples int     `json:"samples"`
}

// AugmentationAccount says how images were varied.
type AugmentationAccount struct {
	Applied dataset.Augmentation `json:"applied"`
	LeftOut []string             `json:"left_out,omitempty"` // what was asked for and makes no sense for this set, with the reason
	Images  int                  `json:"images,omitempty"`   // varied images over all epochs
}

// SamplingAccount says how many of each class were seen.
type SamplingAccount struct {
	ReplayBy  string    `json:"replay_by,omitempty"`
	Replay    []int     `json:"replay"` // base samples mixed in, by class
	Balance   string    `json:"balance"`
	BalanceBy string    `json:"balance_by,omitempty"`
	Before    []float64 `json:"before"`             // share of each class in the weight, as composed
	After     []float64 `json:"after"`              // likewise, as trained on
	Repeated  int       `json:"repeated,omitempty"` // copies beyond the first, in an epoch
	Omitted   int       `json:"omitted,omitempty"`  // samples that an epoch leaves out; another takes them

	Unlearned []string `json:"unlearned,omitempty"` // classes of which no image was learned, the first hundred: the parent's weights know them
}

// EvaluationAccount says what was kept back to judge the model on.
type EvaluationAccount struct {
	Holdout     float64        `json:"holdout"`                 // share of production samples kept from every training set
	Held        int            `json:"held"`                    // records so kept
	HeldByClass []int          `json:"held_by_class,omitempty"` // those that people labelled, by class
	Validation  float64        `json:"validation"`              // share of the samples that validated
	Validating  map[string]int `json:"validating,omitempty"`    // by source
}

// Epoch is one point of the training curves.
type Epoch struct {
	Epoch              int     `json:"epoch"` // from 1
	TrainLoss          float64 `json:"train_loss"`
	TrainAccuracy      float64 `json:"train_accuracy"`
	ValidationLoss     float64 `json:"validation_loss,omitempty"`
	ValidationAccuracy float64 `json:"validation_accuracy,omitempty"`
	LearningRate       float64 `json:"learning_rate"` // of its first step
	Seconds            float64 `json:"seconds"`       // that it took, validation included
}

// Environment is the machine that trained.
type Environment struct {
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	CPUs    int    `json:"cpus"`             // that the process may use
	Threads int    `json:"threads"`          // that it did use at most
	Kernel  string `json:"kernel,omitempty"` // avx512, avx2 or portable: instructions that the arithmetic used
}
