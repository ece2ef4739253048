package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

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
	maxSettings    = 50  // that are searched
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

// validate reports every fault of an account that came from outside.
func (s *Search) validate() error {
	var errs []error
	want := func(ok bool, format string, a ...any) {
		if !ok && len(errs) < 20 {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	want(s.Method == "random" || s.Method == "halving", "method %.40q: want random or halving", s.Method)
	want(len(s.Space) <= maxSettings, "space: %d settings, want at most %d", len(s.Space), maxSettings)
	want(s.Epochs >= 0, "epochs %d: want 0 or more", s.Epochs)
	if n := len(s.Trials); n < 1 || n > MaxTrials {
		want(false, "trials: %d, want 1 to %d", n, MaxTrials)
		return errors.Join(errs...)
	}
	want(s.Best >= 1 && s.Best <= len(s.Trials), "best %d: want the number of a trial, 1 to %d", s.Best, len(s.Trials))
	over := []string{TrialKept, TrialFinished, TrialStopped, TrialFailed}
	for i, t := range s.Trials {
		at := fmt.Sprintf("trials[%d]", i)
		want(t.Trial == i+1, "%s: number %d, want %d", at, t.Trial, i+1)
		want(slices.Contains(over, t.State), "%s: state %.40q, want one of %q", at, t.State, over)
		want((t.State == TrialKept) == (t.Trial == s.Best), "%s: state %.40q, and the best is trial %d: want the best, and no other, %s", at, t.State, s.Best, TrialKept)
		want(len(t.Settings) <= maxSettings, "%s: %d settings, want at most %d", at, len(t.Settings), maxSettings)
		want(len(t.Reason) <= MaxReason, "%s: a reason of %d bytes, want at most %d", at, len(t.Reason), MaxReason)
		want(len(t.Curve) <= MaxTrialPoints, "%s: a curve of %d points, want at most %d", at, len(t.Curve), MaxTrialPoints)
		want(t.Epochs >= 0 && t.BestEpoch >= 0 && t.BestEpoch <= t.Epochs, "%s: best epoch %d of %d: want 0 (none) to that many", at, t.BestEpoch, t.Epochs)
	}
	return errors.Join(errs...)
}
