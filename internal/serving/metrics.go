package serving

import (
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

	oldConfidence prometheus.Histogram
	oldPredicted  *prometheus.CounterVec

	previous *model // whose series are kept beside the present one's
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

// swapped has the new model's series born at zero and forgets those of models
// before the old one, so that promotions do not add up to ever more series.
func (m *metrics) swapped(old, now *model) {
	version := now.ref.Short()
	for _, class := range now.classes {
		m.predictions.WithLabelValues(version, class)
		m.oldPredicted.WithLabelValues(class)
	}
	m.confidence.WithLabelValues(version)
	m.duration.WithLabelValues(version)
	if old == nil || old.ref == now.ref {
		return
	}
	if p := m.previous; p != nil && p.ref != now.ref && p.ref != old.ref {
		labels := prometheus.Labels{"model_version": p.ref.Short()}
		m.predictions.DeletePartialMatch(labels)
		m.confidence.DeletePartialMatch(labels)
		m.duration.DeletePartialMatch(labels)
	}
	m.previous = old
}
