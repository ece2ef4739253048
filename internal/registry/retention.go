package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// Retention says which saved models may go. Whatever it says, the champion, the
// one before it, both sides of an exposure and the champions of the last
// Generations records stay.
type Retention struct {
	Keep        int           // newest of the others that stay, at least 1
	Younger     time.Duration // others saved within this time stay too
	Generations int           // champion records whose models stay, newest first
	DryRun      bool          // say what would go, delete nothing
}

// Validate reports every fault; the error is [dg.ErrInvalid].
func (p Retention) Validate() error {
	var errs []error
	if p.Keep < 1 {
		errs = append(errs, fmt.Errorf("keep %d: want at least 1", p.Keep))
	}
	if p.Younger < 0 {
		errs = append(errs, fmt.Errorf("younger %s: want 0s or more", p.Younger))
	}
	if p.Generations < 0 {
		errs = append(errs, fmt.Errorf("generations %d: want 0 or more", p.Generations))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("registry: retention: %w: %w", dg.ErrInvalid, err)
	}
	return nil
}

// Prune deletes the models that the policy lets go, oldest first, and returns
// their names; with DryRun those that it would delete. One that is made
// champion or exposed meanwhile stays. What was deleted before an error is
// returned with it; deletions that were cut off are completed after an hour. Only the
// artifact goes: history and ledger still name it.
func (r *Registry) Prune(ctx context.Context, policy Retention) ([]dg.ModelRef, error) {
	if err := policy.Validate(); err != nil {
		return nil, err
	}
	gone := []dg.ModelRef{}
	if !policy.DryRun {
		if err := r.sweep(ctx); err != nil {
			return gone, fmt.Errorf("registry: prune: %w", err)
		}
	}
	found, err := r.saved(ctx, "")
	if err != nil {
		return gone, fmt.Errorf("registry: prune: %w", err)
	}
	stays, err := r.needed(ctx, policy.Generations)
	if err != nil {
		return gone, fmt.Errorf("registry: prune: %w", err)
	}
	now := r.o.Now()
	var going []dg.ModelRef
	others := 0
	for _, s := range found { // newest first
		if stays[s.ref] {
			continue
		}
		if others++; others > policy.Keep && now.Sub(s.at) >= policy.Younger {
			going = append([]dg.ModelRef{s.ref}, going...)
		}
	}
	for _, ref := range going {
		if !policy.DryRun {
			deleted, err := r.remove(ctx, ref, policy)
			if err != nil {
				return gone, fmt.Errorf("registry: prune: delete %s: %w", ref.Short(), err)
			}
			if !deleted {
				continue
			}
		}
		gone = append(gone, ref)
	}
	return gone, nil
}

// needed returns the models that no policy lets go.
func (r *Registry) needed(ctx context.Context, generations int) (map[dg.ModelRef]bool, error) {
	need := map[dg.ModelRef]bool{}
	now, err := r.Champion(ctx)
	switch {
	case errors.Is(err, dg.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		need[now.Version], need[now.Previous] = true, true
	}
	for g := now.Generation - 1; g > max(0, now.Generation-generations); g-- {
		c, err := r.record(ctx, historyKey(g))
		if errors.Is(err, dg.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		need[c.Version] = true
	}
	e, err := r.Exposure(ctx)
	switch {
	case errors.Is(err, dg.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		need[e.Challenger], need[e.Against] = true, true
	}
	return need, nil
}

// remove deletes one model, unless somebody needs it by now.
func (r *Registry) remove(ctx context.Context, ref dg.ModelRef, policy Retention) (bool, error) {
	mark := artifactKey(ref, markFile)
	_, err := r.store.Put(ctx, r.bucket, mark, markContents(), objstore.PutOptions{IfNoneMatch: true, ContentType: contentType(mark)})
	if errors.Is(err, dg.ErrConflict) {
		return false, nil // another prunes
	} else if err != nil {
		return false, err
	}
	held, err := r.held(ctx, ref)
	if err != nil {
		return false, err
	}
	need, err := r.needed(ctx, policy.Generations)
	if err != nil {
		return false, err
	}
	if held || need[ref] {
		return false, r.store.Delete(ctx, r.bucket, artifactKey(ref, markFile))
	}
	return true, r.erase(ctx, ref)
}

// erase deletes the manifest first, without which there is no artifact, and the
// mark last, so that what is cut off is found again.
func (r *Registry) erase(ctx context.Context, ref dg.ModelRef) error {
	for _, file := range []string{network.ManifestFile, network.SignatureFile, network.WeightsFile, network.ONNXFile, network.LabelsFile, markFile} {
		if err := r.store.Delete(ctx, r.bucket, artifactKey(ref, file)); err != nil {
			return err
		}
	}
	r.mu.Lock()
	delete(r.manifests, ref)
	r.mu.Unlock()
	r.log.Info("model deleted", "version", ref.Short())
	return nil
}

// markContents differ each time, so that of two who take a mark over one wins.
func markContents() []byte { return []byte(`{"by":"` + rand.Text() + "\"}\n") }

// sweep looks after deletions that were cut off: those that had begun are
// completed, the others are left to the policy.
func (r *Registry) sweep(ctx context.Context) error {
	for o, err := range r.store.List(ctx, r.bucket, artifacts, false) {
		if err != nil {
			return err
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, artifacts), "/"+markFile)
		ref := dg.ModelRef(refPrefix + name)
		if !ok || validRef(ref) != nil || r.wall().Sub(o.Modified) < holdFor {
			continue
		}
		_, err := r.store.Put(ctx, r.bucket, o.Key, markContents(), objstore.PutOptions{IfMatch: o.ETag, ContentType: contentType(o.Key)})
		if errors.Is(err, dg.ErrConflict) {
			continue // another sweeps
		} else if err != nil {
			return err
		}
		_, err = r.store.Stat(ctx, r.bucket, artifactKey(ref, network.ManifestFile))
		switch {
		case err == nil:
			err = r.store.Delete(ctx, r.bucket, o.Key)
		case errors.Is(err, dg.ErrNotFound):
			err = r.erase(ctx, ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
