package trainer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// memory is a source for tests of what has nothing to do with stores.
type memory struct {
	set    dataset.Set
	mu     sync.Mutex
	images map[string][]byte // bucket/key
	parent *network.Artifact
	fault  error // of Base
	broken error // of every Image
}

func (m *memory) Base(context.Context, string) (dataset.Set, error) { return m.set, m.fault }

func (m *memory) Parent(_ context.Context, ref dg.ModelRef) (*network.Artifact, error) {
	if m.parent == nil {
		return nil, fmt.Errorf("%s: %w", ref, dg.ErrNotFound)
	}
	return m.parent, nil
}

func (m *memory) Image(_ context.Context, bucket, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	if b, ok := m.images[bucket+"/"+key]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("%s/%s: %w", bucket, key, dg.ErrNotFound)
}

func (m *memory) put(t testing.TB, e Example, px []byte) {
	t.Helper()
	b, err := dataset.EncodePNG(px, 28, 28, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.images[e.Bucket+"/"+e.Key] = b
}

var garments = sync.OnceValue(func() dataset.Set {
	return dataset.Synthetic(dataset.SyntheticOptions{Seed: 4, Train: 1500, Test: 500})
})

func newMemory() *memory { return &memory{set: garments(), images: map[string][]byte{}} }

// quick is a job that takes a fraction of a second.
func quick(t testing.TB) Job {
	o := DefaultOptions()
	o.Hidden, o.Epochs, o.Replay, o.Patience, o.Momentum = []int{16}, 3, 400, 0, 0.5
	return Job{RunID: "run-1", Model: "garments", Dataset: "synthetic@0123456789ab", Options: o, Dir: t.TempDir(),
		Buckets: buckets, StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func mustTrain(t testing.TB, job Job, src source) *network.Artifact {
	t.Helper()
	a, err := train(t.Context(), job, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// timeless is the artifact without the times, which tell runs of one job apart.
func timeless(t testing.TB, a *network.Artifact) dg.ModelRef {
	t.Helper()
	b := *a
	b.Manifest.FinishedAt = time.Time{}
	b.Manifest.Curves = slices.Clone(b.Manifest.Curves)
	for i := range b.Manifest.Curves {
		b.Manifest.Curves[i].Seconds = 0
	}
	files, err := b.Files()
	if err != nil {
		t.Fatal(err)
	}
	return network.Digest(files)
}

// examplesOf stores n garments as production images and returns them as
// examples, of ids that holdout 0.3 lets through.
func examplesOf(t testing.TB, m *memory, n int) []Example {
	rng := rand.New(rand.NewPCG(8, 8))
	var out []Example
	for i := 0; len(out) < n; i++ {
		id := fmt.Sprintf("prod-%03d.png", i)
		if dg.Held(id, 0.3) {
			continue
		}
		class := i % 10
		e := Example{id, buckets.Noisy, dg.SampleKey(class, id), dg.FashionMNIST[class], 3, dg.HumanLabel}
		if i%3 == 0 {
			e.Weight, e.Source = 0.2, dg.ProxyLabel
		}
		m.put(t, e, dataset.Garment(class, dataset.Drift{}, rng))
		out = append(out, e)
	}
	return out
}

func TestTrainLearnsAndSaysWhatItLearnedFrom(t *testing.T) {
	src, job := newMemory(), quick(t)
	job.Options.Hidden, job.Options.Epochs, job.Options.Replay = []int{32}, 6, -1
	job.Examples = examplesOf(t, src, 60)
	humans := 0
	for _, e := range job.Examples {
		if e.Source == dg.HumanLabel {
			humans++
		}
	}
	var last Progress
	var phases []string
	a, err := train(t.Context(), job, src, func(p Progress) {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
		if p.Line() == "" {
			t.Errorf("no line for %+v", p)
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	m := a.Manifest
	if m.Metrics["test_accuracy"] < 0.6 {
		t.Errorf("test accuracy %.3f, want at least 0.6", m.Metrics["test_accuracy"])
	}
	want := slices.Clone(src.set.Train.IDs)
	for _, e := range job.Examples {
		want = append(want, e.ID)
	}
	slices.Sort(want)
	if !slices.Equal(m.TrainedOn, want) {
		t.Errorf("trained on %d ids, want the %d of base and examples, for training and validation alike", len(m.TrainedOn), len(want))
	}
	if c := m.Counts; c["base"] != 1500 || c["human"] != humans || c["proxy"] != 60-humans || c["train"]+c["validation"] != 1560 || c["skipped"] != 0 {
		t.Errorf("counts %v", c)
	}
	if c := m.Counts["validation"]; c < 100 || c > 220 {
		t.Errorf("%d of 1560 samples validate, want about a tenth", c)
	}
	if m.Calibration.Temperature <= 0.1 || m.Calibration.ECEAfter > 0.2 {
		t.Errorf("calibration %+v", m.Calibration)
	}
	if len(m.ReferenceClassMix) != 10 || m.ReferenceClassMix[0] < 0.09 || m.ReferenceClassMix[0] > 0.11 {
		t.Errorf("class mix %v of an even set", m.ReferenceClassMix)
	}
	if !m.StartedAt.Equal(job.StartedAt) || m.FinishedAt.IsZero() || m.RunID != "run-1" || len(m.SelfTest) != 8 {
		t.Errorf("manifest %v %v %q, %d self-tests", m.StartedAt, m.FinishedAt, m.RunID, len(m.SelfTest))
	}
	if _, err := network.NewClassifier(a); err != nil {
		t.Error(err)
	}
	if !slices.Equal(phases, []string{Loading, Training, Calibrating, Done}) || last.Epoch != 6 {
		t.Errorf("phases %v, last %+v", phases, last)
	}
}

func TestSameJobGivesTheSameArtifact(t *testing.T) {
	a := mustTrain(t, quick(t), newMemory())
	b := mustTrain(t, quick(t), newMemory()) // another folder
	if timeless(t, a) != timeless(t, b) {
		t.Error("two runs of one job gave two artifacts")
	}
	other := quick(t)
	other.Options.Seed = 2
	if c := mustTrain(t, other, newMemory()); timeless(t, a) == timeless(t, c) {
		t.Error("another seed gave the same artifact")
	}
}

// errStop is what the tests interrupt a training with.
var errStop = errors.New("stopped by the test")

// fuse is a context that ends at the n-th step.
type fuse struct {
	context.Context
	left *int
}

func (f fuse) Err() error {
	if *f.left--; *f.left < 0 {
		return errStop
	}
	return nil
}

func TestInterruptedAndResumedEqualsUninterrupted(t *testing.T) {
	whole := quick(t)
	whole.Options.Epochs = 5
	want := timeless(t, mustTrain(t, whole, newMemory()))

	job := quick(t)
	job.Options.Epochs = 5
	spec := network.MLP(network.Flat(784), []int{16}, 10)
	done := 0 // epochs in the checkpoint; an epoch has six steps
	for _, steps := range []int{0, 3, 8, 5, 6, 13} {
		left := steps
		_, err := train(fuse{context.Background(), &left}, job, newMemory(), nil)
		if !errors.Is(err, errStop) {
			t.Fatalf("stopped after %d steps: error %v", steps, err)
		}
		done += steps / 6
		s, err := readCheckpoint(job.Dir, spec, spec)
		if err != nil || s.Epoch != done {
			t.Fatalf("stopped after %d more steps: checkpoint %+v (%v), want %d epochs", steps, s, err, done)
		}
	}
	if got := timeless(t, mustTrain(t, job, newMemory())); got != want {
		t.Errorf("resumed %s, uninterrupted %s", got, want)
	}
	if _, err := os.Stat(filepath.Join(job.Dir, checkpointFile)); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is still there: %v", err)
	}
}

func TestAFinishedJobIsNotTrainedAgain(t *testing.T) {
	job := quick(t)
	first := mustTrain(t, job, newMemory())
	again := mustTrain(t, job, &memory{fault: errors.New("must not be asked")})
	if !reflect.DeepEqual(first.Manifest, again.Manifest) {
		t.Error("the second call gave another artifact")
	}
	// A damaged artifact is made anew.
	path := filepath.Join(job.Dir, artifactDir, network.WeightsFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if third := mustTrain(t, job, newMemory()); timeless(t, third) != timeless(t, first) {
		t.Error("after damage, another artifact")
	}
	// Another job in the same folder does not get this one's artifact.
	job.RunID = "run-2"
	if other := mustTrain(t, job, newMemory()); other.Manifest.RunID != "run-2" {
		t.Errorf("run-2 got the artifact of %s", other.Manifest.RunID)
	}
}

func TestADamagedCheckpointMeansFromTheStart(t *testing.T) {
	want := timeless(t, mustTrain(t, quick(t), newMemory()))
	job := quick(t)
	if err := os.WriteFile(filepath.Join(job.Dir, checkpointFile), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := timeless(t, mustTrain(t, job, newMemory())); got != want {
		t.Error("another artifact")
	}
}

func TestBrokenProductionImagesAreSkippedNamedAndCounted(t *testing.T) {
	src, job := newMemory(), quick(t)
	job.Examples = examplesOf(t, src, 12)
	gone, torn, odd := job.Examples[1], job.Examples[4], &job.Examples[6]
	delete(src.images, gone.Bucket+"/"+gone.Key)
	src.images[torn.Bucket+"/"+torn.Key] = src.images[torn.Bucket+"/"+torn.Key][:60]
	odd.Label = "Hat"
	// A person's image whose noisy copy is gone is found in clean.
	moved := job.Examples[7]
	src.images[buckets.Clean+"/"+moved.Key] = src.images[moved.Bucket+"/"+moved.Key]
	delete(src.images, moved.Bucket+"/"+moved.Key)
	if gone.Source != dg.HumanLabel || moved.Source != dg.HumanLabel {
		t.Fatalf("the test wants human labels: %v %v", gone, moved)
	}

	m := mustTrain(t, job, src).Manifest
	if m.Counts["skipped"] != 3 || m.Counts["human"]+m.Counts["proxy"] != 9 {
		t.Errorf("counts %v, want 3 skipped and 9 used", m.Counts)
	}
	text := strings.Join(m.Skipped, "\n")
	for _, want := range []string{gone.ID + ": ", torn.ID + ": ", odd.ID + `: label "Hat"`} {
		if !strings.Contains(text, want) {
			t.Errorf("skipped %q does not name %q", text, want)
		}
	}
	for _, id := range []string{gone.ID, torn.ID, odd.ID} {
		if slices.Contains(m.TrainedOn, id) {
			t.Errorf("%s was not used but is among the ids trained on", id)
		}
	}
	if !slices.Contains(m.TrainedOn, moved.ID) {
		t.Errorf("%s, in clean only, was not used", moved.ID)
	}
}

func TestFaultsThatStopATraining(t *testing.T) {
	unreachable := errors.New("connection refused")
	for _, tt := range []struct {
		name   string
		change func(*Job, *memory)
		is     error
		want   string
	}{
		{"broken base data", func(_ *Job, m *memory) { m.fault = fmt.Errorf("fingerprint differs: %w", dg.ErrInvalid) }, dg.ErrInvalid, "load base dataset synthetic@"},
		{"an unreachable store", func(j *Job, m *memory) { m.broken = unreachable }, unreachable, "load images: image prod-"},
		{"a loss that is no number", func(j *Job, _ *memory) { j.Options.LearningRate = 1e6; j.Options.Momentum = 0.9 }, network.ErrDiverged, "the likely cause is a learning_rate of 1e+06"},
		{"a loss that is no number, by Adam", func(j *Job, _ *memory) { j.Options.Optimiser, j.Options.LearningRate = Adam, 1e6 }, network.ErrDiverged, "a learning_rate of 1e+06 for adam, which wants 0.0001 to 0.01"},
		{"and in a network with batch norm", func(j *Job, _ *memory) {
			convolutional(&j.Options)
			j.Options.Optimiser, j.Options.LearningRate, j.Options.MaxNorm, j.Options.Warmup = SGD, 1e6, 0, 0
		}, network.ErrDiverged, "trainer: epoch 1, step "},
		{"and in a check of labels", func(j *Job, _ *memory) {
			checked(0.1)(&j.Options)
			j.Options.LearningRate, j.Options.Momentum = 1e6, 0.9
		}, network.ErrDiverged, "trainer: check labels: fold 1 of 5: epoch "},
		{"which names the cause too", func(j *Job, _ *memory) {
			checked(0.1)(&j.Options)
			j.Options.LearningRate, j.Options.Momentum = 1e6, 0.9
		}, dg.ErrInvalid, "the likely cause is a learning_rate of 1e+06"},
		{"a network larger than any here", func(j *Job, _ *memory) { j.Options.Hidden = []int{8192, 8192, 8192} }, dg.ErrInvalid, "weights"},
		{"more blocks than the images have room for", func(j *Job, _ *memory) {
			convolutional(&j.Options)
			j.Options.Filters = []int{4, 4, 4, 4, 4, 4}
		}, dg.ErrInvalid, "layers["},
		{"nothing to train on", func(j *Job, m *memory) { j.Options.Replay = 0; j.Examples = nil }, dg.ErrTooFewSamples, "nothing to train on"},
		{"a held-out example", func(j *Job, m *memory) { j.Options.Holdout = 0.999 }, dg.ErrInvalid, "is held out"},
		{"an id twice", func(j *Job, m *memory) { j.Examples = append(j.Examples, j.Examples[0]) }, dg.ErrInvalid, "is there twice"},
		{"a relative folder", func(j *Job, m *memory) { j.Dir = "out" }, dg.ErrInvalid, "want an absolute path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, job := newMemory(), quick(t)
			job.Examples = examplesOf(t, src, 5)
			tt.change(&job, src)
			_, err := train(t.Context(), job, src, nil)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant %v with %q", err, tt.is, tt.want)
			}
		})
	}
}

func TestEarlyStoppingKeepsTheBestEpoch(t *testing.T) {
	src, job := newMemory(), quick(t)
	job.Options.Epochs, job.Options.Patience, job.Options.LearningRate, job.Options.Replay, job.Options.Validation = 400, 2, 0.3, 200, 0.3
	m := mustTrain(t, job, src).Manifest
	if m.Epochs >= 400 || m.Metrics["best_epoch"] != float64(m.Epochs-2) {
		t.Errorf("stopped after %d epochs with the best at %v, want two epochs of patience", m.Epochs, m.Metrics["best_epoch"])
	}
}

func TestWeightsDecideBetweenContradictingLabels(t *testing.T) {
	// The same pictures under two labels: the heavier one must win.
	src, job := newMemory(), quick(t)
	job.Options.Replay, job.Options.Holdout, job.Options.Epochs, job.Options.Validation = 10, 0, 40, 0 // one of each class: none may be missing
	rng := rand.New(rand.NewPCG(1, 1))
	var pictures [][]byte
	for i := range 40 {
		px := dataset.Garment(3, dataset.Drift{}, rng)
		pictures = append(pictures, px)
		for k, e := range []Example{
			{Label: "Dress", Weight: 3, Source: dg.HumanLabel}, {Label: "Coat", Weight: 0.3, Source: dg.ProxyLabel},
		} {
			e.ID = fmt.Sprintf("%d-%d.png", i, k)
			e.Bucket, e.Key = buckets.Noisy, "class_03/"+e.ID
			src.put(t, e, px)
			job.Examples = append(job.Examples, e)
		}
	}
	c, err := network.NewClassifier(mustTrain(t, job, src))
	if err != nil {
		t.Fatal(err)
	}
	for _, px := range pictures {
		p, err := c.Pixels(px)
		if err != nil {
			t.Fatal(err)
		}
		// The best answer to weights 3 : 0.3 is a probability of 10/11.
		if p[3] < 0.8 || p[4] > 0.2 {
			t.Fatalf("Dress %.2f, Coat %.2f; want about 0.91 and 0.09", p[3], p[4])
		}
	}
}
