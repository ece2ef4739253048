package catalog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

const (
	batchSize  = 500 // objects compared with the ledger, and entered, at once
	tagReaders = 8   // tag requests under way at once
)

// Reconcile brings what production and clean hold into the ledger: new
// predictions, flags and corrections set by foreign hands, and labels. Objects
// that the ledger knows are looked at again only every TagsEvery; all others at
// every pass, so an object that was incomplete is picked up as soon as it is
// not. What a broken pass entered stays entered.
func (c *Catalog) Reconcile(ctx context.Context) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Report
	now := c.o.Now()
	all := c.tagsRead.IsZero() || now.Sub(c.tagsRead) >= c.o.TagsEvery
	if err := c.reconcileProduction(ctx, &r, all); err != nil {
		return r, fmt.Errorf("catalog: reconcile: %w", err)
	}
	if err := c.reconcileClean(ctx, &r, all); err != nil {
		return r, fmt.Errorf("catalog: reconcile: %w", err)
	}
	if all {
		c.tagsRead = now
	}
	return r, nil
}

// batches lists a bucket and calls f with up to batchSize objects at a time
// and what the ledger knows of them.
func (c *Catalog) batches(ctx context.Context, bucket string, withTags bool, listed *int,
	f func(batch []objstore.Object, known map[string]ledger.Record) error) error {
	var batch []objstore.Object
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		ids := make([]string, len(batch))
		for i, o := range batch {
			ids[i] = path.Base(o.Key)
		}
		known, err := c.ledger.Records(ctx, ids...)
		if err != nil {
			return err
		}
		*listed += len(batch)
		err = f(batch, known)
		batch = batch[:0]
		return err
	}
	for o, err := range c.store.List(ctx, bucket, "", withTags) {
		if err != nil {
			return err
		}
		if batch = append(batch, o); len(batch) == batchSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (c *Catalog) reconcileProduction(ctx context.Context, r *Report, all bool) error {
	b := &r.Production
	return c.batches(ctx, c.buckets.Production, all, &b.Listed, func(batch []objstore.Object, known map[string]ledger.Record) error {
		var unread []objstore.Object
		for _, o := range batch {
			rec, ok := known[path.Base(o.Key)]
			if ok && rec.InProduction {
				c.learn(rec.Key, rec.PredictedClass)
			}
			if all || !ok || !rec.InProduction {
				unread = append(unread, o)
			}
		}
		if err := c.readTags(ctx, c.buckets.Production, unread); err != nil {
			return err
		}
		var news []dg.Sample
		for _, o := range unread {
			if o.Tags == nil {
				continue // gone since it was listed
			}
			s, err := dg.ParseSample(o.Key, o.Tags)
			if err != nil {
				c.faulty(r, b, inProduction, o.Key, err)
				continue
			}
			c.learn(s.Key, s.PredictedClass)
			rec, ok := known[s.ID()]
			switch {
			case !ok || !rec.InProduction:
				b.New++
				c.objects.WithLabelValues(inProduction, isNew).Inc()
			case (s.Flagged && !rec.Flagged) || (s.CorrectedClass != "" && s.CorrectedClass != rec.CorrectedClass):
				b.Changed++
				c.objects.WithLabelValues(inProduction, isChanged).Inc()
			default:
				continue
			}
			news = append(news, s)
		}
		return c.ledger.Captured(ctx, news...)
	})
}

func (c *Catalog) reconcileClean(ctx context.Context, r *Report, all bool) error {
	b := &r.Clean
	return c.batches(ctx, c.buckets.Clean, all, &b.Listed, func(batch []objstore.Object, known map[string]ledger.Record) error {
		var unread []objstore.Object
		for _, o := range batch {
			if !c.labelledSo(o.Key, known[path.Base(o.Key)]) {
				unread = append(unread, o)
			}
		}
		if err := c.readTags(ctx, c.buckets.Clean, unread); err != nil {
			return err
		}
		var news []ledger.ForeignLabel
		for _, o := range unread {
			if o.Tags == nil {
				continue
			}
			f, knownClass, err := c.foreignLabel(o)
			if err != nil && !knownClass {
				b.Classless++
				c.objects.WithLabelValues(inClean, isClassless).Inc()
				c.problem(r, inClean, path.Dir(o.Key), errors.Unwrap(err))
				continue
			}
			if err != nil {
				c.faulty(r, b, inClean, o.Key, err)
				continue
			}
			rec, ok := known[f.Sample.ID()]
			if ok && ledger.WithLabel(rec, f).Label == rec.Label {
				continue // an older label of the same sample, or the same one
			}
			if ok {
				b.Changed++
				c.objects.WithLabelValues(inClean, isChanged).Inc()
			} else {
				b.New++
				c.objects.WithLabelValues(inClean, isNew).Inc()
			}
			news = append(news, f)
		}
		return c.ledger.SetForeignLabels(ctx, news...)
	})
}

// labelledSo reports whether the ledger knows this object of clean by its
// label already.
func (c *Catalog) labelledSo(key string, rec ledger.Record) bool {
	n, _, err := dg.ParseKey(key)
	if err != nil || rec.State != ledger.Labelled {
		return false
	}
	label, err := c.label(n)
	return err == nil && label == rec.Label
}

// readTags fills in the tags that the listing did not bring; those of an object
// that is gone stay nil.
func (c *Catalog) readTags(ctx context.Context, bucket string, objects []objstore.Object) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, tagReaders)
	var wg sync.WaitGroup
	for reader := range tagReaders {
		wg.Go(func() {
			for i := reader; i < len(objects) && ctx.Err() == nil; i += tagReaders {
				if objects[i].Tags != nil {
					continue
				}
				tags, err := c.store.Tags(ctx, bucket, objects[i].Key)
				switch {
				case err == nil && tags == nil:
					objects[i].Tags = map[string]string{}
				case err == nil:
					objects[i].Tags = tags
				case !errors.Is(err, dg.ErrNotFound):
					errs[reader] = fmt.Errorf("tags of %s/%s: %w", bucket, objects[i].Key, err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Rebuild empties the samples part of the ledger and fills it from the four
// buckets: production says what was predicted, clean what people answered,
// label-wait who is still asked, noisy who was not picked. Strata and sampling
// fractions come from the tags, curate intervals from the timestamp. Answers
// that nobody has collected are kept. Curate and collect must not be at work
// meanwhile; what is captured meanwhile is taken up by the next Reconcile.
func (c *Catalog) Rebuild(ctx context.Context) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Report
	b := &rebuild{c: c, report: &r, records: map[string]ledger.Record{}}
	if err := b.read(ctx); err != nil {
		return r, fmt.Errorf("catalog: rebuild: %w", err)
	}
	if err := c.ledger.Rebuild(ctx, b.each); err != nil {
		return r, fmt.Errorf("catalog: rebuild: %w", err)
	}
	r.Samples = len(b.records)
	c.tagsRead = time.Time{}
	return r, nil
}
