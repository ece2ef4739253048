package trainer

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/kernel"
	"driftgate/internal/network"
)

// minCalibration is how many validation samples a temperature needs; with
// fewer it stays 1.
const minCalibration = 50

// finish calibrates and measures the best weights and makes the artifact. It is
// the end of the training: what only learning needs is freed.
func (t *training) finish() (*network.Artifact, error) {
	t.close()
	t.progress(Progress{Phase: Calibrating, Epoch: t.state.Epoch, Epochs: t.job.Options.Epochs, ValidationLoss: t.state.BestLoss, ValidationAccuracy: t.state.ValidAcc})
	o := t.job.Options
	o.Threads = 0 // changes the speed, not the model
	options, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("trainer: encode options: %w", err)
	}
	calibration, err := t.calibrate()
	if err != nil {
		return nil, err
	}
	metrics, err := t.metrics(calibration)
	if err != nil {
		return nil, err
	}
	ids := t.m.inherit(t.m.ids())
	t.m.account.Augmentation.Images = t.state.Varied
	m := network.Manifest{
		Model: t.job.Model, RunID: t.job.RunID, Spec: t.spec, Classes: t.m.base.Classes, Preprocessing: t.m.pre,
		Dataset: t.job.Dataset, Counts: t.m.counts(), Skipped: t.m.skipped, ReferenceClassMix: t.m.classMix(),
		Options: options, Seed: o.Seed, Epochs: t.state.Epoch, Parent: t.job.Parent,
		Metrics: metrics, Calibration: calibration,
		StartedAt: t.job.StartedAt.UTC(), FinishedAt: time.Now().UTC().Truncate(time.Millisecond),
		GoVersion: runtime.Version(), Modules: modules(), TrainedOn: ids,
		Composition: &t.m.account, Curves: t.state.Curves,
		Environment: &network.Environment{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Threads: runtime.GOMAXPROCS(0), Kernel: kernel.Active().String()},
	}
	a := &network.Artifact{Manifest: m, Weights: t.state.best}
	if err := a.RecordSelfTest(t.m.examples(8)); err != nil {
		return nil, err
	}
	t.progress(Progress{Phase: Done, Epoch: t.state.Epoch, Epochs: o.Epochs, ValidationLoss: t.state.BestLoss, ValidationAccuracy: t.state.ValidAcc})
	return a, nil
}

// calibrate fits the temperature on validation samples whose label is true:
// proxy labels would only confirm the model that gave them.
func (t *training) calibrate() (network.Calibration, error) {
	v := &t.m.valid
	var images [][]byte
	var labels []int
	for i, source := range v.sources {
		if source != string(dg.ProxyLabel) {
			images = append(images, v.image(i))
			labels = append(labels, v.labels[i])
		}
	}
	if len(labels) < minCalibration {
		return network.Calibration{Temperature: 1}, nil
	}
	logits, err := t.m.logits(t.spec, t.state.best, len(images), func(i int) []byte { return images[i] })
	if err != nil {
		return network.Calibration{}, err
	}
	return network.FitTemperature(logits, labels, t.spec.Classes)
}

// metrics are the manifest's figures: of the last epoch on the training
// samples, of the best on the validation samples and on the base test set. There
// the calibration error is an honest one: the temperature was fitted elsewhere.
func (t *training) metrics(c network.Calibration) (map[string]float64, error) {
	out := map[string]float64{
		"train_loss": t.state.TrainLoss, "train_accuracy": t.state.TrainAcc, "best_epoch": float64(t.state.BestEpoch),
	}
	if t.m.valid.len() > 0 {
		out["validation_loss"], out["validation_accuracy"] = t.state.BestLoss, t.state.ValidAcc
	}
	test := t.m.base.Test
	if test.Len() == 0 {
		return out, nil
	}
	logits, err := t.m.logits(t.spec, t.state.best, test.Len(), func(i int) []byte { return t.m.base.Image(test, i) })
	if err != nil {
		return nil, err
	}
	labels := make([]int, test.Len())
	for i, l := range test.Labels {
		labels[i] = int(l)
	}
	out["test_accuracy"] = weightedAccuracy(logits, labels, nil, t.spec.Classes)
	out["test_ece_before"] = network.CalibrationError(logits, labels, t.spec.Classes, 1)
	out["test_ece_after"] = network.CalibrationError(logits, labels, t.spec.Classes, c.Temperature)
	return out, nil
}

// counts are samples by source and by split, and what was skipped.
func (m *material) counts() map[string]int {
	out := map[string]int{"train": m.train.len(), "validation": m.valid.len(), "skipped": len(m.skipped)}
	for _, source := range []string{baseSource, string(dg.HumanLabel), string(dg.ProxyLabel)} {
		out[source] = 0
	}
	for _, s := range []*samples{&m.train, &m.valid} {
		for _, source := range s.sources {
			out[source]++
		}
	}
	return out
}

// classMix is the share of each class among the labels, each sample counting
// once: what the model takes for usual.
func (m *material) classMix() []float64 {
	out := make([]float64, len(m.base.Classes))
	n := float64(m.train.len() + m.valid.len())
	for _, s := range []*samples{&m.train, &m.valid} {
		for _, label := range s.labels {
			out[label]++
		}
	}
	for i := range out {
		out[i] /= n
	}
	return out
}

// ids are all samples that the model has seen in any way, sorted.
func (m *material) ids() []string {
	return slices.Sorted(slices.Values(slices.Concat(m.train.ids, m.valid.ids)))
}

// modules are the versions of what computes, as linked into this binary.
func modules() map[string]string {
	out := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "gorgonia.org/gorgonia", "gorgonia.org/tensor", "gonum.org/v1/gonum":
			out[m.Path] = m.Version
		}
	}
	return out
}

// examples are up to n images for the self-test, of the base test set if it
// has any.
func (m *material) examples(n int) [][]byte {
	test := m.base.Test
	count, image := test.Len(), func(i int) []byte { return m.base.Image(test, i) }
	if count == 0 {
		count, image = m.train.len(), m.train.image
	}
	var out [][]byte
	for k := range min(n, count) {
		out = append(out, slices.Clone(image(k*count/min(n, count)))) // spread: sets are often sorted by class
	}
	return out
}
