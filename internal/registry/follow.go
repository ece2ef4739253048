package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	dg "driftgate"
	"driftgate/internal/network"
)

// maxBackoff is the most polls that pass between two attempts at a version
// that failed before.
const maxBackoff = 64

// Follow calls swap with every new champion until ctx ends, beginning with the
// present one. It looks at the record's ETag each time every has passed, and
// loads, verifies and tests the model before it calls swap. Where that fails,
// swap is not called, so what served goes on serving; the failure is logged
// once a version, and tried again at growing distances.
func (r *Registry) Follow(ctx context.Context, every time.Duration, swap func(*network.Classifier, dg.Champion)) error {
	if every <= 0 {
		return fmt.Errorf("registry: follow every %s: want over 0s: %w", every, dg.ErrInvalid)
	}
	f := follower{registry: r, swap: swap}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		f.poll(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// follower is what Follow remembers between polls.
type follower struct {
	registry *Registry
	swap     func(*network.Classifier, dg.Champion)

	serving string // ETag of the record that serves
	failed  string // ETag of the record that could not be followed
	wait    int    // polls until the next attempt at failed
	backoff int    // polls between attempts at failed
	down    bool   // the store did not answer last time
}

func (f *follower) poll(ctx context.Context) {
	r := f.registry
	o, err := r.store.Stat(ctx, r.bucket, championKey)
	missing := errors.Is(err, dg.ErrNotFound) // no champion yet
	if err != nil && !missing {
		if ctx.Err() == nil && !f.down {
			f.down = true
			r.log.Error("champion record out of reach; what served goes on serving", "error", err)
		}
		return
	}
	f.down = false
	switch {
	case missing:
	case o.ETag == f.serving:
		f.failed = ""
	case o.ETag == f.failed && f.wait > 0:
		f.wait--
	default:
		f.follow(ctx, o.ETag)
	}
}

// follow loads what the record names and swaps it in.
func (f *follower) follow(ctx context.Context, etag string) {
	r := f.registry
	c, err := r.Champion(ctx)
	var model *network.Classifier
	if err == nil {
		etag = c.ETag // may be newer
		model, err = r.classifier(ctx, c.Version)
	}
	if err != nil {
		f.fail(ctx, etag, c.Version, err)
		return
	}
	f.swap(model, c)
	f.serving, f.failed = c.ETag, ""
	r.metrics.follows.WithLabelValues(resultFollowed).Inc()
	r.log.Info("champion followed", "version", c.Version.Short(), "generation", c.Generation)
}

// fail keeps the old model, logs once a record, and sets the next attempt.
func (f *follower) fail(ctx context.Context, etag string, version dg.ModelRef, err error) {
	if ctx.Err() != nil {
		return // not the champion's fault
	}
	f.registry.metrics.follows.WithLabelValues(resultFailed).Inc()
	if f.failed != etag {
		f.failed, f.backoff = etag, 0
		f.registry.log.Error("champion not followed; what served goes on serving", "version", version.Short(), "error", err)
	}
	f.backoff = min(max(1, 2*f.backoff), maxBackoff)
	f.wait = f.backoff - 1
}

// The results of attempts to follow the record.
const (
	resultFollowed = "followed"
	resultFailed   = "failed"
)

// metrics are the registry's own series.
type metrics struct {
	follows *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, model string) *metrics {
	m := &metrics{follows: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name:        "driftgate_champion_follows_total",
		Help:        "Attempts to swap in a new champion: followed, failed (what served goes on serving).",
		ConstLabels: prometheus.Labels{"model": model},
	}, []string{"result"})}
	for _, result := range []string{resultFollowed, resultFailed} {
		m.follows.WithLabelValues(result) // born at zero
	}
	return m
}
