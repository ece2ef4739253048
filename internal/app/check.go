package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"driftgate"
	"driftgate/internal/objstore"

	"github.com/google/uuid"
)

// checkResult is what `driftgate check` prints of one thing.
type checkResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

type checkReport struct {
	OK     bool          `json:"ok"`
	Checks []checkResult `json:"checks"`
}

// check looks at the deployment from inside. A check that fails says what to do.
func (a *App) check(ctx context.Context) (any, error) {
	report := checkReport{OK: true}
	for _, c := range []struct {
		name string
		look func(context.Context) (string, error)
	}{
		{"object store", a.checkStore}, {"buckets", a.checkBuckets}, {"clock", a.checkClock},
		{"ledger", a.checkLedger}, {"champion", a.checkChampion}, {"spool", a.checkSpool},
	} {
		detail, err := c.look(ctx)
		if err != nil {
			detail, report.OK = err.Error(), false
		}
		report.Checks = append(report.Checks, checkResult{c.name, err == nil, detail})
	}
	return report, nil
}

func (a *App) checkStore(ctx context.Context) (string, error) {
	if a.embedded != nil {
		return "embedded, on " + a.storeOptions.Endpoint, a.store.Ready(ctx)
	}
	return a.storeOptions.Endpoint, a.store.Ready(ctx)
}

// checkBuckets writes, tags, reads and deletes one object in every bucket.
func (a *App) checkBuckets(ctx context.Context) (string, error) {
	key := ".driftgate-check/" + uuid.NewString()
	var errs []error
	for _, bucket := range a.buckets.All() {
		if err := a.checkRights(ctx, bucket, key); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w (want rights to put, tag, get and delete)", bucket, err))
		}
	}
	return fmt.Sprintf("%d: put, tag, get and delete work", len(a.buckets.All())), errors.Join(errs...)
}

func (a *App) checkRights(ctx context.Context, bucket, key string) error {
	_, err := a.store.Put(ctx, bucket, key, []byte("check"), objstore.PutOptions{Tags: map[string]string{"check": "yes"}})
	if err != nil {
		return err
	}
	tags, err := a.store.Tags(ctx, bucket, key)
	if err == nil && tags["check"] != "yes" {
		err = fmt.Errorf("tags were not kept: %v", tags)
	}
	return errors.Join(err, a.store.Delete(ctx, bucket, key))
}

// maxSkew is how far our clock and the object store's may be apart: S3 refuses
// signatures beyond 15 minutes, and windows are cut by our clock.
const maxSkew = 5 * time.Second

func (a *App) checkClock(ctx context.Context) (string, error) {
	key := ".driftgate-check/" + uuid.NewString()
	before := time.Now()
	if _, err := a.store.Put(ctx, a.buckets.Models, key, nil, objstore.PutOptions{}); err != nil {
		return "", err
	}
	o, err := a.store.Stat(ctx, a.buckets.Models, key)
	if err := errors.Join(err, a.store.Delete(ctx, a.buckets.Models, key)); err != nil {
		return "", err
	}
	skew := o.Modified.Sub(before).Round(time.Second) // S3 tells whole seconds
	if skew.Abs() > maxSkew {
		return "", fmt.Errorf("the object store's clock is %s away from ours: want at most %s; synchronise both", skew, maxSkew)
	}
	return fmt.Sprintf("%s from the object store's", skew), nil
}

func (a *App) checkLedger(ctx context.Context) (string, error) {
	p, err := a.labelling.Progress(ctx)
	return fmt.Sprintf("%d labelled, %d waiting", p.Labelled, p.Waiting), err
}

func (a *App) checkChampion(ctx context.Context) (string, error) {
	c, err := a.registry.Champion(ctx)
	if errors.Is(err, driftgate.ErrNotFound) {
		return "", errors.New("none yet: driftgate train --dataset NAME --promote")
	}
	if err != nil {
		return "", err
	}
	if v := a.serving.Version(); v != c.Version {
		return "", fmt.Errorf("the record names %s, this gateway serves %q: see its log for why it does not follow", c.Version.Short(), v.Short())
	}
	return fmt.Sprintf("%s, generation %d", c.Version.Short(), c.Generation), nil
}

func (a *App) checkSpool(context.Context) (string, error) {
	items, bytes := a.serving.Spooled()
	detail := fmt.Sprintf("%d of %d predictions, %d bytes wait for the object store", items, a.Config.Serving.SpoolItems, bytes)
	if items > a.Config.Serving.SpoolItems/2 {
		return "", errors.New(detail + ": is the object store reachable?")
	}
	return detail, nil
}
