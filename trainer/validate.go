package trainer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	dg "driftgate"
)

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (o Options) Validate() error {
	var f faults
	f.oneOf("start", o.Start, "", Scratch, Warm, Head)
	o.Network.check(&f)
	f.want(o.Epochs >= 1 && o.Epochs <= 100_000, "epochs %d: want 1 to 100000", o.Epochs)
	f.want(o.Batch >= 1 && o.Batch <= 8192, "batch %d: want 1 to 8192", o.Batch)
	o.Descent.check(&f, o.Epochs)
	f.want(o.Patience >= 0, "patience %d: want 0 or more", o.Patience)
	f.want(o.Threads >= 0 && o.Threads <= 1024, "threads %d: want 0 (all) to 1024", o.Threads)
	o.Labelling.check(&f)
	o.Active.check(&f)
	o.Quality.check(&f)
	f.add(o.Augment.Validate())
	o.Sampling.check(&f)
	o.Evaluation.check(&f)
	o.Search.check(&f, o)
	if len(f) > 0 {
		return fmt.Errorf("trainer: options: %w: %w", dg.ErrInvalid, errors.Join(f...))
	}
	return nil
}

// faults collects what is wrong with options.
type faults []error

func (f *faults) want(ok bool, format string, a ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, a...))
	}
}

func (f *faults) add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

func (f *faults) oneOf(name, value string, want ...string) {
	f.want(slices.Contains(want, value), "%s %q: want one of %q", name, value, slices.DeleteFunc(want, func(s string) bool { return s == "" }))
}

func (l Labelling) check(f *faults) {
	for _, s := range l.Sources {
		f.oneOf("sources", s, string(dg.HumanLabel), string(dg.ProxyLabel))
	}
	f.want(weighs(l.HumanWeight), "human_weight %g: want %g to %g", l.HumanWeight, minWeight, maxWeight)
	f.want(l.ProxyWeight == 0 || weighs(l.ProxyWeight), "proxy_weight %g: want %g to %g, or 0 (none are used)", l.ProxyWeight, minWeight, maxWeight)
	f.want(l.ProxyWeight <= l.HumanWeight, "proxy_weight %g: want at most human_weight (%g)", l.ProxyWeight, l.HumanWeight)
	f.want(l.MinProxyConfidence >= 0 && l.MinProxyConfidence <= 1, "min_proxy_confidence %g: want 0 to 1", l.MinProxyConfidence)
	f.want(l.Disagreement >= 0 && l.Disagreement <= 1, "disagreement %g: want 0 to 1", l.Disagreement)
}

func (a Active) check(f *faults) {
	f.want(a.MaxProduction >= 0, "active.max_production %d: want 0 (all) or more", a.MaxProduction)
	f.oneOf("active.prefer", a.Prefer, "", Uncertain, Surprising)
	f.want(a.Random >= 0 && a.Random <= 1, "active.random %g: want 0 to 1", a.Random)
}

func (q Quality) check(f *faults) {
	f.want(q.Folds == 0 || q.Folds >= 2 && q.Folds <= 20, "quality.folds %d: want 0 (no check) or 2 to 20", q.Folds)
	f.want(q.Epochs >= 0 && q.Epochs <= 1000, "quality.epochs %d: want 0 (the default) to 1000", q.Epochs)
	f.want(q.ProxyFactor >= 0 && q.ProxyFactor <= 1, "quality.proxy_factor %g: want 0 (drop) to 1", q.ProxyFactor)
	if q.Folds > 0 {
		f.want(q.HumanFactor >= minWeight && q.HumanFactor <= 1, "quality.human_factor %g: want %g to 1: a person's label is never dropped", q.HumanFactor, minWeight)
		f.want(q.BaseFactor >= minWeight && q.BaseFactor <= 1, "quality.base_factor %g: want %g to 1", q.BaseFactor, minWeight)
	}
	f.want(len(q.Weak) <= 100, "quality.weak: %d slices, want at most 100", len(q.Weak))
	for _, s := range q.Weak {
		_, err := parseSlice(s)
		f.add(err)
	}
	f.want(len(q.Weak) == 0 || q.WeakFactor >= 1 && q.WeakFactor <= 100, "quality.weak_factor %g: want 1 to 100", q.WeakFactor)
}

// Bounds on a weight that is asked for: the product of several, in single
// precision, must neither vanish nor overflow.
const minWeight, maxWeight = 1e-6, 1e6

func weighs(w float64) bool { return w >= minWeight && w <= maxWeight }

func (s Sampling) check(f *faults) {
	f.want(s.Replay >= -1, "replay %d: want -1 (all) or more", s.Replay)
	f.oneOf("replay_by", s.ReplayBy, "", ByShare, Evenly)
	f.oneOf("balance", s.Balance, "", None, Sqrt, Equal)
	f.oneOf("balance_by", s.BalanceBy, "", ByWeights, BySamples)
	for _, label := range slices.Sorted(maps.Keys(s.ClassWeights)) {
		w := s.ClassWeights[label]
		f.want(weighs(w), "class_weights: %q has %g: want %g to %g", label, w, minWeight, maxWeight)
	}
}

func (e Evaluation) check(f *faults) {
	f.want(e.Holdout >= 0 && e.Holdout < 1, "holdout %g: want 0 to below 1", e.Holdout)
	f.want(e.Validation >= 0 && e.Validation <= 0.5, "validation %g: want 0 to 0.5", e.Validation)
}
