// Package engine runs pipelines so that each finishes exactly once, whatever
// dies in between: DBOS on an SQLite file keeps the result of every step, and
// the next start goes on where the last one stopped.
//
// Promises. Starting the same id again does nothing. A step runs at least once
// and its kept result is never computed again, so a pipeline of idempotent steps
// takes effect exactly once. The ledger's row of a run follows it: running,
// then done, failed or cancelled, each entered once. A step's transient error is
// repeated with growing pauses, a bounded number of times; a permanent one fails
// the run at once. A panic in a step fails its run, not the process.
//
// Refusals. One process at a time may open a file (the caller holds the
// folder's lock). Cancelling ends a run between or within its steps, as far as
// the step heeds its context; a step that has passed the point of no return may
// ignore it, and the run then ends as if the cancellation came too late.
package engine
