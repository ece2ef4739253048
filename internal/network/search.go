package network

import "encoding/json"

// Search is the account of a search for settings: what they were drawn from,
// every trial, and the one that became the model. It is bounded: at most
// [MaxTrials] trials with [MaxTrialPoints] points each.
type Search struct {
	Method string                     `json:"method"`          // random or halving
	Space  map[string]json.RawMessage `json:"space,omitempty"` // what each setting was drawn from
	Best   int                        `json:"best"`            // number of the trial that became the model
	Epochs int                        `json:"epochs"`          // of all trials together
	Trials []Trial                    `json:"trials"`          // in order
}

// Limits on a search's account.
const (
	MaxTrials      = 200
	MaxTrialPoints = 12
	MaxReason      = 300 // bytes
)

// The states of a trial that is over, or rests.
const (
	TrialKept     = "kept"     // it became the model
	TrialFinished = "finished" // trained to its end; another was better
	TrialStopped  = "stopped"  // by halving: others were better
	TrialFailed   = "failed"   // its reason says why
	TrialGoing    = "going"    // it goes on, or has yet to begin; never in an artifact
)

// Trial is one point of a search.
type Trial struct {
	Trial    int                        `json:"trial"`    // from 1, which is the options as given
	Settings map[string]json.RawMessage `json:"settings"` // of what was searched, by the options' names, as "augment.share"
	State    string                     `json:"state"`
	Reason   string                     `json:"reason,omitempty"` // of a failure

	Epochs             int          `json:"epochs"`                    // run
	BestEpoch          int          `json:"best_epoch,omitempty"`      // with the lowest validation loss; the next two are its
	ValidationLoss     float64      `json:"validation_loss,omitempty"` // mean, in nats
	ValidationAccuracy float64      `json:"validation_accuracy,omitempty"`
	Seconds            float64      `json:"seconds"`
	Curve              []TrialPoint `json:"curve,omitempty"`
}

// TrialPoint is one point of a trial's curve.
type TrialPoint struct {
	Epoch              int     `json:"epoch"`
	ValidationLoss     float64 `json:"validation_loss"`
	ValidationAccuracy float64 `json:"validation_accuracy"`
}
