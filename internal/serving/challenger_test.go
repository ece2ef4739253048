package serving

import (
	"context"
	"fmt"
	"image"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	dg "driftgate"
	"driftgate/internal/dataset"
)

const (
	championRef   dg.ModelRef = "sha256:0123456789abcdef"
	challengerRef dg.ModelRef = "sha256:fedcba9876543210"
)

// exposedWorld has testModel as champion and, exposed beside it, a challenger
// that answers through say.
func exposedWorld(t *testing.T, e dg.Exposure, say func(class int) int) *world {
	t.Helper()
	w := newWorld(t, Options{})
	w.expose(&challenger{saying(say), exposure(e)})
	return w
}

func exposure(e dg.Exposure) dg.Exposure {
	e.Challenger, e.Against = challengerRef, championRef
	return e
}

// saying is testModel with its answers turned by say; a negative class is an
// answer that is not a number.
func saying(say func(class int) int) *model {
	m := testModel(challengerRef)
	inner := m.predict
	m.predict = func(img image.Image) ([]float32, []float32, error) {
		p, seen, err := inner(img)
		r, _, _, _ := img.At(0, 0).RGBA()
		p[int(r>>8)%len(p)] = 0.01
		if to := say(int(r>>8) % len(p)); to >= 0 {
			p[to] = 0.9
		} else {
			p[0] = float32(math.NaN())
		}
		return p, seen, err
	}
	return m
}

func same(class int) int { return class }
func next(class int) int { return (class + 1) % 10 }

// picture is the nth of many different uploads, of class n mod 10.
func picture(t *testing.T, n int) []byte {
	t.Helper()
	px := make([]byte, 28*28)
	px[0], px[1], px[2] = byte(n%10), byte(n), byte(n>>8)
	b, err := dataset.EncodePNG(px, 28, 28, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) answers(upload []byte) Prediction {
	w.t.Helper()
	p, err := w.Predict(context.Background(), upload, "a.png")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) shadows(outcome string) float64 {
	return testutil.ToFloat64(w.metrics.shadows.WithLabelValues(challengerRef.Short(), outcome))
}

func TestCanaryAnswersItsShareAndTheSamePicturesAlways(t *testing.T) {
	w := exposedWorld(t, dg.Exposure{Stage: dg.Canary, Share: .2}, same)
	taken := map[int]bool{}
	const n = 400
	for i := range n {
		p := w.answers(picture(t, i))
		taken[i] = p.ModelVersion == challengerRef.Short()
		if again := w.answers(picture(t, i)); again.ModelVersion != p.ModelVersion {
			t.Fatalf("picture %d was answered by %s, then by %s", i, p.ModelVersion, again.ModelVersion)
		}
	}
	count := 0
	for _, yes := range taken {
		if yes {
			count++
		}
	}
	// Binomial(400, .2): 80 with a standard deviation of 8.
	if count < 48 || count > 112 {
		t.Errorf("the canary answered %d of %d pictures at a share of .2", count, n)
	}
	w.expose(&challenger{saying(same), exposure(dg.Exposure{Stage: dg.Canary, Share: .5})})
	for i, was := range taken {
		if p := w.answers(picture(t, i)); was && p.ModelVersion != challengerRef.Short() {
			t.Errorf("picture %d left the canary when its share grew", i)
		}
	}
}

func TestCanaryWithoutAnAnswerLeavesItToTheChampion(t *testing.T) {
	w := exposedWorld(t, dg.Exposure{Stage: dg.Canary, Share: 1}, func(int) int { return -1 })
	for i := range 5 {
		if p := w.answers(picture(t, i)); p.ModelVersion != championRef.Short() || p.Label != dg.FashionMNIST[i] {
			t.Errorf("answer %+v, want the champion's", p)
		}
	}
	if n := testutil.ToFloat64(w.metrics.canaryFailures); n != 5 {
		t.Errorf("%v failures counted, want 5", n)
	}
}

func TestExposureHoldsForItsChampionOnly(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    dg.Exposure
	}{
		{"another champion", dg.Exposure{Stage: dg.Canary, Share: 1, Challenger: challengerRef, Against: "sha256:another"}},
		{"no share", exposure(dg.Exposure{Stage: dg.Canary})},
		{"in the shadow", exposure(dg.Exposure{Stage: dg.Shadow, Share: 1})},
		{"ended", dg.Exposure{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.expose(&challenger{saying(next), tt.e})
			if p := w.answers(picture(t, 3)); p.ModelVersion != championRef.Short() {
				t.Errorf("answered by %s", p.ModelVersion)
			}
		})
	}
	t.Run("other classes", func(t *testing.T) {
		w := newWorld(t, Options{})
		m := saying(next)
		m.classes = dg.Classes{"a", "b"}
		w.expose(&challenger{m, exposure(dg.Exposure{Stage: dg.Canary, Share: 1})})
		if p := w.answers(picture(t, 3)); p.ModelVersion != championRef.Short() {
			t.Errorf("answered by %s", p.ModelVersion)
		}
	})
	t.Run("the champion changes", func(t *testing.T) {
		w := exposedWorld(t, dg.Exposure{Stage: dg.Canary, Share: 1}, same)
		if p := w.answers(picture(t, 3)); p.ModelVersion != challengerRef.Short() {
			t.Fatalf("answered by %s", p.ModelVersion)
		}
		w.install(testModel("sha256:a1b2c3d4e5f6"))
		if p := w.answers(picture(t, 3)); p.ModelVersion != "a1b2c3d4e5f6" {
			t.Errorf("answered by %s", p.ModelVersion)
		}
	})
}

func TestShadowIsCountedAndNeverSeen(t *testing.T) {
	w := exposedWorld(t, dg.Exposure{Stage: dg.Shadow}, func(class int) int {
		switch {
		case class == 9:
			return -1
		case class < 4:
			return next(class)
		}
		return class
	})
	w.running()
	for i := range 40 {
		if p := w.answers(picture(t, i)); p.ModelVersion != championRef.Short() || p.Label != dg.FashionMNIST[i%10] {
			t.Fatalf("answer %+v, want the champion's", p)
		}
		for len(w.Service.shadows) > shadowQueue/2 {
			time.Sleep(time.Millisecond)
		}
	}
	want := map[string]float64{shadowAgree: 20, shadowDisagree: 16, shadowFailed: 4, shadowDropped: 0}
	deadline := time.Now().Add(20 * time.Second)
	for outcome, n := range want {
		for w.shadows(outcome) < n && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if got := w.shadows(outcome); got != n {
			t.Errorf("%s: %v, want %v", outcome, got, n)
		}
	}
}

func TestNobodyWaitsForAShadow(t *testing.T) {
	stuck := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(stuck) }))
	w := newWorld(t, Options{})
	m := testModel(challengerRef)
	inner := m.predict
	m.predict = func(img image.Image) ([]float32, []float32, error) {
		<-stuck
		return inner(img)
	}
	w.expose(&challenger{m, exposure(dg.Exposure{Stage: dg.Shadow})})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go w.answerShadows(ctx)
	const sent = shadowQueue + 20
	for i := range sent { // would hang here
		w.answers(picture(t, i))
	}
	if dropped := w.shadows(shadowDropped); dropped < sent-shadowQueue-1 || dropped > sent-shadowQueue {
		t.Errorf("%v of %d were dropped; the queue holds %d", dropped, sent, shadowQueue)
	}
}

func TestSeriesOfFormerChallengersAreForgotten(t *testing.T) {
	w := newWorld(t, Options{})
	versions := func() int { return testutil.CollectAndCount(w.metrics.confidence) }
	for i := range 5 {
		ref := dg.ModelRef(fmt.Sprintf("sha256:%012d", i))
		w.expose(&challenger{testModel(ref), dg.Exposure{Stage: dg.Shadow, Challenger: ref, Against: championRef}})
		if n := versions(); n != 2 {
			t.Errorf("%d versions have series beside champion and challenger", n)
		}
	}
	last := dg.ModelRef("sha256:000000000004")
	w.install(testModel(last))
	w.expose(nil)
	if n := versions(); n != 2 {
		t.Errorf("%d versions have series, want the champion's and the previous one's", n)
	}
	if n := testutil.CollectAndCount(w.metrics.share); n != 0 {
		t.Errorf("%d shares are exported, nothing is exposed", n)
	}
}
