package serving

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	dg "driftgate"
)

func counter(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func gathered(t *testing.T, reg *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

func TestSeriesAreExportedUnderTheirNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, Options{Registerer: reg})
	born := gathered(t, reg)
	if n := len(born["driftgate_predictions_total"].GetMetric()); n != len(dg.FashionMNIST) {
		t.Errorf("%d prediction counters are born with the model, want one a class", n)
	}
	if n := len(born["driftgate_capture_uploads_total"].GetMetric()); n != 3 {
		t.Errorf("%d upload results are born, want 3", n)
	}
	w.predict(3, "a.png")
	m := gathered(t, reg)
	if v := m["driftgate_capture_spool_items"].GetMetric()[0].GetGauge().GetValue(); v != 1 {
		t.Errorf("spool items %g", v)
	}
	if v := m["driftgate_capture_spool_bytes"].GetMetric()[0].GetGauge().GetValue(); v < 100 {
		t.Errorf("spool bytes %g", v)
	}
	for _, name := range []string{"driftgate_prediction_confidence", "driftgate_prediction_duration_seconds"} {
		h := m[name].GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 1 || len(h.GetBucket()) < 10 || h.Schema == nil {
			t.Errorf("%s: count %d, %d classic buckets, native schema %v", name, h.GetSampleCount(), len(h.GetBucket()), h.Schema)
		}
		if !slices.ContainsFunc(h.GetBucket(), func(b *dto.Bucket) bool { return b.GetExemplar() != nil }) {
			t.Errorf("%s has no exemplar", name)
		}
	}
	if h := m["prediction_confidence"].GetMetric()[0].GetHistogram(); h.GetSampleSum() != 0.7 || len(h.GetBucket()) != 10 {
		t.Errorf("prediction_confidence: %v", h)
	}
	for _, x := range m["predicted_class_total"].GetMetric() {
		if want := map[bool]float64{true: 1}[x.GetLabel()[0].GetValue() == "Dress"]; x.GetCounter().GetValue() != want {
			t.Errorf("predicted_class_total of %v", x)
		}
	}
	w.running()
	w.drain()
	if n := counter(t, w.metrics.uploads.WithLabelValues(uploadStored)); n != 1 {
		t.Errorf("%g uploads counted", n)
	}
}

func TestOldModelsSeriesAreForgotten(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, Options{Registerer: reg})
	for _, ref := range []dg.ModelRef{"sha256:aaa", "sha256:bbb", "sha256:bbb", "sha256:ccc", "sha256:bbb"} {
		w.install(testModel(ref))
	}
	versions := map[string]bool{}
	for _, m := range gathered(t, reg)["driftgate_predictions_total"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "model_version" {
				versions[l.GetValue()] = true
			}
		}
	}
	if len(versions) != 2 || !versions["bbb"] || !versions["ccc"] {
		t.Errorf("versions %v, want the present and the one before", versions)
	}
}

func TestMetricHelpSaysWhatItCounts(t *testing.T) {
	reg := prometheus.NewRegistry()
	newWorld(t, Options{Registerer: reg})
	for name, f := range gathered(t, reg) {
		if !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: help %q is no sentence", name, f.GetHelp())
		}
	}
}
