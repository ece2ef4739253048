// Package telemetrytest is an OTLP/HTTP receiver for tests.
package telemetrytest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as it arrived; ids are in hexadecimal, as in logs.
type Span struct {
	Name, Trace, ID, Parent string
	Links                   []string // "trace/span"
	Failed                  bool
	Status                  string
	Attributes              map[string]string
	Resource                map[string]string
	Start, End              time.Time
}

// Receiver keeps what was posted to /v1/traces.
type Receiver struct {
	Endpoint string

	mu      sync.Mutex
	spans   []Span
	headers []http.Header
}

// Start starts a receiver that ends with the test.
func Start(t testing.TB) *Receiver {
	r := &Receiver{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.Endpoint = server.URL
	return r
}

// ServeHTTP takes one batch.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path != "/v1/traces" || req.Method != http.MethodPost {
		http.NotFound(w, req)
		return
	}
	batch, err := read(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, req.Header.Clone())
	for _, rs := range batch.GetResourceSpans() {
		about := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.spans = append(r.spans, span(s, about))
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty answer takes all
}

func read(req *http.Request) (*collector.ExportTraceServiceRequest, error) {
	var in io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			return nil, err
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	batch := new(collector.ExportTraceServiceRequest)
	return batch, proto.Unmarshal(body, batch)
}

func span(s *otlp.Span, about map[string]string) Span {
	out := Span{
		Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Failed: s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR, Status: s.GetStatus().GetMessage(),
		Attributes: attributes(s.GetAttributes()), Resource: about,
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetTraceId())+"/"+hex.EncodeToString(l.GetSpanId()))
	}
	return out
}

func attributes(kvs []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range kvs {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.GetKey()] = fmt.Sprint(v.IntValue)
		default:
			out[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return out
}

// Spans returns what has arrived, in that order.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Headers returns those of every batch.
func (r *Receiver) Headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]http.Header(nil), r.headers...)
}

// Await waits for spans until ok accepts what is there, and returns it.
func (r *Receiver) Await(t testing.TB, what string, ok func([]Span) bool) []Span {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		spans := r.Spans()
		if ok(spans) {
			return spans
		}
		if time.Now().After(end) {
			t.Fatalf("no %s within 30 s; there is:\n%s", what, Tree(spans))
		}
	}
}

// Named returns the spans of that name.
func Named(spans []Span, name string) []Span {
	var out []Span
	for _, s := range spans {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// Of returns the spans of one trace.
func Of(spans []Span, trace string) []Span {
	var out []Span
	for _, s := range spans {
		if s.Trace == trace {
			out = append(out, s)
		}
	}
	return out
}

// Tree draws spans below their parents, in the order of their starts, as lines
// of names indented by depth; a span whose parent is not there is a root.
func Tree(spans []Span) string {
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	var b strings.Builder
	var draw func(parent string, depth int)
	draw = func(parent string, depth int) {
		for _, s := range sorted(spans) {
			if p := s.Parent; p == parent || parent == "" && !known[p] {
				fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), s.Name)
				draw(s.ID, depth+1)
			}
		}
	}
	draw("", 0)
	return b.String()
}

func sorted(spans []Span) []Span {
	return slices.SortedStableFunc(slices.Values(spans), func(a, b Span) int { return a.Start.Compare(b.Start) })
}
