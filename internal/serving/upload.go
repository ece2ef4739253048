package serving

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

const (
	firstBackoff  = 100 * time.Millisecond
	uploadedBatch = 256             // uploads told to the ledger in one transaction, at most
	lastWords     = 5 * time.Second // for the ledger to hear of uploads done when Run ends
)

// uploaded is a record whose object is in the bucket; its entry's lock is held.
type uploaded struct {
	entry  *entry
	sample dg.Sample
	known  bool // sample is complete, so the ledger can take it
}

// Run uploads what the spool holds, and hands sums of features to the ledger,
// until ctx ends; its error is then nil. What is not uploaded by then stays in
// the spool for the next process. One Run at a time.
func (s *Service) Run(ctx context.Context) error {
	done := make(chan uploaded, uploadedBatch)
	var workers, keeper sync.WaitGroup
	for range s.o.Uploaders {
		workers.Go(func() { s.upload(ctx, done) })
	}
	keeper.Go(func() { s.settle(ctx, done) })
	keeper.Go(func() { s.keepFeatures(ctx) })
	keeper.Go(func() { s.answerShadows(ctx) })
	workers.Wait()
	close(done)
	keeper.Wait()
	s.lastFeatures(ctx)
	return nil
}

// Drain waits until the spool is empty; Run must be under way. The error is
// that of ctx, with how many are left. The ledger has the features by then.
func (s *Service) Drain(ctx context.Context) error {
	defer s.lastFeatures(ctx)
	return s.spool.drained(ctx)
}

// upload is one worker. After a failure the record goes to the end of the
// queue, so one that never succeeds holds nothing up, and the worker pauses.
func (s *Service) upload(ctx context.Context, done chan<- uploaded) {
	failures := 0
	for {
		e, ok := s.spool.next(ctx)
		if !ok {
			return
		}
		u, traced, err := s.put(ctx, e)
		switch {
		case err == nil:
			failures = 0
			s.metrics.uploads.WithLabelValues(uploadStored).Inc()
			done <- u
		case errors.Is(err, fs.ErrNotExist): // uploaded and removed, but the removal's fsync failed
			s.spool.forget(e)
		case errors.Is(err, errTorn), errors.Is(err, dg.ErrInvalid):
			s.metrics.uploads.WithLabelValues(uploadRefused).Inc()
			folder := refusedFolder
			if errors.Is(err, errTorn) {
				folder = tornFolder
			}
			if err := s.spool.refuse(e, folder, err); err != nil {
				s.o.Logger.ErrorContext(traced, "set aside spooled prediction", "key", e.key, "err", err)
				s.spool.requeue(e)
				s.pause(ctx, firstBackoff)
			}
		default:
			s.spool.requeue(e)
			if ctx.Err() != nil {
				return
			}
			s.metrics.uploads.WithLabelValues(uploadError).Inc()
			failures++
			wait := s.backoff(failures)
			s.o.Logger.WarnContext(traced, "upload of a captured prediction will be repeated", "key", e.key, "failures", failures, "pause", wait, "err", err)
			s.pause(ctx, wait)
		}
	}
}

// put uploads the record of e, whose lock is held, never over an object that
// is there already: that one is the same prediction, put by an attempt whose
// reply was lost, or before a crash, and may carry newer tags. The attempt is
// part of the prediction's trace, which traced names for the log.
func (s *Service) put(ctx context.Context, e *entry) (u uploaded, traced context.Context, err error) {
	r, err := s.spool.load(e)
	if err != nil {
		return uploaded{}, ctx, err
	}
	traced, span := s.o.Tracer.Resume(ctx, r.Trace, "upload")
	defer func() { span.Done(err) }()
	u, err = s.putRecord(traced, e, r)
	return u, traced, err
}

func (s *Service) putRecord(ctx context.Context, e *entry, r record) (uploaded, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.UploadTimeout)
	defer cancel()
	_, err := s.store.Put(ctx, s.buckets.Production, r.Key, r.Body,
		objstore.PutOptions{Tags: r.Tags, ContentType: r.ContentType, IfNoneMatch: true})
	if errors.Is(err, dg.ErrConflict) {
		err = s.present(ctx, r)
	}
	if err != nil {
		return uploaded{}, fmt.Errorf("serving: upload %s: %w", r.Key, err)
	}
	sample, err := dg.ParseSample(r.Key, r.Tags)
	return uploaded{entry: e, sample: sample, known: err == nil}, nil
}

// present makes sure that the object of r is there, and that an edit made in
// the spool since an earlier attempt reaches it.
func (s *Service) present(ctx context.Context, r record) error {
	_, flagged := r.Tags[dg.TagFlagged]
	_, corrected := r.Tags[dg.TagCorrectedClass]
	if !flagged && !corrected {
		_, err := s.store.Stat(ctx, s.buckets.Production, r.Key)
		return err
	}
	return s.store.UpdateTags(ctx, s.buckets.Production, r.Key, func(tags map[string]string) error {
		for _, tag := range []string{dg.TagFlagged, dg.TagCorrectedClass} {
			if v, ok := r.Tags[tag]; ok {
				tags[tag] = v
			}
		}
		return nil
	})
}

// settle tells the ledger of uploads, many in one transaction, and then takes
// them off the spool, until done is closed.
func (s *Service) settle(ctx context.Context, done <-chan uploaded) {
	failures := 0
	for first := range done {
		batch := []uploaded{first}
		for more := true; more && len(batch) < uploadedBatch; {
			select {
			case u, ok := <-done:
				if more = ok; ok {
					batch = append(batch, u)
				}
			default:
				more = false
			}
		}
		if err := s.settleBatch(ctx, batch); err != nil {
			failures++
			wait := s.backoff(failures)
			s.o.Logger.Warn("captured predictions are uploaded, but the ledger or the spool does not take it", "items", len(batch), "pause", wait, "err", err)
			s.pause(ctx, wait)
			continue
		}
		failures = 0
	}
}

func (s *Service) settleBatch(ctx context.Context, batch []uploaded) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	entries := make([]*entry, len(batch))
	var samples []dg.Sample
	for i, u := range batch {
		entries[i] = u.entry
		if u.known {
			samples = append(samples, u.sample)
		}
	}
	err := s.ledger.Captured(ctx, samples...)
	if err == nil {
		err = s.spool.remove(entries...)
	}
	if err != nil {
		s.spool.requeue(entries...)
	}
	return err
}

// backoff grows from firstBackoff to MaxBackoff with the failures in a row,
// spread by a half so that the workers do not all come back at once.
func (s *Service) backoff(failures int) time.Duration {
	d := min(s.o.MaxBackoff, firstBackoff<<min(failures-1, 16))
	return d/2 + rand.N(d/2+1)
}

func (s *Service) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
