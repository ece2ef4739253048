package trainer

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

const parentRef = dg.ModelRef("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

// withParent is a job that begins with the weights of a quickly trained model.
func withParent(t testing.TB, start string) (Job, *memory) {
	t.Helper()
	return withParentOf(t, start, asIs)
}

// withParentOf is withParent with other options for both.
func withParentOf(t testing.TB, start string, change func(*Options)) (Job, *memory) {
	t.Helper()
	src, job := newMemory(), quick(t)
	change(&job.Options)
	src.parent = mustTrain(t, job, newMemory())
	job = quick(t)
	change(&job.Options)
	job.RunID, job.Parent, job.Options.Start, job.Options.Seed = "run-2", parentRef, start, 9
	return job, src
}

func TestWarmStartBeginsWithTheParent(t *testing.T) {
	job, src := withParent(t, Warm)
	job.Options.Epochs, job.Options.LearningRate, job.Options.WeightDecay = 1, 1e-12, 0
	a := mustTrain(t, job, src)
	for i, w := range a.Weights {
		if !slices.Equal(w.Data, src.parent.Weights[i].Data) {
			t.Errorf("%s moved at a learning rate of next to nothing", w.Name)
		}
	}
	if s := a.Manifest.Composition.Start; s.From != Warm || s.Parent != parentRef || s.Learned != a.Manifest.Spec.Parameters() || s.Frozen != 0 {
		t.Errorf("account %+v", s)
	}
	// One epoch from the parent is worth more than one from scratch.
	job, src = withParent(t, Warm)
	job.Options.Epochs = 1
	warm := mustTrain(t, job, src).Manifest.Metrics["test_accuracy"]
	job, src = withParent(t, Scratch)
	job.Options.Epochs = 1
	scratch := mustTrain(t, job, src)
	if cold := scratch.Manifest.Metrics["test_accuracy"]; warm < cold+0.05 {
		t.Errorf("after an epoch %.3f warm, %.3f from scratch", warm, cold)
	}
	if s := scratch.Manifest.Composition.Start; s.From != Scratch || s.Parent != "" || s.Inherited != 0 {
		t.Errorf("account of a start from scratch %+v", s)
	}
}

func TestHeadLearnsTheLastLayerAlone(t *testing.T) {
	for name, augment := range map[string]dataset.Augmentation{"as they are": {}, "varied": {Share: 0.7, Shift: 2, Rotation: 10}} {
		t.Run(name, func(t *testing.T) {
			job, src := withParent(t, Head)
			job.Options.Hidden, job.Options.Augment = []int{16}, augment
			a := mustTrain(t, job, src)
			last := len(a.Weights) - 2
			for i, w := range a.Weights {
				if same := slices.Equal(w.Data, src.parent.Weights[i].Data); same != (i < last) {
					t.Errorf("%s is the parent's: %v", w.Name, same)
				}
			}
			if s := a.Manifest.Composition.Start; s.From != Head || s.Learned != 17*10 || s.Frozen != 785*16 {
				t.Errorf("account %+v", s)
			}
			c := a.Manifest.Curves
			if c[len(c)-1].TrainLoss >= c[0].TrainLoss {
				t.Errorf("the head did not learn: %+v", c)
			}
			if varied := a.Manifest.Composition.Augmentation.Images; (varied > 0) != augment.Any() {
				t.Errorf("%d varied images", varied)
			}
		})
	}
}

// convolutional makes the network of a job a small CNN with all that a network
// can have, moved by Adam.
func convolutional(o *Options) {
	o.Network = Network{Model: network.FamilyCNN, Filters: []int{4, 8}, Dense: []int{16}, BatchNorm: true, Dropout: 0.3}
	o.Descent = Descent{Optimiser: Adam, LearningRate: 0.005, Schedule: Stepwise, Warmup: 1, Momentum: 0.9, MaxNorm: 1, WeightDecay: 0.01, Smoothing: 0.1}
}

// Every start, with everything on that could disturb it.
func TestResumeIsExactFromEveryStart(t *testing.T) {
	for _, model := range []string{network.FamilyMLP, network.FamilyCNN} {
		change := map[string]func(*Options){network.FamilyMLP: asIs, network.FamilyCNN: convolutional}[model]
		for _, start := range []string{Scratch, Warm, Head} {
			for _, busy := range []bool{false, true} {
				if !busy && model == network.FamilyCNN && start != Scratch {
					continue // the busy ones do all that these do
				}
				t.Run(fmt.Sprintf("%s, %s, busy %v", model, start, busy), func(t *testing.T) {
					make := func() (Job, *memory) {
						job, src := withParentOf(t, start, change)
						job.Examples = examplesOf(t, src, 30)
						if busy {
							job.Options.Augment = dataset.Augmentation{Share: 0.6, Shift: 2, Flip: true, Rotation: 10, Brightness: 0.2, Noise: 0.05, Cutout: 6}
							job.Options.Quality = Quality{Folds: 2, Epochs: 1, HumanFactor: 0.5, BaseFactor: 0.9, Weak: []string{"class=Bag"}, WeakFactor: 2}
							job.Options.Balance, job.Options.BalanceBy, job.Options.ReplayBy = Equal, BySamples, Evenly
							job.Options.ClassWeights = map[string]float64{"Coat": 2}
						}
						return job, src
					}
					job, src := make()
					want := mustTrain(t, job, src)
					job, src = make()
					job.Dir = t.TempDir()
					for _, steps := range []int{9, 10} {
						left := steps
						if busy {
							left += 8 // of the label check, which is done again: two folds of some four steps
						}
						if _, err := train(fuse{context.Background(), &left}, job, src, nil); !errors.Is(err, errStop) {
							t.Fatalf("stopped after %d steps: error %v", steps, err)
						}
					}
					if got := mustTrain(t, job, src); timeless(t, got) != timeless(t, want) {
						t.Error("resumed and uninterrupted differ")
					}
				})
			}
		}
	}
}

func TestStartsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Job, *memory)
		is     error
		want   string
	}{
		{"nobody to start from", func(j *Job, _ *memory) { j.Parent = "" }, dg.ErrInvalid, "want a parent"},
		{"a parent that is gone", func(_ *Job, m *memory) { m.parent = nil }, dg.ErrNotFound, "load the parent aaaaaaaaaaaa"},
		{"other classes", func(_ *Job, m *memory) {
			p := *m.parent
			p.Manifest.Classes = slices.Clone(p.Manifest.Classes)
			p.Manifest.Classes[0], p.Manifest.Classes[1] = p.Manifest.Classes[1], p.Manifest.Classes[0]
			m.parent = &p
		}, dg.ErrInvalid, "has classes [Trouser T-shirt/top"},
		{"other layers", func(j *Job, _ *memory) { j.Options.Hidden = []int{16, 8} }, dg.ErrInvalid, "has layers mlp: dense 16, dense 10; 12,730 weights, this training has mlp: dense 16, dense 8, dense 10; 12,786 weights"},
		{"other preprocessing", func(_ *Job, m *memory) {
			p := *m.parent
			p.Manifest.Preprocessing.Std = []float32{1}
			m.parent = &p
		}, dg.ErrInvalid, "has preprocessing"},
	} {
		for _, start := range []string{Warm, Head} {
			t.Run(tt.name+", "+start, func(t *testing.T) {
				job, src := withParent(t, start)
				tt.change(&job, src)
				if _, err := train(t.Context(), job, src, nil); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v\nwant %v with %q", err, tt.is, tt.want)
				}
			})
		}
	}
}

func TestAChildOfAModelAnswersForWhatItsParentLearned(t *testing.T) {
	for _, start := range []string{Warm, Head} {
		job, src := withParent(t, start)
		m := mustTrain(t, job, src).Manifest
		for _, id := range src.parent.Manifest.TrainedOn {
			if _, ok := slices.BinarySearch(m.TrainedOn, id); !ok {
				t.Fatalf("%s: %s, which the parent learned, is not among the ids trained on", start, id)
			}
		}
		if own := m.Counts["train"] + m.Counts["validation"]; m.Composition.Start.Inherited != len(m.TrainedOn)-own || m.Composition.Start.Inherited == 0 {
			t.Errorf("%s: inherited %d of %d ids, %d own", start, m.Composition.Start.Inherited, len(m.TrainedOn), own)
		}
	}
}

func TestTheParentComesFromTheBucketByteByByte(t *testing.T) {
	job, store := cluster(t)
	first, err := Train(t.Context(), job, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := first.Files()
	if err != nil {
		t.Fatal(err)
	}
	ref := network.Digest(files)
	bucket, dir := store.Bucket(job.Buckets.Models), artifactsPrefix+strings.TrimPrefix(string(ref), "sha256:")
	for name, b := range files {
		if err := bucket.Put(t.Context(), path.Join(dir, name), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := bucket.Put(t.Context(), path.Join(dir, signatureFile), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	job.Dir, job.RunID, job.Parent, job.Options.Start = t.TempDir(), "run-2", ref, Head
	second, err := Spawn(t.Context(), self(t), nil, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := network.ReadArtifact(second)
	if err != nil || !slices.Equal(a.Weights[0].Data, first.Weights[0].Data) || a.Manifest.Composition.Start.Parent != ref {
		t.Errorf("trained in a child from %s: %+v, %v", ref.Short(), a.Manifest.Composition.Start, err)
	}

	weights := slices.Clone(files[network.WeightsFile])
	weights[len(weights)-3] ^= 1
	if err := bucket.Put(t.Context(), path.Join(dir, network.WeightsFile), weights); err != nil {
		t.Fatal(err)
	}
	job.Dir, job.RunID = t.TempDir(), "run-3"
	if _, err := Spawn(t.Context(), self(t), nil, job, nil); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "load the parent "+ref.Short()) {
		t.Errorf("a parent altered by one bit: %v", err)
	}
	job.Dir, job.RunID, job.Parent = t.TempDir(), "run-4", parentRef
	if _, err := Spawn(t.Context(), self(t), nil, job, nil); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("a parent that was never saved: %v", err)
	}
}
