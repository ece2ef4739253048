package trainer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/telemetry"
)

// Job is everything that one training needs; it travels to the child as JSON.
// Two equal jobs give the same artifact.
type Job struct {
	Trace telemetry.Handover `json:"trace,omitzero"` // for the spans of the child; no part of what the job is

	RunID     string           `json:"run_id"`
	Model     string           `json:"model"`   // the model's name, as "garments"
	Dataset   string           `json:"dataset"` // reference of the base dataset in the datasets bucket
	Examples  []Example        `json:"examples"`
	Parent    dg.ModelRef      `json:"parent,omitempty"` // the champion of the day: for the record, and to start from
	Options   Options          `json:"options"`
	Dir       string           `json:"dir"` // absolute path, for the checkpoint and the artifact; empty keeps neither
	Store     objstore.Options `json:"store"`
	Buckets   objstore.Buckets `json:"buckets"`
	StartedAt time.Time        `json:"started_at"`

	Composition Composition `json:"composition"` // the account of how Examples were chosen; the training completes it
}

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (j Job) Validate() error {
	var errs []error
	want := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	want(j.Model != "", "model: want the model's name")
	want(j.Dataset != "", "dataset: want the reference of the base dataset")
	want(j.Buckets.Datasets != "", "buckets.datasets: want the bucket of the base dataset")
	want(j.Dir == "" || filepath.IsAbs(j.Dir), "dir %q: want an absolute path", j.Dir) // the embedded store changes the working directory
	want(!j.StartedAt.IsZero(), "started_at: want the time at which the run was started")
	want(j.Options.starts() == Scratch || j.Parent != "" && j.Buckets.Models != "", "options.start %s: want a parent and the bucket of models, or %s", j.Options.Start, Scratch)
	if err := j.Options.Validate(); err != nil {
		errs = append(errs, err)
	}
	seen := make(map[string]bool, len(j.Examples))
	for i, e := range j.Examples {
		want(e.ID != "" && e.Bucket != "" && e.Key != "", "examples[%d]: want id, bucket and key", i)
		want(!seen[e.ID], "examples[%d]: id %s is there twice", i, e.ID)
		want(float32(e.Weight) >= math.SmallestNonzeroFloat32 && float32(e.Weight) <= math.MaxFloat32, "examples[%d] (%s): weight %g, want a number over 0 that single precision can hold", i, e.ID, e.Weight)
		want(!dg.Held(e.ID, j.Options.Holdout), "examples[%d]: id %s is held out for evaluation", i, e.ID)
		if seen[e.ID] = true; len(errs) > 20 {
			errs = append(errs, errors.New("and more"))
			break
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("trainer: job: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// key names the job by what its result depends on: not by where it runs, nor
// by the secrets it was given.
func (j Job) key() (string, error) {
	j.Dir, j.Store, j.Options.Threads, j.Trace = "", objstore.Options{}, 0, telemetry.Handover{}
	j.StartedAt = j.StartedAt.UTC().Round(0)
	b, err := json.Marshal(j)
	if err != nil {
		return "", fmt.Errorf("trainer: encode job: %w: %w", dg.ErrInvalid, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// The phases of a training, in order.
const (
	Loading     = "loading"
	Checking    = "checking" // labels, when asked to
	Training    = "training"
	Calibrating = "calibrating"
	Done        = "done"
)

// Progress is where a training stands.
type Progress struct {
	Epoch            int     `json:"epoch"` // from 1
	Epochs           int     `json:"epochs"`
	Step             int     `json:"step"` // within the epoch, from 1; while loading, images
	Steps            int     `json:"steps"`
	Loss             float64 `json:"loss"`     // weighted mean over the epoch so far
	Accuracy         float64 `json:"accuracy"` // likewise, on the training samples, 0 to 1
	SamplesPerSecond float64 `json:"samples_per_second"`
	SecondsLeft      float64 `json:"seconds_left"` // if every epoch is run
	Phase            string  `json:"phase"`

	ValidationLoss     float64 `json:"validation_loss,omitempty"` // of the best epoch so far
	ValidationAccuracy float64 `json:"validation_accuracy,omitempty"`

	// Of a search: the trial at work of so many, from 1; the round of halving
	// of so many; the best trial so far. Epochs are then those of the round.
	Trial        int            `json:"trial,omitempty"`
	Trials       int            `json:"trials,omitempty"`
	Round        int            `json:"round,omitempty"`
	Rounds       int            `json:"rounds,omitempty"`
	Share        float64        `json:"share,omitempty"`      // of all epochs of the search that are done
	BestTrial    int            `json:"best_trial,omitempty"` // 0 is none yet
	BestAccuracy float64        `json:"best_accuracy,omitempty"`
	Rested       *network.Trial `json:"rested,omitempty"` // a trial that is over, or goes on in another round: its account, told once
}

// Line renders the progress as one plain line.
func (p Progress) Line() string {
	switch p.Phase {
	case Loading:
		return fmt.Sprintf("loading %d of %d images", p.Step, p.Steps)
	case Checking:
		return fmt.Sprintf("checking labels, part %d of %d", p.Step, p.Steps)
	case Training:
		s := fmt.Sprintf("epoch %d of %d, step %d of %d: loss %.3f, accuracy %.3f, %.0f samples/s, %.0f s left",
			p.Epoch, p.Epochs, p.Step, p.Steps, p.Loss, p.Accuracy, p.SamplesPerSecond, math.Ceil(p.SecondsLeft))
		if p.ValidationAccuracy > 0 {
			s += fmt.Sprintf(", validation loss %.3f, accuracy %.3f", p.ValidationLoss, p.ValidationAccuracy)
		}
		return p.place() + s + p.best()
	case Calibrating:
		return fmt.Sprintf("%scalibrating after %d epochs", p.place(), p.Epoch)
	case Done:
		return fmt.Sprintf("%sdone after %d epochs: validation loss %.3f, accuracy %.3f", p.place(), p.Epoch, p.ValidationLoss, p.ValidationAccuracy)
	}
	return p.Phase
}

// place says which trial of a search this is; empty outside of one.
func (p Progress) place() string {
	switch {
	case p.Trials == 0:
		return ""
	case p.Rounds > 1:
		return fmt.Sprintf("round %d of %d, trial %d of %d, ", p.Round, p.Rounds, p.Trial, p.Trials)
	}
	return fmt.Sprintf("trial %d of %d, ", p.Trial, p.Trials)
}

func (p Progress) best() string {
	if p.BestTrial == 0 {
		return ""
	}
	return fmt.Sprintf(", best so far trial %d with %.3f", p.BestTrial, p.BestAccuracy)
}

// Fraction is how much of the training, or of the whole search, is done, 0 to 1.
func (p Progress) Fraction() float64 {
	part := func(n, of int) float64 { return min(max(float64(n)/float64(max(of, 1)), 0), 1) }
	switch p.Phase {
	case Loading, Checking:
		return part(p.Step, p.Steps)
	case Calibrating, Done:
		return 1
	case Training:
		if p.Trials > 0 {
			return min(max(p.Share, 0), 1)
		}
		return min(max((float64(p.Epoch-1)+part(p.Step, p.Steps))/float64(max(p.Epochs, 1)), 0), 1)
	}
	return 0
}
