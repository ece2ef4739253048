package app

import (
	"context"
	"log/slog"
	"time"

	"driftgate/internal/config"
	"driftgate/internal/telemetry"
)

// flushFor bounds how long the way down waits for the last spans.
const flushFor = 3 * time.Second

func traceOptions(c config.Config, version string) telemetry.Options {
	headers, _ := telemetry.ParseHeaders(c.OTel.Headers) // validated with the configuration
	return telemetry.Options{Endpoint: c.OTel.Endpoint, Headers: headers, Ratio: c.OTel.SampleRatio, Service: c.OTel.Service, Version: version, Model: c.Model}
}

// openTracer comes first, so that it is closed last: what ends on the way down
// is traced too. With tracing the log has the ids of spans.
func (a *App) openTracer(ctx context.Context) (err error) {
	o := traceOptions(a.Config, a.Version)
	o.Logger, o.Registerer = a.Logger, a.metricsRegistry
	if a.tracer, err = telemetry.Open(ctx, o); err != nil || a.tracer == nil {
		return err
	}
	a.Logger = slog.New(telemetry.Logs(a.Logger.Handler()))
	a.log = a.Logger.With("component", "app")
	a.onClose(func() error {
		left := max(time.Second, min(flushFor, time.Until(a.stopBy())))
		ctx, cancel := context.WithTimeout(context.Background(), left)
		defer cancel()
		if err := a.tracer.Close(ctx); err != nil {
			a.log.Warn("the last spans are lost", "error", err) // the gateway's own work is done all the same
		}
		return nil
	})
	return nil
}

// checkTraces sends no spans to the receiver of traces.
func (a *App) checkTraces(ctx context.Context) finding {
	o := traceOptions(a.Config, a.Version)
	if o.Endpoint == "" {
		return pass("off: otel.endpoint is empty")
	}
	if err := telemetry.Probe(ctx, o); err != nil {
		return warn("is otel.endpoint right (the receiver's OTLP/HTTP port, usually 4318), and otel.headers what it asks for? Until then spans are lost and counted, nothing else", "%v", err)
	}
	return pass("%s takes them", o.Target())
}
