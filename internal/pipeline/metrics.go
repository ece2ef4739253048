package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// How a retrain may end, besides the verdicts: Successful, Failed, Inconclusive
// and Error are four different things.
const (
	endedInError   = "error"
	endedCancelled = "cancelled"
)

// Names lists the pipelines.
var Names = []string{"curate", "collect", "reconcile", "rollout", "prune", "retrain", "train"}

type metrics struct {
	runs        *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	retrains    *prometheus.CounterVec
	duration    prometheus.Histogram
	samples     prometheus.Gauge
	accuracy    *prometheus.GaugeVec
	watch       watchMetrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	m := &metrics{
		runs: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_pipeline_runs_total",
			Help: "Pipeline runs that reached a final state.",
		}, []string{"pipeline", "state"}),
		lastSuccess: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "driftgate_pipeline_last_success_timestamp_seconds",
			Help: "When the pipeline's newest successful run ended; absent before the first.",
		}, []string{"pipeline"}),
		retrains: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_retrain_runs_total",
			Help: "Retrain runs that ended, by who asked and how: a verdict, error or cancelled.",
		}, []string{"trigger", "verdict"}),
		duration: auto.NewHistogram(prometheus.HistogramOpts{
			Name:                            "driftgate_retrain_duration_seconds",
			Help:                            "Wall time that a retrain run took, from its start (or the restart after a crash) to its end.",
			Buckets:                         []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 3 * 24 * 3600},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}),
		samples: auto.NewGauge(prometheus.GaugeOpts{
			Name: "driftgate_training_samples_per_second",
			Help: "Training speed of the run under way; 0 when none is.",
		}),
		accuracy: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "driftgate_evaluation_accuracy_ratio",
			Help: "Accuracy in the newest evaluation: heldout is design-weighted on production samples, test is the base dataset's test split.",
		}, []string{"version", "dataset"}),
	}
	m.watch = newWatchMetrics(reg)
	for _, p := range Names {
		for _, s := range []string{ledger.RunDone, ledger.RunFailed, ledger.RunCancelled} {
			m.runs.WithLabelValues(p, s)
		}
	}
	for _, s := range dg.TriggerSources {
		for _, v := range retrainEnds() {
			m.retrains.WithLabelValues(string(s), v)
		}
	}
	return m
}

func retrainEnds() []string {
	out := []string{endedInError, endedCancelled}
	for _, v := range dg.Verdicts {
		out = append(out, v.String())
	}
	return out
}

// evaluated replaces the accuracies on one dataset; NaN and negative ones are
// left out.
func (m *metrics) evaluated(dataset string, accuracies map[dg.ModelRef]float64) {
	m.accuracy.DeletePartialMatch(prometheus.Labels{"dataset": dataset})
	for ref, a := range accuracies {
		if a >= 0 && a <= 1 {
			m.accuracy.WithLabelValues(ref.Short(), dataset).Set(a)
		}
	}
}

// Finished counts a run that reached a final state; the engine calls it once a
// run, with how long it worked on it.
func (p *Pipelines) Finished(r ledger.Run, took time.Duration) {
	if !slices.Contains(Names, r.Pipeline) {
		return
	}
	p.metrics.runs.WithLabelValues(r.Pipeline, r.State).Inc()
	if r.State == ledger.RunDone {
		p.metrics.lastSuccess.WithLabelValues(r.Pipeline).Set(float64(r.FinishedAt.UnixNano()) / 1e9)
	}
	if r.Pipeline == "retrain" || r.Pipeline == "train" {
		p.metrics.samples.Set(0)
		p.recordEnd(context.Background(), r) // before what it reads is gone
		p.removeDir(r.ID)                    // of a failed or cancelled run; of others it is gone
	}
	if r.Pipeline != "retrain" {
		return
	}
	end := r.Verdict
	switch r.State {
	case ledger.RunFailed:
		end = endedInError
	case ledger.RunCancelled:
		end = endedCancelled
	}
	var in RetrainInput
	if err := json.Unmarshal(r.Input, &in); err != nil || !slices.Contains(dg.TriggerSources, in.Trigger.Source) {
		in.Trigger.Source = dg.FromPerson // started past the inbox
	}
	p.metrics.retrains.WithLabelValues(string(in.Trigger.Source), end).Inc()
	p.metrics.duration.Observe(took.Seconds())
}
