// Package telemetry is driftgate's tracing: spans by OpenTelemetry, sent by
// OTLP over HTTP, and their ids in the log.
//
// It is off without an endpoint, and then costs nothing: a nil [Tracer] makes
// no spans, [Start] without a span in its context makes none either, and
// neither allocates. When it is on, nothing waits for it: ended spans go into
// a bounded queue, what does not fit is dropped and counted, and a receiver
// that is down costs spans, never a request.
//
// Whoever takes up work from outside (a request, a run, a record on the spool)
// begins with a method of [Tracer]; everything below calls [Start]. Spans
// carry names, counts and kinds of errors, never images, headers, tokens or
// raw paths.
//
// The package knows nothing of driftgate, so that every other can use it.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	maxQueue     = 4096            // spans that wait for their export or are under way
	maxBatch     = 512             // spans of one export
	batchDelay   = 2 * time.Second // how long a span waits for its batch to fill
	requestBound = 10 * time.Second
	exportBound  = 30 * time.Second // of a batch, its repetitions included
	maxText      = 512              // characters of an attribute or of an error
)

// Options say where spans go. They travel to a training child as JSON.
type Options struct {
	Endpoint string            `json:"endpoint"`          // base URL of an OTLP/HTTP receiver; /v1/traces is added unless it ends so; empty: no tracing
	Headers  map[string]string `json:"headers,omitempty"` // sent with every export; secret
	Ratio    float64           `json:"ratio"`             // of the traces that begin here, 0 to 1; those begun elsewhere follow their parent
	Service  string            `json:"service"`
	Version  string            `json:"version,omitempty"`
	Model    string            `json:"model,omitempty"`

	Logger     *slog.Logger          `json:"-"`
	Registerer prometheus.Registerer `json:"-"` // nil: counts are kept but not exported
}

// Target is the full URL that spans are posted to.
func (o Options) Target() string {
	const path = "/v1/traces"
	return strings.TrimSuffix(strings.TrimRight(o.Endpoint, "/"), path) + path
}

// ParseHeaders reads "name=value,name=value" with percent-encoded values, the
// form of OTEL_EXPORTER_OTLP_HEADERS. The error quotes no value.
func ParseHeaders(text string) (map[string]string, error) {
	headers := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || name == "" || strings.ContainsAny(name, " \t:") || strings.ContainsAny(value, "\r\n") {
			return nil, errors.New("want name=value,name=value with percent-encoded values")
		}
		headers[name] = value
	}
	return headers, nil
}

// Tracer makes spans that have no parent in this process. A nil Tracer makes
// none. It is safe for concurrent use.
type Tracer struct {
	o        Options
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	out      *outbox
	close    sync.Once
	closed   error
}

// scope names this package as the maker of the spans.
const scope = "driftgate"

// Open returns the tracer of o; nil without an endpoint. Nothing is sent yet.
func Open(ctx context.Context, o Options) (t *Tracer, err error) {
	if o.Endpoint == "" {
		return t, nil
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "telemetry")
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(o.Target()),
		otlptracehttp.WithHeaders(o.Headers),
		otlptracehttp.WithTimeout(requestBound),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: exportBound}),
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: open exporter to %s: %w", o.Target(), err)
	}
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", o.Service),
		attribute.String("service.version", o.Version),
		attribute.String("driftgate.model", o.Model),
	))
	if err != nil {
		return nil, fmt.Errorf("telemetry: describe this process: %w", err)
	}
	// What the SDK has to say besides, of answers that take only a part for one.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Logger.Debug("OpenTelemetry", "error", err) }))
	out := newOutbox(exporter, o)
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxText
	provider := sdk.NewTracerProvider(
		sdk.WithResource(about),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Ratio))),
		sdk.WithRawSpanLimits(limits),
		sdk.WithSpanProcessor(out),
	)
	return &Tracer{o: o, provider: provider, tracer: provider.Tracer(scope), out: out}, nil
}

// Close sends what waits, within the time that ctx leaves. The error says how
// many spans were lost by then.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.close.Do(func() {
		err := t.provider.Shutdown(ctx)
		if n := t.out.waiting.Load(); n > 0 {
			t.closed = fmt.Errorf("telemetry: %d spans were not exported: %w", n, errors.Join(err, context.Cause(ctx)))
		}
	})
	return t.closed
}

// Probe posts an empty batch to the receiver of o and returns why it was not
// taken.
func Probe(ctx context.Context, o Options) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.Target(), http.NoBody)
	if err != nil {
		return fmt.Errorf("telemetry: probe: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	for name, value := range o.Headers {
		req.Header.Set(name, value)
	}
	// A redirect would carry the headers elsewhere.
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return fmt.Errorf("telemetry: probe: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing is read from it
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("telemetry: probe: %s answers %s", o.Target(), resp.Status)
	}
	return nil
}
