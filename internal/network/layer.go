package network

import (
	"errors"
	"fmt"
	"strconv"

	"driftgate/internal/kernel"
	"driftgate/internal/network/operator"
)

// The kinds of a layer.
const (
	Dense     = "dense"     // y = Wx + b over all values, of an image in the order height, width, channels
	Conv      = "conv"      // convolution: every filter sees all channels
	Depthwise = "depthwise" // convolution: every channel has its own window
	BatchNorm = "batchnorm" // Ioffe & Szegedy (2015), by channel
	MaxPool   = "maxpool"   // the largest value of each window, by channel
	MeanPool  = "meanpool"  // the mean over all pixels, by channel
	Dropout   = "dropout"   // Srivastava et al. (2014); in training alone
)

// Epsilon is added to the variance in batch normalisation.
const Epsilon = operator.Epsilon

// Layer is one step of a network. What its kind does not name must be zero.
type Layer struct {
	Kind    string  `json:"kind"`
	Units   int     `json:"units,omitempty"`   // dense: outputs; conv: filters
	Kernel  int     `json:"kernel,omitempty"`  // conv, depthwise, maxpool: side of the window, pixels
	Stride  int     `json:"stride,omitempty"`  // conv, depthwise, maxpool: step of the window, pixels
	Padding int     `json:"padding,omitempty"` // conv, depthwise: zeros on each side of the image, pixels
	Bias    bool    `json:"bias,omitempty"`    // dense, conv, depthwise
	ReLU    bool    `json:"relu,omitempty"`    // dense, conv, depthwise, batchnorm: cut at zero, after all else
	Rate    float64 `json:"rate,omitempty"`    // dropout: share set to zero in training; the rest is scaled by 1/(1-rate)
}

// windowed reports whether the layer looks through a window.
func (l Layer) windowed() bool { return l.Kind == Conv || l.Kind == Depthwise || l.Kind == MaxPool }

// pointwise reports whether the layer is a convolution of single pixels.
func (l Layer) pointwise() bool {
	return l.Kind == Conv && l.Kernel == 1 && l.Stride == 1 && l.Padding == 0
}

// looks reports whether the layer works on an image.
func (l Layer) looks() bool { return l.windowed() || l.Kind == MeanPool }

// validate checks the layer by itself.
func (l Layer) validate() error {
	switch l.Kind {
	case Dense, Conv, Depthwise, BatchNorm, MaxPool, MeanPool, Dropout:
	default:
		return fmt.Errorf("kind %.80q: want %s, %s, %s, %s, %s, %s or %s", l.Kind, Dense, Conv, Depthwise, BatchNorm, MaxPool, MeanPool, Dropout)
	}
	var errs []error
	within := func(name string, v int, has bool, low, high int) {
		switch {
		case !has && v != 0:
			errs = append(errs, fmt.Errorf("%s %d: a %s layer has none", name, v, l.Kind))
		case has && (v < low || v > high):
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", name, v, low, high))
		}
	}
	only := func(name string, v, has bool) {
		if v && !has {
			errs = append(errs, fmt.Errorf("%s: a %s layer has none", name, l.Kind))
		}
	}
	within("units", l.Units, l.Kind == Dense || l.Kind == Conv, 1, maxWidth)
	within("kernel", l.Kernel, l.windowed(), 1, maxWindow)
	within("stride", l.Stride, l.windowed(), 1, maxWindow)
	// A window that lay in the padding alone would see nothing.
	within("padding", l.Padding, l.Kind == Conv || l.Kind == Depthwise, 0, min(max(l.Kernel-1, 0), maxWindow))
	convolves := l.Kind == Dense || l.Kind == Conv || l.Kind == Depthwise
	only("bias", l.Bias, convolves)
	only("relu", l.ReLU, convolves || l.Kind == BatchNorm)
	if l.Kind == Dropout && !(l.Rate > 0 && l.Rate < 1) || l.Kind != Dropout && l.Rate != 0 {
		errs = append(errs, fmt.Errorf("rate %g: want above 0 and below 1 of a dropout layer, none of others", l.Rate))
	}
	return errors.Join(errs...)
}

// window is the geometry of a windowed layer over an input of a size.
func (l Layer) window(in Size) kernel.Window {
	w := kernel.Window{Height: in.Height, Width: in.Width, Channels: in.Channels, Filters: in.Channels, Kernel: l.Kernel, Stride: l.Stride, Padding: l.Padding}
	if l.Kind == Conv {
		w.Filters = l.Units
	}
	return w
}

// Window is the geometry of a conv, depthwise or maxpool stage.
func (st Stage) Window() kernel.Window { return st.window(st.In) }

// out is the size of what the layer makes of an input that it fits.
func (l Layer) out(in Size) Size {
	switch l.Kind {
	case Dense:
		return Flat(l.Units)
	case MeanPool:
		return Flat(in.Channels)
	case Conv, Depthwise, MaxPool:
		w := l.window(in)
		h, x := w.Out()
		return Size{h, x, w.Filters}
	}
	return in
}

// tensors are the shapes of the layer's tensors on an input, under a name.
func (l Layer) tensors(name string, in Size) []Shape {
	var weight []int
	outputs := in.Channels
	switch l.Kind {
	case Dense:
		outputs = l.Units
		weight = []int{l.Units, in.Values()}
	case Conv:
		outputs = l.Units
		weight = []int{l.Units, in.Channels, l.Kernel, l.Kernel}
	case Depthwise:
		weight = []int{in.Channels, 1, l.Kernel, l.Kernel}
	case BatchNorm:
		c := []int{in.Channels}
		return []Shape{{name + ".weight", c, true}, {name + ".bias", c, true}, {name + ".running_mean", c, false}, {name + ".running_var", c, false}}
	default:
		return nil
	}
	out := []Shape{{name + ".weight", weight, true}}
	if l.Bias {
		out = append(out, Shape{name + ".bias", []int{outputs}, true})
	}
	return out
}

// weights is the number of values of the layer's tensors on an input.
func (l Layer) weights(in Size) int {
	n := 0
	for _, t := range l.tensors("", in) {
		n += t.Size()
	}
	return n
}

// work is the number of operations on an input that the layer fits:
// multiplications with an addition, and comparisons.
func (l Layer) work(in Size) int {
	pixels := l.out(in).Height * l.out(in).Width
	switch l.Kind {
	case Dense:
		return l.Units * in.Values()
	case Conv:
		return pixels * l.Units * in.Channels * l.Kernel * l.Kernel
	case Depthwise, MaxPool:
		return pixels * in.Channels * l.Kernel * l.Kernel
	case BatchNorm, MeanPool:
		return in.Values()
	}
	return 0
}

// String is the layer in short: "conv 3x3x32 stride 2".
func (l Layer) String() string {
	s := l.Kind
	switch l.Kind {
	case Dense:
		s += " " + strconv.Itoa(l.Units)
	case Conv:
		s += fmt.Sprintf(" %dx%dx%d", l.Kernel, l.Kernel, l.Units)
	case Depthwise:
		s += fmt.Sprintf(" %dx%d", l.Kernel, l.Kernel)
	case MaxPool:
		s = "pool " + strconv.Itoa(l.Kernel)
	case Dropout:
		return fmt.Sprintf("%s %g", s, l.Rate)
	}
	if l.windowed() && l.Stride != 1 && !(l.Kind == MaxPool && l.Stride == l.Kernel) {
		s += " stride " + strconv.Itoa(l.Stride)
	}
	return s
}
