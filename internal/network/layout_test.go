package network

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/kernel"
)

func TestEveryTensorComesBackFromTheKernelsForm(t *testing.T) {
	for name, s := range families() {
		layout := s.Layout()
		w := NewWeights(s, rand.New(rand.NewPCG(1, 2)))
		for _, st := range s.Stages() {
			for _, i := range st.Tensors {
				for j := range w[i].Data {
					w[i].Data[j] = float32(j + 1)
				}
				form := st.toKernel(w[i])
				if back := st.fromKernel(layout[i], form); back.Name != w[i].Name || !slices.Equal(back.Shape, w[i].Shape) || !slices.Equal(back.Data, w[i].Data) {
					t.Errorf("%s: %s %v changed on the way to the kernels and back", name, w[i].Name, w[i].Shape)
				}
				form[0]++
				if w[i].Data[0] != 1 {
					t.Errorf("%s: %s shares its memory with the kernels", name, w[i].Name)
				}
			}
		}
	}
}

// The kernels compute with the turned weights what PyTorch's documentation
// defines with those of the file: torch.nn.Conv2d's out[o][y][x] is the sum over
// c, i, j of weight[o][c][i][j] * in[c][y*stride+i-padding][x*stride+j-padding].
func TestTheKernelsComputeWhatTheFilesWeightsMean(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, l := range []Layer{
		{Kind: Conv, Units: 3, Kernel: 3, Stride: 2, Padding: 1},
		{Kind: Conv, Units: 5, Kernel: 2, Stride: 1},
		{Kind: Depthwise, Kernel: 3, Stride: 1, Padding: 2},
	} {
		s := Spec{Architecture: "x", Input: Size{6, 5, 4}, Layers: []Layer{l, {Kind: Dense, Units: 2}}, Classes: 2}
		st := s.Stages()[0]
		w := NewWeights(s, rng)[0]
		in := make([]float32, s.Inputs())
		for i := range in {
			in[i] = float32(rng.NormFloat64())
		}
		win := st.Window()
		padded, got := make([]float32, win.Padded()), make([]float32, win.Output())
		win.Pad(padded, in)
		if l.Kind == Conv {
			win.Conv(got, padded, st.toKernel(w), kernel.Epilogue{}, 0, st.Out.Height)
		} else {
			win.Depthwise(got, padded, st.toKernel(w), kernel.Epilogue{}, 0, st.Out.Height)
		}
		at := func(y, x, c int) float64 {
			if y < 0 || x < 0 || y >= 6 || x >= 5 {
				return 0
			}
			return float64(in[(y*5+x)*4+c])
		}
		for i, v := range got {
			o, x, y := i%st.Out.Channels, i/st.Out.Channels%st.Out.Width, i/st.Out.Channels/st.Out.Width
			var want float64
			for c := range w.Shape[1] {
				from := c
				if l.Kind == Depthwise {
					from = o
				}
				for p := range l.Kernel * l.Kernel {
					weight := w.Data[(o*w.Shape[1]+c)*l.Kernel*l.Kernel+p]
					want += float64(weight) * at(y*l.Stride+p/l.Kernel-l.Padding, x*l.Stride+p%l.Kernel-l.Padding, from)
				}
			}
			if math.Abs(float64(v)-want) > 1e-5 {
				t.Fatalf("%v: output %d is %v, by definition %v", l, i, v, want)
			}
		}
	}
}

func TestNewWeightsKeepTheVarianceOfWhatGoesThrough(t *testing.T) {
	s := everyKind()
	w := NewWeights(s, rand.New(rand.NewPCG(5, 6)))
	if err := w.Check(s); err != nil {
		t.Fatal(err)
	}
	again := NewWeights(s, rand.New(rand.NewPCG(5, 6)))
	for i := range w {
		if !slices.Equal(w[i].Data, again[i].Data) {
			t.Errorf("%s: the same seed gives others", w[i].Name)
		}
	}
	byName := map[string]Tensor{}
	for _, tensor := range w {
		byName[tensor.Name] = tensor
	}
	for name, value := range map[string]float32{
		"layers.0.weight": 1, "layers.0.bias": 0, "layers.0.running_mean": 0, "layers.0.running_var": 1, "layers.2.bias": 0, "layers.5.bias": 0,
	} {
		if slices.ContainsFunc(byName[name].Data, func(v float32) bool { return v != value }) || len(byName[name].Data) == 0 {
			t.Errorf("%s begins with %v, want %v", name, byName[name].Data, value)
		}
	}
	// A large layer of each kind, for its bound.
	large := Spec{Architecture: "x", Input: Size{4, 4, 64}, Classes: 500, Layers: []Layer{
		{Kind: Conv, Units: 96, Kernel: 3, Stride: 1}, {Kind: Depthwise, Kernel: 2, Stride: 1}, {Kind: Dense, Units: 700}, {Kind: Dense, Units: 500},
	}}
	w = NewWeights(large, rand.New(rand.NewPCG(7, 8)))
	for i, fanIn := range []float64{9 * 64, 4, 96, 700} {
		bound := math.Sqrt(6 / fanIn)
		if i == 3 {
			bound = 1 / math.Sqrt(fanIn)
		}
		var top float64
		for _, v := range w[i].Data {
			top = max(top, math.Abs(float64(v)))
		}
		if top > bound || top < 0.98*bound {
			t.Errorf("%s %v: up to %v, want a bound of %v", w[i].Name, w[i].Shape, top, bound)
		}
	}
}

func TestWeightsThatDoNotFitAreNamed(t *testing.T) {
	s := CNN(Size{8, 8, 1}, CNNOptions{Filters: []int{2}, Dense: []int{3}, BatchNorm: true}, 2)
	for _, tt := range []struct {
		name, want string
		change     func(w Weights) Weights
	}{
		{"a tensor less", "11 tensors, the architecture wants 12", func(w Weights) Weights { return w[1:] }},
		{"another name", "tensor 1 is gamma [2] with 2 values, the architecture wants layers.1.weight [2]", func(w Weights) Weights { w[1].Name = "gamma"; return w }},
		{"another orientation", "tensor 0 is layers.0.weight [3 3 1 2]", func(w Weights) Weights { w[0].Shape = []int{3, 3, 1, 2}; return w }},
		{"too few values", "with 17 values", func(w Weights) Weights { w[0].Data = w[0].Data[1:]; return w }},
		{"no number", "layers.1.running_mean[1] is NaN", func(w Weights) Weights { w[3].Data[1] = float32(math.NaN()); return w }},
		{"an infinite number", "layers.3.running_mean[0] is -Inf", func(w Weights) Weights { w[8].Data[0] = float32(math.Inf(-1)); return w }},
		{"a negative variance", "layers.1.running_var[0] is -0.5, want a variance", func(w Weights) Weights { w[4].Data[0] = -0.5; return w }},
	} {
		w := tt.change(NewWeights(s, rand.New(rand.NewPCG(1, 1))))
		if err := w.Check(s); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: error %v, want ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
	w := NewWeights(s, rand.New(rand.NewPCG(1, 1)))
	learned := slices.DeleteFunc(w.Clone(), func(t Tensor) bool { return strings.Contains(t.Name, "running") })
	if err := learned.CheckLearned(s); err != nil || len(learned) != 8 {
		t.Errorf("%d learned tensors: %v", len(learned), err)
	}
	if err := w.CheckLearned(s); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("all tensors for the learned ones: error %v", err)
	}
}
