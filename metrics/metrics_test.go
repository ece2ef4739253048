package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// The worked example of docs/statistics.md, through a ledger filled to it, in
// every place where it can be read.
func TestTheWorkedExampleComesOutEverywhere(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{})
	w.metrics.SetChampion(champion(refA, noon.Add(-2*time.Hour)), nil)
	w.fill(worked(refA)...)
	w.fill(batch{version: refB, stratum: dg.Random, at: noon.Add(-time.Hour), n: 50, m: 50, k: 0}) // not the champion's: counts for nothing
	a, err := w.metrics.Accuracy(t.Context(), 24*time.Hour, noon)
	must(t, err)
	check := func(where string, a dg.Accuracy) {
		t.Helper()
		s, _ := a.Estimate(estimate.NameStratified)
		l, _ := a.Estimate(estimate.NameLabelled)
		if !near(s.Accuracy, .891, 1e-12) || !near(s.StandardError, .0132926, 5e-8) || !near(l.Accuracy, .715, 1e-12) || s.Partial {
			t.Errorf("%s: stratified %+v, labelled %+v", where, s, l)
		}
		if a.Predictions != 10_000 || a.Selected != 600 || a.Labels != 600 || !a.NewestLabelAt.Equal(noon.Add(-50*time.Minute)) {
			t.Errorf("%s: counts %+v", where, a)
		}
		if !a.Start.Equal(noon.Add(-24*time.Hour)) || !a.End.Equal(noon) || a.Window != "24h" || a.ModelVersion != refA.Short() {
			t.Errorf("%s: window %s to %s %s of %s", where, a.Start, a.End, a.Window, a.ModelVersion)
		}
		if len(a.Strata) != 3 || a.Strata[0] != (dg.StratumCount{Stratum: dg.LowConfidence, Predictions: 800, Selected: 200, Labels: 200, Correct: 120}) {
			t.Errorf("%s: strata %+v", where, a.Strata)
		}
	}
	check("Accuracy", a)
	snap, err := w.metrics.Refresh(t.Context())
	must(t, err)
	in, ok := snap.Window(24 * time.Hour)
	if !ok {
		t.Fatal("no such window")
	}
	check("Snapshot", in)
	series, err := w.metrics.Series(t.Context(), 24*time.Hour, dg.Interval{Start: noon.Add(-time.Hour), End: noon}, 4)
	must(t, err)
	if len(series) != 4 {
		t.Fatalf("%d points, want 4", len(series))
	}
	all, err := w.metrics.AccuracyOf(t.Context(), refB.Short(), 24*time.Hour, noon)
	if e, _ := all.Estimate(estimate.NameLabelled); err != nil || e.Accuracy != 0 || all.Labels != 50 {
		t.Errorf("the other version: %+v, %v", all, err)
	}
	got := gather(t, w.metrics)
	for series, want := range map[string]float64{
		`driftgate_production_accuracy_ratio{estimator="stratified",model="garments",window="24h"}`:                              .891,
		`driftgate_production_accuracy_ratio{estimator="labelled",model="garments",window="7d"}`:                                 .715,
		`driftgate_window_predictions{model="garments",stratum="random",window="24h"}`:                                           9000,
		`driftgate_window_labels{model="garments",stratum="flagged",window="6h"}`:                                                100,
		`driftgate_window_labels{model="garments",stratum="corrected",window="6h"}`:                                              0,
		`driftgate_window_labels{model="garments",stratum="random",window="30m"}`:                                                0,
		`driftgate_labelled_predictions_total{model_version="aaaaaaaaaaaa",outcome="incorrect",stratum="flagged"}`:               70,
		`driftgate_labelled_predictions_total{model_version="aaaaaaaaaaaa",outcome="correct",stratum="corrected"}`:               0,
		`driftgate_labelled_predictions_total{model_version="bbbbbbbbbbbb",outcome="incorrect",stratum="random"}`:                50,
		`driftgate_newest_label_timestamp_seconds{model="garments"}`:                                                             float64(noon.Add(-50 * time.Minute).Unix()),
		`driftgate_accuracy_alarm_state{model="garments"}`:                                                                       0,
		`driftgate_accuracy_evalue{model="garments"}`:                                                                            0,
		`driftgate_label_delay_seconds_count{model="garments"}`:                                                                  650,
		`driftgate_label_delay_seconds_sum{model="garments"}`:                                                                    650 * 600,
		`driftgate_model_info{digest="` + strings.Repeat("a", 64) + `",model="garments",role="champion",version="aaaaaaaaaaaa"}`: 1,
	} {
		if v, ok := got[series]; !ok || !near(v, want, 1e-9) {
			t.Errorf("%s = %g, %t, want %g", series, v, ok, want)
		}
	}
	for series := range got {
		if strings.Contains(series, "ratio") && strings.Contains(series, "30m") {
			t.Errorf("%s: a window without labels must export no ratio", series)
		}
	}
}

// gather reads a collector as Prometheus would: values by series.
func gather(t testing.TB, c prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	must(t, reg.Register(c))
	families, err := reg.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			tags := []string{}
			for _, l := range m.GetLabel() {
				tags = append(tags, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			labels := "{" + strings.Join(tags, ",") + "}"
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				out[f.GetName()+"_count"+labels] = float64(m.GetHistogram().GetSampleCount())
				out[f.GetName()+"_sum"+labels] = m.GetHistogram().GetSampleSum()
			case dto.MetricType_COUNTER:
				out[f.GetName()+labels] = m.GetCounter().GetValue()
			default:
				out[f.GetName()+labels] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

func TestEverySeriesIsThereBeforeAnythingHappened(t *testing.T) {
	w := newWorld(t, Options{})
	got := gather(t, w.metrics)
	for series := range got {
		if strings.Contains(series, "ratio") || strings.Contains(series, "input_drift") {
			t.Errorf("%s: nothing is known yet", series)
		}
	}
	if _, err := w.metrics.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = gather(t, w.metrics)
	for _, window := range []string{"30m", "1h", "6h", "24h", "7d"} {
		for _, s := range dg.Strata {
			series := fmt.Sprintf(`driftgate_window_labels{model="garments",stratum=%q,window=%q}`, s, window)
			if v, ok := got[series]; !ok || v != 0 {
				t.Errorf("%s = %g, %t: want born at zero", series, v, ok)
			}
		}
	}
	if _, err := json.Marshal(w.metrics.Snapshot()); err != nil {
		t.Errorf("the snapshot must travel as JSON: %v", err)
	}
}

func TestAWindowIsHalfOpenAndEndsOnTheStride(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{MinLabels: 1, Stride: 5 * time.Minute})
	at := func(d time.Duration) batch {
		return batch{stratum: dg.Random, at: noon.Add(d), interval: noon, n: 1, m: 1, k: 1}
	}
	w.fill(at(-time.Hour), at(-time.Hour-time.Second), at(-time.Second), at(0))
	for _, tt := range []struct {
		at     time.Time
		end    time.Time
		labels int
	}{
		{noon, noon, 2},
		{noon.Add(1), noon.Add(5 * time.Minute), 2}, // what lay just before 11:05 is out, noon is in
		{noon.Add(-1), noon, 2},
		{noon.Add(-time.Hour), noon.Add(-time.Hour), 1},
	} {
		a, err := w.metrics.Accuracy(t.Context(), time.Hour, tt.at)
		if err != nil || !a.End.Equal(tt.end) || a.Labels != tt.labels {
			t.Errorf("at %s: %d labels until %s, %v; want %d until %s", tt.at, a.Labels, a.End, err, tt.labels, tt.end)
		}
	}
}

func TestWhatAWindowCannotSayItSays(t *testing.T) {
	sequential(t)
	at := noon.Add(-time.Minute)
	for _, tt := range []struct {
		name  string
		fill  func(w *world)
		want  []string // estimators
		note  string
		point float64
	}{
		{"too few labels: nothing measured, only what the model expects of itself", func(w *world) {
			w.fill(batch{stratum: dg.Random, at: at, interval: noon, n: 100, m: 29, k: 29})
		}, []string{"expected"}, "29 labels", .9},
		{"a stratum without labels: partial", func(w *world) {
			w.fill(batch{stratum: dg.Random, at: at, interval: noon, n: 100, m: 40, k: 30}, batch{stratum: dg.LowConfidence, at: at, interval: noon, n: 100})
		}, []string{"stratified", "ppi", "labelled", "expected"}, "100 of 200 predictions", .75},
		{"labels without a count of predictions: the plain average", func(w *world) {
			for i := range 40 {
				s := dg.Sample{Key: fmt.Sprintf("class_03/%d", i), PredictedClass: "Dress", Confidence: .9, Timestamp: at, Stratum: dg.Random, SamplingFraction: .1}
				label := map[bool]string{true: "Coat", false: "Dress"}[i < 10]
				must(w.t, w.ledger.SetForeignLabels(w.t.Context(), ledger.ForeignLabel{Sample: s, Label: label, Interval: noon}))
			}
		}, []string{"labelled"}, "no count of predictions", .75},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			tt.fill(w)
			a, err := w.metrics.Accuracy(t.Context(), time.Hour, noon)
			must(t, err)
			var names []string
			for _, e := range a.Estimates {
				names = append(names, e.Estimator)
			}
			if strings.Join(names, " ") != strings.Join(tt.want, " ") || !strings.Contains(a.Note, tt.note) {
				t.Errorf("estimators %v, note %q; want %v and %q", names, a.Note, tt.want, tt.note)
			}
			if len(tt.want) > 0 && (!near(a.Estimates[0].Accuracy, tt.point, 1e-12) || a.Estimates[0].Partial != strings.Contains(tt.name, "partial")) {
				t.Errorf("estimate %+v, want %g", a.Estimates[0], tt.point)
			}
		})
	}
}

// Each point of a chart must be the window computed by itself, for the version
// that served last.
func TestSeriesAgreesWithOneWindowAtATime(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{MinLabels: 5})
	for i := range 48 {
		at := noon.Add(time.Duration(i-48) * 10 * time.Minute)
		version := refA
		if i >= 30 {
			version = refB
		}
		w.fill(batch{version: version, stratum: dg.Random, at: at, interval: dg.Slot(at, 30*time.Minute).Start, n: 5, m: 2, k: i % 3})
	}
	for _, window := range []time.Duration{30 * time.Minute, 70 * time.Minute, 6 * time.Hour} {
		series, err := w.metrics.Series(t.Context(), window, dg.Interval{Start: noon.Add(-8 * time.Hour), End: noon}, 33)
		must(t, err)
		if len(series) < 30 || !series[len(series)-1].End.Equal(noon) {
			t.Fatalf("%d points, last %+v", len(series), series[len(series)-1])
		}
		versions := map[string]bool{}
		for _, a := range series {
			versions[a.ModelVersion] = true
			if a.ModelVersion == "" {
				if a.Predictions != 0 {
					t.Errorf("%+v", a)
				}
				continue
			}
			want, err := w.metrics.AccuracyOf(t.Context(), a.ModelVersion, window, a.End)
			must(t, err)
			if len(want.Slices) == 0 {
				t.Error("a window of its own has slices")
			}
			want.Slices, want.Gap = nil, nil
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(want)
			if string(x) != string(y) {
				t.Errorf("point %s\nwindow %s", x, y)
			}
			if newest := refA.Short(); a.End.After(noon.Add(-179*time.Minute)) != (a.ModelVersion != newest) {
				t.Errorf("at %s counts %s", a.End, a.ModelVersion)
			}
		}
		if !versions[refA.Short()] || !versions[refB.Short()] {
			t.Errorf("versions %v", versions)
		}
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	o := Options{Windows: []time.Duration{0, time.Hour, time.Hour}, MinLabels: -1, Stride: -1, Alarm: AlarmOptions{ThresholdYears: math.NaN(), Tolerance: 5, ReferenceLabels: -1, SlotLength: -1, Hold: -1}}
	err := o.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatal(err)
	}
	for _, word := range []string{"model", "window 0s", "window 1h", "min_labels", "stride", "threshold_years", "tolerance 5", "reference_labels", "slot_length", "hold"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in: %v", word, err)
		}
	}
	m := New(o, nil)
	if _, err := m.Refresh(t.Context()); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("Refresh = %v", err)
	}
	if _, err := m.Advance(t.Context()); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("Advance = %v", err)
	}
	if err := (Options{Model: "m"}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestWindowNames(t *testing.T) {
	for d, name := range map[time.Duration]string{30 * time.Minute: "30m", time.Hour: "1h", 24 * time.Hour: "24h", 168 * time.Hour: "7d", 90 * time.Minute: "90m", 48 * time.Hour: "2d", 90 * time.Second: "1m30s"} {
		if got := WindowName(d); got != name {
			t.Errorf("WindowName(%s) = %s, want %s", d, got, name)
		}
		if got, err := ParseWindow(name); err != nil || got != d {
			t.Errorf("ParseWindow(%s) = %s, %v", name, got, err)
		}
	}
	for _, s := range []string{"", "7", "-1h", "0s", "-3d", "xd", "99999999d"} {
		if _, err := ParseWindow(s); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("ParseWindow(%q) = %v, want invalid", s, err)
		}
	}
}
