package metrics

import (
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

const namespace = "driftgate_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

var (
	accuracyDesc = desc("production_accuracy_ratio", "Production accuracy of the champion over a window; absent with too few labels.", "model", "window", "estimator")
	lowerDesc    = desc("production_accuracy_lower_ratio", "Lower 95% bound of the production accuracy.", "model", "window", "estimator")
	upperDesc    = desc("production_accuracy_upper_ratio", "Upper 95% bound of the production accuracy.", "model", "window", "estimator")
	predictions  = desc("window_predictions", "Predictions of the champion in a window.", "model", "window", "stratum")
	labels       = desc("window_labels", "Predictions of the champion in a window that people have labelled.", "model", "window", "stratum")

	sliceDesc      = desc("slice_accuracy_ratio", "Production accuracy of a part of a window, by predicted class or band of confidence, stratified; absent with too few labels.", "model", "window", "slice", "value")
	sliceLowerDesc = desc("slice_accuracy_lower_ratio", "Lower 95% bound of the accuracy of a part of a window.", "model", "window", "slice", "value")
	sliceUpperDesc = desc("slice_accuracy_upper_ratio", "Upper 95% bound of the accuracy of a part of a window.", "model", "window", "slice", "value")
	gapDesc        = desc("accuracy_gap_ratio", "Measured accuracy of a window less what the model's confidence promised, less the same at its best; below 0 it is worse than it believes.", "model", "window")
	gapLowerDesc   = desc("accuracy_gap_lower_ratio", "Lower 95% bound of the gap between measured and expected accuracy.", "model", "window")
	gapUpperDesc   = desc("accuracy_gap_upper_ratio", "Upper 95% bound of the gap between measured and expected accuracy: below 0 the two disagree.", "model", "window")

	outcomesDesc  = desc("labelled_predictions_total", "Labels given, by whether the model had been right.", "model_version", "stratum", "outcome")
	newestDesc    = desc("newest_label_timestamp_seconds", "When the newest label was given; absent without labels.", "model")
	delayDesc     = desc("label_delay_seconds", "Time from prediction to label.", "model")
	evalueDesc    = desc("accuracy_evalue", "Evidence of the drift alarm's e-detector, in years to a false alarm.", "model")
	alarmDesc     = desc("accuracy_alarm_state", "Drift alarm: 0 quiet, 1 pending, 2 firing.", "model")
	sequenceLow   = desc("accuracy_sequence_lower_ratio", "Lower 95% bound of the accuracy since the alarm's reference was complete, valid however often it is looked at.", "model")
	sequenceUp    = desc("accuracy_sequence_upper_ratio", "Upper 95% bound of the accuracy since the alarm's reference was complete, valid however often it is looked at.", "model")
	sequenceE     = desc("accuracy_sequence_evalue", "Evidence that the error has been above the reference since that was complete: 20 is 5% significance, however often it is looked at.", "model")
	driftDesc     = desc("input_drift_score", "Distance of recent inputs from those of the champion's first days; absent with too few predictions.", "model", "test")
	thresholdDesc = desc("input_drift_threshold", "The input drift score that without drift is passed at most once in the configured run length, on average.", "model", "test")
	referenceDesc = desc("reference_accuracy_ratio", "What the champion's accuracy was at least at its best: lower 97.5% bound; absent until known.", "model", "model_version")
	infoDesc      = desc("model_info", "1 for each model version in a role.", "model", "version", "digest", "role")
	promotedDesc  = desc("champion_promoted_timestamp_seconds", "When the champion was promoted.", "model", "version", "digest", "role")
)

// descs are all series of this package.
var descs = []*prometheus.Desc{accuracyDesc, lowerDesc, upperDesc, predictions, labels,
	sliceDesc, sliceLowerDesc, sliceUpperDesc, gapDesc, gapLowerDesc, gapUpperDesc,
	outcomesDesc, newestDesc, delayDesc, evalueDesc, alarmDesc, sequenceLow, sequenceUp, sequenceE,
	driftDesc, thresholdDesc, referenceDesc, infoDesc, promotedDesc}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It reads the last snapshot and
// nothing else, and says nothing before there is one: a counter that jumps from
// 0 to all of history looks like growth. Figures older than MaxAge are left
// out: a gap is honest, a frozen gauge is not.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.Snapshot()
	if s.At.IsZero() {
		return
	}
	c := collector{ch: ch, model: s.Model}
	c.outcomes(s)
	c.delays(s)
	c.models(s.Champion)
	if time.Since(time.Unix(0, m.refreshed.Load())) > m.o.MaxAge {
		return // Refresh fails: what it would say now is not known
	}
	for _, a := range s.Windows {
		c.window(a)
		c.slices(a)
		if g := a.Gap; g != nil {
			c.bounded(gapDesc, gapLowerDesc, gapUpperDesc, g.Difference, g.Lower, g.Upper, c.model, a.Window)
		}
	}
	c.alarm(s)
	c.drift(s.Drift)
}

type collector struct {
	ch    chan<- prometheus.Metric
	model string
}

// gauge sends a figure, if it is one.
func (c collector) gauge(d *prometheus.Desc, v float64, labels ...string) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		c.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
}

// bounded sends a figure and its bounds, or nothing: a figure whose bounds are
// missing would pass for certain.
func (c collector) bounded(figure, lower, upper *prometheus.Desc, v, lo, up float64, labels ...string) {
	if sum := v + lo + up; math.IsNaN(sum) || math.IsInf(sum, 0) {
		return
	}
	c.gauge(figure, v, labels...)
	c.gauge(lower, lo, labels...)
	c.gauge(upper, up, labels...)
}

func (c collector) window(a dg.Accuracy) {
	for _, e := range a.Estimates {
		c.bounded(accuracyDesc, lowerDesc, upperDesc, e.Accuracy, e.Lower, e.Upper, c.model, a.Window, e.Estimator)
	}
	counts := map[dg.Stratum]dg.StratumCount{}
	for _, s := range a.Strata {
		counts[s.Stratum] = s
	}
	for _, stratum := range dg.Strata { // a closed set: born at zero
		c.gauge(predictions, float64(counts[stratum].Predictions), c.model, a.Window, string(stratum))
		c.gauge(labels, float64(counts[stratum].Labels), c.model, a.Window, string(stratum))
	}
}

// slices sends the headline figure of each part of a window.
func (c collector) slices(a dg.Accuracy) {
	for _, s := range a.Slices {
		for _, e := range s.Estimates {
			if e.Estimator == estimate.NameStratified {
				c.bounded(sliceDesc, sliceLowerDesc, sliceUpperDesc, e.Accuracy, e.Lower, e.Upper, c.model, a.Window, s.By, s.Value)
			}
		}
	}
}

func (c collector) alarm(s Snapshot) {
	c.gauge(evalueDesc, s.Alarm.Evidence, s.Model)
	c.gauge(alarmDesc, s.Alarm.State.Gauge(), s.Model)
	if !s.Alarm.Watching {
		return
	}
	c.gauge(referenceDesc, 1-s.Alarm.ReferenceError, s.Model, s.ModelVersion)
	if s.Alarm.Sequence.Blocks == 0 {
		return
	}
	c.gauge(sequenceLow, s.Alarm.Sequence.Lower, s.Model)
	c.gauge(sequenceUp, s.Alarm.Sequence.Upper, s.Model)
	c.gauge(sequenceE, min(s.Alarm.EValue, math.MaxFloat64), s.Model) // beyond all numbers is still evidence
}

func (c collector) drift(d DriftStatus) {
	for test, t := range d.Tests {
		c.gauge(driftDesc, t.Score, c.model, test)
		c.gauge(thresholdDesc, t.Threshold, c.model, test)
	}
}

// outcomes sends the label counters, the champion's from zero on.
func (c collector) outcomes(s Snapshot) {
	type series struct{ version, stratum, outcome string }
	totals := map[series]int{}
	words := map[bool]string{true: "correct", false: "incorrect"}
	if s.ModelVersion != "" {
		for _, stratum := range dg.Strata {
			for _, word := range words {
				totals[series{s.ModelVersion, string(stratum), word}] = 0
			}
		}
	}
	for _, o := range s.Outcomes {
		totals[series{o.ModelVersion, o.Stratum, words[o.Correct]}] += o.Count
	}
	for k, n := range totals {
		c.ch <- prometheus.MustNewConstMetric(outcomesDesc, prometheus.CounterValue, float64(n), k.version, k.stratum, k.outcome)
	}
}

func (c collector) delays(s Snapshot) {
	if !s.NewestLabelAt.IsZero() {
		c.gauge(newestDesc, float64(s.NewestLabelAt.UnixNano())/1e9, c.model)
	}
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, upper := range ledger.DelayBuckets {
		if i < len(s.Delays.Counts) {
			sum += uint64(s.Delays.Counts[i])
		}
		buckets[upper.Seconds()] = sum
	}
	c.ch <- prometheus.MustNewConstHistogram(delayDesc, uint64(s.Delays.Total), float64(s.Delays.Seconds), buckets, c.model)
}

func (c collector) models(champion dg.Champion) {
	if champion.Version == "" {
		return
	}
	labels := func(r dg.ModelRef, role string) []string {
		return []string{c.model, r.Short(), strings.TrimPrefix(string(r), "sha256:"), role}
	}
	c.gauge(infoDesc, 1, labels(champion.Version, "champion")...)
	if champion.Previous != "" && champion.Previous != champion.Version {
		c.gauge(infoDesc, 1, labels(champion.Previous, "previous")...)
	}
	if !champion.PromotedAt.IsZero() {
		c.gauge(promotedDesc, float64(champion.PromotedAt.UnixNano())/1e9, labels(champion.Version, "champion")...)
	}
}
