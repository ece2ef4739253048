package ledger

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	dg "driftgate"
)

var t0 = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), database.dsn(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func sample(name string, at time.Time, conf float64) dg.Sample {
	return dg.Sample{Key: "class_01/" + name, PredictedClass: "Trouser", Confidence: conf, Timestamp: at, ModelVersion: "v1"}
}

func ids(rs []Record) string {
	s := ""
	for _, r := range rs {
		s += r.ID() + " "
	}
	return s
}

// One sample each goes through every state, with the ledger closed and opened
// between; each step twice.
func TestASampleGoesFromCapturedToLabelled(t *testing.T) {
	ctx := t.Context()
	l := open(t)
	twice := func(f func() error) {
		t.Helper()
		must(t, f())
		must(t, f())
	}
	a, b := sample("a.png", t0, 0.95), sample("b.png", t0.Add(time.Second), 0.3)
	twice(func() error { return l.Captured(ctx, a, b) })
	if got := ids(get[[]Record](t)(All(l.Uncurated(ctx, t0.Add(time.Second))))); got != "a.png " {
		t.Errorf("Uncurated before b = %q, want a only: half-open", got)
	}
	ds := []Decision{
		{ID: "a.png", Stratum: dg.Random, SamplingFraction: 0.05, Interval: t0},
		{ID: "b.png", Stratum: dg.LowConfidence, SamplingFraction: 1, Interval: t0, Selected: true},
	}
	twice(func() error { return l.Decide(ctx, ds) })
	if got := ids(get[[]Record](t)(All(l.Unplaced(ctx)))); got != "a.png b.png " {
		t.Errorf("Unplaced = %q", got)
	}
	if got := get[[]Record](t)(l.Waiting(ctx, 0)); len(got) != 0 {
		t.Errorf("Waiting before placing = %v", got)
	}
	twice(func() error { return l.Placed(ctx, "a.png", "b.png", "unknown") })
	if got := ids(get[[]Record](t)(l.Waiting(ctx, 10))); got != "b.png " {
		t.Errorf("Waiting = %q", got)
	}
	answer := Answer{ID: "b.png", Label: "Dress", Annotator: "ann", At: t0.Add(time.Hour)}
	must(t, l.Answer(ctx, Answer{ID: "b.png", Label: "Bag", Annotator: "ann", At: t0}))
	twice(func() error { return l.Answer(ctx, answer) })
	if got := get[[]Answer](t)(l.Answers(ctx, answer.At.Add(-1))); len(got) != 0 {
		t.Errorf("Answers before it was given = %v", got)
	}
	if got := get[[]Answer](t)(l.Answers(ctx, answer.At)); len(got) != 1 || got[0].Label != "Dress" || got[0].Source != dg.HumanLabel {
		t.Errorf("Answers = %v, want the person's later answer alone, as human", got)
	}
	if got := get[LabelProgress](t)(l.Progress(ctx, Quorum{})); got != (LabelProgress{Answered: 1}) {
		t.Errorf("Progress = %+v", got)
	}
	twice(func() error { return l.Collected(ctx, answer) })
	r := get[Record](t)(l.Record(ctx, "b.png"))
	if r.State != Labelled || r.Label != "Dress" || !r.LabelledAt.Equal(answer.At) || r.Stratum != dg.LowConfidence || !r.Interval.Equal(t0) || r.Confidence != 0.3 {
		t.Errorf("b.png = %+v", r)
	}
	if got := get[LabelProgress](t)(l.Progress(ctx, Quorum{})); got != (LabelProgress{Labelled: 1}) {
		t.Errorf("Progress = %+v", got)
	}
	for name, err := range map[string]error{
		"answer":    l.Answer(ctx, answer),
		"unanswer":  l.Unanswer(ctx, "b.png", "ann"),
		"relabel":   l.Collected(ctx, Answer{ID: "b.png", Label: "Coat", At: t0}),
		"redecided": l.Decide(ctx, []Decision{{ID: "a.png", Stratum: dg.LowConfidence, SamplingFraction: 1, Selected: true}}),
	} {
		if !errors.Is(err, dg.ErrConflict) {
			t.Errorf("%s = %v, want a conflict", name, err)
		}
	}
	for name, err := range map[string]error{
		"answer":   l.Answer(ctx, Answer{ID: "x", Label: "Bag", At: t0}),
		"collect":  l.Collected(ctx, Answer{ID: "x", Label: "Bag", At: t0}),
		"decide":   l.Decide(ctx, []Decision{{ID: "x", Stratum: dg.Random, SamplingFraction: 1}}),
		"unanswer": l.Unanswer(ctx, "a.png", "ann"),
	} {
		if !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("%s = %v, want not found", name, err)
		}
	}
	if err := l.Answer(ctx, Answer{ID: "a.png", Label: "Bag", At: t0}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("answer on a noisy sample = %v, want invalid", err)
	}
}

func TestOpenKeepsWhatWasThere(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "l.db")
	for i := range 3 {
		l, err := Open(ctx, path)
		must(t, err)
		if i > 0 {
			if _, err := l.Record(ctx, "a.png"); err != nil {
				t.Error(err)
			}
		}
		must(t, l.Captured(ctx, sample("a.png", t0, 0.5)))
		must(t, l.SetSetting(ctx, "k", "v"))
		if v, ok, err := l.Setting(ctx, "k"); v != "v" || !ok || err != nil {
			t.Error(v, ok, err)
		}
		if _, ok, err := l.Setting(ctx, "none"); ok || err != nil {
			t.Error(ok, err)
		}
		must(t, l.Close())
	}
}
