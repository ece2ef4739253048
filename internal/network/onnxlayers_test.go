package network

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"driftgate/internal/dataset"
)

// artifactOf makes an artifact of any network, with weights, biases and moments
// as after training, and its self-test.
func artifactOf(t testing.TB, s Spec) *Artifact {
	t.Helper()
	a := artifact(t, 4)
	p := dataset.Preprocessing{Width: s.Input.Width, Height: s.Input.Height, Channels: s.Input.Channels, Resize: dataset.ResizeStretch}
	for range p.Channels {
		p.Mean, p.Std = append(p.Mean, 0.4), append(p.Std, 0.3)
	}
	a.Manifest.Spec, a.Manifest.Preprocessing, a.Manifest.Classes, a.Manifest.ReferenceClassMix = s, p, nil, nil
	for i := range s.Classes {
		a.Manifest.Classes = append(a.Manifest.Classes, fmt.Sprintf("class %d", i))
	}
	a.Weights = trained(s, rand.New(rand.NewPCG(11, uint64(s.Inputs()))))
	px := make([]byte, p.Size())
	for i := range px {
		px[i] = byte(i * 37)
	}
	if err := a.RecordSelfTest([][]byte{px}); err != nil {
		t.Fatal(err)
	}
	return a
}

// The operators on images, in the order batch, channels, height, width, by
// their definitions: https://onnx.ai/onnx/operators.

func transposed(x value, perm []int64) (value, error) {
	if len(perm) != len(x.dims) || len(perm) != 4 {
		return value{}, fmt.Errorf("%v permuted by %v", x.dims, perm)
	}
	out := value{make([]int, 4), make([]float64, len(x.data))}
	for i, p := range perm {
		out.dims[i] = x.dims[p]
	}
	for i, v := range x.data {
		at, rest := [4]int{}, i
		for k := 3; k >= 0; k-- {
			at[k], rest = rest%x.dims[k], rest/x.dims[k]
		}
		to := 0
		for k, p := range perm {
			to = to*out.dims[k] + at[p]
		}
		out.data[to] = v
	}
	return out, nil
}

// windows is the size of what windows make of an image, and the step and the
// leading padding.
func windows(dims []int, lists map[string][]int64, kernel []int64) (h, w, stride, pad int, err error) {
	s, p := lists["strides"], lists["pads"]
	if len(dims) != 4 || len(s) != 2 || len(p) != 4 || s[0] != s[1] || p[0] != p[1] || p[1] != p[2] || p[2] != p[3] || fmt.Sprint(kernel) != fmt.Sprint(lists["kernel_shape"]) {
		return 0, 0, 0, 0, fmt.Errorf("windows %v and %v over %v", kernel, lists, dims)
	}
	stride, pad = int(s[0]), int(p[0])
	return (dims[2]+2*pad-int(kernel[0]))/stride + 1, (dims[3]+2*pad-int(kernel[1]))/stride + 1, stride, pad, nil
}

func convolved(in []value, group int64, lists map[string][]int64) (value, error) {
	x, k := in[0], in[1]
	groups := max(1, int(group))
	h, w, stride, pad, err := windows(x.dims, lists, []int64{int64(k.dims[2]), int64(k.dims[3])})
	if err != nil {
		return value{}, err
	}
	if x.dims[1] != groups*k.dims[1] || k.dims[0]%groups != 0 || len(in) > 2 && in[2].dims[0] != k.dims[0] {
		return value{}, fmt.Errorf("%v in %d groups by %v", x.dims, groups, k.dims)
	}
	out := value{dims: []int{x.dims[0], k.dims[0], h, w}}
	for n := range x.dims[0] {
		for o := range k.dims[0] {
			for i := range h * w {
				var sum float64
				if len(in) > 2 {
					sum = in[2].data[o]
				}
				for c := range k.dims[1] {
					from := o/(k.dims[0]/groups)*k.dims[1] + c
					for p := range k.dims[2] * k.dims[3] {
						y, z := i/w*stride+p/k.dims[3]-pad, i%w*stride+p%k.dims[3]-pad
						if y >= 0 && z >= 0 && y < x.dims[2] && z < x.dims[3] {
							sum += k.data[(o*k.dims[1]+c)*k.dims[2]*k.dims[3]+p] * x.data[((n*x.dims[1]+from)*x.dims[2]+y)*x.dims[3]+z]
						}
					}
				}
				out.data = append(out.data, sum)
			}
		}
	}
	return out, nil
}

func normalised(in []value, epsilon float64) (value, error) {
	if len(in) != 5 {
		return value{}, fmt.Errorf("%d inputs", len(in))
	}
	x, channels := in[0], in[0].dims[1]
	for _, v := range in[1:] {
		if len(v.dims) != 1 || v.dims[0] != channels {
			return value{}, fmt.Errorf("%v over %v", v.dims, x.dims)
		}
	}
	out, size := value{x.dims, make([]float64, len(x.data))}, len(x.data)/x.dims[0]/channels
	for i, v := range x.data {
		c := i / size % channels
		out.data[i] = (v-in[3].data[c])/math.Sqrt(in[4].data[c]+epsilon)*in[1].data[c] + in[2].data[c]
	}
	return out, nil
}

func pooled(op string, x value, lists map[string][]int64) (value, error) {
	if op == "GlobalAveragePool" {
		out, size := value{dims: []int{x.dims[0], x.dims[1], 1, 1}}, x.dims[2]*x.dims[3]
		for at := 0; at < len(x.data); at += size {
			var sum float64
			for _, v := range x.data[at:][:size] {
				sum += v
			}
			out.data = append(out.data, sum/float64(size))
		}
		return out, nil
	}
	kernel := lists["kernel_shape"]
	h, w, stride, pad, err := windows(x.dims, lists, kernel)
	if err != nil || pad != 0 {
		return value{}, fmt.Errorf("padding %d: %w", pad, err)
	}
	out := value{dims: []int{x.dims[0], x.dims[1], h, w}}
	for plane := range x.dims[0] * x.dims[1] {
		for i := range h * w {
			top := math.Inf(-1)
			for p := range int(kernel[0] * kernel[1]) {
				y, z := i/w*stride+p/int(kernel[1]), i%w*stride+p%int(kernel[1])
				top = max(top, x.data[(plane*x.dims[2]+y)*x.dims[3]+z])
			}
			out.data = append(out.data, top)
		}
	}
	return out, nil
}

func TestTheNamesInAGraphAreStable(t *testing.T) {
	a := artifactOf(t, CNN(Size{8, 8, 1}, CNNOptions{Filters: []int{2}, Dense: []int{3}, BatchNorm: true, Dropout: 0.5}, 2))
	m := decoded(t, a)
	var got []string
	for _, n := range m.Graph.Node {
		got = append(got, fmt.Sprintf("%s %s", n.GetOpType(), n.GetName()))
	}
	want := []string{
		"Cast pixels", "Div scaled", "Sub centred", "Div normalised",
		"Transpose layers.0.channels_first", "Conv layers.0", "BatchNormalization layers.1.sum", "Relu layers.1", "MaxPool maxpool.2",
		"Transpose layers.2.channels_last", "Flatten flat", "Gemm layers.2", "BatchNormalization layers.3.sum", "Relu layers.3", "Gemm logits", "Div calibrated", "Softmax probabilities",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("nodes %v\nwant  %v", got, want)
	}
	tensors := map[string]bool{}
	for _, i := range m.Graph.Initializer {
		tensors[i.GetName()] = true
	}
	for _, shape := range a.Manifest.Spec.Layout() {
		if !tensors[shape.Name] {
			t.Errorf("no tensor %s in the graph", shape.Name)
		}
	}
}

func TestTheGraphOfAnOlderFormatIsThatOfItsNetwork(t *testing.T) {
	a := artifact(t, 9, 7)
	want := decoded(t, a).Graph.Node
	a.Manifest.Spec.Input = Flat(784) // as the old form of a spec reads
	got := decoded(t, a).Graph.Node
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("nodes %v\nwant  %v", got, want)
	}
}
