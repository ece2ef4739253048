package trainer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// recipe is settings that reach an accuracy on real photographs.
type recipe struct {
	name    string
	set     func(t *testing.T) dataset.Set
	options func(o *Options)
	seeds   int
	want    float64       // accuracy on the test split
	within  time.Duration // on two cores that do nothing else; 0 is any
}

// recipes are for Fashion-MNIST, all 60,000 images, and for food101-mini: 3,750
// photographs, some under wrong labels.
var recipes = []recipe{
	{"mlp", fashion, func(o *Options) {
		o.Hidden = []int{512, 512}
		o.Epochs, o.Batch, o.WeightDecay, o.Smoothing = 12, 128, 1e-4, 0.1
	}, 3, 0.89, 0},
	{"cnn", fashion, func(o *Options) {
		o.Model, o.Dropout = network.FamilyCNN, 0.3
		o.Epochs, o.Batch, o.Warmup, o.MaxNorm, o.WeightDecay, o.Smoothing = 20, 128, 1, 2, 1e-4, 0.05
		o.Augment = dataset.Augmentation{Share: 1, Flip: true}
	}, 3, 0.92, 15 * time.Minute},
	{"best", fashion, func(o *Options) {
		o.Model, o.Filters, o.Dense, o.BatchNorm, o.Dropout = network.FamilyCNN, []int{48, 96, 192}, []int{256}, true, 0.3
		o.Epochs, o.Batch, o.Warmup, o.MaxNorm, o.WeightDecay, o.Smoothing = 24, 128, 1, 0, 5e-4, 0.1
		o.Augment, o.Validation = dataset.Augmentation{Share: 1, Flip: true, Shift: 1}, 0.02
	}, 2, 0.935, 0},
	{"food", food, func(o *Options) {
		o.Model, o.Width = network.FamilyMobileNet, 0.5
		o.Epochs, o.Batch, o.Warmup, o.MaxNorm, o.WeightDecay, o.Smoothing = 80, 64, 1, 0, 5e-4, 0.1
		o.Augment = dataset.Augmentation{Share: 1, Flip: true, Shift: 8, Brightness: 0.2, Cutout: 12}
		o.Validation = 0 // 187 images under noisy labels would choose an epoch by luck: the last is taken
	}, 2, 0.50, 20 * time.Minute},
}

func realData(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" {
		t.Skip("DRIFTGATE_TEST_DATA is not set: want a folder with " + name + " in it")
	}
	return filepath.Join(dir, name)
}

func fashion(t *testing.T) dataset.Set {
	set, err := dataset.ReadFashionMNIST(realData(t, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func food(t *testing.T) dataset.Set {
	set, _, err := dataset.ReadFolder(realData(t, "food101-mini"), dataset.FolderOptions{Height: 64})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestRecipesReachTheirAccuracy takes an hour on two cores: DRIFTGATE_LONG=1.
// One of them: -run 'Recipes/cnn/seed_1'. DRIFTGATE_PYTORCH names an interpreter
// that trains the same network from the same weights with the same settings,
// for comparison.
func TestRecipesReachTheirAccuracy(t *testing.T) {
	if os.Getenv("DRIFTGATE_LONG") == "" {
		t.Skip("takes an hour; DRIFTGATE_LONG=1 runs it")
	}
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			set := r.set(t)
			for seed := range r.seeds {
				t.Run(fmt.Sprintf("seed %d", seed+1), func(t *testing.T) { r.reach(t, set, uint64(seed+1)) })
			}
		})
	}
}

func (r recipe) reach(t *testing.T, set dataset.Set, seed uint64) {
	job := quick(t)
	job.Options = DefaultOptions()
	job.Options.Replay, job.Options.Patience, job.Options.Validation, job.Options.Seed = -1, 0, 0.05, seed
	r.options(&job.Options)
	began, shown := time.Now(), time.Time{}
	var fastest float64
	a, err := train(t.Context(), job, &memory{set: set}, func(p Progress) {
		fastest = max(fastest, p.SamplesPerSecond)
		if p.Phase == Training && p.Step == p.Steps && time.Since(shown) > 30*time.Second {
			shown = time.Now()
			t.Log(p.Line())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	m := a.Manifest
	t.Logf("%s, seed %d: test accuracy %.4f in %s, %.0f samples/s, %d epochs, %v", r.name, seed, m.Metrics["test_accuracy"], took.Round(time.Second), fastest, m.Epochs, m.Spec)
	t.Logf("expected calibration error on the test split %.4f, %.4f with the temperature %.3f", m.Metrics["test_ece_before"], m.Metrics["test_ece_after"], m.Calibration.Temperature)
	if python := os.Getenv("DRIFTGATE_PYTORCH"); python != "" {
		r.besidePyTorch(t, python, set, job.Options, m)
	}
	if m.Metrics["test_accuracy"] < r.want {
		t.Errorf("test accuracy %.4f, want at least %g", m.Metrics["test_accuracy"], r.want)
	}
	if r.within > 0 && took > r.within {
		t.Errorf("took %s, want at most %s", took, r.within)
	}
}

// besidePyTorch trains the manifest's network in PyTorch, by the bench's worker.
func (r recipe) besidePyTorch(t *testing.T, python string, set dataset.Set, o Options, m network.Manifest) {
	dir := t.TempDir()
	write := func(name string, numbers any) string {
		file := filepath.Join(dir, name)
		var b bytes.Buffer
		if err := binary.Write(&b, binary.LittleEndian, numbers); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var dims [][]int
	var weights []float32
	for _, w := range network.NewWeights(m.Spec, rand.New(rand.NewPCG(o.Seed, streamWeights))) {
		dims, weights = append(dims, w.Shape), append(weights, w.Data...)
	}
	request, err := json.Marshal(map[string]any{
		"op": "fit", "spec": m.Spec, "channels_last": true, "weights": write("weights", weights), "dims": dims, "mode": "train", "options": o,
		"learning_rate": o.LearningRate, "momentum": o.Momentum, "weight_decay": o.WeightDecay, "mean": m.Preprocessing.Mean, "std": m.Preprocessing.Std,
		"set": map[string]string{
			"train": write("train", set.Train.Pixels), "train_labels": write("train_labels", set.Train.Labels),
			"test": write("test", set.Test.Pixels), "test_labels": write("test_labels", set.Test.Labels),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("..", "internal", "network", "bench", "worker.py"))
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+strconv.Itoa(runtime.GOMAXPROCS(0)), "GOMP_SPINCOUNT=0")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(append(request, '\n')), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("PyTorch: %v", err)
	}
	t.Logf("PyTorch, the same network, weights and settings: %s", out)
}
