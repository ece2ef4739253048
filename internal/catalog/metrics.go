package catalog

import "github.com/prometheus/client_golang/prometheus"

// metrics are the catalog's own series.
type metrics struct {
	objects *prometheus.CounterVec
	tags    *prometheus.CounterVec
}

// The values of the labels `bucket` and `result`.
const (
	inProduction = "production"
	inClean      = "clean"

	isNew        = "new"        // entered
	isChanged    = "changed"    // flag, correction or label taken over
	isVanished   = "vanished"   // gone, and what it said taken back
	isIncomplete = "incomplete" // no timestamp yet: left for later
	isMalformed  = "malformed"  // skipped
	isClassless  = "classless"  // in a class directory whose label is not known: left for later
)

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		objects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_catalog_objects_total",
			Help: "Objects that reconcile looked at because the ledger did not know them so, by bucket and result.",
		}, []string{"bucket", "result"}),
		tags: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_catalog_tag_requests_total",
			Help: "Requests for the tags of one object that reconcile made, by bucket.",
		}, []string{"bucket"}),
	}
	for _, bucket := range []string{inProduction, inClean} {
		m.tags.WithLabelValues(bucket)
		for _, r := range []string{isNew, isChanged, isVanished, isIncomplete, isMalformed, isClassless} {
			m.objects.WithLabelValues(bucket, r)
		}
	}
	if reg != nil {
		reg.MustRegister(m.objects, m.tags)
	}
	return m
}
