package network

import (
	"fmt"
	"image"
	"math"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/kernel"
)

// Classifier answers what is on an image. Its weights never change, so any
// number of goroutines may use it at once.
type Classifier struct {
	manifest Manifest
	plan     *plan
	levels   dataset.Levels
}

// NewClassifier builds a classifier and runs the artifact's self-test: the
// stored inputs must give the stored probabilities within their tolerance,
// otherwise it is refused with [dg.ErrInvalid] and the difference. The artifact
// must not be changed afterwards.
func NewClassifier(a *Artifact) (*Classifier, error) {
	if err := a.Manifest.Validate(); err != nil {
		return nil, err
	}
	c, err := untested(a)
	if err != nil {
		return nil, err
	}
	for i, st := range a.Manifest.SelfTest {
		got, err := c.Pixels(st.Pixels)
		if err != nil {
			return nil, err
		}
		for k, p := range got {
			if d := math.Abs(float64(p - st.Probabilities[k])); !(d <= st.Tolerance) {
				return nil, fmt.Errorf("network: self-test %d: probability %v of %s, stored %v: they differ by %.3g, want at most %g: %w",
					i, p, c.manifest.Classes[k], st.Probabilities[k], d, st.Tolerance, dg.ErrInvalid)
			}
		}
	}
	return c, nil
}

// untested builds a classifier for an artifact whose self-test is yet to be made.
func untested(a *Artifact) (*Classifier, error) {
	if err := a.Manifest.Spec.Validate(); err != nil {
		return nil, err
	}
	if err := a.Weights.Check(a.Manifest.Spec); err != nil {
		return nil, err
	}
	return &Classifier{manifest: a.Manifest, plan: newPlan(a.Manifest.Spec, a.Weights), levels: a.Manifest.Preprocessing.Levels()}, nil
}

// Manifest returns the manifest of the artifact. Treat its slices and maps as
// read-only.
func (c *Classifier) Manifest() Manifest { return c.manifest }

// Probabilities maps n rows of Spec.Inputs normalised values to n rows of
// calibrated probabilities, in the order of the classes. The error is
// [dg.ErrInvalid]: not whole rows, or a value that is not finite.
func (c *Classifier) Probabilities(x []float32) ([]float32, error) {
	out, err := c.Logits(x)
	if err != nil {
		return nil, err
	}
	softmax(out, c.plan.classes, c.manifest.Calibration.Temperature)
	return out, nil
}

// Logits is Probabilities before temperature and softmax.
func (c *Classifier) Logits(x []float32) ([]float32, error) {
	if len(x)%c.plan.inputs != 0 {
		return nil, fmt.Errorf("network: classify: %d values, want a multiple of %d: %w", len(x), c.plan.inputs, dg.ErrInvalid)
	}
	// A ReLU or a maximum may swallow what is no number.
	if i := notFinite(x); i >= 0 {
		return nil, fmt.Errorf("network: classify: row %d has the value %v, want finite inputs: %w", i/c.plan.inputs, x[i], dg.ErrInvalid)
	}
	return c.logits(samples{x: x}, len(x)/c.plan.inputs, nil)
}

// logits answers n samples, and writes what the last layer sees where features
// is not nil.
func (c *Classifier) logits(in samples, n int, features []float32) ([]float32, error) {
	out := make([]float32, n*c.plan.classes)
	c.plan.run(in, n, out, features)
	if i := notFinite(out); i >= 0 {
		return nil, fmt.Errorf("network: classify: row %d gives %v, want finite inputs: %w", i/c.plan.classes, out[i], dg.ErrInvalid)
	}
	return out, nil
}

// notFinite is the place of the first value that is infinite or no number, -1
// if there is none.
func notFinite(x []float32) int {
	// In float64 no sum of squares of finite float32s overflows.
	if sum := kernel.SumSquares(x); sum <= math.MaxFloat64 {
		return -1
	}
	for i, v := range x {
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			return i
		}
	}
	return -1
}

// Pixels classifies one image given as uint8 HWC of the preprocessing's size.
func (c *Classifier) Pixels(px []byte) ([]float32, error) {
	if len(px) != c.plan.inputs {
		return nil, fmt.Errorf("network: classify: %d pixel values, want %d: %w", len(px), c.plan.inputs, dg.ErrInvalid)
	}
	return c.pixels(px, nil)
}

// PixelBatch is Pixels for any number of images, one after the other: as many
// rows of probabilities.
func (c *Classifier) PixelBatch(px []byte) ([]float32, error) {
	if len(px)%c.plan.inputs != 0 {
		return nil, fmt.Errorf("network: classify: %d pixel values, want a multiple of %d: %w", len(px), c.plan.inputs, dg.ErrInvalid)
	}
	return c.pixels(px, nil)
}

func (c *Classifier) pixels(px []byte, features []float32) ([]float32, error) {
	out, err := c.logits(samples{pixels: px, levels: c.levels}, len(px)/c.plan.inputs, features)
	if err != nil {
		return nil, err
	}
	softmax(out, c.plan.classes, c.manifest.Calibration.Temperature)
	return out, nil
}

// Predict classifies one image of any size: the manifest's preprocessing makes
// it fit.
func (c *Classifier) Predict(img image.Image) ([]float32, error) {
	return c.Pixels(c.manifest.Preprocessing.Raster(img))
}

// PredictFeatures is [Classifier.Predict] that also returns the penultimate
// features of the image: the [Classifier.Features] activations that the last
// dense layer sees, after the ReLU; the normalised pixels themselves where there
// is no hidden layer. The probabilities are Predict's to the bit.
func (c *Classifier) PredictFeatures(img image.Image) (probabilities, features []float32, err error) {
	features = make([]float32, c.Features())
	probabilities, err = c.pixels(c.manifest.Preprocessing.Raster(img), features)
	if err != nil {
		return nil, nil, err
	}
	return probabilities, features, nil
}

// Features is how many penultimate features an image has.
func (c *Classifier) Features() int { return c.plan.width }

// RecordSelfTest stores the answers that a gives to images (uint8 HWC) as its
// self-test. It is the last step of making an artifact.
func (a *Artifact) RecordSelfTest(images [][]byte) error {
	c, err := untested(a)
	if err != nil {
		return err
	}
	tests := make([]SelfTest, 0, len(images))
	for _, px := range images {
		p, err := c.Pixels(px)
		if err != nil {
			return err
		}
		tests = append(tests, SelfTest{Pixels: px, Probabilities: p, Tolerance: defaultTolerance})
	}
	a.Manifest.SelfTest = tests
	return nil
}
