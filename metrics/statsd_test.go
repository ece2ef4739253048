package metrics

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// boundaries are the le values of the histograms here, as OpenMetrics has them.
var boundaries = map[float64]string{.005: "0.005", .1: "0.1", 1: "1.0", 60: "60.0", 300: "300.0", 900: "900.0", 1800: "1800.0", 3600: "3600.0",
	10800: "10800.0", 21600: "21600.0", 43200: "43200.0", 86400: "86400.0", 172800: "172800.0", 345600: "345600.0", 604800: "604800.0",
	1209600: "1.2096e+06", 2592000: "2.592e+06"}

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
					out[key("_bucket", "le="+boundaries[b.GetUpperBound()])] = float64(b.GetCumulativeCount())
				}
			default:
				out[key("")] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

// running is a sink at work.
type running struct {
	prometheus.Gatherer
	rounds atomic.Int64
	stop   func()
}

func (r *running) Gather() ([]*dto.MetricFamily, error) {
	defer r.rounds.Add(1)
	return r.Gatherer.Gather()
}

// whole waits for a round that begins after the call.
func (r *running) whole() {
	for n := r.rounds.Load(); r.rounds.Load() < n+3; time.Sleep(time.Millisecond) {
	}
}

// start runs the sink until the test stops it.
func start(t *testing.T, g prometheus.Gatherer, o StatsDOptions) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := &running{Gatherer: g}
	go func() { done <- RunStatsD(ctx, r, o) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// Both paths must show the same figures: what goes over the wire, in either
// style, is compared with what Prometheus scrapes, value by value.
func TestStatsDShowsWhatPrometheusScrapes(t *testing.T) {
	w := newWorld(t, Options{})
	setChampion(w, dg.Classes{"Dress", "Coat"})
	_, err := w.metrics.Refresh(t.Context()) // what counters stand at now is where growth begins
	must(t, err)
	reg := prometheus.NewRegistry()
	reg.MustRegister(w.metrics)
	auto := promauto.With(reg)
	runs := auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_retrain_runs_total"}, []string{"verdict"})
	seconds := auto.NewHistogram(prometheus.HistogramOpts{Name: "driftgate_prediction_duration_seconds", Buckets: []float64{.005, .1, 1}})
	below := auto.NewGauge(prometheus.GaugeOpts{Name: "driftgate_below_zero"})
	auto.NewGauge(prometheus.GaugeOpts{Name: "driftgate_minus_nothing"}).Set(math.Copysign(0, -1))
	auto.NewGauge(prometheus.GaugeOpts{Name: "driftgate_not_a_number"}).Set(math.NaN())
	auto.NewGauge(prometheus.GaugeOpts{Name: "other_gauge"}).Set(7)
	runs.WithLabelValues("promote")

	exporters, sinks := map[string]*exporter{}, map[string]*running{}
	for _, style := range []string{InfluxDBTags, DogStatsDTags} {
		e := newExporter(t, "127.0.0.1:0", style == DogStatsDTags)
		exporters[style] = e
		sinks[style] = start(t, reg, StatsDOptions{Address: e.conn.LocalAddr().String(), Every: 20 * time.Millisecond, PacketBytes: 700, Tags: style})
		defer sinks[style].stop()
		sinks[style].whole()
	}
	at := noon.Add(-time.Hour)
	w.fill(batch{version: refA, stratum: dg.Random, at: at, interval: at, n: 900, m: 30, k: 27},
		batch{version: refA, stratum: dg.LowConfidence, at: at, interval: at, n: 80, m: 20, k: 12},
		batch{version: refA, stratum: dg.Flagged, at: at, interval: at, n: 20, m: 10, k: 3})
	snapshot, err := w.metrics.Refresh(t.Context())
	must(t, err)
	day, _ := snapshot.Window(24 * time.Hour)
	headline, ok := day.Estimate("stratified")
	if !ok || headline.Accuracy < .8 || headline.Accuracy > .9 {
		t.Fatalf("the headline is %+v: the test would prove little", headline)
	}
	runs.WithLabelValues("promote").Add(2)
	runs.WithLabelValues("reject").Inc()
	for _, s := range []float64{.001, .05, .25, 30} {
		seconds.Observe(s)
	}
	below.Set(-1.5)
	for style, e := range exporters {
		sinks[style].stop()
		got, want := e.get(), flatten(t, reg)
		for series, v := range want {
			if x, ok := got[series]; math.IsNaN(v) == ok || (ok && !near(x, v, 1e-9*math.Max(1, math.Abs(v)))) {
				t.Errorf("%s: %s = %g, %t; Prometheus has %g", style, series, x, ok, v)
			}
		}
		for series := range got {
			if _, ok := want[series]; !ok {
				t.Errorf("%s: %s is unknown to Prometheus", style, series)
			}
		}
		ratio := "driftgate.production_accuracy_ratio{estimator=stratified,model=garments,window=24h}"
		if !near(got[ratio], headline.Accuracy, 1e-15) || e.kinds[ratio] != "g" {
			t.Errorf("%s: %s = %g as %s", style, ratio, got[ratio], e.kinds[ratio])
		}
		if e.longest > 700 || e.longest < 600 {
			t.Errorf("%s: longest packet %d bytes, want lines packed up to 700", style, e.longest)
		}
	}
}

func setChampion(w *world, classes dg.Classes) {
	w.metrics.SetChampion(champion(refA, noon.Add(-2*time.Hour)), classes)
}

// kept is a counter that outlives the process, as the ledger's totals do: it
// has no created timestamp. It is absent until ready.
type kept struct {
	desc  *prometheus.Desc
	ready atomic.Bool
	value atomic.Int64
}

func newKept(name string) *kept { return &kept{desc: prometheus.NewDesc(name, "Kept.", nil, nil)} }

func (k *kept) Describe(ch chan<- *prometheus.Desc) { ch <- k.desc }

func (k *kept) Collect(ch chan<- prometheus.Metric) {
	if k.ready.Load() {
		ch <- prometheus.MustNewConstMetric(k.desc, prometheus.CounterValue, float64(k.value.Load()))
	}
}

func TestARestartCountsNothingTwice(t *testing.T) {
	total := newKept("driftgate_labels_total")
	total.value.Store(100)
	e := newExporter(t, "127.0.0.1:0", false)
	for process := range 2 {
		reg := prometheus.NewRegistry()
		reg.MustRegister(total)
		own := promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "driftgate_predictions_total"})
		own.Add(3) // before the sink's first round, but by this process
		total.ready.Store(process == 1)
		sink := start(t, reg, StatsDOptions{Address: e.conn.LocalAddr().String(), Every: 10 * time.Millisecond})
		sink.whole()
		total.ready.Store(true) // the first time the ledger is read may come late
		sink.whole()
		total.value.Add(5)
		own.Inc()
		sink.stop()
	}
	got := e.get()
	if n := got["driftgate.labels_total{}"]; n != 10 {
		t.Errorf("counted %g labels, want the ten that came while it ran", n)
	}
	if n := got["driftgate.predictions_total{}"]; n != 8 {
		t.Errorf("counted %g predictions, want the four of each process", n)
	}
}

func TestACounterThatBeginsAnewCountsOn(t *testing.T) {
	total := newKept("driftgate_labels_total")
	total.ready.Store(true)
	reg := prometheus.NewRegistry()
	reg.MustRegister(total)
	s, w := newSink(StatsDOptions{}.withDefaults()), &wire{}
	must(t, s.open(w))
	for _, v := range []int64{0, 7, 9, 2} { // a rebuilt ledger may count less than the old one
		total.value.Store(v)
		s.round(reg)
	}
	if want := []string{"driftgate.labels_total:0|c", "driftgate.labels_total:7|c", "driftgate.labels_total:2|c", "driftgate.labels_total:2|c"}; !slices.Equal(w.packets, want) {
		t.Errorf("%q, want %q", w.packets, want)
	}
}

func TestACounterThatStandsStillIsHeardOfEveryMinute(t *testing.T) {
	s, w := newSink(StatsDOptions{Every: 10 * time.Second}.withDefaults()), &wire{}
	must(t, s.open(w))
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "driftgate_runs_total"})
	for range 13 {
		s.round(reg)
	}
	if want := []string{"driftgate.runs_total:0|c", "driftgate.runs_total:0|c", "driftgate.runs_total:0|c"}; !slices.Equal(w.packets, want) {
		t.Errorf("in two minutes of 10 s rounds: %q, want one line a minute", w.packets)
	}
}

func TestALostExporterDoesNoHarm(t *testing.T) {
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "driftgate_up"}).Set(.5)
	spare, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	address := spare.LocalAddr().String()
	must(t, spare.Close())
	sink := start(t, reg, StatsDOptions{Address: address, Every: 10 * time.Millisecond})
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
	sink.stop()

	sink = start(t, reg, StatsDOptions{Address: "nowhere.invalid:9125", Every: 10 * time.Millisecond})
	sink.whole()
	sink.stop()
}

func TestReservedCharactersInTagsAreReplaced(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_x"}, []string{"class", "empty"})
	g.WithLabelValues("T-shirt/top, a=b:c|d#e\nf", "").Set(1)
	e := newExporter(t, "127.0.0.1:0", false)
	start(t, reg, StatsDOptions{Address: e.conn.LocalAddr().String(), Every: time.Hour}).stop()
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
