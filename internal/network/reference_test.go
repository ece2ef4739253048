package network

import (
	"math/rand/v2"
	"testing"

	naive "driftgate/internal/network/operator/operatortest"
)

// reference is a network in float64, layer by layer as written for reading. Its
// parameters lie as the kernels want them, in the order of Layout.
type reference struct {
	spec   Spec
	params [][]float64
}

func newReference(s Spec, w Weights) *reference {
	r := &reference{spec: s}
	for _, st := range s.Stages() {
		for _, at := range st.Tensors {
			r.params = append(r.params, naive.Wide(st.toKernel(w[at])))
		}
	}
	return r
}

// logits are those of training: batch norm takes its moments from x, and
// returns them in the order of its layers.
func (r *reference) logits(x []float64) (logits naive.Images, means, variances [][]float64) {
	s := r.spec.Input
	m := naive.Images{N: len(x) / s.Values(), H: s.Height, W: s.Width, C: s.Channels, V: x}
	for _, st := range r.spec.Stages() {
		var w, b []float64
		if len(st.Tensors) > 0 {
			w = r.params[st.Tensors[0]]
		}
		if len(st.Tensors) > 1 {
			b = r.params[st.Tensors[1]]
		}
		switch st.Kind {
		case Dense:
			m = naive.Dense(m, w, b, st.ReLU)
		case Conv:
			m = naive.Conv(m, w, b, st.Kernel, st.Stride, st.Padding, st.ReLU)
		case Depthwise:
			m = naive.Depthwise(m, w, b, st.Kernel, st.Stride, st.Padding, st.ReLU)
		case BatchNorm:
			var mean, variance []float64
			m, mean, variance = naive.BatchNorm(m, w, b, Epsilon, st.ReLU)
			means, variances = append(means, mean), append(variances, variance)
		case MaxPool:
			m = naive.MaxPool(m, st.Kernel, st.Stride)
		case MeanPool:
			m = naive.MeanPool(m)
		default:
			panic("no reference for " + st.Kind)
		}
	}
	return m, means, variances
}

// loss is the weighted mean cross-entropy with smoothed targets.
func (r *reference) loss(b Batch) float64 {
	logits, _, _ := r.logits(naive.Wide(b.Inputs[:len(b.Labels)*r.spec.Inputs()]))
	classes, total := r.spec.Classes, 0.0
	for i := range b.Labels {
		total += b.weight(i)
	}
	var target []float64
	for i, label := range b.Labels {
		for j := range classes {
			t := b.Smoothing / float64(classes)
			if j == label {
				t += 1 - b.Smoothing
			}
			target = append(target, t*b.weight(i)/total)
		}
	}
	return naive.CrossEntropy(logits, target)
}

// The networks of the tests, one of each family, small enough for finite
// differences, and one that has what they do not.
var (
	smallMLP    = MLP(Flat(7), []int{6, 5}, 4)
	smallCNN    = CNN(Size{8, 9, 2}, CNNOptions{Filters: []int{3, 4}, Dense: []int{5}}, 4)
	smallNorm   = CNN(Size{6, 6, 2}, CNNOptions{Filters: []int{4}, Convs: 2, Dense: []int{5}, BatchNorm: true}, 3)
	smallMobile = Spec{Architecture: FamilyMobileNet, Input: Size{9, 9, 3}, Classes: 4, Layers: []Layer{
		{Kind: Conv, Units: 4, Kernel: 3, Stride: 2, Padding: 1}, {Kind: BatchNorm, ReLU: true},
		{Kind: Depthwise, Kernel: 3, Stride: 1, Padding: 1}, {Kind: BatchNorm, ReLU: true},
		{Kind: Conv, Units: 6, Kernel: 1, Stride: 1}, {Kind: BatchNorm, ReLU: true},
		{Kind: Depthwise, Kernel: 3, Stride: 2, Padding: 1}, {Kind: BatchNorm, ReLU: true},
		{Kind: Conv, Units: 5, Kernel: 1, Stride: 1}, {Kind: BatchNorm, ReLU: true},
		{Kind: MeanPool}, {Kind: Dense, Units: 4, Bias: true},
	}}
	smallOdd = Spec{Architecture: "odd", Input: Size{11, 10, 1}, Classes: 3, Layers: []Layer{
		{Kind: BatchNorm},
		{Kind: Conv, Units: 3, Kernel: 5, Stride: 2, Padding: 2, Bias: true, ReLU: true}, {Kind: MaxPool, Kernel: 3, Stride: 1},
		{Kind: Depthwise, Kernel: 2, Stride: 1, Bias: true, ReLU: true},
		{Kind: Conv, Units: 5, Kernel: 1, Stride: 1, Bias: true, ReLU: true}, {Kind: MaxPool, Kernel: 2, Stride: 2},
		{Kind: Dense, Units: 6, Bias: true, ReLU: true}, {Kind: BatchNorm}, {Kind: Dense, Units: 3, Bias: true},
	}}
	smallNetworks = map[string]Spec{"mlp": smallMLP, "cnn": smallCNN, "cnn with batch norm": smallNorm, "mobilenet": smallMobile, "odd": smallOdd}
)

// moved are initial weights with every tensor moved a little, biases too, so
// that no gradient is trivially zero.
func moved(s Spec, rng *rand.Rand) Weights {
	w := NewWeights(s, rng)
	for i, shape := range s.Layout() {
		for j := range w[i].Data {
			if shape.Learned {
				w[i].Data[j] += float32(rng.NormFloat64() * 0.3)
			}
		}
	}
	return w
}

// batchOf draws n samples; some weights are 0, some large.
func batchOf(s Spec, n int, rng *rand.Rand) Batch {
	b := Batch{Seed: rng.Uint64()}
	for range n * s.Inputs() {
		b.Inputs = append(b.Inputs, float32(rng.NormFloat64()))
	}
	for i := range n {
		b.Labels = append(b.Labels, rng.IntN(s.Classes))
		b.Weights = append(b.Weights, []float32{1, 0.3, 0, 2.5}[i%4])
	}
	return b
}

func learner(t testing.TB, s Spec, batch int, w Weights, kind string, state OptimiserState) *Learner {
	t.Helper()
	l, err := NewLearner(s, batch, w, kind, state)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// distance is the largest difference of two values in the same place.
func distance(a, b Weights) float64 {
	var d float64
	for i := range a {
		for j := range a[i].Data {
			d = max(d, float64(a[i].Data[j]-b[i].Data[j]), float64(b[i].Data[j]-a[i].Data[j]))
		}
	}
	return d
}
