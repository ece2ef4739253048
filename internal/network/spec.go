// Package network holds the classifier itself: its architecture, its training
// graph on Gorgonia, its weights on disk, and inference without any framework.
//
// An [Artifact] is what training leaves behind: weights (safetensors), manifest
// and labels, bound together by checksums and by self-test vectors.
// [ReadArtifact] refuses anything that was altered, truncated, misshapen or
// written by a newer format, and says why. A [Classifier] serves an artifact:
// it is safe for concurrent use, allocates little, and refuses to be built when
// the stored self-test does not come out.
//
// The package does no I/O: it maps bytes to models and back. Probabilities run
// 0 to 1 and are calibrated; inputs are HWC float32 rows, normalised by the
// manifest's preprocessing.
package network

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	dg "driftgate"
)

// MLP is the one architecture of today: dense layers with ReLU between them.
const MLP = "mlp"

// Bounds on what a Spec may ask for; they keep a forged manifest from asking
// for memory that no model here needs.
const (
	maxLayers = 16
	maxWidth  = 1 << 20
	maxParams = 64 << 20 // float32s: 256 MiB of weights
)

// Spec is the architecture of a network: everything that fixes the shapes of
// its weights.
type Spec struct {
	Architecture string `json:"architecture"` // MLP
	Inputs       int    `json:"inputs"`       // float32s a sample: height x width x channels
	Hidden       []int  `json:"hidden"`       // widths of the hidden layers; empty is a linear model
	Classes      int    `json:"classes"`      // outputs, at least 2
}

// Shape names one tensor of a network and gives its dimensions.
type Shape struct {
	Name string
	Dims []int
}

// Size is the number of elements.
func (s Shape) Size() int {
	n := 1
	for _, d := range s.Dims {
		n *= d
	}
	return n
}

// Validate reports every fault of the spec; the error is [dg.ErrInvalid].
func (s Spec) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if s.Architecture != MLP {
		bad("architecture %q: want %q", s.Architecture, MLP)
	}
	if s.Inputs < 1 || s.Inputs > maxWidth {
		bad("inputs %d: want 1 to %d", s.Inputs, maxWidth)
	}
	if s.Classes < 2 || s.Classes > 1000 {
		bad("classes %d: want 2 to 1000", s.Classes)
	}
	if len(s.Hidden) > maxLayers {
		bad("hidden: %d layers, want at most %d", len(s.Hidden), maxLayers)
	}
	for i, h := range s.Hidden {
		if h < 1 || h > maxWidth {
			bad("hidden[%d] %d: want 1 to %d", i, h, maxWidth)
		}
	}
	if len(errs) == 0 && s.Parameters() > maxParams {
		bad("%d weights: want at most %d", s.Parameters(), maxParams)
	}
	if len(errs) > 0 {
		return fmt.Errorf("network: spec: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// widths are the sizes of input, hidden layers and output, in order.
func (s Spec) widths() []int { return slices.Concat([]int{s.Inputs}, s.Hidden, []int{s.Classes}) }

// Parameters is the number of weights and biases.
func (s Spec) Parameters() int {
	n, w := 0, s.widths()
	for i := range len(w) - 1 {
		n += (w[i] + 1) * w[i+1]
	}
	return n
}

// Layout lists the tensors in order. Names and orientation are PyTorch's:
// "layers.0.weight" is [out, in], "layers.0.bias" is [out].
func (s Spec) Layout() []Shape {
	w := s.widths()
	out := make([]Shape, 0, 2*len(w))
	for i := range len(w) - 1 {
		out = append(out,
			Shape{fmt.Sprintf("layers.%d.weight", i), []int{w[i+1], w[i]}},
			Shape{fmt.Sprintf("layers.%d.bias", i), []int{w[i+1]}})
	}
	return out
}

// Tensor is a named, dense, row-major block of float32s.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// Weights are a network's tensors in the order of [Spec.Layout].
type Weights []Tensor

// NewWeights draws initial weights: He et al. (2015), uniform with bound
// sqrt(6/inputs), before a ReLU; 1/sqrt(inputs) in the last layer; biases zero.
// The same state of rng gives the same weights.
func NewWeights(s Spec, rng *rand.Rand) Weights {
	layout := s.Layout()
	out := make(Weights, 0, len(layout))
	for i, shape := range layout {
		t := Tensor{shape.Name, shape.Dims, make([]float32, shape.Size())}
		if len(shape.Dims) == 2 {
			bound := math.Sqrt(6 / float64(shape.Dims[1]))
			if i == len(layout)-2 {
				bound = 1 / math.Sqrt(float64(shape.Dims[1]))
			}
			for j := range t.Data {
				t.Data[j] = float32((2*rng.Float64() - 1) * bound)
			}
		}
		out = append(out, t)
	}
	return out
}

// Clone copies the weights deeply.
func (w Weights) Clone() Weights {
	out := make(Weights, len(w))
	for i, t := range w {
		out[i] = Tensor{t.Name, slices.Clone(t.Shape), slices.Clone(t.Data)}
	}
	return out
}

// Check reports whether w has exactly the tensors that s asks for, all of them
// finite; the error is [dg.ErrInvalid] and names the first tensor at fault.
func (w Weights) Check(s Spec) error {
	layout := s.Layout()
	if len(w) != len(layout) {
		return fmt.Errorf("network: weights: %d tensors, the architecture wants %d: %w", len(w), len(layout), dg.ErrInvalid)
	}
	for i, want := range layout {
		got := w[i]
		if got.Name != want.Name || !slices.Equal(got.Shape, want.Dims) || len(got.Data) != want.Size() {
			return fmt.Errorf("network: weights: tensor %d is %s %v with %d values, the architecture wants %s %v: %w",
				i, got.Name, got.Shape, len(got.Data), want.Name, want.Dims, dg.ErrInvalid)
		}
		for j, v := range got.Data {
			if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
				return fmt.Errorf("network: weights: %s[%d] is %v, want a finite number: %w", got.Name, j, v, dg.ErrInvalid)
			}
		}
	}
	return nil
}
