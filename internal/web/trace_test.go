package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"driftgate/internal/telemetry"
	"driftgate/internal/telemetry/telemetrytest"
)

func TestEachRequestHasASpanNamedByItsRoute(t *testing.T) {
	r := telemetrytest.Start(t)
	tracer, err := telemetry.Open(t.Context(), telemetry.Options{Endpoint: r.Endpoint, Ratio: 1, Service: "web"})
	if err != nil {
		t.Fatal(err)
	}
	s := testServer(t, &fake{}, func(o *Options) { o.Tracer = tracer })
	const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := send(s, http.MethodGet, "/image/some-secret-name?token="+testToken, "", bearer(testToken), header("traceparent", client), header("Cookie", "a=b"))
	if got := w.Header().Get("Traceresponse"); !strings.HasPrefix(got, client[:36]) || !strings.HasSuffix(got, "-01") {
		t.Errorf("traceresponse %q to a client of trace %s", got, client)
	}
	send(s, "BREW", "/no/such/route", "")
	for _, quiet := range []string{"/-/healthy", "/-/ready", "/metrics"} {
		send(s, http.MethodGet, quiet, "")
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := r.Spans()
	if len(spans) != 2 {
		t.Fatalf("spans:\n%s, want two", telemetrytest.Tree(spans))
	}
	image, none := spans[0], spans[1]
	if image.Name != "GET /image/*key" || image.Trace != client[3:35] || image.Parent != client[36:52] || image.Failed || image.Attributes["http.response.status_code"] != fmt.Sprint(w.Code) {
		t.Errorf("%+v", image)
	}
	if none.Name != "other none" || none.Attributes["http.response.status_code"] != "404" {
		t.Errorf("%+v", none)
	}
	if text := fmt.Sprint(spans); strings.Contains(text, "secret-name") || strings.Contains(text, testToken) {
		t.Errorf("a path or a token is in a span: %s", text)
	}
}
