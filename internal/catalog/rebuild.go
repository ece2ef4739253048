package catalog

import (
	"context"
	"errors"
	"path"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// rebuild collects what the buckets say of each sample, the most telling
// bucket first.
type rebuild struct {
	c       *Catalog
	report  *Report
	records map[string]ledger.Record // by id
}

func (b *rebuild) read(ctx context.Context) error {
	buckets := b.c.buckets
	for _, step := range []struct {
		bucket string
		name   string
		report *BucketReport
		take   func(objstore.Object, *BucketReport) error
	}{
		{buckets.Production, inProduction, &b.report.Production, b.production},
		{buckets.Clean, inClean, &b.report.Clean, b.clean},
		{buckets.Waiting, "waiting", &b.report.Waiting, b.waiting},
		{buckets.Noisy, "noisy", &b.report.Noisy, b.noisy},
	} {
		for o, err := range b.c.store.List(ctx, step.bucket, "", true) {
			if err != nil {
				return err
			}
			step.report.Listed++
			if err := step.take(o, step.report); err != nil {
				b.c.faulty(b.report, step.report, step.name, o.Key, err)
			}
		}
	}
	return nil
}

// each yields the records.
func (b *rebuild) each(yield func(ledger.Record) bool) {
	for _, r := range b.records {
		if !yield(r) {
			return
		}
	}
}

func (b *rebuild) production(o objstore.Object, report *BucketReport) error {
	s, err := dg.ParseSample(o.Key, o.Tags)
	if err != nil {
		return err
	}
	b.c.learn(s.Key, s.PredictedClass)
	r, ok := b.records[s.ID()]
	if !ok {
		r = ledger.Unseen(s)
		report.New++
	}
	r.Key, r.InProduction = s.Key, true
	r.Flagged = r.Flagged || s.Flagged
	if s.CorrectedClass != "" {
		r.CorrectedClass = s.CorrectedClass
	}
	b.records[s.ID()] = r
	return nil
}

func (b *rebuild) clean(o objstore.Object, report *BucketReport) error {
	f, knownClass, err := b.c.foreignLabel(o)
	if err != nil && !knownClass {
		report.Classless++
		b.c.problem(b.report, inClean, path.Dir(o.Key), errors.Unwrap(err))
		return nil
	}
	if err != nil {
		return err
	}
	r, ok := b.records[f.Sample.ID()]
	if !ok {
		r = ledger.Unseen(f.Sample)
		report.New++
	} else {
		report.Changed++
	}
	b.records[f.Sample.ID()] = ledger.WithLabel(r, f)
	return nil
}

func (b *rebuild) waiting(o objstore.Object, report *BucketReport) error {
	return b.decided(o, report, ledger.Waiting)
}

func (b *rebuild) noisy(o objstore.Object, report *BucketReport) error {
	return b.decided(o, report, ledger.Noisy)
}

// decided takes over the decision that an object in label-wait or noisy stands
// for, unless a more telling bucket has spoken.
func (b *rebuild) decided(o objstore.Object, report *BucketReport, state ledger.State) error {
	s, err := dg.ParseSample(o.Key, o.Tags)
	if err != nil {
		return err
	}
	r, ok := b.records[s.ID()]
	switch {
	case !ok:
		r = ledger.Unseen(s)
		report.New++
	case r.State != ledger.New:
		return nil
	default:
		report.Changed++
	}
	r.State, r.Selected, r.Placed = state, state == ledger.Waiting, true
	r.Stratum, r.SamplingFraction, r.Interval = s.Stratum, s.SamplingFraction, b.c.interval(s)
	b.records[s.ID()] = r
	return nil
}
