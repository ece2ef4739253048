//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
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
	file := write(t, filepath.Join(t.TempDir(), "prometheus.yml"), "global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}\nscrape_configs:\n"+jobs)
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
