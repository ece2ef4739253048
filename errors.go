// Package driftgate holds the nouns that every part of driftgate shares:
// samples and their tags, data intervals and windows, models and the champion
// record, triggers, verdicts, and the kinds of error.
//
// It imports the standard library only, decides nothing, and does no I/O.
package driftgate

import "errors"

// The kinds of error that callers tell apart with [errors.Is]. Everything else
// is a fault of the moment and may be retried.
var (
	ErrNotFound      = errors.New("not found")          // no such object, model, run
	ErrConflict      = errors.New("changed by another") // a compare-and-swap lost
	ErrInvalid       = errors.New("invalid")            // bad input: the same again fails again
	ErrIncomplete    = errors.New("not yet complete")   // come back later
	ErrBusy          = errors.New("busy")               // one at a time, and one is under way
	ErrRefused       = errors.New("refused")            // a gate or a policy said no
	ErrFull          = errors.New("full")               // a bounded store has no room now
	ErrTooFewSamples = errors.New("too few samples")    // no figure can be given
	ErrUnauthorized  = errors.New("not authorized")     // no token, or the wrong one
)
