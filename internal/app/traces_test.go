package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/telemetry/telemetrytest"
	"driftgate/trainer"
)

// The test binary plays the training child of the gateways it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "train-child" {
		if trainer.Child(context.Background(), os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tracedGateway is a gateway that sends its spans to endpoint and logs JSON.
func tracedGateway(t *testing.T, endpoint string) *edge {
	t.Helper()
	return startEdge(t, func(o *Options) {
		o.Config.OTel.Endpoint = endpoint
		o.Config.Train.MinLabels, o.Config.Train.Epochs, o.Config.Gate.Wait = 0, 1, time.Millisecond
		o.Config.Train.Replay = 200
		o.Config.Curate.Paused = true
	})
}

// post sends JSON as the client of the given trace, and returns the answer's body.
func (e *edge) post(t *testing.T, path string, in any, trace string) map[string]any {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.Address()+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+e.Token())
	req.Header.Set("Content-Type", "application/json")
	if trace != "" {
		req.Header.Set("traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil || answer.StatusCode/100 != 2 {
		t.Fatalf("POST %s: %s, %v, %v", path, answer.Status, out, err)
	}
	return out
}

func garment(t *testing.T) string {
	t.Helper()
	png, err := dataset.EncodePNG(dataset.Garment(3, dataset.Drift{}, rand.New(rand.NewPCG(1, 2))), 28, 28, 1)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(png)
}

// champion has the gateway train and promote a first small model.
func (e *edge) champion(t *testing.T) {
	t.Helper()
	set := e.post(t, "/api/v1/ingest", map[string]any{"source": "synthetic", "train": 300, "test": 100}, "")
	e.post(t, "/api/v1/train", map[string]any{"dataset": set["dataset"], "promote": true}, "")
	e.await(t, "a champion", func() bool { return e.serving.Version() != "" })
}

func (e *edge) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within 60 s; the log:\n%s", what, e.log.String())
		}
	}
}

const clientTrace = "0af7651916cd43dd8448eb211c80319c"

func TestOnePredictionIsOneTraceThroughItsUpload(t *testing.T) {
	r := telemetrytest.Start(t)
	e := tracedGateway(t, r.Endpoint)
	e.champion(t)
	p := e.post(t, "/predict", map[string]any{"image": garment(t)}, clientTrace)
	spans := r.Await(t, "upload", func(all []telemetrytest.Span) bool {
		return len(telemetrytest.Named(telemetrytest.Of(all, clientTrace), "upload")) > 0
	})
	spans = telemetrytest.Of(spans, clientTrace)
	want := "POST /predict\n  predict\n    decode\n    infer\n    spool\n    upload\n      S3/PutObject\n"
	if got := telemetrytest.Tree(spans); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	root := telemetrytest.Named(spans, "POST /predict")[0]
	if root.Parent != "b7ad6b7169203331" || root.Attributes["http.response.status_code"] != "200" || root.Resource["service.name"] != "driftgate" || root.Resource["service.version"] != "test" {
		t.Errorf("%+v", root)
	}
	if a := telemetrytest.Named(spans, "predict")[0].Attributes; a["driftgate.key"] != p["key"] || a["driftgate.model_version"] != p["model_version"] {
		t.Errorf("attributes %v of the prediction %v", a, p)
	}
	if a := telemetrytest.Named(spans, "S3/PutObject")[0].Attributes; a["aws.s3.bucket"] != "production" || a["rpc.method"] != "PutObject" {
		t.Errorf("attributes %v", a)
	}
	if text := fmt.Sprintf("%+v", r.Spans()); strings.Contains(text, e.Token()) || strings.Contains(text, e.storeOptions.SecretKey) {
		t.Error("a secret is in a span")
	}
	if len(telemetrytest.Named(r.Spans(), "read figures")) == 0 {
		t.Errorf("no span of a refresh of the figures; there is\n%s", telemetrytest.Tree(r.Spans()))
	}
}

func TestARetrainingsTraceReachesTheChildAndTheLog(t *testing.T) {
	r := telemetrytest.Start(t)
	e := tracedGateway(t, r.Endpoint)
	e.champion(t)
	answer := e.post(t, "/api/v1/runs", map[string]any{"reason": "a test of traces"}, clientTrace)
	spans := r.Await(t, "run", func(all []telemetrytest.Span) bool { return len(telemetrytest.Named(all, "run retrain")) > 0 })
	run := telemetrytest.Named(spans, "run retrain")[0]
	if run.Attributes["driftgate.run.id"] != answer["run"] || run.Attributes["driftgate.run.state"] != "done" || run.Failed {
		t.Errorf("%+v, want the run of %v", run, answer)
	}
	asked := telemetrytest.Named(telemetrytest.Of(spans, clientTrace), "POST /api/v1/runs")
	if len(asked) != 1 || len(run.Links) != 1 || run.Links[0] != clientTrace+"/"+asked[0].ID {
		t.Errorf("links %v, want one to who asked: %+v", run.Links, asked)
	}
	var got []string
	for line := range strings.Lines(telemetrytest.Tree(telemetrytest.Of(spans, run.Trace))) {
		if !strings.Contains(line, "S3/") {
			got = append(got, line)
		}
	}
	want := []string{"run retrain\n", "  step gather\n", "  step compose\n", "  step train\n", "    training child\n", "      loading\n", "      training\n", "      calibrating\n",
		"  step save\n", "  step await\n", "  step evaluate\n", "  step report\n"}
	if strings.Join(got, "") != strings.Join(want, "") {
		t.Errorf("got\n%s, want\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
	for message, id := range map[string]string{"trigger answered": clientTrace, "training set composed": run.Trace, "challenger judged": run.Trace} {
		e.await(t, message, func() bool { return strings.Contains(e.log.String(), message) })
		for line := range strings.Lines(e.log.String()) {
			if strings.Contains(line, message) && !strings.Contains(line, "trace_id="+id+" span_id=") {
				t.Errorf("want trace_id=%s in: %s", id, line)
			}
		}
	}
}

// TestAReceiverThatHangsHoldsNothingUp predicts while the receiver never
// answers, and stops.
func TestAReceiverThatHangsHoldsNothingUp(t *testing.T) {
	hang := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer receiver.Close()
	defer close(hang)
	e := tracedGateway(t, receiver.URL)
	e.champion(t)
	for range 20 {
		began := time.Now()
		e.post(t, "/predict", map[string]any{"image": garment(t)}, clientTrace)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a prediction took %s", took)
		}
	}
	began := time.Now()
	if err := e.stop(); err != nil {
		t.Errorf("the stop: %v", err)
	}
	if took := time.Since(began); took > e.Config.Shutdown {
		t.Errorf("the stop took %s, its bound is %s", took, e.Config.Shutdown)
	}
	if !strings.Contains(e.log.String(), "the last spans are lost") {
		t.Errorf("nothing is said of the lost spans:\n%s", e.log.String())
	}
}

func TestWithoutAnEndpointNothingIsTraced(t *testing.T) {
	e := startEdge(t, nil)
	e.post(t, "/api/v1/collect", nil, clientTrace)
	if e.tracer != nil || strings.Contains(e.log.String(), "trace_id") {
		t.Errorf("there is a tracer: %v; the log:\n%s", e.tracer, e.log.String())
	}
}
