package network

import (
	"fmt"
	"image"
	"math"

	dg "driftgate"
)

// Classifier answers what is on an image. Its weights never change, so any
// number of goroutines may use it at once.
type Classifier struct {
	manifest Manifest
	plan     *plan
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
	p, err := newPlan(a.Manifest.Spec, a.Weights)
	if err != nil {
		return nil, err
	}
	return &Classifier{manifest: a.Manifest, plan: p}, nil
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
	n := len(x) / c.plan.inputs
	out := make([]float32, n*c.plan.classes)
	c.plan.logits(x, n, out)
	if err := c.finite(out); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Classifier) finite(logits []float32) error {
	for i, v := range logits {
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			return fmt.Errorf("network: classify: row %d gives %v, want finite inputs: %w", i/c.plan.classes, v, dg.ErrInvalid)
		}
	}
	return nil
}

// Pixels classifies one image given as uint8 HWC of the preprocessing's size.
func (c *Classifier) Pixels(px []byte) ([]float32, error) {
	if len(px) != c.plan.inputs {
		return nil, fmt.Errorf("network: classify: %d pixel values, want %d: %w", len(px), c.plan.inputs, dg.ErrInvalid)
	}
	x := make([]float32, len(px))
	c.manifest.Preprocessing.Pixels(px, x)
	return c.Probabilities(x)
}

// Predict classifies one image of any size: the manifest's preprocessing makes
// it fit.
func (c *Classifier) Predict(img image.Image) ([]float32, error) {
	return c.Probabilities(c.manifest.Preprocessing.Image(img))
}

// PredictFeatures is [Classifier.Predict] that also returns the penultimate
// features of the image: the [Classifier.Features] activations that the last
// dense layer sees, after the ReLU; the normalised pixels themselves where there
// is no hidden layer. The probabilities are Predict's to the bit.
func (c *Classifier) PredictFeatures(img image.Image) (probabilities, features []float32, err error) {
	x := c.manifest.Preprocessing.Image(img)
	if len(x) != c.plan.inputs {
		return nil, nil, fmt.Errorf("network: classify: %d values, want %d: %w", len(x), c.plan.inputs, dg.ErrInvalid)
	}
	probabilities, features = make([]float32, c.plan.classes), make([]float32, c.plan.features())
	c.plan.rows(x, 1, probabilities, features)
	if err := c.finite(probabilities); err != nil {
		return nil, nil, err
	}
	softmax(probabilities, c.plan.classes, c.manifest.Calibration.Temperature)
	return probabilities, features, nil
}

// Features is how many penultimate features an image has.
func (c *Classifier) Features() int { return c.plan.features() }

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
