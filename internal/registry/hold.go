package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

// A model may be deleted by one process while another makes it champion. No
// record covers both, so each says what it is about to do before it looks what
// the other has said: who moves a record writes a hold and then looks for the
// mark of deletion, who deletes writes the mark and then looks for holds and
// records. At least one of the two sees the other and gives way.

const (
	markFile = "deleting.json"

	// holdFor is how long a hold or a mark counts that nobody took away, because
	// its writer died; far longer than a move takes.
	holdFor = time.Hour

	releaseTimeout = 10 * time.Second
)

func holdPrefix(ref dg.ModelRef) string {
	return holds + strings.TrimPrefix(string(ref), refPrefix) + "/"
}

// holding runs f while ref cannot be deleted. The error is [dg.ErrConflict]
// when its deletion has begun.
func (r *Registry) holding(ctx context.Context, ref dg.ModelRef, f func() error) error {
	if err := validRef(ref); err != nil {
		return err
	}
	key := holdPrefix(ref) + rand.Text()
	if _, err := r.store.Put(ctx, r.bucket, key, []byte("{}\n"), objstore.PutOptions{}); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := r.store.Delete(ctx, r.bucket, key); err != nil {
			r.log.Warn("hold left behind; it counts for an hour", "version", ref.Short(), "error", err)
		}
	}()
	_, err := r.store.Stat(ctx, r.bucket, artifactKey(ref, markFile))
	switch {
	case err == nil:
		return fmt.Errorf("model %s is being deleted; if that was cut off, driftgate models prune looks after it in an hour: %w", ref.Short(), dg.ErrConflict)
	case !errors.Is(err, dg.ErrNotFound):
		return err
	}
	return f()
}

// held reports whether somebody holds ref, and takes away holds that were left
// behind.
func (r *Registry) held(ctx context.Context, ref dg.ModelRef) (bool, error) {
	for o, err := range r.store.List(ctx, r.bucket, holdPrefix(ref), false) {
		if err != nil {
			return false, err
		}
		if r.wall().Sub(o.Modified) < holdFor {
			return true, nil
		}
		if err := r.store.Delete(ctx, r.bucket, o.Key); err != nil {
			return false, err
		}
	}
	return false, nil
}
