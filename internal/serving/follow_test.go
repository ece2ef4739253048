package serving

import (
	"image"
	"image/color"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// decided has one prediction that curate has decided on and copied.
func decided(t *testing.T, picked bool) (w *world, key, bucket string) {
	t.Helper()
	w = newWorld(t, Options{})
	w.running()
	key = w.predict(1, "a.png").Key
	w.drain()
	d := ledger.Decision{ID: filepath.Base(key), Stratum: dg.Random, SamplingFraction: 0.5, Interval: noon, Selected: picked}
	if err := w.ledger.Decide(t.Context(), []ledger.Decision{d}); err != nil {
		t.Fatal(err)
	}
	bucket = w.buckets.Noisy
	if picked {
		bucket = w.buckets.Waiting
	}
	if err := w.store.Copy(t.Context(), w.buckets.Production, key, bucket, key, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.ledger.Placed(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	return w, key, bucket
}

func TestLateEditsReachLedgerAndCopy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		picked bool
	}{{"waiting for a label", true}, {"in noisy", false}} {
		t.Run(tt.name, func(t *testing.T) {
			w, key, bucket := decided(t, tt.picked)
			if err := w.Flag(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			if err := w.Correct(t.Context(), key, "Bag"); err != nil {
				t.Fatal(err)
			}
			for _, b := range []string{w.buckets.Production, bucket} {
				if tags := w.tags(b, key); tags["flagged"] != "true" || tags["corrected_class"] != "Bag" || tags["predicted_class"] != "Trouser" {
					t.Errorf("%s has %v", b, tags)
				}
			}
			late, err := ledger.All(w.ledger.LateFlags(t.Context(), noon.Add(time.Hour)))
			if err != nil || len(late) != 1 || !late[0].Flagged || late[0].CorrectedClass != "Bag" {
				t.Errorf("late flags %+v: %v", late, err)
			}
		})
	}
}

func TestEditOfALabelledImageLeavesItsCopiesAlone(t *testing.T) {
	w, key, bucket := decided(t, true)
	if err := w.ledger.Collected(t.Context(), ledger.Answer{ID: filepath.Base(key), Label: "Bag", At: noon}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flag(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if tags := w.tags(bucket, key); tags["flagged"] != "" {
		t.Errorf("tags %v", tags)
	}
}

func TestSwapServesTheRealClassifier(t *testing.T) {
	w := newWorld(t, Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	p := dataset.GarmentPreprocessing()
	spec := network.MLP(network.Flat(p.Size()), []int{16}, len(dg.FashionMNIST))
	a := &network.Artifact{Weights: network.NewWeights(spec, rng), Manifest: network.Manifest{
		Model: "garments", Spec: spec, Classes: dg.FashionMNIST, Preprocessing: p, Dataset: "synthetic@0123456789ab",
		Calibration: network.Calibration{Temperature: 1}, StartedAt: noon, FinishedAt: noon, GoVersion: "go0.0"}}
	if err := a.RecordSelfTest([][]byte{dataset.Garment(0, dataset.Drift{}, rng)}); err != nil {
		t.Fatal(err)
	}
	c, err := network.NewClassifier(a)
	if err != nil {
		t.Fatal(err)
	}
	w.Swap(c, "sha256:fedcba9876543210")
	px := dataset.Garment(7, dataset.Drift{}, rng)
	img := image.NewGray(image.Rect(0, 0, 28, 28))
	for i, v := range px {
		img.SetGray(i%28, i/28, color.Gray{Y: v})
	}
	probabilities, err := c.Predict(img)
	if err != nil {
		t.Fatal(err)
	}
	best := network.Argmax(probabilities)
	upload, err := dataset.EncodePNG(px, 28, 28, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Predict(t.Context(), upload, "shoe.png")
	if err != nil || got.Label != dg.FashionMNIST[best] || got.Probability != dg.RoundConfidence(float64(probabilities[best])) || got.ModelVersion != "fedcba987654" {
		t.Errorf("%+v, %v; want %s at %v", got, err, dg.FashionMNIST[best], probabilities[best])
	}
	if w.Version() != "sha256:fedcba9876543210" || w.Classes().Index("Bag") != 8 {
		t.Errorf("version %s, classes %v", w.Version(), w.Classes())
	}
}
