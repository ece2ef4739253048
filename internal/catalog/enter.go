package catalog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// enter looks at listed objects: what is plain news it enters, what the ledger
// has already it only remembers, and the rest it marks as pending.
func (s *side) enter(ctx context.Context, batch []item) error {
	ids := make([]string, len(batch))
	for i, o := range batch {
		ids[i] = path.Base(o.Key)
	}
	records, err := s.c.ledger.Records(ctx, ids...)
	if err != nil {
		return err
	}
	rows := make([]ledger.Object, len(batch))
	var unread []*objstore.Object
	for i := range batch {
		o := &batch[i]
		rows[i] = ledger.Object{Bucket: s.bucket, Key: o.Key, ETag: o.ETag, Modified: o.Modified}
		r, ok := records[ids[i]]
		if o.Tags == nil && !(ok && !o.known && s.own(r, o.Key)) {
			unread = append(unread, &o.Object)
		}
	}
	if err := s.readTags(ctx, unread); err != nil {
		return err
	}
	var objects []ledger.Object
	var changes []ledger.Change
	for i, o := range batch {
		r, ok := records[ids[i]]
		if o.Tags == nil && !(ok && !o.known && s.own(r, o.Key)) {
			continue // gone since it was listed: the next pass sees it
		}
		c, err := s.weigh(o, rows[i], r, ok)
		if err != nil {
			c = ledger.Change{Put: []ledger.Object{s.faulty(rows[i], o.Tags, err)}}
		}
		if c.Next == nil {
			objects = append(objects, c.Put...)
		} else {
			changes = append(changes, c)
		}
	}
	if err := s.c.ledger.PutObjects(ctx, objects...); err != nil {
		return err
	}
	if err := s.forget(ctx, batch); err != nil {
		return err
	}
	return s.apply(ctx, changes)
}

// forget drops the models' answers to labelled images whose contents another
// hand has changed: they were about another picture.
func (s *side) forget(ctx context.Context, batch []item) error {
	var ids []string
	for i := range batch {
		if o := &batch[i]; s.name == inClean && o.known && o.row.ETag != "" && o.row.ETag != o.ETag {
			ids = append(ids, path.Base(o.Key))
		}
	}
	return s.c.ledger.ForgetPredictions(ctx, ids...)
}

// own reports whether the ledger has an object already, as its service put it
// there.
func (s *side) own(r ledger.Record, key string) bool {
	if s.name == inProduction {
		return r.InProduction && r.Key == key
	}
	n, _, err := dg.ParseKey(key)
	if err != nil || r.State != ledger.Labelled || !r.InProduction {
		return false
	}
	label, err := s.c.label(n)
	return err == nil && label == r.Label
}

// atHome reports whether a labelled sample's key, flag and correction are those
// they must be: production's, else those of its label's object.
func atHome(r ledger.Record, s dg.Sample) bool {
	return r.InProduction || (r.Key == s.Key && r.Flagged == s.Flagged && r.CorrectedClass == s.CorrectedClass)
}

// weigh says what a listed object is: plain news (Next is set), known already,
// or pending.
func (s *side) weigh(o item, row ledger.Object, r ledger.Record, ok bool) (ledger.Change, error) {
	c := ledger.Change{ID: path.Base(o.Key), Put: []ledger.Object{row}}
	if o.Tags == nil { // the service's own
		return c, nil
	}
	c.Put[0].Tags = digest(o.Tags)
	sample, err := dg.ParseSample(o.Key, o.Tags)
	if err != nil {
		return c, err
	}
	if ok {
		c.Old = &r
	}
	if s.name == inProduction {
		s.c.learn(sample.Key, sample.PredictedClass)
		switch {
		case !ok:
			next := ledger.Unseen(sample)
			next.InProduction = true
			c.Next = &next
		case r.InProduction && r.Key == sample.Key && r.Flagged == sample.Flagged && r.CorrectedClass == sample.CorrectedClass:
		default:
			c.Put[0].Status = ledger.ObjectPending
		}
		return c, nil
	}
	f, err := s.c.foreignLabel(sample, o.Modified)
	switch {
	case err != nil:
		return c, err
	case !ok:
		r = ledger.Unseen(f.Sample)
		fallthrough
	case r.State != ledger.Labelled && r.InProduction:
		next := ledger.WithLabel(r, f)
		c.Next = &next
	case atHome(r, sample) && sameLabel(r, f):
	default:
		c.Put[0].Status = ledger.ObjectPending
	}
	return c, nil
}

// sameLabel reports whether a record has its label from f.
func sameLabel(r ledger.Record, f ledger.ForeignLabel) bool {
	source := f.Sample.LabelSource
	if source == "" {
		source = dg.HumanLabel
	}
	return r.State == ledger.Labelled && r.Label == f.Label && r.LabelledAt.Unix() == f.Sample.LabelledAt.Unix() &&
		r.LabelSource == source && r.Votes == f.Sample.Votes
}

// faulty counts an object that can't be entered, and returns it as remembered.
func (s *side) faulty(row ledger.Object, tags map[string]string, err error) ledger.Object {
	row.Status, row.Tags = statusOf(err), digest(tags)
	switch row.Status {
	case ledger.ObjectIncomplete:
		s.report.Incomplete++
		s.c.metrics.objects.WithLabelValues(s.name, isIncomplete).Inc()
	case ledger.ObjectClassless:
		s.report.Classless++
		s.c.metrics.objects.WithLabelValues(s.name, isClassless).Inc()
		s.c.problem(s.r, s.name, path.Dir(row.Key), err)
	default:
		s.report.Malformed++
		s.c.metrics.objects.WithLabelValues(s.name, isMalformed).Inc()
		s.c.problem(s.r, s.name, row.Key, err)
	}
	return row
}

// apply makes changes, each with one object of this bucket, and counts them.
func (s *side) apply(ctx context.Context, changes []ledger.Change) error {
	done, err := s.c.ledger.Apply(ctx, changes...)
	for i, ok := range done {
		if ok {
			s.count(changes[i].Old != nil)
		}
	}
	return err
}

func (s *side) count(known bool) {
	if known {
		s.report.Changed++
		s.c.metrics.objects.WithLabelValues(s.name, isChanged).Inc()
	} else {
		s.report.New++
		s.c.metrics.objects.WithLabelValues(s.name, isNew).Inc()
	}
}

// readTags fills in the tags that the listing did not bring; those of an object
// that is gone stay nil.
func (s *side) readTags(ctx context.Context, objects []*objstore.Object) error {
	return concurrently(ctx, objects, func(ctx context.Context, o *objstore.Object) (err error) {
		o.Tags, err = s.readOne(ctx, o.Key)
		return err
	})
}

// tags reads the tags of one object: nil if it is gone, never nil if it is not.
func (c *Catalog) tags(ctx context.Context, bucket, key string) (map[string]string, error) {
	tags, err := c.store.Tags(ctx, bucket, key)
	switch {
	case errors.Is(err, dg.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("tags of %s/%s: %w", bucket, key, err)
	case tags == nil:
		tags = map[string]string{}
	}
	return tags, nil
}

// concurrently calls f on every element, tagReaders at a time, until one fails.
func concurrently[T any](ctx context.Context, all []T, f func(context.Context, T) error) error {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, tagReaders)
	var wg sync.WaitGroup
	for worker := range tagReaders {
		wg.Go(func() {
			for i := worker; i < len(all) && work.Err() == nil; i += tagReaders {
				if err := f(work, all[i]); err != nil {
					if work.Err() == nil { // else it fell with another
						errs[worker] = err
					}
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), ctx.Err())
}
