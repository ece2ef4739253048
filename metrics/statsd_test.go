package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"

	dg "driftgate"
)

// exporter is a StatsD server that understands both tag styles: gauges hold
// their last value, counters add up.
type exporter struct {
	t    *testing.T
	conn net.PacketConn
	dog  bool

	mu      sync.Mutex
	values  map[string]float64
	kinds   map[string]string
	longest int
	lines   int
}

func newExporter(t *testing.T, address string, dog bool) *exporter {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	must(t, err)
	e := &exporter{t: t, conn: conn, dog: dog, values: map[string]float64{}, kinds: map[string]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			e.packet(string(buf[:n]))
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return e
}

func (e *exporter) packet(p string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.longest = max(e.longest, len(p))
	for line := range strings.SplitSeq(p, "\n") {
		e.lines++
		name, rest, ok := strings.Cut(line, ":")
		value, kind, ok2 := strings.Cut(rest, "|")
		if !ok || !ok2 {
			e.t.Errorf("line %q", line)
			continue
		}
		var tags []string
		if e.dog {
			var list string
			if kind, list, ok = strings.Cut(kind, "|#"); ok {
				for tag := range strings.SplitSeq(list, ",") {
					tags = append(tags, strings.Replace(tag, ":", "=", 1))
				}
			}
		} else {
			name, rest, ok = strings.Cut(name, ",")
			if ok {
				tags = strings.Split(rest, ",")
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || slices.ContainsFunc(tags, func(tag string) bool { return strings.Count(tag, "=") != 1 }) {
			e.t.Errorf("line %q: %v", line, err)
		}
		slices.Sort(tags)
		series := name + "{" + strings.Join(tags, ",") + "}"
		e.kinds[series] = kind
		if kind == "c" || strings.HasPrefix(value, "+") || strings.HasPrefix(value, "-") {
			e.values[series] += v
		} else {
			e.values[series] = v
		}
	}
}

// get returns what the exporter holds once no line has come for a while.
func (e *exporter) get() map[string]float64 {
	e.t.Helper()
	for last := -1; ; {
		time.Sleep(30 * time.Millisecond)
		e.mu.Lock()
		if e.lines == last {
			defer e.mu.Unlock()
			return e.values
		}
		last = e.lines
		e.mu.Unlock()
	}
}

// flatten is what Prometheus would scrape, with StatsD's names.
func flatten(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), "driftgate_")
		if !ok {
			continue
		}
		name = "driftgate." + name
		for _, m := range f.GetMetric() {
			var tags []string
			for _, l := range m.GetLabel() {
				tags = append(tags, l.GetName()+"="+l.GetValue())
			}
			key := func(suffix string, more ...string) string {
				all := append(slices.Clone(tags), more...)
				slices.Sort(all)
				return name + suffix + "{" + strings.Join(all, ",") + "}"
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[key("")] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				h := m.GetHistogram()
				out[key("_count")], out[key("_sum")] = float64(h.GetSampleCount()), h.GetSampleSum()
				out[key("_bucket", "le=+Inf")] = float64(h.GetSampleCount())
				for _, b := range h.GetBucket() {
					out[key("_bucket", fmt.Sprintf("le=%g", b.GetUpperBound()))] = float64(b.GetCumulativeCount())
				}
			default:
				out[key("")] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

// start runs the sink until the test stops it.
func start(t *testing.T, g prometheus.Gatherer, o StatsDOptions) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- RunStatsD(ctx, g, o) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Both paths must show the same figures: what goes over the wire is compared
// with what Prometheus scrapes, value by value.
func TestStatsDShowsWhatPrometheusScrapes(t *testing.T) {
	for _, style := range []string{InfluxDBTags, DogStatsDTags} {
		t.Run(style, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.metrics.SetChampion(champion(refA, noon.Add(-2*time.Hour)), dg.Classes{"Dress", "Coat"})
			reg := prometheus.NewRegistry()
			reg.MustRegister(w.metrics)
			auto := promauto.With(reg)
			runs := auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_retrain_runs_total"}, []string{"verdict"})
			seconds := auto.NewHistogram(prometheus.HistogramOpts{Name: "driftgate_prediction_duration_seconds", Buckets: []float64{.005, .1, 1}})
			below := auto.NewGauge(prometheus.GaugeOpts{Name: "driftgate_below_zero"})
			auto.NewGauge(prometheus.GaugeOpts{Name: "driftgate_not_a_number"}).Set(math.NaN())
			auto.NewGauge(prometheus.GaugeOpts{Name: "other_gauge"}).Set(7)
			runs.WithLabelValues("promote")

			e := newExporter(t, "127.0.0.1:0", style == DogStatsDTags)
			stop := start(t, reg, StatsDOptions{Address: e.conn.LocalAddr().String(), Every: 20 * time.Millisecond, PacketBytes: 700, Tags: style})
			defer stop()
			e.get()
			w.fill(worked(refA)...)
			_, err := w.metrics.Refresh(t.Context())
			must(t, err)
			runs.WithLabelValues("promote").Add(2)
			runs.WithLabelValues("reject").Inc()
			for _, s := range []float64{.001, .05, .25, 30} {
				seconds.Observe(s)
			}
			below.Set(-1.5)
			stop()
			got, want := e.get(), flatten(t, reg)
			for series, v := range want {
				if x, ok := got[series]; math.IsNaN(v) == ok || (ok && !near(x, v, 1e-9*math.Max(1, math.Abs(v)))) {
					t.Errorf("%s = %g, %t; Prometheus has %g", series, x, ok, v)
				}
			}
			for series := range got {
				if _, ok := want[series]; !ok {
					t.Errorf("%s is unknown to Prometheus", series)
				}
			}
			ratio := "driftgate.production_accuracy_ratio{estimator=stratified,model=garments,window=24h}"
			if !near(got[ratio], .891, 1e-12) || e.kinds[ratio] != "g" {
				t.Errorf("%s = %g as %s", ratio, got[ratio], e.kinds[ratio])
			}
			if e.longest > 700 || e.longest < 300 {
				t.Errorf("longest packet %d bytes, want lines packed up to 700", e.longest)
			}
		})
	}
}

func TestARestartCountsNothingTwice(t *testing.T) {
	reg := prometheus.NewRegistry()
	total := promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "driftgate_labels_total"})
	total.Add(100) // kept over restarts, as the ledger's totals are
	e := newExporter(t, "127.0.0.1:0", false)
	for range 2 {
		stop := start(t, reg, StatsDOptions{Address: e.conn.LocalAddr().String(), Every: 10 * time.Millisecond})
		e.get()
		total.Add(5)
		stop()
	}
	if got := e.get()["driftgate.labels_total{}"]; got != 10 {
		t.Errorf("counted %g, want the ten that came while it ran", got)
	}
}

func TestALostExporterDoesNoHarm(t *testing.T) {
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "driftgate_up"}).Set(.5)
	spare, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	address := spare.LocalAddr().String()
	must(t, spare.Close())
	stop := start(t, reg, StatsDOptions{Address: address, Every: 10 * time.Millisecond})
	time.Sleep(100 * time.Millisecond) // rounds into the void
	e := newExporter(t, address, false)
	deadline := time.Now().Add(5 * time.Second)
	for {
		e.mu.Lock()
		v := e.values["driftgate.up{}"]
		e.mu.Unlock()
		if v == .5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the exporter came back and saw nothing")
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()

	stop = start(t, reg, StatsDOptions{Address: "nowhere.invalid:9125", Every: 10 * time.Millisecond})
	time.Sleep(50 * time.Millisecond)
	stop()
}

func TestReservedCharactersInTagsAreReplaced(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_x"}, []string{"class", "empty"})
	g.WithLabelValues("T-shirt/top, a=b:c|d#e\nf", "").Set(1)
	e := newExporter(t, "127.0.0.1:0", false)
	start(t, reg, StatsDOptions{Address: e.conn.LocalAddr().String(), Every: time.Hour})()
	if got := e.get(); got["driftgate.x{class=T-shirt/top_ a_b_c_d_e_f}"] != 1 || len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestStatsDOptionsReportEveryFault(t *testing.T) {
	err := RunStatsD(t.Context(), prometheus.NewRegistry(), StatsDOptions{Prefix: "a b", Tags: "graphite", Every: -1, PacketBytes: 10})
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatal(err)
	}
	for _, word := range []string{"address", "prefix", "graphite", "interval", "packet_bytes"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in: %v", word, err)
		}
	}
}
