package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// Rebuild empties the samples part of the ledger and fills it from the four
// buckets: production says what was predicted, clean what people answered,
// label-wait who is still asked, noisy who was not picked, or whose label was
// withdrawn. Strata and sampling fractions come from the tags, curate intervals
// from the timestamp. Answers that nobody has collected are kept. Curate and
// collect must not be at work meanwhile; what is captured meanwhile is taken up
// by the next Reconcile.
//
// What is read is staged in the ledger, so that the records can be made sample
// by sample, and the ledger changes in one transaction at the end: neither
// memory nor half a ledger grows with the buckets.
func (c *Catalog) Rebuild(ctx context.Context) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Report
	began, now := time.Now(), c.o.Now()
	b := &rebuild{c: c, report: &r}
	err := b.run(ctx)
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return r, fmt.Errorf("catalog: rebuild: %w", err)
	}
	c.tagsRead = now
	clear(c.read)
	return r, nil
}

// rebuild is a Rebuild under way.
type rebuild struct {
	c      *Catalog
	report *Report
}

func (b *rebuild) run(ctx context.Context) error {
	if err := b.c.ledger.Unstage(ctx); err != nil {
		return err
	}
	clear(b.c.learned) // production tells it all again
	buckets := b.c.buckets
	for _, p := range []struct {
		place  ledger.Place
		bucket string
		name   string
		report *BucketReport
	}{
		{ledger.InProduction, buckets.Production, inProduction, &b.report.Production},
		{ledger.InClean, buckets.Clean, inClean, &b.report.Clean},
		{ledger.InWaiting, buckets.Waiting, "waiting", &b.report.Waiting},
		{ledger.InNoisy, buckets.Noisy, "noisy", &b.report.Noisy},
	} {
		if err := b.stage(ctx, p.place, p.bucket, p.name, p.report); err != nil {
			return err
		}
	}
	b.c.relearned = true
	return b.c.ledger.Rebuild(ctx, b.records(ctx))
}

// stage reads one bucket.
func (b *rebuild) stage(ctx context.Context, place ledger.Place, bucket, name string, report *BucketReport) error {
	var batch []ledger.Staged
	for o, err := range b.c.store.List(ctx, bucket, "", true) {
		if err != nil {
			return err
		}
		report.Listed++
		s := ledger.Staged{Place: place, Object: ledger.Object{Bucket: bucket, Key: o.Key, ETag: o.ETag, Modified: o.Modified, Tags: digest(o.Tags)}}
		if err := b.readable(place, o); err != nil {
			s.Status = b.faulty(report, name, o.Key, err)
		} else {
			s.Content = o.Tags
		}
		if batch = append(batch, s); len(batch) == batchSize {
			if err := b.c.ledger.Stage(ctx, batch...); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return b.c.ledger.Stage(ctx, batch...)
}

// readable reports what keeps an object from being read as a sample, and learns
// from production what a class directory stands for.
func (b *rebuild) readable(place ledger.Place, o objstore.Object) error {
	s, err := dg.ParseSample(o.Key, o.Tags)
	if err != nil {
		return err
	}
	switch place {
	case ledger.InProduction:
		b.c.learn(s.Key, s.PredictedClass)
	case ledger.InClean:
		_, err = b.c.foreignLabel(s, o.Modified)
	}
	return err
}

// faulty counts an object that can't be read.
func (b *rebuild) faulty(report *BucketReport, name, key string, err error) ledger.ObjectStatus {
	status := statusOf(err)
	switch status {
	case ledger.ObjectIncomplete:
		report.Incomplete++
	case ledger.ObjectClassless:
		report.Classless++
		b.c.problem(b.report, name, path.Dir(key), err)
	default:
		report.Malformed++
		b.c.problem(b.report, name, key, err)
	}
	return status
}

// records makes the records of what was staged.
func (b *rebuild) records(ctx context.Context) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for objects, err := range b.c.ledger.Staged(ctx) {
			if err != nil {
				yield(ledger.Record{}, err)
				return
			}
			s, err := b.shown(objects)
			if err != nil {
				yield(ledger.Record{}, err)
				return
			}
			r, ok := b.c.fold(s)
			if !ok {
				continue
			}
			b.count(r, s)
			if !yield(r, nil) {
				return
			}
		}
	}
}

// shown reads one sample's objects.
func (b *rebuild) shown(objects []ledger.Staged) (shown, error) {
	var s shown
	for _, o := range objects {
		if o.Content == nil {
			continue
		}
		sample, err := dg.ParseSample(o.Key, o.Content)
		if err != nil {
			return s, err
		}
		switch o.Place {
		case ledger.InProduction:
			s.production = append(s.production, sample)
		case ledger.InClean:
			f, err := b.c.foreignLabel(sample, o.Modified)
			if errors.Is(err, errClassless) {
				continue // two directories' meaning became contradictory since
			}
			if err != nil {
				return s, err
			}
			s.clean = append(s.clean, f)
		case ledger.InWaiting:
			s.waiting = append(s.waiting, sample)
		case ledger.InNoisy:
			s.noisy = append(s.noisy, sample)
		}
	}
	return s, nil
}

// count tells which bucket a record was first seen in, and which changed it.
func (b *rebuild) count(r ledger.Record, s shown) {
	b.report.Samples++
	own, _ := b.c.copies(s)
	seen := false
	for _, p := range []struct {
		here   bool
		report *BucketReport
	}{
		{r.InProduction, &b.report.Production},
		{r.State == ledger.Labelled, &b.report.Clean},
		{len(s.waiting) > 0, &b.report.Waiting},
		{len(own) > 0, &b.report.Noisy},
	} {
		switch {
		case p.here && seen:
			p.report.Changed++
		case p.here:
			p.report.New++
		}
		seen = seen || p.here
	}
}
