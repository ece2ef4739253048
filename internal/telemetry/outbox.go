package telemetry

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// outbox is the SDK's batch processor, with a bound of its own before it: the
// SDK drops silently what does not fit, and tells nobody how much.
type outbox struct {
	sdk.SpanProcessor
	exporter sdk.SpanExporter
	log      *slog.Logger
	waiting  atomic.Int64 // spans between their end and the end of their export
	down     atomic.Bool  // the last export failed

	exported, failed, dropped prometheus.Counter
}

func newOutbox(exporter sdk.SpanExporter, o Options) *outbox {
	spans := promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "driftgate_trace_spans_total",
		Help: "Sampled spans ended, by what became of them: exported, failed (the receiver did not take them), dropped (the queue was full).",
	}, []string{"result"})
	b := &outbox{exporter: exporter, log: o.Logger,
		exported: spans.WithLabelValues("exported"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped")}
	// The SDK's queue holds whatever is counted as waiting, so it never drops.
	b.SpanProcessor = sdk.NewBatchSpanProcessor(exports{b}, sdk.WithMaxQueueSize(maxQueue), sdk.WithMaxExportBatchSize(maxBatch),
		sdk.WithBatchTimeout(batchDelay), sdk.WithExportTimeout(exportBound))
	return b
}

// OnEnd takes a span, or drops it when too many wait.
func (b *outbox) OnEnd(s sdk.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if b.waiting.Add(1) > maxQueue {
		b.waiting.Add(-1)
		b.dropped.Inc()
		return
	}
	b.SpanProcessor.OnEnd(s)
}

// exports is the exporter as the batch processor sees it: it counts, and says
// once that exports fail and once that they work again.
type exports struct{ b *outbox }

func (e exports) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.b.exporter.ExportSpans(ctx, spans)
	e.b.waiting.Add(-int64(len(spans)))
	if err != nil {
		e.b.failed.Add(float64(len(spans)))
		if !e.b.down.Swap(true) {
			e.b.log.Warn("spans are not exported; this is said once, driftgate_trace_spans_total counts on", "error", err)
		}
		return nil // said
	}
	e.b.exported.Add(float64(len(spans)))
	if e.b.down.Swap(false) {
		e.b.log.Info("spans are exported again")
	}
	return nil
}

func (e exports) Shutdown(ctx context.Context) error { return e.b.exporter.Shutdown(ctx) }
