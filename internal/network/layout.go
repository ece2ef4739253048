package network

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	dg "driftgate"
)

// Shape names one tensor of a network and gives its dimensions.
type Shape struct {
	Name    string
	Dims    []int
	Learned bool // by gradients; running means and variances are not
}

// Size is the number of elements.
func (s Shape) Size() int {
	n := 1
	for _, d := range s.Dims {
		n *= d
	}
	return n
}

// Layout lists the tensors in order. Names and orientation are PyTorch's:
// "layers.0.weight" is [out, in] of a dense layer, [out, in, height, width] of a
// convolution, [channels, 1, height, width] of a depthwise one, [channels] of
// batch normalisation; "layers.0.bias" is [out]. The number counts the layers
// that have tensors.
func (s Spec) Layout() []Shape {
	var out []Shape
	for _, st := range s.Stages() {
		out = append(out, st.tensors(st.Name, st.In)...)
	}
	return out
}

// Learned is the part of Layout that gradients move, in order.
func (s Spec) Learned() []Shape {
	return slices.DeleteFunc(s.Layout(), func(t Shape) bool { return !t.Learned })
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
// sqrt(6/fan-in), which keeps the variance through a ReLU; 1/sqrt(fan-in) in the
// last layer; biases zero. The fan-in is the number of values that one output
// sees. Batch normalisation begins with weight 1, bias 0, mean 0, variance 1.
// The same state of rng gives the same weights.
func NewWeights(s Spec, rng *rand.Rand) Weights {
	var out Weights
	stages := s.Stages()
	for i, st := range stages {
		for k, shape := range st.tensors(st.Name, st.In) {
			t := Tensor{shape.Name, shape.Dims, make([]float32, shape.Size())}
			switch {
			case st.Kind == BatchNorm && (k == 0 || k == 3):
				for j := range t.Data {
					t.Data[j] = 1
				}
			case len(shape.Dims) > 1:
				fanIn := float64(shape.Size() / shape.Dims[0])
				bound := math.Sqrt(6 / fanIn)
				if i == len(stages)-1 {
					bound = 1 / math.Sqrt(fanIn)
				}
				for j := range t.Data {
					t.Data[j] = float32((2*rng.Float64() - 1) * bound)
				}
			}
			out = append(out, t)
		}
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
// finite, and no negative variance; the error is [dg.ErrInvalid] and names the
// first tensor at fault.
func (w Weights) Check(s Spec) error {
	if err := w.check(s.Layout()); err != nil {
		return err
	}
	for _, st := range s.Stages() {
		if st.Kind != BatchNorm {
			continue
		}
		t := w[st.Tensors[3]]
		for j, v := range t.Data {
			if v < 0 {
				return fmt.Errorf("network: weights: %s[%d] is %v, want a variance, at least 0: %w", t.Name, j, v, dg.ErrInvalid)
			}
		}
	}
	return nil
}

// CheckLearned is Check for a set of [Spec.Learned]'s tensors alone: what an
// optimiser remembers of each.
func (w Weights) CheckLearned(s Spec) error { return w.check(s.Learned()) }

func (w Weights) check(layout []Shape) error {
	if len(w) != len(layout) {
		return fmt.Errorf("network: weights: %d tensors, the architecture wants %d: %w", len(w), len(layout), dg.ErrInvalid)
	}
	for i, want := range layout {
		got := w[i]
		if got.Name != want.Name || !slices.Equal(got.Shape, want.Dims) || len(got.Data) != want.Size() {
			return fmt.Errorf("network: weights: tensor %d is %s %v with %d values, the architecture wants %s %v: %w",
				i, got.Name, got.Shape, len(got.Data), want.Name, want.Dims, dg.ErrInvalid)
		}
		if j := notFinite(got.Data); j >= 0 {
			return fmt.Errorf("network: weights: %s[%d] is %v, want a finite number: %w", got.Name, j, got.Data[j], dg.ErrInvalid)
		}
	}
	return nil
}

// toKernel copies a tensor of the stage out of the files' orientation into that
// of the kernels: a dense weight becomes [in][out], one of a convolution
// [height][width][in][out], one of a depthwise [height][width][channels]. Each is
// the file's with the first dimension last, and the second before it. Vectors
// stay as they are.
func (st Stage) toKernel(t Tensor) []float32 {
	out := make([]float32, len(t.Data))
	if len(t.Shape) < 2 {
		copy(out, t.Data)
		return out
	}
	units, inputs, window := matrices(t.Shape)
	for o := range units {
		for i := range inputs {
			from := t.Data[(o*inputs+i)*window:][:window]
			for p, v := range from {
				out[(p*inputs+i)*units+o] = v
			}
		}
	}
	return out
}

// fromKernel is the inverse of toKernel: a tensor of the given shape with the
// values of data. The data is copied.
func (st Stage) fromKernel(shape Shape, data []float32) Tensor {
	t := Tensor{shape.Name, shape.Dims, make([]float32, shape.Size())}
	if len(shape.Dims) < 2 {
		copy(t.Data, data)
		return t
	}
	units, inputs, window := matrices(shape.Dims)
	for o := range units {
		for i := range inputs {
			to := t.Data[(o*inputs+i)*window:][:window]
			for p := range to {
				to[p] = data[(p*inputs+i)*units+o]
			}
		}
	}
	return t
}

// matrices splits dimensions into the first, the second and the product of the rest.
func matrices(dims []int) (units, inputs, window int) {
	return dims[0], dims[1], Shape{Dims: dims[2:]}.Size()
}
