package metrics

import (
	"errors"
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// DriftOptions configure the comparison of inputs, which needs no labels.
// Fields left zero take the default given beside them.
type DriftOptions struct {
	ReferencePredictions int           // the champion's first so many predictions, in whole hops, are what later ones are compared with; 1000
	Every                time.Duration // a hop: there is one look each, at its end; 1h
	Window               time.Duration // span of the predictions that are compared; 24h
	MinPredictions       int           // below this no score is exported; 50
	RunLength            time.Duration // mean time until a test passes its threshold without drift: at least this; a year
}

func (o DriftOptions) withDefaults() DriftOptions {
	setDefault(&o.ReferencePredictions, 1000)
	setDefault(&o.Every, time.Hour)
	setDefault(&o.Window, 24*time.Hour)
	setDefault(&o.MinPredictions, 50)
	setDefault(&o.RunLength, estimate.Year)
	return o
}

// Validate reports every fault at once; the error is [driftgate.ErrInvalid].
func (o DriftOptions) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("drift "+format+": %w", append(args, dg.ErrInvalid)...))
	}
	if o.ReferencePredictions < 1 {
		bad("reference_predictions %d: want at least 1", o.ReferencePredictions)
	}
	if o.Every <= 0 || o.Window < o.Every {
		bad("window %s, every %s: want both over 0s, and the window at least as long", o.Window, o.Every)
	}
	if o.MinPredictions < 1 {
		bad("min_predictions %d: want at least 1", o.MinPredictions)
	}
	if o.RunLength < o.Every {
		bad("run length %s: want at least the %s between two looks", o.RunLength, o.Every)
	}
	return errors.Join(errs...)
}

// The tests of input drift, by their value of the label `test`.
const (
	TestClassMix   = "class_mix"  // shares of the predicted classes: Jensen-Shannon distance
	TestConfidence = "confidence" // distribution of the confidence: Kolmogorov-Smirnov distance
	TestFeatures   = "features"   // what the penultimate layer sees: MMD by random features
)

// DriftTests lists every test of input drift.
var DriftTests = []string{TestClassMix, TestConfidence, TestFeatures}

// DriftStatus compares what the champion saw lately with what it saw in its
// first days. It never retrains: a score above its threshold is a reason to
// look. A window is compared once, when its hop ends; what is captured later
// changes no score.
type DriftStatus struct {
	Tests  map[string]estimate.Drift `json:"tests"`          // by test; no entry before the first look, or with too few predictions
	Window string                    `json:"window"`         // span of the predictions compared
	Start  time.Time                 `json:"start,omitzero"` // of the window of the newest look; never before the reference's end
	End    time.Time                 `json:"end,omitzero"`   // of that window; zero before the first look

	ReferencePredictions int  `json:"reference_predictions"` // collected for the reference ...
	ReferenceNeeded      int  `json:"reference_needed"`      // ... of so many
	Complete             bool `json:"complete"`              // the reference is, and windows are compared with it
}
