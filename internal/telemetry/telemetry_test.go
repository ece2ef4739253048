package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"driftgate/internal/telemetry"
	"driftgate/internal/telemetry/telemetrytest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func open(t *testing.T, o telemetry.Options) *telemetry.Tracer {
	t.Helper()
	if o.Service == "" {
		o.Service = "driftgate"
	}
	tracer, err := telemetry.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

func flush(t *testing.T, tracer *telemetry.Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := tracer.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestOffCostsNoAllocation holds the promise that predictions rely on.
func TestOffCostsNoAllocation(t *testing.T) {
	off := open(t, telemetry.Options{})
	ctx := t.Context()
	failure := errors.New("x")
	n := testing.AllocsPerRun(1000, func() {
		ctx, span := off.Start(ctx, "refresh")
		ctx, inner := telemetry.Start(ctx, "decode")
		inner.SetString("key", "value")
		inner.SetInt("n", 1000)
		inner.Fail(failure)
		inner.End()
		_ = telemetry.Traceparent(span.In(ctx))
		_, resumed := off.Resume(ctx, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "upload")
		resumed.End()
		span.End()
	})
	if n != 0 {
		t.Errorf("%v allocations with tracing off, want none", n)
	}
	if err := off.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestAnUnsampledTraceCostsItsChildrenNoAllocation(t *testing.T) {
	tracer := open(t, telemetry.Options{Endpoint: "http://127.0.0.1:1", Ratio: 0})
	defer flush(t, tracer)
	ctx, root := tracer.Start(t.Context(), "root")
	defer root.End()
	n := testing.AllocsPerRun(1000, func() {
		_, span := telemetry.Start(ctx, "decode")
		span.SetInt("n", 1000)
		span.End()
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestSpansArriveBelowTheirParents(t *testing.T) {
	r := telemetrytest.Start(t)
	reg := prometheus.NewRegistry()
	tracer := open(t, telemetry.Options{Endpoint: r.Endpoint + "/", Ratio: 1, Service: "gate", Version: "v9", Model: "garments",
		Headers: map[string]string{"Authorization": "Bearer abc"}, Registerer: reg})
	ctx, root := tracer.Start(t.Context(), "root")
	ctx2, child := telemetry.Start(ctx, "child")
	child.SetString("driftgate.key", strings.Repeat("k", 2000))
	_, grandchild := telemetry.Start(ctx2, "grandchild")
	grandchild.Fail(errors.New("it broke"))
	grandchild.End()
	child.Fail(context.Canceled)
	child.End()
	root.End()
	flush(t, tracer)
	spans := r.Spans()
	if got, want := telemetrytest.Tree(spans), "root\n  child\n    grandchild\n"; got != want {
		t.Fatalf("tree\n%s, want\n%s", got, want)
	}
	for _, s := range spans {
		if s.Trace != spans[0].Trace {
			t.Errorf("%s is in another trace", s.Name)
		}
		if s.Resource["service.name"] != "gate" || s.Resource["service.version"] != "v9" || s.Resource["driftgate.model"] != "garments" {
			t.Errorf("resource %v", s.Resource)
		}
		if want := s.Name == "grandchild"; s.Failed != want {
			t.Errorf("%s failed: %v", s.Name, s.Failed)
		}
	}
	if got := telemetrytest.Named(spans, "grandchild")[0].Status; got != "it broke" {
		t.Errorf("status %q", got)
	}
	c := telemetrytest.Named(spans, "child")[0]
	if n := len(c.Attributes["driftgate.key"]); n != 512 || c.Attributes["error.type"] != "cancelled" {
		t.Errorf("attribute of %d characters, error.type %q; want 512, cancelled", n, c.Attributes["error.type"])
	}
	for _, h := range r.Headers() {
		if h.Get("Authorization") != "Bearer abc" {
			t.Errorf("headers %v", h)
		}
	}
	want := `# HELP driftgate_trace_spans_total Sampled spans ended, by what became of them: exported, failed (the receiver did not take them), dropped (the queue was full).
# TYPE driftgate_trace_spans_total counter
driftgate_trace_spans_total{result="dropped"} 0
driftgate_trace_spans_total{result="exported"} 3
driftgate_trace_spans_total{result="failed"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestATraceGoesOnFromItsName(t *testing.T) {
	r := telemetrytest.Start(t)
	first := open(t, telemetry.Options{Endpoint: r.Endpoint, Ratio: 1})
	ctx, root := first.Start(t.Context(), "request")
	name := telemetry.Traceparent(ctx)
	b, err := json.Marshal(first.Handover(ctx))
	if err != nil {
		t.Fatal(err)
	}
	root.End()
	flush(t, first)

	var h telemetry.Handover
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	second := open(t, h.Exporter)
	_, child := second.Resume(t.Context(), h.Traceparent, "child process")
	child.End()
	_, run := second.StartLinked(t.Context(), "run", name, "", "nonsense")
	run.End()
	for _, bad := range []string{"", "nonsense", "00-00000000000000000000000000000000-0000000000000000-01"} {
		if _, s := second.Resume(t.Context(), bad, "bad"); s != (telemetry.Span{}) {
			t.Errorf("Resume(%q) made a span", bad)
		}
	}
	flush(t, second)
	spans := r.Spans()
	if len(spans) != 3 {
		t.Fatalf("spans:\n%s", telemetrytest.Tree(spans))
	}
	request, linked := spans[0], telemetrytest.Named(spans, "run")[0]
	if c := telemetrytest.Named(spans, "child process")[0]; c.Trace != request.Trace || c.Parent != request.ID {
		t.Errorf("child process: trace %s, parent %s; want %s, %s", c.Trace, c.Parent, request.Trace, request.ID)
	}
	if len(linked.Links) != 1 || linked.Links[0] != request.Trace+"/"+request.ID || linked.Trace == request.Trace || linked.Parent != "" {
		t.Errorf("run: %+v, want a trace of its own with one link to %s/%s", linked, request.Trace, request.ID)
	}
}

func TestARequestJoinsItsClientsTrace(t *testing.T) {
	r := telemetrytest.Start(t)
	tracer := open(t, telemetry.Options{Endpoint: r.Endpoint, Ratio: 0}) // the client's decision counts, not the ratio
	for name, tt := range map[string]struct {
		traceparent string
		joins       bool // the client's trace
		exported    bool
	}{
		"sampled by the client":     {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true, true},
		"not sampled by the client": {"00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true, false},
		"no traceparent":            {"", false, false},
		"nonsense":                  {"00-zzz-1-01", false, false},
	} {
		req := httptest.NewRequest(http.MethodGet, "/image/secret-name", nil)
		if tt.traceparent != "" {
			req.Header.Set("traceparent", tt.traceparent)
		}
		answer := http.Header{}
		ctx, span := tracer.Serve(req, answer, http.MethodGet, "/image/*key "+name)
		span.End()
		got := answer.Get("traceresponse")
		if joins := len(tt.traceparent) > 35 && strings.HasPrefix(got, tt.traceparent[:35]); len(got) != 55 || joins != tt.joins {
			t.Errorf("%s: answered %q", name, got)
		}
		if sampled := telemetry.Traceparent(ctx) != ""; sampled != tt.exported {
			t.Errorf("%s: sampled %v", name, sampled)
		}
	}
	flush(t, tracer)
	spans := r.Spans()
	if len(spans) != 1 || spans[0].Name != "GET /image/*key sampled by the client" || spans[0].Parent != "b7ad6b7169203331" {
		t.Errorf("spans %+v", spans)
	}
}

func TestLogsCarryTheSpanOfTheirContext(t *testing.T) {
	tracer := open(t, telemetry.Options{Endpoint: "http://127.0.0.1:1", Ratio: 0})
	defer flush(t, tracer)
	var out bytes.Buffer
	log := slog.New(telemetry.Logs(slog.NewJSONHandler(&out, nil))).With("component", "test")
	ctx, span := tracer.Start(t.Context(), "root")
	log.InfoContext(ctx, "with")
	span.End()
	log.InfoContext(t.Context(), "without")
	var with, without map[string]any
	dec := json.NewDecoder(&out)
	if err := errors.Join(dec.Decode(&with), dec.Decode(&without)); err != nil {
		t.Fatal(err)
	}
	if id, _ := with["trace_id"].(string); len(id) != 32 || len(with["span_id"].(string)) != 16 || with["component"] != "test" {
		t.Errorf("with a span: %v", with)
	}
	if _, there := without["trace_id"]; there {
		t.Errorf("without a span: %v", without)
	}
}

// TestAReceiverThatIsDownCostsSpansOnly ends far more spans than the queue
// holds while nobody takes them.
func TestAReceiverThatIsDownCostsSpansOnly(t *testing.T) {
	hangs := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer server.Close()
	defer close(hangs)
	reg := prometheus.NewRegistry()
	tracer := open(t, telemetry.Options{Endpoint: server.URL, Ratio: 1, Registerer: reg})
	const n = 20_000
	began := time.Now()
	for range n {
		_, s := tracer.Start(t.Context(), "request")
		s.End()
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%d spans took %s: something waited for the receiver", n, took)
	}
	if got, want := count(t, reg, "dropped"), float64(n-4096); got != want {
		t.Errorf("%v dropped, want %v: what does not fit into the queue", got, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began = time.Now()
	err := tracer.Close(ctx)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %s, its bound was 200ms", took)
	}
	if err == nil || !strings.Contains(err.Error(), "spans were not exported") {
		t.Errorf("Close: %v", err)
	}
}

func count(t *testing.T, reg *prometheus.Registry, result string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == result {
			return m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no %s", result)
	return 0
}

func TestFailedExportsAreSaidOnceAndCounted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) }))
	defer server.Close()
	var out bytes.Buffer
	reg := prometheus.NewRegistry()
	tracer := open(t, telemetry.Options{Endpoint: server.URL, Ratio: 1, Registerer: reg, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		Headers: map[string]string{"Authorization": "hunter2"}})
	for range 2000 { // four batches
		_, s := tracer.Start(t.Context(), "request")
		s.End()
	}
	flush(t, tracer)
	if n := strings.Count(out.String(), "spans are not exported"); n != 1 || strings.Contains(out.String(), "hunter2") {
		t.Errorf("said %d times, want once, without secrets:\n%s", n, out.String())
	}
	if got := count(t, reg, "failed"); got != 2000 {
		t.Errorf("%v failed, want 2000", got)
	}
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	r := telemetrytest.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	_ = listener.Close()
	for name, tt := range map[string]struct{ endpoint, want string }{
		"a receiver":    {r.Endpoint, ""},
		"its full path": {r.Endpoint + "/v1/traces", ""},
		"another path":  {r.Endpoint + "/otlp", "404 Not Found"},
		"nobody":        {nobody, "refused"},
	} {
		err := telemetry.Probe(t.Context(), telemetry.Options{Endpoint: tt.endpoint})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestHeadersAreReadAsTheStandardHasThem(t *testing.T) {
	got, err := telemetry.ParseHeaders(" Authorization=Basic%20YTpi , x-tenant = a=b,")
	if err != nil || len(got) != 2 || got["Authorization"] != "Basic YTpi" || got["x-tenant"] != "a=b" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"secret", "=secret", "a b=secret", "a=secret%zz", "a=secret%0d%0ax:y"} {
		if _, err := telemetry.ParseHeaders(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error without the value", bad, err)
		}
	}
}
