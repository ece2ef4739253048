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
	failed  string // ETag of the record that could not be followed, or "?" when it could not be read
	wait    int    // polls until the next attempt at failed
	backoff int    // polls between attempts at failed
}

func (f *follower) poll(ctx context.Context) {
	r := f.registry
	o, err := r.store.Stat(ctx, r.bucket, championKey)
	switch {
	case errors.Is(err, dg.ErrNotFound):
		return // no champion yet
	case err != nil:
		f.fail(ctx, "?", "", fmt.Errorf("registry: look at champion: %w", err))
		return
	case o.ETag == f.serving:
		f.failed = ""
		return
	case o.ETag == f.failed && f.wait > 0:
		f.wait--
		return
	}
	c, err := r.Champion(ctx)
	if err != nil {
		f.fail(ctx, o.ETag, "", err)
		return
	}
	model, err := r.classifier(ctx, c.Version)
	if err != nil {
		f.fail(ctx, c.ETag, c.Version, err)
		return
	}
	f.swap(model, c)
	f.serving, f.failed = c.ETag, ""
	r.metrics.swapped(c)
	r.log.Info("champion followed", "version", c.Version.Short(), "generation", c.Generation)
}

// fail keeps the old model, logs once a record, and sets the next attempt.
func (f *follower) fail(ctx context.Context, etag string, version dg.ModelRef, err error) {
	if ctx.Err() != nil {
		return // not the champion's fault
	}
	f.registry.metrics.failures.Inc()
	if f.failed != etag {
		f.failed, f.backoff = etag, 0
		f.registry.log.Error("champion not followed; what served goes on serving", "version", version.Short(), "error", err)
	}
	f.backoff = min(max(1, 2*f.backoff), maxBackoff)
	f.wait = f.backoff - 1
}

// metrics are the registry's own series.
type metrics struct {
	model    string
	info     *prometheus.GaugeVec
	promoted prometheus.Gauge
	failures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, model string) *metrics {
	auto := promauto.With(reg)
	of := prometheus.Labels{"model": model}
	return &metrics{
		model: model,
		info: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_model_info", ConstLabels: of,
			Help: "1 for the champion that this process follows, and for the one before it."}, []string{"version", "digest", "role"}),
		promoted: auto.NewGauge(prometheus.GaugeOpts{Name: "driftgate_champion_promoted_timestamp_seconds", ConstLabels: of,
			Help: "When the champion that this process follows was promoted; 0 before the first."}),
		failures: auto.NewCounter(prometheus.CounterOpts{Name: "driftgate_champion_follow_failures_total", ConstLabels: of,
			Help: "Attempts to follow the champion record that failed; what served goes on serving."}),
	}
}

func (m *metrics) swapped(c dg.Champion) {
	m.info.Reset()
	m.info.WithLabelValues(c.Version.Short(), string(c.Version), RoleChampion).Set(1)
	if c.Previous != "" {
		m.info.WithLabelValues(c.Previous.Short(), string(c.Previous), RolePrevious).Set(1)
	}
	m.promoted.Set(float64(c.PromotedAt.Unix()))
}
