package config

import (
	"fmt"
	"net/url"

	"driftgate/internal/telemetry"
)

// OTel is where traces go. Without an endpoint there are none.
type OTel struct {
	Endpoint    string  `key:"endpoint" doc:"base URL of an OpenTelemetry receiver, OTLP over HTTP, such as http://localhost:4318; empty makes no traces"`
	Protocol    string  `key:"protocol" doc:"http/protobuf: no other is spoken"`
	Headers     string  `key:"headers" secret:"yes" doc:"sent with every export: name=value,name=value, values percent-encoded"`
	SampleRatio float64 `key:"sample_ratio" doc:"share of the traces begun here that are kept, 0 to 1; a request that comes with a traceparent follows its client's decision"`
	Service     string  `key:"service_name" doc:"service.name of the spans"`
}

// standard are OpenTelemetry's own variables, which count where neither the
// file nor driftgate's own variable says anything.
var standard = map[string]string{
	"otel.endpoint":     "OTEL_EXPORTER_OTLP_ENDPOINT",
	"otel.protocol":     "OTEL_EXPORTER_OTLP_PROTOCOL",
	"otel.headers":      "OTEL_EXPORTER_OTLP_HEADERS",
	"otel.sample_ratio": "OTEL_TRACES_SAMPLER_ARG",
	"otel.service_name": "OTEL_SERVICE_NAME",
}

// standardEnvironment takes over what OpenTelemetry's variables say. Empty ones
// count as unset, as its specification wants it.
func (l *loader) standardEnvironment(lookup func(string) (string, bool)) {
	off, _ := lookup("OTEL_SDK_DISABLED")
	exporter, _ := lookup("OTEL_TRACES_EXPORTER")
	if off == "true" || exporter == "none" {
		return
	}
	for _, f := range l.leaves {
		name := standard[f.key]
		if name == "" || l.source[f.key] != "" {
			continue
		}
		if v, _ := lookup(name); v != "" {
			l.set(f.key, v, "env "+name)
		}
	}
}

// otlpHTTP is the one protocol that is spoken.
const otlpHTTP = "http/protobuf"

// check returns what is wrong; without an endpoint nothing is used.
func (o OTel) check() []fault {
	var out []fault
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, fault{"otel." + key, fmt.Sprintf(format, args...)})
		}
	}
	if o.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(o.Endpoint)
	want(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "", "endpoint",
		"want http://host:port or https://host, without user and query: what is secret belongs into otel.headers")
	want(o.Protocol == otlpHTTP, "protocol", "%q: want %s, on the receiver's HTTP port (usually 4318); gRPC is not spoken", o.Protocol, otlpHTTP)
	_, err = telemetry.ParseHeaders(o.Headers)
	want(err == nil, "headers", "%v", err)
	want(o.SampleRatio >= 0 && o.SampleRatio <= 1, "sample_ratio", "%g: want 0 to 1, not a percentage", o.SampleRatio)
	want(o.Service != "", "service_name", "empty: want a name")
	return out
}
