package trainer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// TestFashionMNIST trains on the real 60,000 images and is judged on the real
// 10,000.
func TestFashionMNIST(t *testing.T) {
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" {
		t.Skip("DRIFTGATE_TEST_DATA is not set: want a folder with fashion-mnist in it")
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	set, err := dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	job := quick(t)
	job.Options = DefaultOptions()
	job.Options.Replay, job.Options.Epochs = -1, 5
	began := time.Now()
	var fastest float64
	a, err := train(t.Context(), job, &memory{set: set}, func(p Progress) {
		fastest = max(fastest, p.SamplesPerSecond)
		if p.Phase == Training && p.Step == p.Steps {
			t.Log(p.Line())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m := a.Manifest
	t.Logf("test accuracy %.4f in %.1f s, %.0f samples/s; calibration %+v", m.Metrics["test_accuracy"], time.Since(began).Seconds(), fastest, m.Calibration)
	if m.Metrics["test_accuracy"] < 0.86 {
		t.Errorf("test accuracy %.4f, want at least 0.86", m.Metrics["test_accuracy"])
	}
	if m.Calibration.ECEAfter > 0.03 {
		t.Errorf("expected calibration error %.3f after calibration, want at most 0.03", m.Calibration.ECEAfter)
	}
	if n := len(m.TrainedOn); n != 60000 {
		t.Errorf("%d ids trained on, want 60000", n)
	}
	if _, err := network.NewClassifier(a); err != nil {
		t.Error(err)
	}
}
