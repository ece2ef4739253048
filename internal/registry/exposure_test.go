package registry_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
)

// exposing returns a world with champion a and candidates b and c.
func exposing(t *testing.T) (w *world, a, b, c dg.ModelRef) {
	t.Helper()
	w = newWorld(t)
	a, b, c = w.save(1), w.save(2), w.save(3)
	w.promote(a, dg.Champion{}, "")
	return w, a, b, c
}

func (w *world) expose(next, seen dg.Exposure) dg.Exposure {
	w.t.Helper()
	e, err := w.Expose(w.t.Context(), next, seen)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func TestExposureMovesFromShadowToCanaryToItsEnd(t *testing.T) {
	w, a, b, _ := exposing(t)
	ctx := t.Context()
	_, err := w.Exposure(ctx)
	wantKind(t, "exposure before any", err, dg.ErrNotFound)

	at := noon.Truncate(time.Second)
	shadow := w.expose(dg.Exposure{Challenger: b, Against: a, Stage: dg.Shadow, Reason: "gate: better", RunID: "run-1"}, dg.Exposure{})
	want := dg.Exposure{Model: "garments", Challenger: b, Against: a, Stage: dg.Shadow, Began: at, Since: at, Generation: 1,
		Reason: "gate: better", RunID: "run-1", ETag: shadow.ETag}
	if shadow != want || shadow.ETag == "" {
		t.Errorf("exposed %+v, want %+v and an ETag", shadow, want)
	}
	if now, err := w.open().Exposure(ctx); err != nil || now != shadow {
		t.Errorf("the record is %+v, %v, want %+v", now, err, shadow)
	}
	next := shadow
	next.Stage, next.Share, next.Step, next.Reason = dg.Canary, 0.05, 1, "nothing to say against it"
	next.Began = time.Time{} // the record knows
	canary := w.expose(next, shadow)
	if canary.Generation != 2 || canary.Share != 0.05 || !canary.Began.Equal(shadow.Began) {
		t.Errorf("canary %+v, want generation 2, share .05, began with the shadow", canary)
	}
	if again := w.expose(next, shadow); again != canary {
		t.Errorf("the move run again gives %+v, want the record that it made: %+v", again, canary)
	}
	if same := w.expose(canary, canary); same != canary {
		t.Errorf("saying what is said gives %+v, want %+v", same, canary)
	}
	end := w.expose(dg.Exposure{Reason: "harm"}, canary)
	if end.Challenger != "" || end.Generation != 3 || end.Exposes(a) || end.Reason != "harm" {
		t.Errorf("ended as %+v", end)
	}
	all, err := w.Exposures(ctx)
	if err != nil || len(all) != 3 || all[0].Stage != dg.Shadow || all[1].Stage != dg.Canary || all[2].Reason != "harm" {
		t.Errorf("history %+v, %v, want shadow, canary, end", all, err)
	}
	// Nothing is exposed: ending it again changes nothing.
	if again := w.expose(dg.Exposure{Reason: "twice"}, end); again.Generation != 3 {
		t.Errorf("ended twice: %+v", again)
	}
}

func TestExposeRefusesAndChangesNothing(t *testing.T) {
	w, a, b, c := exposing(t)
	ctx := t.Context()
	first := w.expose(dg.Exposure{Challenger: b, Against: a, Stage: dg.Canary, Share: 0.1}, dg.Exposure{})
	for _, tt := range []struct {
		name       string
		next, seen dg.Exposure
		kind       error
	}{
		{"as the first", dg.Exposure{Challenger: c, Against: a, Stage: dg.Shadow}, dg.Exposure{}, dg.ErrConflict},
		{"another ETag", dg.Exposure{Challenger: c, Against: a, Stage: dg.Shadow}, dg.Exposure{Generation: 1, ETag: "x"}, dg.ErrConflict},
		{"against another than the champion", dg.Exposure{Challenger: c, Against: b, Stage: dg.Shadow}, first, dg.ErrConflict},
		{"the champion itself", dg.Exposure{Challenger: a, Against: a, Stage: dg.Shadow}, first, dg.ErrInvalid},
		{"no stage", dg.Exposure{Challenger: c, Against: a}, first, dg.ErrInvalid},
		{"a shadow with a share", dg.Exposure{Challenger: c, Against: a, Stage: dg.Shadow, Share: 0.1}, first, dg.ErrInvalid},
		{"a canary without one", dg.Exposure{Challenger: c, Against: a, Stage: dg.Canary}, first, dg.ErrInvalid},
		{"a percentage", dg.Exposure{Challenger: c, Against: a, Stage: dg.Canary, Share: 5}, first, dg.ErrInvalid},
		{"no number", dg.Exposure{Challenger: c, Against: a, Stage: dg.Canary, Share: math.NaN()}, first, dg.ErrInvalid},
		{"no model's name", dg.Exposure{Challenger: "latest", Against: a, Stage: dg.Shadow}, first, dg.ErrInvalid},
		{"a share of nothing", dg.Exposure{Share: 0.5}, first, dg.ErrInvalid},
		{"a model that is not saved", dg.Exposure{Challenger: network.Digest(filesOf(t, 99)), Against: a, Stage: dg.Shadow}, first, dg.ErrNotFound},
	} {
		_, err := w.Expose(ctx, tt.next, tt.seen)
		wantKind(t, tt.name, err, tt.kind)
		if now, err := w.Exposure(ctx); err != nil || now != first {
			t.Errorf("%s: the record is %+v, %v, want %+v", tt.name, now, err, first)
		}
	}
	for _, body := range []string{"", "{", `{"generation":0}`, `{"generation":1,"challenger":"x"}`, `{"generation":1,"share":2}`} {
		w.put("exposure.json", []byte(body))
		_, err := w.Exposure(ctx)
		wantKind(t, "record "+body, err, dg.ErrInvalid)
	}
}

func TestOfRacingExposuresOneWins(t *testing.T) {
	w, a, b, _ := exposing(t)
	ctx := t.Context()
	seen := w.expose(dg.Exposure{Challenger: b, Against: a, Stage: dg.Shadow}, dg.Exposure{})
	const racers = 6
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		r := w.open()
		wg.Go(func() {
			_, errs[i] = r.Expose(ctx, dg.Exposure{Challenger: b, Against: a, Stage: dg.Canary, Share: float64(i+1) / 10}, seen)
		})
	}
	wg.Wait()
	now, err := w.Exposure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			if now.Share != float64(i+1)/10 {
				t.Errorf("racer %d was told it won, the record has share %g", i, now.Share)
			}
			continue
		}
		wantKind(t, "a loser", err, dg.ErrConflict)
	}
	if won != 1 || now.Generation != 2 {
		t.Errorf("%d racers won, generation %d, want one and 2", won, now.Generation)
	}
}

// arms collects what an exposure's follower is given.
type arms struct {
	mu     sync.Mutex
	models []*network.Classifier
	all    []dg.Exposure
}

func (f *arms) swap(c *network.Classifier, e dg.Exposure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.models, f.all = append(f.models, c), append(f.all, e)
}

func (f *arms) last() (n int, c *network.Classifier, e dg.Exposure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n = len(f.all); n > 0 {
		c, e = f.models[n-1], f.all[n-1]
	}
	return n, c, e
}

func TestAnExposureIsFollowed(t *testing.T) {
	w, a, b, c := exposing(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wantKind(t, "no interval", w.FollowExposure(ctx, 0, nil), dg.ErrInvalid)
	var f arms
	ended := make(chan error, 1)
	go func() { ended <- w.open().FollowExposure(ctx, 5*time.Millisecond, f.swap) }()

	e := w.expose(dg.Exposure{Challenger: b, Against: a, Stage: dg.Shadow}, dg.Exposure{})
	await(t, "the shadow", func() bool { n, m, _ := f.last(); return n == 1 && m != nil })
	_, first, _ := f.last()
	w.expose(dg.Exposure{Challenger: b, Against: a, Stage: dg.Canary, Share: 0.2, Step: 1}, e)
	await(t, "the canary", func() bool { _, _, got := f.last(); return got.Share == 0.2 })
	if _, m, _ := f.last(); m != first {
		t.Error("another classifier for the same challenger: it was loaded again")
	}
	// The next challenger is altered before it is seen: the old one must not go on.
	labels := filesOf(t, 3)[network.LabelsFile]
	w.put(w.key(c, network.LabelsFile), []byte("other\n"))
	w.put("exposure.json", []byte(`{"model":"garments","challenger":"`+string(c)+`","against":"`+string(a)+`","stage":"shadow","share":0,"generation":3}`))
	await(t, "nothing exposed", func() bool { n, m, got := f.last(); return n == 3 && m == nil && got.Challenger == "" })
	w.put(w.key(c, network.LabelsFile), labels)
	await(t, "the repaired challenger", func() bool { _, m, got := f.last(); return m != nil && got.Challenger == c })
	now, err := w.Exposure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.expose(dg.Exposure{Reason: "enough"}, now)
	await(t, "the end", func() bool { _, m, got := f.last(); return m == nil && got.Reason == "enough" })
	if n, _, _ := f.last(); n != 5 {
		t.Errorf("swapped %d times, want 5", n)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
