//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/pipeline"
	"driftgate/internal/serving"
	"driftgate/internal/trigger"
	"driftgate/metrics"
)

// outlet is a process's figures in every form, and the servers that take them:
// one Prometheus that scrapes the process itself and a statsd_exporter for each
// tag style.
type outlet struct {
	registry   *prometheus.Registry
	figures    *metrics.Metrics
	ledger     *ledger.Ledger
	direct     string // address of the process's own /metrics
	exporters  map[string]*relay
	prometheus string
	rounds     prometheus.Gauge
	round      float64
}

// relay is a statsd_exporter.
type relay struct {
	args      []string
	http, udp int
	*process
}

func (r *relay) run(t *testing.T) { r.process = start(t, nil, tool(t, "statsd_exporter"), r.args...) }

var parityRef = dg.ModelRef("sha256:" + strings.Repeat("5e", 32))

func newOutlet(t *testing.T) *outlet {
	t.Helper()
	dir := t.TempDir()
	o := &outlet{registry: prometheus.NewRegistry(), exporters: map[string]*relay{}}
	var err error
	if o.ledger, err = ledger.Open(t.Context(), filepath.Join(dir, "ledger.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.ledger.Close() })
	o.figures = metrics.New(metrics.Options{
		Model: "garments", Windows: []time.Duration{30 * time.Minute, 24 * time.Hour},
		Alarm: metrics.AlarmOptions{ReferenceLabels: 150, SlotLength: time.Hour, LabelGrace: -1},
		Drift: metrics.DriftOptions{ReferencePredictions: 400, Window: 6 * time.Hour, RunLength: 30 * 24 * time.Hour},
	}, o.ledger)
	o.registry.MustRegister(o.figures)
	o.rounds = promauto.With(o.registry).NewGauge(prometheus.GaugeOpts{Name: "driftgate_test_round", Help: "What the test has come to."})
	trigger.New(o.ledger, trigger.Options{Registerer: o.registry})
	pipeline.New(pipeline.Deps{}, pipeline.Options{Registerer: o.registry})
	if _, err := serving.New(serving.Options{Dir: filepath.Join(dir, "spool"), Registerer: o.registry}, noObjects{}, o.ledger, objstore.DefaultBuckets("")); err != nil {
		t.Fatal(err)
	}
	o.figures.SetChampion(dg.Champion{Model: "garments", Version: parityRef, Generation: 1, PromotedAt: time.Now().Add(-40 * time.Hour)}, dg.FashionMNIST)
	o.refresh(t)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	o.direct = listener.Addr().String()

	jobs := fmt.Sprintf("- {job_name: direct, static_configs: [{targets: [%q]}]}\n", o.direct)
	for _, style := range []string{metrics.InfluxDBTags, metrics.DogStatsDTags} {
		r := &relay{udp: freePort(t), http: freePort(t)}
		r.args = []string{fmt.Sprintf("--statsd.listen-udp=127.0.0.1:%d", r.udp), "--statsd.listen-tcp=",
			fmt.Sprintf("--web.listen-address=127.0.0.1:%d", r.http), "--statsd.mapping-config=" + mapping(t, repository(t), dir)}
		r.run(t)
		o.exporters[style] = r
		eventually(t, 30*time.Second, "statsd_exporter is ready", func() bool { return answers(r.page()) })
		jobs += fmt.Sprintf("- {job_name: %s, static_configs: [{targets: [\"127.0.0.1:%d\"]}]}\n", style, r.http)
		o.send(t, style, r.udp)
	}
	o.prometheus = startPrometheus(t, jobs)
	return o
}

type noObjects struct{ serving.ObjectStore }

func (r *relay) page() string { return fmt.Sprintf("http://127.0.0.1:%d/metrics", r.http) }

func startPrometheus(t *testing.T, jobs string, flags ...string) (address string) {
	t.Helper()
	port := freePort(t)
	file := write(t, filepath.Join(t.TempDir(), "prometheus.yml"), "global: {scrape_interval: 1s, scrape_timeout: 900ms}\nscrape_configs:\n"+jobs)
	start(t, nil, tool(t, "prometheus"), append(flags, "--config.file="+file, "--storage.tsdb.path="+t.TempDir(), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))...)
	address = fmt.Sprintf("http://127.0.0.1:%d", port)
	eventually(t, 30*time.Second, "Prometheus is ready", func() bool { return answers(address + "/-/ready") })
	return address
}

// send runs driftgate's sink until the test ends.
func (o *outlet) send(t *testing.T, style string, port int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- metrics.RunStatsD(ctx, o.registry, metrics.StatsDOptions{Address: fmt.Sprintf("127.0.0.1:%d", port), Tags: style, Every: time.Second})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", style, err)
		}
	})
}

func (o *outlet) refresh(t *testing.T) {
	t.Helper()
	if _, err := o.figures.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.figures.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// fill enters forty hours of predictions, a fifth of them labelled, whose
// meaning changes after the first day: the confidence stays, the accuracy falls.
func (o *outlet) fill(t *testing.T) {
	t.Helper()
	const n = 4000
	rng := rand.New(rand.NewPCG(3, 4))
	end := time.Now().Truncate(time.Second)
	sketch, phi := estimate.NewSketch(8, 1), make([]float64, estimate.SketchSize)
	cells := map[time.Time]*estimate.FeatureSums{}
	records := func(yield func(ledger.Record, error) bool) {
		for i := range n {
			at := end.Add(-40*time.Hour + time.Duration(i)*40*time.Hour/n)
			class := rng.IntN(len(dg.FashionMNIST))
			r := ledger.Record{Sample: dg.Sample{Key: dg.SampleKey(class, fmt.Sprintf("%08d.png", i)), PredictedClass: dg.FashionMNIST[class],
				ModelVersion: parityRef.Short(), Timestamp: at, Confidence: dg.RoundConfidence(.4 + .6*rng.Float64()), Stratum: dg.Random},
				State: ledger.Noisy, Placed: true, InProduction: true, Interval: dg.Slot(at, 30*time.Minute).Start}
			r.SamplingFraction, r.Selected = .15, rng.Float64() < .15
			if r.Confidence < .5 {
				r.Stratum, r.SamplingFraction, r.Selected = dg.LowConfidence, 1, true
			}
			if r.Selected {
				r.State, r.LabelSource, r.Label, r.LabelledAt = ledger.Labelled, dg.HumanLabel, r.PredictedClass, at.Add(time.Duration(rng.IntN(7200))*time.Second)
				if right := r.Confidence - .3*float64(2*i/n); rng.Float64() > right {
					r.Label = dg.FashionMNIST[(class+1)%len(dg.FashionMNIST)]
				}
				if r.LabelledAt.After(end) {
					r.LabelledAt = end
				}
			}
			features := make([]float32, sketch.Dim())
			for j := range features {
				features[j] = float32(math.Abs(rng.NormFloat64()))
			}
			sketch.Map(features, phi)
			cell := dg.Slot(at, serving.FeatureCell).Start
			if cells[cell] == nil {
				cells[cell] = &estimate.FeatureSums{}
			}
			cells[cell].Add(phi)
			if !yield(r, nil) {
				return
			}
		}
	}
	if err := o.ledger.Rebuild(t.Context(), iter.Seq2[ledger.Record, error](records)); err != nil {
		t.Fatal(err)
	}
	for cell, sums := range cells {
		b, err := sums.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := o.ledger.PutFeatures(t.Context(), ledger.FeatureCell{ModelVersion: parityRef.Short(), Cell: cell, Sums: b}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

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
