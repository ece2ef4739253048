package serving

import (
	"context"
	"errors"
	"fmt"
	"maps"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Flag marks the prediction at key as doubtful: the tag flagged=true, set once
// and never removed. The error is [driftgate.ErrNotFound] for an unknown key.
// A key whose upload is under way is waited for.
func (s *Service) Flag(ctx context.Context, key string) error {
	return s.edit(ctx, key, func(tags map[string]string) { tags[dg.TagFlagged] = "true" })
}

// Correct records what the user says the image at key shows; the last word
// counts. The error is [driftgate.ErrInvalid] for a class that the model does
// not know, [driftgate.ErrNotFound] for an unknown key,
// [driftgate.ErrIncomplete] before the first model is loaded.
func (s *Service) Correct(ctx context.Context, key, class string) error {
	classes := s.Classes()
	if classes == nil {
		return fmt.Errorf("serving: correct %s: no model is loaded: %w", key, dg.ErrIncomplete)
	}
	if classes.Index(class) < 0 {
		return fmt.Errorf("serving: correct %s: class %q: want one of %q: %w", key, class, []string(classes), dg.ErrInvalid)
	}
	return s.edit(ctx, key, func(tags map[string]string) { tags[dg.TagCorrectedClass] = class })
}

// edit changes the tags of a prediction where they are: in the spool, durably,
// or in the bucket, and then in the ledger and in the copy that curate made.
func (s *Service) edit(ctx context.Context, key string, change func(tags map[string]string)) error {
	if _, _, err := dg.ParseKey(key); err != nil {
		return fmt.Errorf("serving: edit: no such prediction: %w: %w", dg.ErrNotFound, err)
	}
	spooled, err := s.spool.edit(ctx, key, change)
	if err != nil || spooled {
		return err
	}
	var after map[string]string
	err = s.store.UpdateTags(ctx, s.buckets.Production, key, func(tags map[string]string) error {
		change(tags)
		after = maps.Clone(tags)
		return nil
	})
	if err != nil {
		return fmt.Errorf("serving: edit %s: %w", key, err)
	}
	sample, err := dg.ParseSample(key, after)
	if err != nil { // written by others: the tag is set, the ledger takes it up once it is complete
		s.o.Logger.WarnContext(ctx, "edited an object that is no complete sample", "key", key, "err", err)
		return nil
	}
	if err := s.ledger.Captured(ctx, sample); err != nil {
		return fmt.Errorf("serving: edit %s: %w", key, err)
	}
	s.follow(ctx, sample, change)
	return nil
}

// follow changes the tags of the copy that waits for a label or lies in the
// training material under its own key. Those of a labelled image stay as they
// were when it was labelled. A copy that is just being made or moved may miss
// the change; the production bucket and the ledger never do.
func (s *Service) follow(ctx context.Context, sample dg.Sample, change func(tags map[string]string)) {
	r, err := s.ledger.Record(ctx, sample.ID())
	if err != nil || !r.Placed {
		return
	}
	bucket := s.buckets.Noisy
	switch r.State {
	case ledger.Waiting:
		bucket = s.buckets.Waiting
	case ledger.Noisy:
	default:
		return
	}
	err = s.store.UpdateTags(ctx, bucket, sample.Key, func(tags map[string]string) error {
		change(tags)
		return nil
	})
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		s.o.Logger.WarnContext(ctx, "a copy does not follow the edit of its tags", "bucket", bucket, "key", sample.Key, "err", err)
	}
}

// Image returns the stored image at key and its content type, from the spool
// or the production bucket; the error is [driftgate.ErrNotFound].
func (s *Service) Image(ctx context.Context, key string) ([]byte, string, error) {
	if _, _, err := dg.ParseKey(key); err != nil {
		return nil, "", fmt.Errorf("serving: image: %w: %w", dg.ErrNotFound, err)
	}
	r, ok, err := s.spool.read(key)
	if err != nil {
		return nil, "", err
	}
	if ok {
		return r.Body, r.ContentType, nil
	}
	body, obj, err := s.store.Get(ctx, s.buckets.Production, key)
	if err != nil {
		return nil, "", fmt.Errorf("serving: image: %w", err)
	}
	if obj.ContentType == "" {
		obj.ContentType = contentType(key)
	}
	return body, obj.ContentType, nil
}
