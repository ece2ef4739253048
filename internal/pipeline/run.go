// Package pipeline holds what driftgate does in the background, as plain Go
// against a small [Run]: curate, collect, reconcile, retrain, train; and the
// [Scheduler] that starts them.
//
// A pipeline calls steps and decides on their results, nothing else, so an
// engine can run it again from the start and get to where it was. Each step is
// idempotent: it may have been done before, half or whole, by a process that
// died. A retrain ends as done with a verdict, whatever the verdict; failed
// means that it could not be carried out. Only the promote step changes what
// serves, and once the gate has spoken it can no longer be cancelled.
//
// Intervals are computed here, from the injected clock: for [start, end) and a
// step s exactly (end-start)/s runs, with ids that say which interval they own,
// so that schedule, backfill and restart cannot do one twice.
package pipeline

import (
	"context"
	"encoding/json"
	"errors"

	dg "driftgate"
)

// Run is what a pipeline sees of the engine that runs it.
type Run interface {
	// ID is the run's id, the same after a restart.
	ID() string
	// Do runs the named step with in as JSON and decodes its result into out
	// (nil: not wanted). A step whose result was kept is not run again; one that
	// was interrupted is, so steps are idempotent. Errors keep their kind
	// (errors.Is with the root sentinels) through restarts.
	Do(step string, in, out any) error
}

// A Step does one piece of work. It may be run again after a crash, with the
// same run id and input. The engine repeats a step whose error is not
// [Permanent], a bounded number of times.
type Step func(ctx context.Context, runID string, in json.RawMessage) (any, error)

// A Func is a pipeline: plain Go that does nothing but call steps and decide on
// their results, so that running it again gives the same.
type Func func(r Run, in json.RawMessage) (any, error)

// Judged is a pipeline's result that has a verdict to keep beside it.
type Judged interface{ Judgement() dg.Verdict }

// permanent lists the kinds of error that repeating does not mend. A conflict
// is not among them: a step that is repeated reads anew.
var permanent = []error{dg.ErrInvalid, dg.ErrNotFound, dg.ErrRefused, dg.ErrUnauthorized, dg.ErrTooFewSamples}

// Permanent reports whether the same step would fail in the same way again.
func Permanent(err error) bool {
	for _, kind := range permanent {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
