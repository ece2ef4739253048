package evaluator

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// learn trains a small network on a set whose labels relabel may change. The
// same arguments give the same artifact.
func learn(t testing.TB, set dataset.Set, seed uint64, epochs int, relabel func(class int) int, change func(*network.Manifest)) *network.Artifact {
	t.Helper()
	const batch = 50
	p := set.Preprocessing()
	spec := network.MLP(network.Flat(p.Size()), []int{48}, len(set.Classes))
	rng := rand.New(rand.NewPCG(seed, 1))
	l, err := network.NewLearner(spec, batch, network.NewWeights(spec, rng), network.SGD, network.OptimiserState{})
	if err != nil {
		t.Fatal(err)
	}
	order := rng.Perm(set.Train.Len())
	for epoch := range epochs {
		rate := .05 * (1 - float64(epoch)/float64(epochs)) // ends at rest: what another epoch adds is little
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for rows := range slices.Chunk(order, batch) {
			b := network.Batch{Inputs: make([]float32, len(rows)*p.Size()), Labels: make([]int, len(rows))}
			for i, at := range rows {
				b.Labels[i] = relabel(int(set.Train.Labels[at]))
				p.Pixels(set.Image(set.Train, at), b.Inputs[i*p.Size():(i+1)*p.Size()])
			}
			if _, err := l.Step(b, network.Optimiser{LearningRate: rate, Momentum: .9}); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := &network.Artifact{Weights: l.Weights(), Manifest: network.Manifest{
		Model: "garments", Spec: spec, Classes: set.Classes, Preprocessing: p, Dataset: string(set.Ref()), Seed: seed, Epochs: epochs,
		Counts: map[string]int{"base": set.Train.Len()}, Calibration: network.Calibration{Temperature: 1}, TrainedOn: slices.Clone(set.Train.IDs),
		Options: []byte(`{"hidden":[48],"quality":{"folds":0}}`), FinishedAt: noon,
	}}
	if change != nil {
		change(&a.Manifest)
	}
	if err := a.RecordSelfTest([][]byte{set.Image(set.Test, 0), set.Image(set.Test, 1)}); err != nil {
		t.Fatal(err)
	}
	return a
}

// bin is one bucket of a shelf, as datasets want it.
type bin struct {
	*shelf
	name string
}

func (b bin) Put(_ context.Context, key string, body []byte) error {
	b.objects[b.name+"/"+key] = body
	return nil
}

func (b bin) Get(ctx context.Context, key string) ([]byte, error) {
	body, _, err := b.shelf.Get(ctx, b.name, key)
	return body, err
}

func (b bin) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	for o := range b.List(ctx, b.name, prefix, false) {
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// The versions of the shop.
const (
	baseRef    = dg.ModelRef("sha256:ba5e")
	secondRef  = dg.ModelRef("sha256:5ec0")
	harmedRef  = dg.ModelRef("sha256:4a27")
	harmedName = "Coat" // the class that the harmed version was taught to call a pullover
)

// fixture is what all shops share, made once: the set, the versions, which never
// change, and a ledger to copy.
var fixture struct {
	sync.Once
	set    dataset.Set
	models cabinet
	images map[string][]byte // of the clean bucket
	ledger string
}

func makeFixture(t *testing.T) {
	f := &fixture
	f.set = dataset.Synthetic(dataset.SyntheticOptions{Seed: 5, Train: 1500, Test: 400})
	plain := func(c int) int { return c }
	coat, pullover := f.set.Classes.Index(harmedName), f.set.Classes.Index("Pullover")
	child := func(from int) func(*network.Manifest) {
		return func(m *network.Manifest) {
			m.Parent, m.Counts["human"] = baseRef, 40
			for i := range 40 {
				m.TrainedOn = append(m.TrainedOn, fmt.Sprintf("p%04d.png", from+i))
			}
			m.Options = []byte(`{"hidden":[48],"quality":{"folds":5}}`)
		}
	}
	f.models = cabinet{
		baseRef:   learn(t, f.set, 1, 10, plain, nil),
		secondRef: learn(t, f.set, 1, 11, plain, child(560)),
		harmedRef: learn(t, f.set, 1, 10, func(c int) int {
			if c == coat {
				return pullover
			}
			return c
		}, child(570)),
	}
	dir, err := os.MkdirTemp("", "evaluator")
	if err != nil {
		t.Fatal(err)
	}
	f.ledger = filepath.Join(dir, "ledger.db")
	l, err := ledger.Open(t.Context(), f.ledger)
	if err != nil {
		t.Fatal(err)
	}
	f.images = map[string][]byte{}
	stock(t, l, dataset.Synthetic(dataset.SyntheticOptions{Seed: 6, Test: 650}), 2000, func(key string, body []byte) { f.images[key] = body })
	// Two of the versions have been judged before: what each answered is kept.
	if _, err := shopOf(t, l).evaluator(Options{}).Study(t.Context(), []dg.ModelRef{baseRef, harmedRef}, day); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if fixture.ledger != "" {
		os.RemoveAll(filepath.Dir(fixture.ledger))
	}
	os.Exit(code)
}

// shop is what a gateway has: a dataset, versions that learned from it, and 650
// labelled production images of 2,000: two of three at random, the others
// because the model was not sure.
type shop struct {
	Sources
	set    dataset.Set
	shelf  *shelf
	ledger *ledger.Ledger
}

func newShop(t *testing.T) *shop {
	t.Helper()
	fixture.Do(func() { makeFixture(t) })
	copied := filepath.Join(t.TempDir(), "ledger.db")
	if err := ledger.Backup(t.Context(), fixture.ledger, copied); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return shopOf(t, l)
}

// shopOf lays the fixture's images and versions around a ledger.
func shopOf(t *testing.T, l *ledger.Ledger) *shop {
	t.Helper()
	s := &shop{set: fixture.set, shelf: &shelf{objects: map[string][]byte{}}, ledger: l}
	for key, body := range fixture.images {
		s.shelf.objects[buckets.Clean+"/"+key] = body
	}
	s.Sources = Sources{Images: s.shelf, Labels: l, Models: maps.Clone(fixture.models), Predictions: l, Datasets: bin{s.shelf, buckets.Datasets}, Buckets: buckets}
	if _, err := dataset.Save(t.Context(), s.Datasets, s.set); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) evaluator(o Options) *Evaluator { return New(s.Sources, o) }

// stock enters predictions into the ledger, of which the test images of a set
// are the labelled ones, and puts those images.
func stock(t testing.TB, l *ledger.Ledger, set dataset.Set, predictions int, put func(key string, body []byte)) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) string { return fmt.Sprintf("p%04d.png", i) }
	var samples []dg.Sample
	var decisions []ledger.Decision
	for i := range predictions {
		stratum, confidence, fraction := dg.Random, .9, float64(set.Test.Len())/float64(predictions)
		if i%9 == 0 || (i%3 == 0 && i < set.Test.Len()) {
			stratum, confidence, fraction = dg.LowConfidence, .5, 1
		}
		samples = append(samples, dg.Sample{Key: dg.SampleKey(i%10, name(i)), PredictedClass: set.Classes[i%10], Confidence: confidence,
			Timestamp: noon.Add(time.Duration(i) * time.Second), ModelVersion: "ba5e"})
		decisions = append(decisions, ledger.Decision{ID: name(i), Stratum: stratum, SamplingFraction: fraction, Interval: noon.Add(time.Duration(i%2) * time.Hour), Selected: i < set.Test.Len()})
	}
	check(l.Captured(ctx, samples...))
	check(l.Decide(ctx, decisions))
	for i := range set.Test.Len() {
		label := int(set.Test.Labels[i])
		a := ledger.Answer{ID: name(i), Label: set.Classes[label], Annotator: "ann", At: noon.Add(2 * time.Hour)}
		check(l.Placed(ctx, name(i)))
		check(l.Answer(ctx, a))
		check(l.Collected(ctx, a))
		body, err := dataset.EncodePNG(set.Image(set.Test, i), set.Height, set.Width, set.Channels)
		check(err)
		put(dg.SampleKey(label, name(i)), body)
	}
}

// png makes the image file of test image i of the shop's set.
func (s *shop) png(t *testing.T, i int) []byte {
	t.Helper()
	body, err := dataset.EncodePNG(s.set.Image(s.set.Test, i), s.set.Height, s.set.Width, s.set.Channels)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// blind breaks every image, so that only what is stored can answer.
func (s *shop) blind() {
	for key := range s.shelf.objects {
		if strings.HasPrefix(key, buckets.Clean+"/") || strings.HasSuffix(key, "images.idx.gz") {
			s.shelf.objects[key] = []byte("gone blind")
		}
	}
}
