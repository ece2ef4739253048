package trainer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// retraining is a drifted production on real Fashion-MNIST: what a champion
// that has never seen the drift made of it, and what people said.
type retraining struct {
	set     dataset.Set // the first 50,000 training images and the test set
	later   dataset.Set // the last 10,000 training images, as production sees them
	drifted []byte      // the test set, likewise
	parent  *network.Artifact
}

// The drift: pictures taken at a slant, in bad light. Some classes are rare.
var slant = dataset.Drift{Rotation: 15, Noise: 0.05}

func newRetraining(t *testing.T, dir string) *retraining {
	t.Helper()
	set, err := dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	r := &retraining{set: set, later: set}
	const base = 50_000
	cut := func(s dataset.Split, a, b int) dataset.Split {
		n := set.ImageBytes()
		return dataset.Split{Pixels: s.Pixels[a*n : b*n], Labels: s.Labels[a:b], IDs: s.IDs[a:b]}
	}
	r.set.Train, r.later.Train = cut(set.Train, 0, base), cut(set.Train, base, set.Train.Len())
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range set.Test.Len() {
		r.drifted = append(r.drifted, slant.Apply(set.Image(set.Test, i), set.Height, set.Width, rng)...)
	}
	job := quick(t)
	job.Options = DefaultOptions()
	job.Options.Replay, job.Options.Epochs = -1, 8
	r.parent = mustTrain(t, job, &memory{set: r.set})
	return r
}

// production draws the predictions of one seed: 5,000 images of which people
// labelled 600, half of them because the champion was unsure; one label in
// twenty is wrong. The others stay under the champion's own answer.
func (r *retraining) production(t *testing.T, seed uint64) ([]ledger.Record, *memory) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 11))
	src := &memory{set: r.set, images: map[string][]byte{}, parent: r.parent}
	mix := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	byClass := make([][]int, 10)
	for _, i := range rng.Perm(r.later.Train.Len()) {
		label := r.later.Train.Labels[i]
		byClass[label] = append(byClass[label], i)
	}
	c, err := network.NewClassifier(r.parent)
	if err != nil {
		t.Fatal(err)
	}
	var records []ledger.Record
	var unsure []int
	truth := []int{}
	for n := 0; len(records) < 5000; n++ {
		class := dataset.Draw(mix, rng)
		i := byClass[class][0]
		byClass[class] = append(byClass[class][1:], i)
		px := slant.Apply(r.later.Image(r.later.Train, i), 28, 28, rng)
		p, err := c.Pixels(px)
		if err != nil {
			t.Fatal(err)
		}
		best := network.Argmax(p)
		id := fmt.Sprintf("p%d-%05d.png", seed, n)
		rec := ledger.Record{State: ledger.Noisy, Sample: dg.Sample{Key: dg.SampleKey(best, id), PredictedClass: dg.FashionMNIST[best],
			Confidence: dg.RoundConfidence(float64(p[best])), Timestamp: time.Unix(int64(1000+n), 0)}}
		src.put(t, Example{Bucket: buckets.Noisy, Key: rec.Key}, px)
		src.put(t, Example{Bucket: buckets.Clean, Key: dg.SampleKey(class, id)}, px) // what collect leaves of a labelled one
		if rec.Confidence < 0.7 {
			unsure = append(unsure, len(records))
		}
		records, truth = append(records, rec), append(truth, class)
	}
	asked := map[int]bool{}
	for _, k := range rng.Perm(len(unsure))[:300] {
		asked[unsure[k]] = true
	}
	for _, k := range rng.Perm(len(records)) {
		if len(asked) < 600 {
			asked[k] = true
		}
	}
	for k := range records {
		if asked[k] {
			label := truth[k]
			if rng.IntN(20) == 0 {
				label = (label + 1 + rng.IntN(9)) % 10
			}
			rec := &records[k]
			src.put(t, Example{Bucket: buckets.Noisy, Key: dg.SampleKey(label, rec.ID())}, slices.Clone(decoded(t, src, rec.Key)))
			rec.State, rec.Label, rec.LabelSource = ledger.Labelled, dg.FashionMNIST[label], dg.HumanLabel
		}
	}
	return records, src
}

func decoded(t *testing.T, src *memory, key string) []byte {
	t.Helper()
	img, _, err := dataset.Decode(src.images[buckets.Noisy+"/"+key], dataset.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return src.set.Preprocessing().Raster(img)
}

// accuracy on the drifted test set, each class alike.
func (r *retraining) accuracy(t *testing.T, a *network.Artifact) float64 {
	t.Helper()
	x := make([]float32, len(r.drifted))
	a.Manifest.Preprocessing.Pixels(r.drifted, x)
	logits, err := network.Infer(a.Manifest.Spec, a.Weights, x)
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]int, r.set.Test.Len())
	for i, l := range r.set.Test.Labels {
		labels[i] = int(l)
	}
	return weightedAccuracy(logits, labels, nil, 10)
}

// TestWhatRetrainingGains prints the table of docs/training.md. It claims no
// more than that each figure can be had again, and that retraining helps.
func TestWhatRetrainingGains(t *testing.T) {
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" || os.Getenv("DRIFTGATE_LONG") == "" {
		t.Skip("DRIFTGATE_TEST_DATA and DRIFTGATE_LONG are not both set: takes some minutes")
	}
	r := newRetraining(t, dir)
	start := func(how string, more ...func(*Options)) func(*Options) {
		return func(o *Options) {
			o.Start = how
			for _, f := range more {
				f(o)
			}
		}
	}
	human := func(o *Options) { o.Sources = []string{"human"} }
	few := func(random float64, prefer string) func(*Options) {
		return func(o *Options) {
			human(o)
			o.Active = Active{MaxProduction: 150, Prefer: prefer, Random: random}
		}
	}
	check := func(o *Options) { o.Quality.Folds, o.Quality.HumanFactor = 3, 0.3 }
	vary := func(o *Options) {
		o.Augment = dataset.Augmentation{Share: 0.5, Shift: 2, Rotation: 20, Noise: 0.05, Brightness: 0.2}
	}
	flip := func(o *Options) { o.Augment = dataset.Augmentation{Share: 0.5, Shift: 2, Flip: true, Cutout: 8} }
	equal := func(by string) func(*Options) {
		return func(o *Options) { o.Balance, o.BalanceBy = Equal, by }
	}
	heavy := func(o *Options) { o.ProxyWeight = 1 }
	tops := func(o *Options) { o.Quality.Weak = []string{"class=Shirt", "class=Pullover", "class=Coat"} }
	rows := []struct {
		name string
		set  func(*Options)
	}{
		{"warm", start(Warm)},
		{"scratch (the default)", start(Scratch)},
		{"head", start(Head)},
		{"scratch, varied: shift, rotation, light, noise", start(Scratch, vary)},
		{"warm, varied: shift, rotation, light, noise", start(Warm, vary)},
		{"warm, varied: shift, flip, cutout", start(Warm, flip)},
		{"warm, labels checked", start(Warm, check)},
		{"warm, human labels alone", start(Warm, human)},
		{"warm, proxies weigh as much as base", start(Warm, heavy)},
		{"warm, proxies as much, labels checked", start(Warm, heavy, check)},
		{"warm, 150 of the human labels: by lot", start(Warm, few(1, Uncertain))},
		{"warm, 150: by uncertainty", start(Warm, few(0.2, Uncertain))},
		{"warm, 150: by surprise", start(Warm, few(0.2, Surprising))},
		{"warm, tops heavier", start(Warm, tops)},
		{"warm, classes balanced by weights", start(Warm, equal(ByWeights))},
		{"warm, classes balanced by samples", start(Warm, equal(BySamples))},
		{"warm, no replay", start(Warm, func(o *Options) { o.Replay = 0 })},
		{"scratch, varied and checked", start(Scratch, vary, check)},
		{"warm, varied and checked", start(Warm, vary, check)},
	}
	champion := r.accuracy(t, r.parent)
	t.Logf("| champion, not retrained | %.3f | | %.3f | |", champion, r.parent.Manifest.Metrics["test_accuracy"])
	var warm []float64
	for _, row := range rows {
		var drifted, clean, seconds []float64
		for seed := range uint64(retrainingSeeds) {
			records, src := r.production(t, seed+1)
			job := quick(t)
			job.Options = DefaultOptions()
			job.Options.Seed, job.Parent = seed+1, parentRef
			row.set(&job.Options)
			job = composed(job, records)
			began := time.Now()
			a := mustTrain(t, job, src)
			seconds = append(seconds, time.Since(began).Seconds())
			drifted, clean = append(drifted, r.accuracy(t, a)), append(clean, a.Manifest.Metrics["test_accuracy"])
		}
		if row.name == "warm" {
			warm = drifted
		}
		gain, low, high := 0., 1., -1.
		for i, x := range drifted {
			d := x - warm[i]
			gain, low, high = gain+d/retrainingSeeds, min(low, d), max(high, d)
		}
		t.Logf("| %s | %.3f | %+.3f (%+.3f to %+.3f) | %.3f | %.1f s |", row.name, mean(drifted), gain, low, high, mean(clean), mean(seconds))
		if mean(drifted) < champion {
			t.Errorf("%s: %.3f on drifted images, the champion has %.3f", row.name, mean(drifted), champion)
		}
	}
}

const retrainingSeeds = 5

func mean(v []float64) (sum float64) {
	for _, x := range v {
		sum += x / float64(len(v))
	}
	return sum
}
