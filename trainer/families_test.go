package trainer

import (
	"testing"

	"driftgate/internal/network"
)

// Every family learns by the same loop, is calibrated, and is served as it was
// made.
func TestEveryFamilyIsTrainedAndCalibrated(t *testing.T) {
	for name, change := range map[string]func(*Options){
		network.FamilyMLP: func(o *Options) { o.Hidden = []int{32} },
		network.FamilyCNN: func(o *Options) {
			o.Network = Network{Model: network.FamilyCNN, Filters: []int{8, 8}, Dense: []int{32}, BatchNorm: true}
			o.MaxNorm = 0
		},
		network.FamilyMobileNet: func(o *Options) {
			o.Network, o.MaxNorm = Network{Model: network.FamilyMobileNet, Width: 0.1}, 0
			o.Epochs, o.Batch, o.Replay, o.Warmup = 6, 32, -1, 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			job := quick(t)
			job.Options.Epochs, job.Options.Replay, job.Options.Validation = 6, 1000, 0.3
			change(&job.Options)
			src := newMemory()
			a := mustTrain(t, job, src)
			m := a.Manifest
			t.Logf("%v: %v, calibration %+v", m.Spec, m.Metrics, m.Calibration)
			least := map[string]float64{network.FamilyMLP: 0.5, network.FamilyCNN: 0.6, network.FamilyMobileNet: 0.15}[name] // a deep one learns nothing much in six epochs of a thousand
			if m.Spec.Architecture != name || m.Metrics["test_accuracy"] < least {
				t.Errorf("%v: test accuracy %.3f", m.Spec, m.Metrics["test_accuracy"])
			}
			if c := m.Calibration; c.Temperature == 1 || c.ECEBefore <= 0 || c.ECEAfter <= 0 || c.ECEAfter > c.ECEBefore+0.03 || c.ECEAfter > 0.15 {
				t.Errorf("calibration %+v", c)
			}
			if before, after := m.Metrics["test_ece_before"], m.Metrics["test_ece_after"]; before <= 0 || after <= 0 || after > before+0.05 || after > 0.2 {
				t.Errorf("expected calibration error on the test split %.3f, calibrated %.3f", before, after)
			}
			c, err := network.NewClassifier(a)
			if err != nil {
				t.Fatal(err)
			}
			right := 0
			for i, label := range src.set.Test.Labels {
				p, err := c.Pixels(src.set.Image(src.set.Test, i))
				if err != nil {
					t.Fatal(err)
				}
				if network.Argmax(p) == int(label) {
					right++
				}
			}
			if got := float64(right) / float64(src.set.Test.Len()); got != m.Metrics["test_accuracy"] {
				t.Errorf("served, it is right in %.4f, the manifest says %.4f", got, m.Metrics["test_accuracy"])
			}
		})
	}
}
