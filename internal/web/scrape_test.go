package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// What a Prometheus asks for: 2.5 and later, with native histograms on, and an
// old one.
const (
	asksOpenMetrics = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
	asksProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited," + asksOpenMetrics
	asksText        = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
)

// scraped serves a registry with a histogram that is classic and native, with
// an exemplar, and the gateway's own series.
func scraped(t *testing.T, accept string) (contentType string, body []byte) {
	t.Helper()
	reg := prometheus.NewRegistry()
	h := promauto.With(reg).NewHistogram(prometheus.HistogramOpts{Name: "driftgate_prediction_confidence", Help: "Softmax probability.",
		Buckets: []float64{.5, 1}, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160})
	for _, v := range []float64{.3, .7} {
		h.(prometheus.ExemplarObserver).ObserveWithExemplar(v, prometheus.Labels{"prediction_id": "0e5cf5b4.png"})
	}
	f := newFake()
	d := f.deps()
	d.Gatherer = reg
	s, err := newServer(d, Options{Model: "garments", Token: testToken, Version: "0.1.0", RatePerSecond: -1, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	do(s, http.MethodGet, "/version")
	w := do(s, http.MethodGet, "/metrics", bearer(testToken), header("Accept", accept))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Header().Get("Content-Type"), w.Body.Bytes()
}

func TestOpenMetricsCarriesExemplarsAndNoCreatedSeries(t *testing.T) {
	kind, body := scraped(t, asksOpenMetrics)
	text := string(body)
	if !strings.HasPrefix(kind, "application/openmetrics-text; version=1.0.0") || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("%s, ends with %q", kind, text[max(0, len(text)-20):])
	}
	for _, want := range []string{
		`driftgate_prediction_confidence_bucket{le="0.5"} 1 # {prediction_id="0e5cf5b4.png"} 0.3`,
		`driftgate_prediction_confidence_bucket{le="1.0"} 2 # {prediction_id="0e5cf5b4.png"} 0.7`,
		"# TYPE http_requests counter\n", "http_requests_total{",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not there: %s", want)
		}
	}
	if strings.Contains(text, "_created") {
		t.Error("created series are exported")
	}
}

func TestAnOldScraperGetsTheTextFormat(t *testing.T) {
	kind, body := scraped(t, asksText)
	if !strings.HasPrefix(kind, "text/plain; version=0.0.4") || !bytes.Contains(body, []byte(`driftgate_prediction_confidence_bucket{le="1"} 2`+"\n")) {
		t.Errorf("%s:\n%s", kind, body)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: the gateway's series were not checked here")
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestProtobufCarriesNativeHistogramsBesideClassicOnes(t *testing.T) {
	kind, body := scraped(t, asksProtobuf)
	d := expfmt.NewDecoder(bytes.NewReader(body), expfmt.Format(kind))
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); errors.Is(err, io.EOF) {
			t.Fatalf("%s: no histogram among the families", kind)
		} else if err != nil {
			t.Fatal(err)
		}
		if f.GetName() != "driftgate_prediction_confidence" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 2 || len(h.GetBucket()) != 2 || len(h.GetPositiveSpan()) == 0 || h.GetSchema() != 3 {
			t.Errorf("count %d, %d classic buckets, %d native spans, schema %d; want 2, 2, some, 3 (factor 1.1)",
				h.GetSampleCount(), len(h.GetBucket()), len(h.GetPositiveSpan()), h.GetSchema())
		}
		if e := h.GetBucket()[0].GetExemplar(); e.GetValue() != .3 || e.GetLabel()[0].GetValue() != "0e5cf5b4.png" {
			t.Errorf("exemplar %v", e)
		}
		return
	}
}
