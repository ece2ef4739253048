package evaluator

import (
	"errors"
	"fmt"

	dg "driftgate"
	"driftgate/internal/dataset"
)

// Options are the gate's bars and the evaluator's bounds. A zero field means
// the default where one is named, and "off" where none is. Ratios run 0 to 1.
type Options struct {
	MinPairs   int     // held-out pairs below which the verdict is inconclusive; default 100
	Margin     float64 // the lower bound of the gain must exceed this to promote; 0: any gain
	Worthwhile float64 // a gain that is at best this is rejected, not awaited; default .01
	MaxMissing float64 // share of held-out samples that may be unreadable before nothing is promoted; default .05

	// RecallDrop is how much recall a class may lose against the champion,
	// clearly lose, before a better challenger is rejected for it; default .10.
	RecallDrop float64

	// Absolute floors, off by default: a challenger that repairs a broken
	// champion must not be stopped for being less than perfect.
	Floor      float64 // overall accuracy that the challenger must reach
	ClassFloor float64 // recall that it must reach in every class
	ClassPairs int     // pairs of a class below which its recall is not judged; default 20

	MaxPairs int            // pairs judged at most, drawn at random beyond; default 20,000
	Workers  int            // images fetched and decoded at once; default 4
	Batch    int            // images classified at once; default 64
	Limits   dataset.Limits // of an image; default [dataset.DefaultLimits]
}

func (o Options) withDefaults() Options {
	whole := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	ratio := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	whole(&o.MinPairs, 100)
	whole(&o.ClassPairs, 20)
	whole(&o.MaxPairs, 20_000)
	whole(&o.Workers, 4)
	whole(&o.Batch, 64)
	ratio(&o.Worthwhile, .01)
	ratio(&o.MaxMissing, .05)
	ratio(&o.RecallDrop, .10)
	if o.Limits == (dataset.Limits{}) {
		o.Limits = dataset.DefaultLimits
	}
	return o
}

// Validate reports every fault; the error is [dg.ErrInvalid].
func (o Options) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{{"min_pairs", o.MinPairs}, {"class_pairs", o.ClassPairs}, {"max_pairs", o.MaxPairs}, {"workers", o.Workers}, {"batch", o.Batch}} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d: want 0 (the default) or more", f.name, f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value float64
	}{{"margin", o.Margin}, {"worthwhile", o.Worthwhile}, {"max_missing", o.MaxMissing}, {"recall_drop", o.RecallDrop}, {"floor", o.Floor}, {"class_floor", o.ClassFloor}} {
		if !(f.value >= 0 && f.value < 1) { // also refuses NaN
			errs = append(errs, fmt.Errorf("%s %g: want a ratio from 0 to below 1, not a percentage", f.name, f.value))
		}
	}
	if o.MaxPairs > 0 && o.MaxPairs < o.MinPairs {
		errs = append(errs, fmt.Errorf("max_pairs %d: want at least min_pairs %d", o.MaxPairs, o.MinPairs))
	}
	if len(errs) > 0 {
		return fmt.Errorf("evaluator: options: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}
