package trainer

import (
	"strings"
	"testing"
	"time"

	"driftgate/internal/telemetry"
	"driftgate/internal/telemetry/telemetrytest"
)

func TestAChildGoesOnWithItsParentsTrace(t *testing.T) {
	r := telemetrytest.Start(t)
	tracer, err := telemetry.Open(t.Context(), telemetry.Options{Endpoint: r.Endpoint, Ratio: 1, Service: "gateway", Headers: map[string]string{"authorization": "hush-hush"}})
	if err != nil {
		t.Fatal(err)
	}
	job, _ := cluster(t)
	untraced, err := job.key()
	if err != nil {
		t.Fatal(err)
	}
	ctx, step := tracer.Start(t.Context(), "step train")
	job.Trace = tracer.Handover(ctx)
	if key, err := job.key(); err != nil || key != untraced {
		t.Errorf("the trace changes what the job is: %s, %s, %v", key, untraced, err)
	}
	if _, err := Spawn(ctx, self(t), nil, job, nil); err != nil {
		t.Fatal(err)
	}
	step.End()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := r.Spans()
	tree := telemetrytest.Tree(spans)
	if !strings.HasPrefix(tree, "step train\n  training child\n    loading\n    S3/GetObject\n") || !strings.HasSuffix(tree, "\n    training\n    calibrating\n") {
		t.Errorf("tree\n%s", tree)
	}
	for _, s := range spans {
		if s.Trace != spans[0].Trace || s.Failed || s.End.Sub(s.Start) > time.Minute {
			t.Errorf("%+v", s)
		}
	}
	for _, h := range r.Headers() {
		if h.Get("Authorization") != "hush-hush" {
			t.Errorf("headers %v", h)
		}
	}
	job.Store.SecretKey = "hush-hush"
	checkNoSecrets(t, job) // of the exporter
}

func TestAChildsFailureIsInItsSpan(t *testing.T) {
	r := telemetrytest.Start(t)
	tracer, err := telemetry.Open(t.Context(), telemetry.Options{Endpoint: r.Endpoint, Ratio: 1, Service: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	job, _ := cluster(t)
	ctx, step := tracer.Start(t.Context(), "step train")
	job.Trace, job.Options.LearningRate, job.Options.Momentum = tracer.Handover(ctx), 1e6, 0.9
	if _, err := Spawn(ctx, self(t), nil, job, nil); err == nil {
		t.Fatal("trained with a learning rate of a million")
	}
	step.End()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	child := telemetrytest.Named(r.Spans(), "training child")
	if len(child) != 1 || !child[0].Failed || !strings.Contains(child[0].Status, "diverged") {
		t.Errorf("%+v", child)
	}
}
