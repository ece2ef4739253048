package serving

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	dg "driftgate"
)

// The results of uploads.
const (
	uploadStored  = "stored"  // the object is in the bucket
	uploadError   = "error"   // an attempt failed and will be repeated
	uploadRefused = "refused" // set aside: the store calls it invalid
)

// metrics are serving's own series, named in docs/observability.md. The two
// without prefix are those of the server that driftgate takes over from.
type metrics struct {
	predictions *prometheus.CounterVec
	confidence  *prometheus.HistogramVec
	duration    *prometheus.HistogramVec
	uploads     *prometheus.CounterVec

	featuresLost prometheus.Counter

	shadows        *prometheus.CounterVec
	shadowDuration prometheus.Histogram
	canaryFailures prometheus.Counter
	share          *prometheus.GaugeVec

	oldConfidence prometheus.Histogram
	oldPredicted  *prometheus.CounterVec

	known    map[string]bool // versions that have series
	previous string          // version that served before; its series are kept
}

// Native histograms: buckets grow by this factor, and there are at most so many.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

var tenths = prometheus.LinearBuckets(0.1, 0.1, 10)

func newMetrics(reg prometheus.Registerer, sp *spool) *metrics {
	auto := promauto.With(reg)
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
			NativeHistogramMinResetDuration: time.Hour}
	}
	m := &metrics{
		predictions: auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_predictions_total",
			Help: "Predictions acknowledged, by model version and predicted class."}, []string{"model_version", "class"}),
		confidence: auto.NewHistogramVec(histogram("driftgate_prediction_confidence",
			"Softmax probability of the predicted class, 0 to 1.", tenths), []string{"model_version"}),
		duration: auto.NewHistogramVec(histogram("driftgate_prediction_duration_seconds",
			"From the upload's last byte to the durable capture.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}), []string{"model_version"}),
		uploads: auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_capture_uploads_total",
			Help: "Attempts to upload captured predictions: stored, error (repeated), refused (set aside)."}, []string{"result"}),
		featuresLost: auto.NewCounter(prometheus.CounterOpts{Name: "driftgate_features_lost_total",
			Help: "Predictions that the test of input drift does not see, because the ledger was away for hours."}),
		shadows: auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_shadow_predictions_total",
			Help: "Predictions that a challenger in the shadow was asked for too: agree, disagree, dropped (too many waited), failed."}, []string{"model_version", "outcome"}),
		shadowDuration: auto.NewHistogram(histogram("driftgate_shadow_duration_seconds",
			"What the challenger in the shadow takes for one image, decoding included.", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5})),
		canaryFailures: auto.NewCounter(prometheus.CounterOpts{Name: "driftgate_canary_failures_total",
			Help: "Uploads of the canary's share that it had no answer for; the champion answered them."}),
		share: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_exposure_share_ratio",
			Help: "Share of the uploads that the exposed challenger answers, 0 to 1; 0 in the shadow; no series when nothing is exposed."}, []string{"model_version", "stage"}),
		oldConfidence: auto.NewHistogram(prometheus.HistogramOpts{Name: "prediction_confidence",
			Help: "Old name of driftgate_prediction_confidence.", Buckets: tenths}),
		oldPredicted: auto.NewCounterVec(prometheus.CounterOpts{Name: "predicted_class_total",
			Help: "Old name of driftgate_predictions_total, over all versions."}, []string{"class_name"}),
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "driftgate_capture_spool_items",
		Help: "Acknowledged predictions that wait for the object store."}, func() float64 { items, _ := sp.size(); return float64(items) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "driftgate_capture_spool_bytes",
		Help: "Bytes on disk of acknowledged predictions that wait for the object store."}, func() float64 { _, b := sp.size(); return float64(b) })
	for _, result := range []string{uploadStored, uploadError, uploadRefused} {
		m.uploads.WithLabelValues(result)
	}
	return m
}

func (m *metrics) predicted(s dg.Sample, took time.Duration) {
	exemplar := prometheus.Labels{"prediction_id": s.ID()}
	m.predictions.WithLabelValues(s.ModelVersion, s.PredictedClass).Inc()
	observe(m.confidence.WithLabelValues(s.ModelVersion), s.Confidence, exemplar)
	observe(m.duration.WithLabelValues(s.ModelVersion), took.Seconds(), exemplar)
	m.oldConfidence.Observe(s.Confidence)
	m.oldPredicted.WithLabelValues(s.PredictedClass).Inc()
}

func observe(o prometheus.Observer, v float64, exemplar prometheus.Labels) {
	if e, ok := o.(prometheus.ExemplarObserver); ok {
		e.ObserveWithExemplar(v, exemplar)
		return
	}
	o.Observe(v)
}

// born has a model's series begin at zero.
func (m *metrics) born(now *model) {
	version := now.ref.Short()
	for _, class := range now.classes {
		m.predictions.WithLabelValues(version, class)
		m.oldPredicted.WithLabelValues(class)
	}
	m.confidence.WithLabelValues(version)
	m.duration.WithLabelValues(version)
	if m.known == nil {
		m.known = map[string]bool{}
	}
	m.known[version] = true
}

// swapped notes that now serves in old's place.
func (m *metrics) swapped(old, now *model) {
	m.born(now)
	if old != nil && old.ref != now.ref {
		m.previous = old.ref.Short()
	}
}

// exposed notes the challenger; nil: there is none any more.
func (m *metrics) exposed(c *challenger) {
	m.share.Reset()
	if c == nil {
		return
	}
	m.born(c.model)
	for _, outcome := range []string{shadowAgree, shadowDisagree, shadowDropped, shadowFailed} {
		m.shadows.WithLabelValues(c.ref.Short(), outcome)
	}
	m.share.WithLabelValues(c.ref.Short(), string(c.exposure.Stage)).Set(c.exposure.Share)
}

func (m *metrics) shadowed(c *challenger, outcome string) {
	m.shadows.WithLabelValues(c.ref.Short(), outcome).Inc()
}

// forget drops the series of versions that are neither kept nor served just
// before, so that promotions do not add up to ever more series.
func (m *metrics) forget(kept []string) {
	for version := range m.known {
		if version == m.previous || slices.Contains(kept, version) {
			continue
		}
		labels := prometheus.Labels{"model_version": version}
		m.predictions.DeletePartialMatch(labels)
		m.confidence.DeletePartialMatch(labels)
		m.duration.DeletePartialMatch(labels)
		m.shadows.DeletePartialMatch(labels)
		delete(m.known, version)
	}
}
