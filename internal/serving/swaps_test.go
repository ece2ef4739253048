package serving

import (
	"context"
	"image"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/registry"
)

// trained makes an artifact with random weights.
func trained(t *testing.T, seed uint64) map[string][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 2))
	p := dataset.GarmentPreprocessing()
	spec := network.MLP(network.Flat(p.Size()), []int{16}, len(dg.FashionMNIST))
	a := &network.Artifact{Weights: network.NewWeights(spec, rng), Manifest: network.Manifest{
		Model: "garments", Spec: spec, Classes: dg.FashionMNIST, Preprocessing: p, Dataset: "synthetic@0123456789ab",
		Calibration: network.Calibration{Temperature: 0.3}, StartedAt: noon, FinishedAt: noon, GoVersion: "go0.0"}}
	if err := a.RecordSelfTest([][]byte{dataset.Garment(0, dataset.Drift{}, rng)}); err != nil {
		t.Fatal(err)
	}
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// shown is an upload and what each version says to it.
type shown struct {
	upload []byte
	says   map[string]Prediction // label and probability by version
}

// TestNoRequestFailsInAHundredSwaps runs load while promotions, rollbacks and
// exposures move what serves: every answer must be there, and be wholly that of
// the version that it names.
func TestNoRequestFailsInAHundredSwaps(t *testing.T) {
	swaps := 100
	if testing.Short() {
		swaps = 30
	}
	// What is captured stays on the spool: uploads would only take the disk's time.
	w := newWorld(t, Options{SpoolItems: 1_000_000, SpoolBytes: 1 << 40})
	reg := registry.New(w.store, w.buckets.Models, registry.Options{Model: "garments"})
	var refs []dg.ModelRef
	models := map[dg.ModelRef]*network.Classifier{}
	for seed := range 3 {
		ref, err := reg.Save(t.Context(), trained(t, uint64(seed)))
		if err != nil {
			t.Fatal(err)
		}
		a, err := reg.Load(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if models[ref], err = network.NewClassifier(a); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	pictures := picturesFor(t, models)
	champion, err := reg.Promote(t.Context(), refs[0], dg.Champion{}, "first", "")
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var loops, load sync.WaitGroup
	loops.Go(func() {
		_ = reg.Follow(ctx, time.Millisecond, func(c *network.Classifier, now dg.Champion) { w.Swap(c, now.Version) })
	})
	loops.Go(func() { _ = reg.FollowExposure(ctx, time.Millisecond, w.SwapChallenger) })
	serves := func(ref dg.ModelRef) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); w.Version() != ref; time.Sleep(200 * time.Microsecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not serve after 20s", ref.Short())
			}
		}
	}
	serves(refs[0])
	var answered, failed, by [3]atomic.Int64
	stop := make(chan struct{})
	for g := range 3 {
		load.Go(func() {
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				p := pictures[i%len(pictures)]
				got, err := w.Predict(context.Background(), p.upload, "a.png")
				answered[g].Add(1)
				want, known := p.says[got.ModelVersion]
				if err != nil || !known || got.Label != want.Label || got.Probability != want.Probability {
					if failed[g].Add(1) < 3 {
						t.Errorf("picture %d: %q at %v by %q, %v; that version says %+v", i%len(pictures), got.Label, got.Probability, got.ModelVersion, err, want)
					}
				}
				for k, ref := range refs {
					if ref.Short() == got.ModelVersion {
						by[k].Add(1)
					}
				}
			}
		})
	}
	var exposure dg.Exposure
	for k := range swaps {
		if k%7 == 6 {
			champion, err = reg.Rollback(t.Context(), champion, "harm")
		} else {
			next := refs[(k+1)%3]
			if next == champion.Version {
				next = refs[(k+2)%3]
			}
			champion, err = reg.Promote(t.Context(), next, champion, "gate", "")
		}
		if err != nil {
			t.Fatalf("swap %d: %v", k, err)
		}
		if k%5 == 0 {
			exposure = expose(t, reg, refs, champion, exposure)
		}
		serves(champion.Version)
	}
	close(stop)
	load.Wait()
	cancel()
	loops.Wait()
	total := answered[0].Load() + answered[1].Load() + answered[2].Load()
	t.Logf("%d requests during %d swaps, none failed; by version %d, %d, %d", total, swaps, by[0].Load(), by[1].Load(), by[2].Load())
	if total < int64(swaps) || by[0].Load() == 0 || by[1].Load() == 0 || by[2].Load() == 0 {
		t.Errorf("%d requests during %d swaps: too few to show anything", total, swaps)
	}
	if failed := failed[0].Load() + failed[1].Load() + failed[2].Load(); failed > 0 {
		t.Errorf("%d of %d requests failed", failed, total)
	}
}

// expose makes another model than the champion a canary.
func expose(t *testing.T, reg *registry.Registry, refs []dg.ModelRef, champion dg.Champion, seen dg.Exposure) dg.Exposure {
	t.Helper()
	challenger := refs[0]
	if challenger == champion.Version {
		challenger = refs[1]
	}
	e, err := reg.Expose(t.Context(), dg.Exposure{Challenger: challenger, Against: champion.Version, Stage: dg.Canary, Share: 0.3}, seen)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func picturesFor(t *testing.T, models map[dg.ModelRef]*network.Classifier) []shown {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	var all []shown
	for class := range 20 {
		px := dataset.Garment(class%10, dataset.Drift{}, rng)
		upload, err := dataset.EncodePNG(px, 28, 28, 1)
		if err != nil {
			t.Fatal(err)
		}
		s := shown{upload, map[string]Prediction{}}
		for ref, c := range models {
			probabilities, err := c.Predict(&image.Gray{Pix: px, Stride: 28, Rect: image.Rect(0, 0, 28, 28)})
			if err != nil {
				t.Fatal(err)
			}
			best := network.Argmax(probabilities)
			s.says[ref.Short()] = Prediction{Label: dg.FashionMNIST[best], Probability: dg.RoundConfidence(float64(probabilities[best]))}
		}
		all = append(all, s)
	}
	return all
}
