package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"driftgate/trainer"
)

// Progress is what a run's row says while it is under way: the trainer's own
// progress, and what comes before and after it.
type Progress struct {
	trainer.Progress           // Phase says in words what is being done, in every stage
	Stage            string    `json:"stage"`                // gather, compose, train, save, await, evaluate, promote
	Pairs            int       `json:"pairs,omitempty"`      // gather: labels to learn from, await: held-out labelled samples, so far ...
	WantPairs        int       `json:"want_pairs,omitempty"` // ... of so many
	Until            time.Time `json:"until,omitzero"`       // gather, await: event time at which it goes on with what there is
}

// say writes progress into the run's row. A progress that cannot be written is
// no reason to fail.
func (p *Pipelines) say(ctx context.Context, runID string, g Progress) {
	b, err := json.Marshal(g)
	if err == nil {
		err = p.d.Ledger.SetRunProgress(ctx, runID, b)
	}
	if err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "progress was not written", "run", runID, "error", err)
	}
}

func (p *Pipelines) stage(ctx context.Context, runID, stage, phase string) {
	p.say(ctx, runID, Progress{Stage: stage, Progress: trainer.Progress{Phase: phase}})
}

// follow returns what the trainer reports to: each change of phase, trial and epoch
// is written, steps in between at most every Options.Progress of wall time.
func (p *Pipelines) follow(ctx context.Context, runID string) func(trainer.Progress) {
	var (
		last    time.Time
		written trainer.Progress
	)
	return func(t trainer.Progress) {
		if t.Phase == trainer.Training {
			p.metrics.samples.Set(t.SamplesPerSecond)
		}
		if t.Rested != nil { // of an experiment's interest, not of the row's
			return
		}
		if t.Phase == written.Phase && t.Epoch == written.Epoch && t.Trial == written.Trial && time.Since(last) < p.o.Progress {
			return
		}
		last, written = time.Now(), t
		p.say(ctx, runID, Progress{Progress: t, Stage: "train"})
	}
}

func gathering(labels, want int, until time.Time) Progress {
	return Progress{Stage: "gather", Pairs: labels, WantPairs: want, Until: until, Progress: trainer.Progress{
		Phase: fmt.Sprintf("waiting for labels to learn from: %d of %d since the drift began, until %s", labels, want, until.UTC().Format("2 Jan 15:04")),
	}}
}

func awaiting(pairs, want int, until time.Time) Progress {
	return Progress{Stage: "await", Pairs: pairs, WantPairs: want, Until: until, Progress: trainer.Progress{
		Phase: fmt.Sprintf("waiting for labels to be judged on: %d of %d held-out samples, until %s", pairs, want, until.UTC().Format("2 Jan 15:04")),
	}}
}
