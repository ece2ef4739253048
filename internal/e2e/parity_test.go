//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

// values returns every series that Prometheus has for a selector, by name and
// labels.
func values(t *testing.T, prometheus, selector string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, r := range query(t, prometheus, selector) {
		name := r.Metric["__name__"]
		for _, label := range []string{"__name__", "job", "instance"} {
			delete(r.Metric, label)
		}
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(r.Metric)) {
			parts = append(parts, k+"="+r.Metric[k])
		}
		v, err := strconv.ParseFloat(r.text(), 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name+"{"+strings.Join(parts, ",")+"}"] = v
	}
	return out
}

// differences lists what StatsD shows otherwise than the process itself. A
// histogram's sum is added up from its growth, so its last digits may differ;
// nothing else may.
func differences(direct, statsd map[string]float64) (diff []string) {
	for _, key := range slices.Sorted(maps.Keys(direct)) {
		v, ok := statsd[key]
		tolerance := 0.0
		if strings.Contains(key, "_sum{") {
			tolerance = 1e-12 * math.Abs(direct[key])
		}
		if !ok || math.Abs(v-direct[key]) > tolerance {
			diff = append(diff, fmt.Sprintf("%s: %v scraped, %v by StatsD (%t)", key, direct[key], v, ok))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(statsd)) {
		if _, ok := direct[key]; !ok {
			diff = append(diff, fmt.Sprintf("%s: not scraped, %v by StatsD", key, statsd[key]))
		}
	}
	return diff
}

// counts says whether a series only grows.
func counts(key string) bool {
	name, _, _ := strings.Cut(key, "{")
	for _, end := range []string{"_total", "_bucket", "_sum", "_count"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

func (o *outlet) values(t *testing.T, job string) map[string]float64 {
	t.Helper()
	return values(t, o.prometheus, fmt.Sprintf(`{__name__=~"driftgate_.+",job="%s"}`, job))
}

// same waits until Prometheus has seen what is there now, and every value is
// the same on every way.
func (o *outlet) same(t *testing.T, when string) {
	t.Helper()
	o.round++
	o.rounds.Set(o.round)
	eventually(t, 30*time.Second, "Prometheus scrapes", func() bool { return o.values(t, "direct")["driftgate_test_round{}"] == o.round })
	for style := range o.exporters {
		var n int
		var diff []string
		for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(500 * time.Millisecond) {
			direct := o.values(t, "direct")
			n, diff = len(direct), differences(direct, o.values(t, style))
			if n > 100 && len(diff) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s, %s: %d of %d series differ:\n%s", when, style, len(diff), n, strings.Join(diff[:min(len(diff), 30)], "\n"))
			}
		}
		t.Logf("%s, %s: %d series, every value the same", when, style, n)
	}
}

func TestEveryValueIsTheSameOnEveryWayOut(t *testing.T) {
	o := newOutlet(t)
	auto := promauto.With(o.registry)
	gauge := auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_test_value", Help: "Any value."}, []string{"of"})
	total := auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_test_total", Help: "Fractions."}, []string{"class"})
	seconds := auto.NewHistogram(prometheus.HistogramOpts{Name: "driftgate_test_seconds", Help: "Both kinds of buckets.", Buckets: []float64{.1, 1, 60, 1e6},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160})
	many := auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_test_many", Help: "More than a socket holds."}, []string{"number"})

	o.fill(t)
	o.refresh(t)
	for of, v := range map[string]float64{"below zero": -1.5, "minus nothing": math.Copysign(0, -1), "tiny": 5e-324, "huge": math.MaxFloat64, "third": 1. / 3, "whole": 1 << 60} {
		gauge.WithLabelValues(of).Set(v)
	}
	for i, class := range dg.FashionMNIST {
		total.WithLabelValues(class).Add(float64(i) / 8)
	}
	for i := range 5000 {
		many.WithLabelValues(strconv.Itoa(i)).Set(-float64(i) / 7)
		seconds.(prometheus.ExemplarObserver).ObserveWithExemplar(math.Pow(10, float64(i%9-3)), prometheus.Labels{"prediction_id": fmt.Sprintf("%d.png", i)})
	}
	o.same(t, "filled")
	o.knowsEverything(t)

	gauge.DeleteLabelValues("third") // as a window's figure goes when its labels do
	gauge.WithLabelValues("below zero").Set(-7)
	total.WithLabelValues("Bag").Add(100)
	seconds.Observe(.05)
	o.same(t, "a figure gone, others changed")
	o.noFaults(t)

	r := o.exporters[metrics.InfluxDBTags]
	r.stop(syscall.SIGKILL)
	gauge.WithLabelValues("below zero").Set(-8)
	time.Sleep(3 * time.Second)
	r.run(t)
	t.Logf("a killed exporter has every series again after %s", eventually(t, 90*time.Second, "the exporter has every series again", func() bool {
		direct, again := o.values(t, "direct"), o.values(t, metrics.InfluxDBTags)
		for key, v := range direct {
			if got, ok := again[key]; !ok || !counts(key) && got != v {
				return false
			}
		}
		return len(direct) > 5000
	}).Round(time.Second))
	o.noFaults(t)
	o.isClean(t)
	o.nativeHistogramsArrive(t)
	o.exemplarsArrive(t)
}

// knowsEverything demands that each series of the figures is among those that
// were compared.
func (o *outlet) knowsEverything(t *testing.T) {
	t.Helper()
	there := map[string]bool{}
	for key := range o.values(t, "direct") {
		name, _, _ := strings.Cut(key, "{")
		there[name] = true
	}
	ch := make(chan *prometheus.Desc)
	go func() { o.figures.Describe(ch); close(ch) }()
	n := 0
	for d := range ch {
		n++
		if name := strings.Split(d.String(), `"`)[1]; !there[name] && !there[name+"_bucket"] {
			t.Errorf("%s was not among the series compared", name)
		}
	}
	t.Logf("%d of %d names of figures compared", n, n)
	for _, name := range estimate.Names {
		key := fmt.Sprintf("driftgate_production_accuracy_ratio{estimator=%s,model=garments,window=24h}", name)
		if v, ok := o.values(t, metrics.DogStatsDTags)[key]; !ok {
			t.Errorf("%s is missing", key)
		} else {
			t.Logf("%s %v", key, v)
		}
	}
}

// noFaults asks the exporters whether they understood every line.
func (o *outlet) noFaults(t *testing.T) {
	t.Helper()
	for style := range o.exporters {
		for _, r := range query(t, o.prometheus, fmt.Sprintf(`{__name__=~"statsd_exporter_(sample_errors_total|tag_errors_total|events_conflict_total|events_error_total|udp_packet_drops_total|events_unmapped_total)",job="%s"}`, style)) {
			if r.text() != "0" {
				t.Errorf("%s: %s %v is %s", style, r.Metric["__name__"], r.Metric, r.text())
			}
		}
	}
}

// isClean runs promtool check metrics over the process's own page.
func (o *outlet) isClean(t *testing.T) {
	t.Helper()
	resp, err := http.Get("http://" + o.direct + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cmd := exec.Command(tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = resp.Body
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// nativeHistogramsArrive scrapes with a Prometheus that asks for them.
func (o *outlet) nativeHistogramsArrive(t *testing.T) {
	t.Helper()
	p := startPrometheus(t, fmt.Sprintf("- {job_name: direct, static_configs: [{targets: [%q]}]}\n", o.direct), "--enable-feature=native-histograms,exemplar-storage")
	eventually(t, 30*time.Second, "Prometheus has the native histogram", func() bool {
		rows := query(t, p, `histogram_count(driftgate_test_seconds)`)
		return len(rows) == 1 && rows[0].text() == "5001"
	})
	half := query(t, p, `histogram_quantile(0.5, driftgate_test_seconds)`)[0].text()
	if v, _ := strconv.ParseFloat(half, 64); v < 9 || v > 11 { // the classic buckets know no more than 1 to 60
		t.Errorf("half of the observations lie below %s, want about 10", half)
	}
	t.Logf("native histogram: median %s of 5001 observations", half)
}

// exemplarsArrive scrapes OpenMetrics, with which Debian's Prometheus takes the
// exemplars of classic buckets.
func (o *outlet) exemplarsArrive(t *testing.T) {
	t.Helper()
	p := startPrometheus(t, fmt.Sprintf("- {job_name: direct, static_configs: [{targets: [%q]}]}\n", o.direct), "--enable-feature=exemplar-storage")
	var out struct {
		Data []struct {
			Exemplars []struct{ Labels map[string]string }
		}
	}
	eventually(t, 30*time.Second, "Prometheus has exemplars with prediction ids", func() bool {
		resp, err := http.Get(p + "/api/v1/query_exemplars?" + url.Values{"query": {"driftgate_test_seconds_bucket"},
			"start": {strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)}, "end": {strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)}}.Encode())
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(&out) == nil && len(out.Data) > 0 && len(out.Data[0].Exemplars) > 0 &&
			strings.HasSuffix(out.Data[0].Exemplars[0].Labels["prediction_id"], ".png")
	})
	t.Logf("exemplar of %s", out.Data[0].Exemplars[0].Labels["prediction_id"])
}
