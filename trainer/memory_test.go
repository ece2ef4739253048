package trainer

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// peakEnv is where a child writes the most memory that it ever had.
const peakEnv = "DRIFTGATE_TRAINER_TEST_PEAK"

// The real road: a child process, the embedded store, the stored dataset, all
// 60,000 images, validation, calibration, self-test, artifact. A training is to
// need less than 200 MiB; where a batch is large and the network deep, the values
// between its layers come on top.
func TestTrainingOnFashionMNISTNeedsLittleMemory(t *testing.T) {
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" {
		t.Skip("DRIFTGATE_TEST_DATA is not set: want a folder with fashion-mnist in it")
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	job, store := cluster(t)
	set, err := dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := dataset.Save(t.Context(), store.Bucket(buckets.Datasets), set)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		most   int // MiB
		change func(*Options)
	}{
		{"mlp", 200, func(o *Options) { o.Hidden = []int{512, 512} }},
		{"mlp, labels checked", 200, func(o *Options) { o.Quality.Folds, o.Quality.Epochs = 2, 1 }},
		{"cnn", 200, func(o *Options) { o.Model, o.LearningRate = network.FamilyCNN, 0.05 }},
		{"cnn of three normed blocks, 128 a step, varied, adam", 200, func(o *Options) {
			o.Model, o.Filters, o.BatchNorm, o.Dropout, o.Batch = network.FamilyCNN, []int{32, 64, 128}, true, 0.3, 128
			o.Optimiser, o.LearningRate, o.MaxNorm = Adam, 0.002, 0
			o.Augment = dataset.Augmentation{Share: 1, Shift: 2, Flip: true}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			job := job
			job.Dir, job.Options = t.TempDir(), DefaultOptions()
			job.Dataset, job.Options.Replay, job.Options.Epochs = string(ref), -1, 1
			tt.change(&job.Options)
			file := filepath.Join(t.TempDir(), "peak")
			t.Setenv(peakEnv, file)
			files, err := Spawn(t.Context(), self(t), nil, job, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			kib, err := strconv.Atoi(string(b))
			a, _, bad := network.ReadArtifact(files)
			if err != nil || bad != nil {
				t.Fatal(err, bad)
			}
			t.Logf("%v: %d MiB at most, test accuracy %.3f after one epoch", a.Manifest.Spec, kib>>10, a.Manifest.Metrics["test_accuracy"])
			if kib>>10 >= tt.most {
				t.Errorf("%d MiB, want less than %d", kib>>10, tt.most)
			}
		})
	}
}
