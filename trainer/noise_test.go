package trainer

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// mislabelled gives a share of the training images another label than their
// own, each other one as likely.
func mislabelled(set dataset.Set, share float64, seed uint64) (dataset.Set, map[string]bool) {
	rng, wrong := rand.New(rand.NewPCG(seed, 77)), map[string]bool{}
	set.Train.Labels = slices.Clone(set.Train.Labels)
	for _, i := range rng.Perm(set.Train.Len())[:int(share*float64(set.Train.Len()))] {
		classes := len(set.Classes)
		set.Train.Labels[i] = uint16((int(set.Train.Labels[i]) + 1 + rng.IntN(classes-1)) % classes)
		wrong[set.Train.IDs[i]] = true
	}
	return set, wrong
}

// checked is what checking labels with a factor for suspects is.
func checked(factor float64) func(*Options) {
	return func(o *Options) { o.Quality.Folds, o.Quality.BaseFactor = 5, factor }
}

func asIs(*Options) {}

// The base dataset's labels may be the wrong ones.
func TestWrongLabelsOfTheBaseSetAreFound(t *testing.T) {
	set, wrong := mislabelled(dataset.Synthetic(dataset.SyntheticOptions{Seed: 4, Train: 4000, Test: 100}), 0.4, 1)
	job := quick(t)
	job.Options.Replay, job.Options.Quality.Epochs = -1, 8
	job.Options.Hidden, job.Options.Momentum = []int{64}, 0.9
	checked(0.1)(&job.Options)
	found := suspectsOf(t, job, set)
	hit := 0
	for id := range found {
		if wrong[id] {
			hit++
		}
	}
	if 4*hit < 3*len(wrong) || 4*hit < 3*len(found) {
		t.Errorf("%d of %d wrong labels found among %d suspects, want three in four, and no more than one in four suspects in vain", hit, len(wrong), len(found))
	}
}

// TestWhatCheckingLabelsGains prints the tables of docs/training.md: one model
// alone with -run TestWhatCheckingLabelsGains/mlp.
func TestWhatCheckingLabelsGains(t *testing.T) {
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" || os.Getenv("DRIFTGATE_LONG") == "" {
		t.Skip("takes many minutes: want DRIFTGATE_LONG=1 and DRIFTGATE_TEST_DATA, a folder with fashion-mnist in it")
	}
	clean, err := dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		change func(*Options)
	}{
		{"as they are", asIs},
		{"suspects weigh a tenth", checked(0.1)},
		{"suspects as good as dropped", checked(0.001)},
		{"as they are, smoothing 0.1", func(o *Options) { o.Smoothing = 0.1 }},
	}
	models := map[string]func(*Options){
		"mlp": func(o *Options) { o.Hidden = []int{256} },
		"cnn": func(o *Options) {
			o.Model, o.LearningRate, o.Dropout, o.Replay = network.FamilyCNN, 0.05, 0.3, 20_000
		},
	}
	for model, shape := range models {
		t.Run(model, func(t *testing.T) {
			for _, noise := range []float64{0.4, 0.2, 0} {
				for _, r := range rows {
					var accuracies, seconds []float64
					for seed := range uint64(2) {
						set, _ := mislabelled(clean, noise, seed)
						job := quick(t)
						job.Options = DefaultOptions()
						job.Options.Seed, job.Options.Replay, job.Options.Epochs = seed+1, -1, 10
						shape(&job.Options)
						r.change(&job.Options)
						began := time.Now()
						a := mustTrain(t, job, &memory{set: set})
						seconds = append(seconds, time.Since(began).Seconds())
						accuracies = append(accuracies, a.Manifest.Metrics["test_accuracy"])
					}
					t.Logf("| %.0f%% | %s | %.4f (%.4f, %.4f) | %.0f s |", 100*noise, r.name, mean(accuracies), slices.Min(accuracies), slices.Max(accuracies), mean(seconds))
				}
			}
		})
	}
	t.Run("suspects", func(t *testing.T) {
		for _, noise := range []float64{0, 0.2, 0.4} {
			set, wrong := mislabelled(clean, noise, 0)
			job := quick(t)
			job.Options = DefaultOptions()
			job.Options.Replay = -1
			checked(0.1)(&job.Options)
			began, hit := time.Now(), 0
			found := suspectsOf(t, job, set)
			for id := range found {
				if wrong[id] {
					hit++
				}
			}
			t.Logf("| %.0f%% | %d | %.3f | %.3f | %.0f s |", 100*noise, len(found), float64(hit)/float64(max(1, len(wrong))), float64(hit)/float64(max(1, len(found))), time.Since(began).Seconds())
		}
	})
}

// suspectsOf are all the suspects that a job finds, of which the manifest names
// the first hundred.
func suspectsOf(t *testing.T, job Job, set dataset.Set) map[string]bool {
	t.Helper()
	m, err := gather(t.Context(), job, &memory{set: set}, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, s := range []*samples{&m.train, &m.valid} {
		for i, w := range s.weights {
			if w < 1 {
				out[s.ids[i]] = true
			}
		}
	}
	return out
}
