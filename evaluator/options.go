package evaluator

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
)

// Options are the gate and the evaluator's bounds. A zero field means the
// default.
type Options struct {
	Gate Gate // when a challenger may replace the champion; zero: the built-in document

	MaxPairs int            // samples of a suite judged at most, drawn at random beyond; default 20,000
	Workers  int            // images fetched, decoded and classified at once; default the number of cores, at least 4
	Batch    int            // images classified at once; default 64
	Limits   dataset.Limits // of an image; default [dataset.DefaultLimits]
	Now      func() time.Time
}

// now is the time at which something is kept or reported.
func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now().UTC()
	}
	return o.Now().UTC()
}

func (o Options) withDefaults() Options {
	whole := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	whole(&o.MaxPairs, 20_000)
	whole(&o.Workers, max(4, runtime.GOMAXPROCS(0)))
	whole(&o.Batch, 64)
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
	}{{"max_pairs", o.MaxPairs}, {"workers", o.Workers}, {"batch", o.Batch}} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d: want 0 (the default) or more", f.name, f.value))
		}
	}
	if err := o.Gate.Validate(); err != nil {
		errs = append(errs, err)
	} else if most, least := o.withDefaults().MaxPairs, o.Gate.WithDefaults().MinPairs; most < least {
		errs = append(errs, fmt.Errorf("max_pairs %d: want at least min_pairs of the gate, %d", most, least))
	}
	if len(errs) > 0 {
		return fmt.Errorf("evaluator: options: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}
