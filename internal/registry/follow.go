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

// maxBackoff is the most polls that pass between two attempts at a record that
// could not be followed before.
const maxBackoff = 64

// Follow calls swap with every new champion until ctx ends, beginning with the
// present one. It looks at the record's ETag each time every has passed, and
// loads, verifies and tests the model before it calls swap. Where that fails,
// swap is not called, so what served goes on serving; the failure is logged
// once a version, and tried again at growing distances. Whoever was away for
// several promotions gets the newest alone.
func (r *Registry) Follow(ctx context.Context, every time.Duration, swap func(*network.Classifier, dg.Champion)) error {
	f := &follower{registry: r, key: championKey, what: "champion", counter: r.metrics.follows}
	f.load = func(ctx context.Context) (string, dg.ModelRef, func(), error) {
		c, err := r.Champion(ctx)
		if err != nil {
			return "", "", nil, err
		}
		model, err := r.classifier(ctx, c.Version)
		return c.ETag, c.Version, func() { swap(model, c) }, err
	}
	return f.run(ctx, every)
}

// FollowExposure calls swap with every move of the exposure until ctx ends,
// beginning with the present one, in the way of [Registry.Follow]. The
// classifier is nil when nothing is exposed any more, and also when the record
// names a challenger that cannot be loaded: then the one before it must not go
// on answering, and the new one is tried again at growing distances. A move
// that keeps the challenger brings the same classifier.
//
// Whether the exposure holds for the champion that serves is for the caller to
// ask: [dg.Exposure.Exposes].
func (r *Registry) FollowExposure(ctx context.Context, every time.Duration, swap func(*network.Classifier, dg.Exposure)) error {
	f := &follower{registry: r, key: exposureKey, what: "exposure", counter: r.metrics.exposures}
	var held dg.ModelRef
	var model *network.Classifier
	set := func(ref dg.ModelRef, m *network.Classifier, e dg.Exposure) {
		held, model = ref, m
		swap(m, e)
	}
	none := func() {
		if model != nil {
			set("", nil, dg.Exposure{})
		}
		f.serving = ""
	}
	f.load = func(ctx context.Context) (string, dg.ModelRef, func(), error) {
		e, err := r.Exposure(ctx)
		if err != nil && !errors.Is(err, dg.ErrInvalid) {
			return "", "", nil, err // a fault of the moment says nothing about the challenger
		}
		next := model
		switch {
		case err != nil:
		case e.Challenger == "":
			next = nil
		case e.Challenger != held:
			next, err = r.classifier(ctx, e.Challenger)
		}
		if err != nil {
			if ctx.Err() == nil {
				none()
			}
			return e.ETag, e.Challenger, nil, err
		}
		return e.ETag, e.Challenger, func() { set(e.Challenger, next, e) }, nil
	}
	f.gone = none
	return f.run(ctx, every)
}

// follower is what following a record remembers between polls.
type follower struct {
	registry *Registry
	key      string // of the record
	what     string // the record, for the log
	counter  *prometheus.CounterVec

	// load reads the record and makes ready what it names: swap puts that in
	// place. With an error, etag and version say what could not be followed.
	load func(ctx context.Context) (etag string, version dg.ModelRef, swap func(), err error)
	gone func() // the record is no longer there; nil does nothing

	serving string // ETag of the record that is followed
	failed  string // ETag of the record that could not be followed
	wait    int    // polls until the next attempt at failed
	backoff int    // polls between attempts at failed
	down    bool   // the store did not answer last time
}

func (f *follower) run(ctx context.Context, every time.Duration) error {
	if every <= 0 {
		return fmt.Errorf("registry: follow every %s: want over 0s: %w", every, dg.ErrInvalid)
	}
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

func (f *follower) poll(ctx context.Context) {
	r := f.registry
	o, err := r.store.Stat(ctx, r.bucket, f.key)
	missing := errors.Is(err, dg.ErrNotFound)
	if err != nil && !missing {
		if ctx.Err() == nil && !f.down {
			f.down = true
			r.log.Error(f.what+" record out of reach; what served goes on serving", "error", err)
		}
		return
	}
	f.down = false
	switch {
	case missing:
		if f.gone != nil && ctx.Err() == nil {
			f.failed = ""
			f.gone()
		}
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
	found, version, swap, err := f.load(ctx)
	if found != "" {
		etag = found // may be newer
	}
	if err != nil {
		f.fail(ctx, etag, version, err)
		return
	}
	swap()
	f.serving, f.failed = etag, ""
	f.counter.WithLabelValues(resultFollowed).Inc()
	f.registry.log.Info(f.what+" followed", "version", orNone(version))
}

// fail keeps the old model, logs once a record, and sets the next attempt.
func (f *follower) fail(ctx context.Context, etag string, version dg.ModelRef, err error) {
	if ctx.Err() != nil {
		return // not the record's fault
	}
	f.counter.WithLabelValues(resultFailed).Inc()
	if f.failed != etag {
		f.failed, f.backoff = etag, 0
		f.registry.log.Error(f.what+" not followed; the champion that served goes on serving", "version", orNone(version), "error", err)
	}
	f.backoff = min(max(1, 2*f.backoff), maxBackoff)
	f.wait = f.backoff - 1
}

// The results of attempts to follow a record.
const (
	resultFollowed = "followed"
	resultFailed   = "failed"
)

// metrics are the registry's own series.
type metrics struct {
	follows, exposures *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, model string) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"model": model},
		}, []string{"result"})
		for _, result := range []string{resultFollowed, resultFailed} {
			c.WithLabelValues(result) // born at zero
		}
		return c
	}
	return &metrics{
		follows:   counter("driftgate_champion_follows_total", "Attempts to swap in a new champion: followed, failed (what served goes on serving)."),
		exposures: counter("driftgate_exposure_follows_total", "Attempts to follow a move of the exposure: followed, failed (no challenger answers)."),
	}
}
