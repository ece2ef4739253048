package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

// Exposure returns the record of the challenger on production, with its ETag.
// It is [dg.ErrNotFound] when nothing was ever exposed; a record without a
// challenger says that an exposure has ended.
func (r *Registry) Exposure(ctx context.Context) (dg.Exposure, error) {
	e, err := r.exposure(ctx, exposureKey)
	if err != nil {
		return dg.Exposure{}, fmt.Errorf("registry: read exposure: %w", err)
	}
	return e, nil
}

func (r *Registry) exposure(ctx context.Context, key string) (e dg.Exposure, err error) {
	if e.ETag, err = r.fetchRecord(ctx, key, &e); err != nil {
		return dg.Exposure{}, err
	}
	if err := errors.Join(validGeneration(e.Generation), validExposure(e)); err != nil {
		return dg.Exposure{}, fmt.Errorf("%s: %w", key, err)
	}
	return e, nil
}

// validExposure refuses what no server may act on; the error is [dg.ErrInvalid].
func validExposure(e dg.Exposure) error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if e.Challenger == "" {
		if e.Stage != "" || e.Share != 0 || e.Against != "" {
			bad("stage %q, share %g, against %q without a challenger: want none of them", e.Stage, e.Share, e.Against)
		}
	} else {
		errs = append(errs, validRef(e.Challenger), validRef(e.Against))
		if e.Challenger == e.Against {
			bad("the challenger is the champion that it is compared with: want another model")
		}
		switch {
		case e.Stage != dg.Shadow && e.Stage != dg.Canary:
			bad("stage %q: want %s or %s", e.Stage, dg.Shadow, dg.Canary)
		case e.Stage == dg.Shadow && e.Share != 0:
			bad("share %g in the shadow: want 0", e.Share)
		case e.Stage == dg.Canary && !(e.Share > 0 && e.Share <= 1): // also refuses NaN
			bad("share %g of a canary: want over 0, at most 1", e.Share)
		}
	}
	if e.Step < dg.ByHand {
		bad("step %d: want 0 or more, or %d for one set by hand", e.Step, dg.ByHand)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("exposure: %w: %w", dg.ErrInvalid, err)
	}
	return nil
}

// Expose moves the record from seen to next, unless another moved it since
// seen was read: then the error is [dg.ErrConflict] and nothing has changed.
// The zero Exposure is what was seen where there was none. seen may have lost
// its ETag on the way; its generation then speaks for it. A next without a
// challenger ends the exposure, by whatever reason it gives.
//
// Model and generation are set here, and the times that next leaves zero: Since
// is now, Began is that of the present record as long as the same challenger is
// exposed against the same champion, else now.
//
// A repetition of the move that made the present record returns that record:
// who crashed in between may run the step again. Saying what is said already
// changes nothing either. next must be against the present champion, else the
// error is [dg.ErrConflict]; a challenger that cannot be loaded or fails its
// self-test is refused with the reason.
func (r *Registry) Expose(ctx context.Context, next, seen dg.Exposure) (dg.Exposure, error) {
	e, err := r.expose(ctx, next, seen)
	if err != nil {
		what := "end exposure"
		if next.Challenger != "" {
			what = "expose " + next.Challenger.Short()
		}
		return dg.Exposure{}, fmt.Errorf("registry: %s: %w", what, err)
	}
	return e, nil
}

func (r *Registry) expose(ctx context.Context, next, seen dg.Exposure) (dg.Exposure, error) {
	if err := validExposure(next); err != nil {
		return dg.Exposure{}, err
	}
	now, err := r.Exposure(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return dg.Exposure{}, err
	}
	same := sameExposure(now, next)
	if same && now.Generation == seen.Generation+1 && now.RunID == next.RunID && now.Reason == next.Reason {
		return now, nil // this very move, run again
	}
	if now.Generation != seen.Generation || (seen.ETag != "" && seen.ETag != now.ETag) {
		return dg.Exposure{}, fmt.Errorf("the record is at generation %d (%s), and %d was seen: %w", now.Generation, orNone(now.Challenger), seen.Generation, dg.ErrConflict)
	}
	if same {
		return now, nil
	}
	if next.Challenger == "" {
		return r.moveExposure(ctx, now, next)
	}
	champion, err := r.Champion(ctx)
	if err != nil {
		return dg.Exposure{}, err
	}
	if champion.Version != next.Against {
		return dg.Exposure{}, fmt.Errorf("the champion is %s, the exposure is against %s: %w", champion.Version.Short(), next.Against.Short(), dg.ErrConflict)
	}
	if next.Challenger == now.Challenger {
		return r.moveExposure(ctx, now, next)
	}
	var moved dg.Exposure
	err = r.holding(ctx, next.Challenger, func() error {
		if err := r.comparable(ctx, next); err != nil {
			return err
		}
		moved, err = r.moveExposure(ctx, now, next)
		return err
	})
	return moved, err
}

// comparable refuses a challenger that fails its self-test, or that sorts into
// other classes than the champion: no server would let it answer.
func (r *Registry) comparable(ctx context.Context, e dg.Exposure) error {
	challenger, err := r.classifier(ctx, e.Challenger)
	if err != nil {
		return err
	}
	champion, err := r.Load(ctx, e.Against)
	if err != nil {
		return err
	}
	a, b := champion.Manifest.Classes, challenger.Manifest().Classes
	if !slices.Equal(a, b) {
		return fmt.Errorf("its classes %q are not the champion's %q: %w", b, a, dg.ErrRefused)
	}
	return nil
}

// sameExposure reports whether servers would do the same under both.
func sameExposure(a, b dg.Exposure) bool {
	return a.Challenger == b.Challenger && a.Against == b.Against && a.Stage == b.Stage && a.Share == b.Share && a.Step == b.Step
}

// moveExposure swaps the record from now to next and adds next to history.
func (r *Registry) moveExposure(ctx context.Context, now, next dg.Exposure) (dg.Exposure, error) {
	if now.Generation > 0 {
		// Should the last mover have died before this, nobody else would.
		if err := r.rememberExposure(ctx, now); err != nil {
			return dg.Exposure{}, err
		}
	}
	next.Model, next.Generation = r.o.Model, now.Generation+1
	r.fillTimes(now, &next)
	b, err := encodeRecord(next)
	if err != nil {
		return dg.Exposure{}, err
	}
	o := objstore.PutOptions{ContentType: contentType(exposureKey), IfMatch: now.ETag, IfNoneMatch: now.Generation == 0}
	if next.ETag, err = r.store.Put(ctx, r.bucket, exposureKey, b, o); err != nil {
		return dg.Exposure{}, err // the store has read back what could be read back
	}
	if err := r.rememberExposure(ctx, next); err != nil {
		r.log.Warn("history lacks the newest exposure until the next one", "generation", next.Generation, "error", err)
	}
	r.log.Info("exposure moved", "challenger", orNone(next.Challenger), "stage", next.Stage, "share", next.Share, "generation", next.Generation, "reason", next.Reason)
	return next, nil
}

// fillTimes sets the times that the mover has left open.
func (r *Registry) fillTimes(now dg.Exposure, next *dg.Exposure) {
	at := r.o.Now().UTC().Truncate(time.Second)
	if next.Since.IsZero() {
		next.Since = at
	}
	switch {
	case next.Challenger == "":
		next.Step, next.Began = 0, time.Time{}
	case !next.Began.IsZero():
	case next.Challenger == now.Challenger && next.Against == now.Against:
		next.Began = now.Began
	default:
		next.Began = at
	}
	next.Since, next.Began = next.Since.UTC(), next.Began.UTC()
}

func exposureHistoryKey(generation int) string { return generationKey(exposureHistory, generation) }

// rememberExposure writes the history record of e's generation if it is missing.
func (r *Registry) rememberExposure(ctx context.Context, e dg.Exposure) error {
	return r.rememberAs(ctx, exposureHistoryKey(e.Generation), e)
}

// Exposures returns the record of every move of the exposure, oldest first. The
// present one is there even when its own history record is not yet.
func (r *Registry) Exposures(ctx context.Context) ([]dg.Exposure, error) {
	all, err := r.exposures(ctx)
	if err != nil {
		return nil, fmt.Errorf("registry: read exposures: %w", err)
	}
	now, err := r.Exposure(ctx)
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

func (r *Registry) exposures(ctx context.Context) ([]dg.Exposure, error) {
	all, err := recordsBelow(ctx, r, exposureHistory, r.exposure)
	for i := range all {
		all[i].ETag = "" // that of the history record swaps nothing
	}
	return all, err
}
