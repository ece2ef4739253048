package network

import (
	"math"
	"slices"
)

// The families of [Spec.Architecture].
const (
	FamilyMLP       = "mlp"
	FamilyCNN       = "cnn"
	FamilyMobileNet = "mobilenet"
)

// MLP is a multilayer perceptron: dense layers of the given widths with ReLU
// between them; none is a linear model.
func MLP(in Size, hidden []int, classes int) Spec {
	s := Spec{Architecture: FamilyMLP, Input: in, Classes: classes}
	for _, units := range hidden {
		s.Layers = append(s.Layers, Layer{Kind: Dense, Units: units, Bias: true, ReLU: true})
	}
	s.Layers = append(s.Layers, Layer{Kind: Dense, Units: classes, Bias: true})
	return s
}

// CNNOptions shape a [CNN]. The zero value is the benchmark's network:
// convolution 3x3x32, pool, convolution 3x3x64, pool, 128 units, the classes.
type CNNOptions struct {
	Filters   []int   // of each block; none is 32, 64. A block halves the sides, so that n blocks want sides of at least 2^n pixels
	Convs     int     // convolutions in a block, before its pool; 0 is 1
	Dense     []int   // units of the hidden layers after the blocks; nil is 128, empty is none
	BatchNorm bool    // before each ReLU
	Dropout   float64 // share, before each dense layer; 0 is none
}

// CNN is a convolutional network: blocks of 3x3 convolutions (padding 1) and a
// 2x2 maximum, then dense layers.
func CNN(in Size, o CNNOptions, classes int) Spec {
	if len(o.Filters) == 0 {
		o.Filters = []int{32, 64}
	}
	if o.Dense == nil {
		o.Dense = []int{128}
	}
	s := Spec{Architecture: FamilyCNN, Input: in, Classes: classes}
	for _, filters := range o.Filters {
		for range max(1, o.Convs) {
			s.add(rectified(Layer{Kind: Conv, Units: filters, Kernel: 3, Stride: 1, Padding: 1}, o.BatchNorm)...)
		}
		s.add(Layer{Kind: MaxPool, Kernel: 2, Stride: 2})
	}
	dropped := func(layers ...Layer) []Layer {
		if o.Dropout == 0 {
			return layers
		}
		return slices.Concat([]Layer{{Kind: Dropout, Rate: o.Dropout}}, layers)
	}
	for _, units := range o.Dense {
		s.add(dropped(rectified(Layer{Kind: Dense, Units: units}, o.BatchNorm)...)...)
	}
	s.add(dropped(Layer{Kind: Dense, Units: classes, Bias: true})...)
	return s
}

// rectified gives a layer its ReLU, and before it a bias or the batch
// normalisation that has one.
func rectified(l Layer, norm bool) []Layer {
	if norm {
		return []Layer{l, {Kind: BatchNorm, ReLU: true}}
	}
	l.Bias, l.ReLU = true, true
	return []Layer{l}
}

func (s *Spec) add(layers ...Layer) { s.Layers = append(s.Layers, layers...) }

// mobileBlocks are the depthwise-separable blocks of MobileNet (Howard et al.,
// 2017, table 1): filters at width 1, and whether the block halves the sides.
var mobileBlocks = []struct {
	filters int
	halves  bool
}{
	{64, false},
	{128, true},
	{128, false},
	{256, true},
	{256, false},
	{512, true},
	{512, false},
	{512, false},
	{512, false},
	{512, false},
	{512, false},
	{1024, true},
	{1024, false},
}

// MobileNet is the network of Howard et al. (2017): a 3x3 convolution, blocks of
// a depthwise 3x3 and a pointwise convolution, each with batch normalisation
// and ReLU, the mean over the image, a dense layer. Width multiplies the filters
// (rounded to multiples of 16, at least 16, which suit the kernels' vectors).
//
// The paper halves the sides of its 224 pixels five times, down to 7. Images of
// at most 32 pixels are halved less often, so that the last blocks see 2 pixels
// a side at least; the halvings that fall away are the first ones. One halving
// less costs four times the work and did not pay: 64-pixel photos of food came
// to .51 in 210 CPU-seconds with five, to .34 in 370 with four.
func MobileNet(in Size, width float64, classes int) Spec {
	s := Spec{Architecture: FamilyMobileNet, Input: in, Classes: classes}
	filters := func(n int) int { return max(1, int(math.Round(float64(n)*width/16))) * 16 }
	const halvings = 5
	side, skip := min(in.Height, in.Width), halvings
	for n := 1; n <= halvings && (side-1)>>n+1 >= 2; n++ {
		skip--
	}
	stride := func(halves bool) int {
		if !halves {
			return 1
		}
		if skip > 0 {
			skip--
			return 1
		}
		return 2
	}
	s.add(rectified(Layer{Kind: Conv, Units: filters(32), Kernel: 3, Stride: stride(true), Padding: 1}, true)...)
	for _, b := range mobileBlocks {
		s.add(rectified(Layer{Kind: Depthwise, Kernel: 3, Stride: stride(b.halves), Padding: 1}, true)...)
		s.add(rectified(Layer{Kind: Conv, Units: filters(b.filters), Kernel: 1, Stride: 1}, true)...)
	}
	s.add(Layer{Kind: MeanPool}, Layer{Kind: Dense, Units: classes, Bias: true})
	return s
}
