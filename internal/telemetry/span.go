package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Span is work under way; the zero Span is none, and its methods do nothing.
type Span struct{ s trace.Span }

// Start begins a span below the one in ctx. Where there is none, or its trace
// is not sampled, it does nothing and allocates nothing.
func Start(ctx context.Context, name string) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(scope).Start(ctx, name)
	return ctx, Span{s}
}

// StartClient is [Start] for a request to another server.
func StartClient(ctx context.Context, name string) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	return ctx, Span{s}
}

// SetString adds an attribute.
func (s Span) SetString(key, value string) {
	if s.s != nil && s.s.IsRecording() {
		s.s.SetAttributes(attribute.String(key, value))
	}
}

// SetInt adds an attribute.
func (s Span) SetInt(key string, value int) {
	if s.s != nil && s.s.IsRecording() {
		s.s.SetAttributes(attribute.Int(key, value))
	}
}

// Fail marks the span as failed, with the text of err; nil does nothing. Work
// that was called off has not failed.
func (s Span) Fail(err error) {
	if s.s == nil || err == nil || !s.s.IsRecording() {
		return
	}
	if errors.Is(err, context.Canceled) {
		s.SetString("error.type", "cancelled")
		return
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	if r := []rune(text); len(r) > maxText {
		text = string(r[:maxText])
	}
	s.s.SetStatus(codes.Error, text)
}

// Done ends the span, as failed if err is not nil.
func (s Span) Done(err error) {
	s.Fail(err)
	s.End()
}

// End ends the span.
func (s Span) End() {
	if s.s != nil {
		s.s.End()
	}
}

// In returns ctx with s as the span that [Start] and the log go by.
func (s Span) In(ctx context.Context) context.Context {
	if s.s == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.s)
}

var w3c propagation.TraceContext

// Traceparent names the span in ctx as W3C Trace Context does, for a process or
// a time to come; empty where there is none or its trace is not sampled.
func Traceparent(ctx context.Context) string {
	if c := trace.SpanContextFromContext(ctx); !c.IsValid() || !c.IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return carrier["traceparent"]
}

func remote(traceparent string) trace.SpanContext {
	ctx := w3c.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// Start begins a span: below the one in ctx if there is one, else the first of
// a new trace.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, s := t.tracer.Start(ctx, name)
	return ctx, Span{s}
}

// Serve begins the span of a request, below the client's if it sent a
// traceparent, and names it in the answer's header traceresponse. route is a
// pattern, not the path.
func (t *Tracer) Serve(r *http.Request, answer http.Header, method, route string) (context.Context, Span) {
	if t == nil {
		return r.Context(), Span{}
	}
	ctx, s := t.tracer.Start(w3c.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), method+" "+route, trace.WithSpanKind(trace.SpanKindServer))
	if s.IsRecording() {
		s.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route))
	}
	mine := propagation.MapCarrier{}
	w3c.Inject(ctx, mine)
	answer.Set("Traceresponse", mine["traceparent"])
	return ctx, Span{s}
}

// Resume begins a span below one of another process or of an earlier time, as
// [Traceparent] named it. Without a name it does nothing.
func (t *Tracer) Resume(ctx context.Context, traceparent, name string) (context.Context, Span) {
	if t == nil || traceparent == "" {
		return ctx, Span{}
	}
	parent := remote(traceparent)
	if !parent.IsValid() {
		return ctx, Span{}
	}
	return t.Start(trace.ContextWithRemoteSpanContext(ctx, parent), name)
}

// StartLinked begins a trace of its own that links to its causes, named by
// [Traceparent]; empty names are left out.
func (t *Tracer) StartLinked(ctx context.Context, name string, causes ...string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	var links []trace.Link
	for _, c := range causes {
		if cause := remote(c); cause.IsValid() {
			links = append(links, trace.Link{SpanContext: cause})
		}
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithLinks(links...))
	return ctx, Span{s}
}

// Handover is what a child process needs to go on with a trace.
type Handover struct {
	Traceparent string  `json:"traceparent,omitempty"`
	Exporter    Options `json:"exporter,omitzero"`
}

// Handover returns what the child needs to go on below the span in ctx; zero
// when there is nothing to go on with.
func (t *Tracer) Handover(ctx context.Context) Handover {
	if t == nil {
		return Handover{}
	}
	parent := Traceparent(ctx)
	if parent == "" {
		return Handover{}
	}
	return Handover{parent, t.o}
}

// IDs returns the ids of the span in ctx, in hexadecimal; empty when there is none.
func IDs(ctx context.Context) (traceID, spanID string) {
	if c := trace.SpanContextFromContext(ctx); c.IsValid() {
		return c.TraceID().String(), c.SpanID().String()
	}
	return "", ""
}

// Logs returns a handler that passes every record on to h, with trace_id and
// span_id when its context has a span, sampled or not.
func Logs(h slog.Handler) slog.Handler { return logs{h} }

type logs struct{ slog.Handler }

func (l logs) Handle(ctx context.Context, r slog.Record) error {
	if traceID, spanID := IDs(ctx); traceID != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", traceID), slog.String("span_id", spanID))
	}
	return l.Handler.Handle(ctx, r)
}

func (l logs) WithAttrs(attrs []slog.Attr) slog.Handler { return logs{l.Handler.WithAttrs(attrs)} }
func (l logs) WithGroup(name string) slog.Handler       { return logs{l.Handler.WithGroup(name)} }
