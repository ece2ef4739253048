//go:build e2e && bench

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	dg "driftgate"
	"driftgate/internal/catalog"
	"driftgate/internal/ledger"
	"driftgate/internal/ledger/ledgertest"
	"driftgate/internal/objstore"
	"driftgate/metrics"
)

// `make bench-metrics` prints what figures cost at scale. The sizes can be set:
// BENCH_PREDICTIONS (1000000), BENCH_OBJECTS (100000).

func size(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		t.Fatalf("%s=%q: want a whole number from 1000", name, text)
	}
	return n
}

// backends opens an empty ledger on each database.
var backends = map[string]func(t *testing.T) string{
	"SQLite":     func(t *testing.T) string { return filepath.Join(t.TempDir(), "ledger.db") },
	"PostgreSQL": func(t *testing.T) string { return ledgertest.Postgres(t) },
}

func onEachDatabase(t *testing.T, run func(t *testing.T, dsn string)) {
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		t.Run(name, func(t *testing.T) { run(t, backends[name](t)) })
	}
}

const benchVersion = dg.ModelRef("sha256:be7c4be7c4be7c4be7c4be7c4be7c4be7c4be7c4be7c4be7c4be7c4be7c4be7c")

// history yields n predictions spread evenly over span before end, of which
// about labels have been labelled: a third of the labels in the strata that are
// picked completely, the others drawn from the random one.
func history(n, labels int, end time.Time, span time.Duration) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for i := range n {
			if !yield(prediction(i, n, labels, end, span), nil) {
				return
			}
		}
	}
}

func prediction(i, n, labels int, end time.Time, span time.Duration) ledger.Record {
	x := rand.NewPCG(uint64(i), 1).Uint64()
	draw := func(bits int, of float64) bool { return float64(x>>bits&0xffff)/65536 < of }
	class := dg.FashionMNIST[x%10]
	r := ledger.Record{
		Sample: dg.Sample{
			Key: dg.SampleKey(int(x%10), fmt.Sprintf("%016x.png", x)), PredictedClass: class, ModelVersion: benchVersion.Short(),
			Timestamp:  end.Add(-span + time.Duration(float64(span)*float64(i)/float64(n))).Truncate(time.Second),
			Confidence: dg.RoundConfidence(.7 + .3*float64(x>>40&0xff)/255), Stratum: dg.Random,
		},
		State: ledger.Noisy, Placed: true, InProduction: true,
	}
	share := float64(labels) / float64(n)
	low := share / 3
	switch {
	case draw(8, low):
		r.Stratum, r.SamplingFraction, r.Selected = dg.LowConfidence, 1, true
		r.Confidence = dg.RoundConfidence(.2 + .49*float64(x>>40&0xff)/255)
	case draw(24, share-low):
		r.SamplingFraction, r.Selected = share-low, true
	}
	r.Interval = dg.Slot(r.Timestamp, 30*time.Minute).Start
	if r.Selected {
		r.State, r.LabelSource, r.Label = ledger.Labelled, dg.HumanLabel, class
		r.LabelledAt = r.Timestamp.Add(2 * time.Hour)
		if draw(44, .12) {
			r.Label = dg.FashionMNIST[(x+1)%10]
		}
	}
	return r
}

// TestFiguresAtScale measures all windows and estimators over a week (and ten
// weeks) of history: with nothing new, and with one new label each time.
func TestFiguresAtScale(t *testing.T) {
	n := size(t, "BENCH_PREDICTIONS", 1_000_000)
	const week = 7 * 24 * time.Hour
	for _, h := range []struct {
		name   string
		n      int
		labels int
		span   time.Duration
	}{
		{"a tenth of the history", n / 10, n / 500, week / 10},
		{"the history", n, n / 50, week},
		{"ten times the history", 10 * n, 10 * n / 50, 10 * week},
		{"ten times the traffic", 10 * n, n / 50, week},
	} {
		if h.n > n && os.Getenv("BENCH_TENFOLD") == "" {
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			onEachDatabase(t, func(t *testing.T, dsn string) { figuresAtScale(t, dsn, h.n, h.labels, h.span) })
		})
	}
}

func figuresAtScale(t *testing.T, dsn string, n, labels int, span time.Duration) {
	ctx := t.Context()
	l, err := ledger.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	end := time.Now().UTC().Truncate(time.Minute)
	begun := time.Now()
	if err := l.Rebuild(ctx, history(n, labels, end, span)); err != nil {
		t.Fatal(err)
	}
	filled := time.Since(begun)
	begun = time.Now()
	if err := l.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	settled := time.Since(begun)
	m := metrics.New(metrics.Options{Model: "bench", Now: func() time.Time { return end }}, l)
	m.SetChampion(dg.Champion{Version: benchVersion, PromotedAt: end.Add(-span)}, dg.FashionMNIST)
	refresh := func() {
		if _, err := m.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
	begun = time.Now()
	if _, err := m.Advance(ctx); err != nil {
		t.Fatal(err)
	}
	advanced := time.Since(begun)
	debug.FreeOSMemory()
	baseline := memory(t, "VmRSS")
	resetPeak(t)
	begun = time.Now()
	refresh()
	first := time.Since(begun)
	idle := timed(30, func(int) { refresh() })
	labelled := timed(30, func(i int) {
		r := prediction(n-1-i, n, labels, end, span)
		r.LabelledAt = end
		if err := l.SetForeignLabel(ctx, r.Sample, r.PredictedClass); err != nil {
			t.Fatal(err)
		}
		refresh()
	})
	reg := prometheus.NewRegistry()
	reg.MustRegister(m)
	handler := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	lines := 0
	scrape := timed(30, func(int) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		lines = strings.Count(w.Body.String(), "\n")
	})
	peak := memory(t, "VmHWM")
	snap := m.Snapshot()
	figures := 0
	for _, w := range snap.Windows {
		figures += len(w.Estimates)
		for _, s := range w.Slices {
			figures += len(s.Estimates)
		}
	}
	week := snap.Windows[len(snap.Windows)-1]
	t.Logf("%d predictions, %d labels in the longest window of %d; fill %.1fs, cells %.1fs, alarm over all slots %.1fs",
		n, week.Labels, week.Predictions, filled.Seconds(), settled.Seconds(), advanced.Seconds())
	t.Logf("all windows and estimators (%d figures): first %s, nothing new %s, with one new label %s (median; max %s); scrape of %d lines %s; memory %.1f MiB over the baseline of %.1f",
		figures, ms(first), ms(median(idle)), ms(median(labelled)), ms(slices.Max(labelled)), lines, ms(median(scrape)), float64(peak-baseline)/1024, float64(baseline)/1024)
	if figures == 0 || week.Labels == 0 {
		t.Error("nothing was measured: no figures")
	}
}

func timed(times int, f func(i int)) []time.Duration {
	out := make([]time.Duration, times)
	for i := range out {
		begun := time.Now()
		f(i)
		out[i] = time.Since(begun)
	}
	return out
}

func median(ds []time.Duration) time.Duration {
	ds = slices.Clone(ds)
	slices.Sort(ds)
	return ds[len(ds)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// memory reads a line of /proc/self/status, in KiB: VmRSS, or VmHWM, the peak
// since resetPeak. It counts SQLite's memory too, which Go's heap does not.
func memory(t *testing.T, field string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: memory is not measured here")
	}
	found := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(b)
	if found == nil {
		t.Fatalf("no %s in /proc/self/status", field)
	}
	kib, _ := strconv.Atoi(string(found[1]))
	return kib
}

func resetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Logf("the peak cannot be reset, so it includes filling: %v", err)
	}
}

// TestReconcileAtScale compares reconcile over a clean bucket on a real MinIO
// with what the old DAG does: one tag request an object, at every run.
func TestReconcileAtScale(t *testing.T) {
	n := size(t, "BENCH_OBJECTS", 100_000)
	o, _ := minioServer(t)
	store, err := objstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	buckets := objstore.DefaultBuckets("bench-")
	if err := store.EnsureBuckets(t.Context(), buckets.All()...); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	fillClean(t, store, buckets.Clean, n)
	t.Logf("%d objects put in %.0fs", n, time.Since(begun).Seconds())
	onEachDatabase(t, func(t *testing.T, dsn string) {
		l, err := ledger.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c := catalog.New(store, l, buckets, catalog.Options{Classes: func() dg.Classes { return dg.FashionMNIST }, TagsEvery: time.Hour})
		for _, name := range []string{"cold", "warm", "warm again"} {
			begun := time.Now()
			r, err := c.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %.1fs, %+v", name, time.Since(begun).Seconds(), r.Clean)
		}
	})
	begun = time.Now()
	read := naive(t, store, buckets.Clean)
	t.Logf("one tag request an object, one after the other, as the old DAG at every run: %.1fs for %d objects", time.Since(begun).Seconds(), read)
}

func fillClean(t *testing.T, store *objstore.Store, bucket string, n int) {
	t.Helper()
	end := time.Now().UTC()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n && t.Context().Err() == nil; i += 16 {
				s := prediction(i, n, n, end, 7*24*time.Hour).Sample
				tags := map[string]string{dg.TagPredictedClass: s.PredictedClass, dg.TagConfidence: dg.FormatConfidence(s.Confidence),
					dg.TagTimestamp: s.Timestamp.Format(dg.TimeFormat), dg.TagFlagged: "false"} // four tags, as the old DAG writes
				if _, err := store.Put(t.Context(), bucket, s.Key, []byte("an image of a few bytes"), objstore.PutOptions{Tags: tags}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func naive(t *testing.T, store *objstore.Store, bucket string) (read int) {
	t.Helper()
	ctx := context.Background()
	for o, err := range store.List(ctx, bucket, "", false) {
		if err != nil {
			t.Fatal(err)
		}
		tags, err := store.Tags(ctx, bucket, o.Key)
		if err != nil || len(tags) != 4 {
			t.Fatalf("%s: %v %v", o.Key, tags, err)
		}
		read++
	}
	return read
}

// TestANewLabelShowsWithinTwoSeconds measures, on a gateway whose ledger holds
// the whole history, how long after collect's answer a label stands in /metrics.
func TestANewLabelShowsWithinTwoSeconds(t *testing.T) {
	n := size(t, "BENCH_PREDICTIONS", 1_000_000)
	dir := t.TempDir()
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().UTC()
	if err := errors.Join(l.Rebuild(t.Context(), history(n, n/50, end, 7*24*time.Hour)), l.Settle(t.Context()), l.Close()); err != nil {
		t.Fatal(err)
	}
	g := serve(t, dir, "model: garments\nhttp: {listen: \"127.0.0.1:0\", rate_per_ip: 0}\ncurate: {every: 1s, random: 100}\n"+
		"collect: {every: 1h, undo: 0s}\nreconcile: {every: 0s}\n")
	firstChampion(t, g)
	for i := range 20 {
		g.call(t, "POST", "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(garment(t, uint64(i)))}, nil)
	}
	var took []time.Duration
	for len(took) < 10 {
		var got struct {
			Tasks []struct{ ID string }
		}
		eventually(t, 30*time.Second, "a task waits", func() bool {
			g.call(t, "GET", "/api/v1/labels/tasks?n=1", nil, &got)
			return len(got.Tasks) > 0
		})
		before := labelsIn(t, g)
		g.call(t, "POST", "/api/v1/labels", map[string]string{"id": got.Tasks[0].ID, "label": dg.FashionMNIST[0]}, nil)
		g.call(t, "POST", "/api/v1/collect", nil, nil)
		begun := time.Now()
		for labelsIn(t, g) == before {
			if time.Since(begun) > 30*time.Second {
				t.Fatal("the label never came")
			}
			time.Sleep(20 * time.Millisecond)
		}
		took = append(took, time.Since(begun))
	}
	t.Logf("%d predictions in the ledger: a collected label stands in /metrics after %s (median of %d; max %s)", n, ms(median(took)), len(took), ms(slices.Max(took)))
}

// labelsIn sums the label counters of /metrics.
func labelsIn(t *testing.T, g *gateway) (sum float64) {
	t.Helper()
	status, body := g.try(t, "GET", "/metrics", nil)
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d", status)
	}
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "driftgate_labelled_predictions_total{") {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}
