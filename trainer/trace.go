package trainer

import (
	"context"
	"log/slog"
	"time"

	"driftgate/internal/telemetry"
)

// flushFor bounds how long a child that is done waits for its last spans.
const flushFor = 3 * time.Second

// traced begins the child's part of the parent's trace, and from then on the
// log carries its ids. phase begins a span for each phase that it is told of.
// Tracing that does not work is no reason not to train.
func traced(ctx context.Context, job Job) (_ context.Context, phase func(string), flush func(error)) {
	tracer, err := telemetry.Open(ctx, job.Trace.Exporter)
	if err != nil {
		slog.Warn("training is not traced", "component", "trainer", "run", job.RunID, "error", err)
	}
	if tracer == nil {
		return ctx, func(string) {}, func(error) {}
	}
	ctx, span := tracer.Resume(ctx, job.Trace.Traceparent, "training child")
	span.SetString("driftgate.run.id", job.RunID)
	traceID, spanID := telemetry.IDs(ctx)
	slog.SetDefault(slog.Default().With("trace_id", traceID, "span_id", spanID)) // not every line has a context
	var (
		name string
		part telemetry.Span
	)
	phase = func(next string) {
		if next == name {
			return
		}
		part.End()
		if name, part = next, (telemetry.Span{}); next != Done {
			_, part = telemetry.Start(ctx, next)
		}
	}
	phase(Loading)
	flush = func(err error) {
		part.Done(err)
		span.Done(err)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushFor)
		defer cancel()
		if err := tracer.Close(end); err != nil {
			slog.WarnContext(ctx, "spans of the training are lost", "component", "trainer", "run", job.RunID, "error", err)
		}
	}
	return ctx, phase, flush
}
