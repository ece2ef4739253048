package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

// Champion returns the record with its ETag; it is [dg.ErrNotFound] when no
// model was ever promoted.
func (r *Registry) Champion(ctx context.Context) (dg.Champion, error) {
	c, err := r.record(ctx, championKey)
	if err != nil {
		return dg.Champion{}, fmt.Errorf("registry: read champion: %w", err)
	}
	return c, nil
}

func (r *Registry) record(ctx context.Context, key string) (c dg.Champion, err error) {
	if c.ETag, err = r.fetchRecord(ctx, key, &c); err != nil {
		return dg.Champion{}, err
	}
	if err := errors.Join(validRef(c.Version), validGeneration(c.Generation)); err != nil {
		return dg.Champion{}, fmt.Errorf("%s: %w", key, err)
	}
	return c, nil
}

// fetchRecord decodes a record of the bucket into record and returns its ETag.
func (r *Registry) fetchRecord(ctx context.Context, key string, record any) (etag string, err error) {
	b, o, err := r.store.Get(ctx, r.bucket, key)
	if err != nil {
		return "", err
	}
	if len(b) > maxRecord {
		return "", fmt.Errorf("%s: %d bytes, want at most %d: %w", key, len(b), maxRecord, dg.ErrInvalid)
	}
	if err := json.Unmarshal(b, record); err != nil {
		return "", fmt.Errorf("%s: %w: %w", key, err, dg.ErrInvalid)
	}
	return o.ETag, nil
}

func validGeneration(n int) error {
	if n < 1 {
		return fmt.Errorf("generation %d, want at least 1: %w", n, dg.ErrInvalid)
	}
	return nil
}

// Promote makes ref the champion, unless the record was moved since seen was
// read: then the error is [dg.ErrConflict] and nothing has changed. The zero
// Champion is what was seen where there was none. seen may have lost its ETag
// on the way; its generation and version then speak for it.
//
// A run promotes once: a repetition with the same run id returns the record
// that the run has written, even if others have followed. Promoting the
// champion itself changes nothing. A model that cannot be loaded or fails its
// self-test is refused with the reason.
func (r *Registry) Promote(ctx context.Context, ref dg.ModelRef, seen dg.Champion, reason, runID string) (dg.Champion, error) {
	next, err := r.promote(ctx, ref, seen, reason, runID)
	if err != nil {
		return dg.Champion{}, fmt.Errorf("registry: promote %s: %w", ref.Short(), err)
	}
	return next, nil
}

func (r *Registry) promote(ctx context.Context, ref dg.ModelRef, seen dg.Champion, reason, runID string) (dg.Champion, error) {
	now, err := r.Champion(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return dg.Champion{}, err
	}
	if done, ok, err := r.byRun(ctx, now, runID); err != nil || ok {
		if ok && done.Version != ref {
			return dg.Champion{}, fmt.Errorf("run %s has promoted %s already: %w", runID, done.Version.Short(), dg.ErrConflict)
		}
		return done, err
	}
	if hasMoved(now, seen) {
		return dg.Champion{}, moved(now, seen)
	}
	if now.Version == ref {
		return now, nil
	}
	return r.moveTo(ctx, now, dg.Champion{Version: ref, Previous: now.Version, Reason: reason, RunID: runID})
}

func hasMoved(now, seen dg.Champion) bool {
	return now.Generation != seen.Generation || now.Version != seen.Version || (seen.ETag != "" && seen.ETag != now.ETag)
}

func moved(now, seen dg.Champion) error {
	return fmt.Errorf("the champion is %s of generation %d, and %s of generation %d was seen: %w",
		orNone(now.Version), now.Generation, orNone(seen.Version), seen.Generation, dg.ErrConflict)
}

func orNone(ref dg.ModelRef) string {
	if ref == "" {
		return "none"
	}
	return ref.Short()
}

// Rollback puts the model that served before back in seen's place, unless the
// record was moved since seen was read: then the error is [dg.ErrConflict] and
// nothing has changed. Behind it stands again what stood behind it then, so that
// a second rollback goes further back. It is [dg.ErrRefused] when there is
// nothing before. seen may have lost its ETag on the way, as for Promote.
func (r *Registry) Rollback(ctx context.Context, seen dg.Champion, reason string) (dg.Champion, error) {
	next, err := r.rollback(ctx, seen, reason)
	if err != nil {
		return dg.Champion{}, fmt.Errorf("registry: roll back from %s: %w", orNone(seen.Version), err)
	}
	return next, nil
}

func (r *Registry) rollback(ctx context.Context, seen dg.Champion, reason string) (dg.Champion, error) {
	now, err := r.Champion(ctx)
	if errors.Is(err, dg.ErrNotFound) {
		return now, fmt.Errorf("no champion: %w", dg.ErrRefused)
	} else if err != nil {
		return now, err
	}
	if hasMoved(now, seen) {
		return now, moved(now, seen)
	}
	if now.Previous == "" {
		return now, fmt.Errorf("no earlier champion than %s: %w", now.Version.Short(), dg.ErrRefused)
	}
	before, err := r.predecessor(ctx, now)
	if err != nil {
		return now, err
	}
	text := "rollback"
	if reason != "" {
		text += ": " + reason
	}
	return r.moveTo(ctx, now, dg.Champion{Version: now.Previous, Previous: before, Reason: text})
}

// predecessor returns what stood behind now.Previous when that was champion.
func (r *Registry) predecessor(ctx context.Context, now dg.Champion) (dg.ModelRef, error) {
	for generation := now.Generation - 1; generation > 0; generation-- {
		c, err := r.record(ctx, historyKey(generation))
		if errors.Is(err, dg.ErrNotFound) || errors.Is(err, dg.ErrInvalid) {
			r.log.WarnContext(ctx, "history is incomplete", "generation", generation, "error", err)
			continue
		} else if err != nil {
			return "", err
		}
		if c.Version == now.Previous {
			return c.Previous, nil
		}
	}
	return "", nil // unknown: the way back ends here
}

// moveTo moves the record to a model that can be loaded, answers as it should,
// and is not deleted meanwhile.
func (r *Registry) moveTo(ctx context.Context, now, next dg.Champion) (moved dg.Champion, err error) {
	err = r.holding(ctx, next.Version, func() error {
		if _, err := r.classifier(ctx, next.Version); err != nil {
			return err
		}
		moved, err = r.move(ctx, now, next)
		return err
	})
	return moved, err
}

// move swaps the record from now to next and adds next to history.
func (r *Registry) move(ctx context.Context, now, next dg.Champion) (dg.Champion, error) {
	if now.Generation > 0 {
		// Should the last mover have died before this, nobody else would.
		if err := r.remember(ctx, now); err != nil {
			return dg.Champion{}, err
		}
	}
	next.Model = r.o.Model
	next.Generation = now.Generation + 1
	next.PromotedAt = r.o.Now().UTC().Truncate(time.Second)
	b, err := encodeRecord(next)
	if err != nil {
		return dg.Champion{}, err
	}
	o := objstore.PutOptions{ContentType: contentType(championKey), IfMatch: now.ETag, IfNoneMatch: now.Generation == 0}
	if next.ETag, err = r.store.Put(ctx, r.bucket, championKey, b, o); err != nil {
		return dg.Champion{}, err // the store has read back what could be read back
	}
	if err := r.remember(ctx, next); err != nil {
		r.log.WarnContext(ctx, "history lacks the newest generation until the next one", "generation", next.Generation, "error", err)
	}
	r.log.InfoContext(ctx, "champion moved", "from", orNone(now.Version), "to", next.Version.Short(), "generation", next.Generation, "reason", next.Reason)
	return next, nil
}

func encodeRecord(record any) ([]byte, error) {
	b, err := json.MarshalIndent(record, "", "  ")
	return append(b, '\n'), err
}

func historyKey(generation int) string { return generationKey(history, generation) }

func generationKey(prefix string, generation int) string {
	return fmt.Sprintf("%s%08d.json", prefix, generation)
}

// remember writes the history record of c's generation if it is missing.
func (r *Registry) remember(ctx context.Context, c dg.Champion) error {
	return r.rememberAs(ctx, historyKey(c.Generation), c)
}

func (r *Registry) rememberAs(ctx context.Context, key string, record any) error {
	b, err := encodeRecord(record)
	if err != nil {
		return err
	}
	_, err = r.store.Put(ctx, r.bucket, key, b, objstore.PutOptions{ContentType: contentType(key), IfNoneMatch: true})
	if errors.Is(err, dg.ErrConflict) {
		return nil // written before
	}
	return err
}

// History returns the record of every generation, oldest first. The present
// one is there even when its own history record is not yet.
func (r *Registry) History(ctx context.Context) ([]dg.Champion, error) {
	all, err := r.history(ctx)
	if err != nil {
		return nil, fmt.Errorf("registry: read history: %w", err)
	}
	now, err := r.Champion(ctx)
	if errors.Is(err, dg.ErrNotFound) {
		return all, nil
	} else if err != nil {
		return nil, err
	}
	if n := len(all); n == 0 || all[n-1].Generation < now.Generation {
		all = append(all, now)
	}
	return all, nil
}

func (r *Registry) history(ctx context.Context) ([]dg.Champion, error) {
	all, err := recordsBelow(ctx, r, history, r.record)
	for i := range all {
		all[i].ETag = "" // that of the history record swaps nothing
	}
	return all, err
}

// recordsBelow reads the records of every generation below prefix, oldest first.
// One that cannot be read is left out and logged.
func recordsBelow[T any](ctx context.Context, r *Registry, prefix string, read func(ctx context.Context, key string) (T, error)) ([]T, error) {
	var all []T
	for o, err := range r.store.List(ctx, r.bucket, prefix, false) {
		if err != nil {
			return nil, err
		}
		generation, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), ".json"))
		if err != nil || o.Key != generationKey(prefix, generation) {
			continue // not ours
		}
		record, err := read(ctx, o.Key)
		if errors.Is(err, dg.ErrInvalid) {
			r.log.WarnContext(ctx, "history record left out", "key", o.Key, "error", err)
			continue
		} else if err != nil {
			return nil, err
		}
		all = append(all, record)
	}
	return all, nil
}

// byRun returns the record that the run wrote, if it wrote one.
func (r *Registry) byRun(ctx context.Context, now dg.Champion, runID string) (dg.Champion, bool, error) {
	if runID == "" || now.Generation == 0 {
		return dg.Champion{}, false, nil
	}
	if now.RunID == runID {
		return now, true, nil
	}
	all, err := r.history(ctx)
	if err != nil {
		return dg.Champion{}, false, err
	}
	for _, c := range all {
		if c.RunID == runID {
			return c, true, nil
		}
	}
	return dg.Champion{}, false, nil
}
