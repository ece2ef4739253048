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
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	dg "driftgate"
)

// Bounds on what a Spec may ask for; they keep a forged manifest from asking
// for memory and time that no model here needs.
const (
	maxLayers  = 128
	maxSide    = 4096    // of an image, pixels
	maxWidth   = 1 << 20 // channels of an image, units of a layer
	maxWindow  = 31      // side of a window, pixels
	maxClasses = 1000
	maxParams  = 64 << 20 // float32s: 256 MiB of weights
	maxValues  = 64 << 20 // float32s a sample, over all layers: 256 MiB of activations
	maxWork    = 32 << 30 // operations a sample: three times those of a ResNet-152 at 224 pixels
)

// Size is the shape of what goes from one layer to the next: an image of
// Height x Width pixels, or, of 1 x 1 pixel, a row of values.
type Size struct {
	Height   int `json:"height"`
	Width    int `json:"width"`
	Channels int `json:"channels"`
}

// Flat is a row of n values.
func Flat(n int) Size { return Size{1, 1, n} }

// Values is Height x Width x Channels.
func (s Size) Values() int { return s.Height * s.Width * s.Channels }

// String is "28x28x1".
func (s Size) String() string { return fmt.Sprintf("%dx%dx%d", s.Height, s.Width, s.Channels) }

// Spec is the architecture of a network: everything that fixes the shapes of
// its weights and what is computed with them.
type Spec struct {
	Architecture string  `json:"architecture"` // the family it was built from: mlp, cnn, mobilenet or another name
	Input        Size    `json:"input"`        // of a sample
	Layers       []Layer `json:"layers"`       // in order; the last is dense, without ReLU, with Classes units
	Classes      int     `json:"classes"`      // outputs, at least 2
}

// Inputs is the number of values of a sample.
func (s Spec) Inputs() int { return s.Input.Values() }

// Stage is a layer in its place.
type Stage struct {
	Layer
	In, Out Size
	Name    string // of its tensors, before the dot: layers.0; empty where it has none
	Tensors []int  // positions of its tensors in Layout
}

// Stages are the layers in their places, of a spec that passed Validate.
func (s Spec) Stages() []Stage {
	out := make([]Stage, 0, len(s.Layers))
	size, named, tensors := s.Input, 0, 0
	for _, l := range s.Layers {
		st := Stage{Layer: l, In: size, Out: l.out(size)}
		if n := len(l.tensors("", size)); n > 0 {
			st.Name = "layers." + strconv.Itoa(named)
			named++
			for range n {
				st.Tensors = append(st.Tensors, tensors)
				tensors++
			}
		}
		out = append(out, st)
		size = st.Out
	}
	return out
}

// Validate reports every fault of the spec; the error is [dg.ErrInvalid]. What
// a layer makes of the one before is checked up to the first that does not fit.
func (s Spec) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !validName(s.Architecture) {
		bad("architecture %.80q: want 1 to 40 letters, digits, - or _", s.Architecture)
	}
	in := s.Input
	if in.Height < 1 || in.Height > maxSide || in.Width < 1 || in.Width > maxSide || in.Channels < 1 || in.Channels > maxWidth {
		bad("input %v: want 1 to %d pixels a side and 1 to %d channels", in, maxSide, maxWidth)
	}
	if s.Classes < 2 || s.Classes > maxClasses {
		bad("classes %d: want 2 to %d", s.Classes, maxClasses)
	}
	if n := len(s.Layers); n < 1 || n > maxLayers {
		bad("%d layers: want 1 to %d", n, maxLayers)
	}
	for i, l := range s.Layers[:min(len(s.Layers), maxLayers)] {
		if err := l.validate(); err != nil {
			bad("layers[%d] %s: %w", i, l.Kind, err)
		}
	}
	if n := len(s.Layers); n > 0 {
		if last := s.Layers[n-1]; last.Kind != Dense || last.ReLU || last.Units != s.Classes {
			bad("layers[%d] is %v: want the last to be dense, without relu, with a unit for each of %d classes", n-1, last, s.Classes)
		}
	}
	if len(errs) == 0 {
		if err := s.fits(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("network: spec: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

func validName(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// fits follows the sizes through layers that are valid by themselves.
func (s Spec) fits() error {
	size, flat, params, values, work := s.Input, false, 0, s.Inputs(), 0
	if values > maxValues {
		return fmt.Errorf("input %v has %d values: want at most %d", s.Input, values, maxValues)
	}
	for i, l := range s.Layers {
		place := func(format string, a ...any) error {
			return fmt.Errorf("layers[%d] %v on %v: %w", i, l, size, fmt.Errorf(format, a...))
		}
		if flat && l.looks() {
			return place("there is no image after a dense layer: want it before the first one")
		}
		if l.windowed() && (l.Kernel > size.Height+2*l.Padding || l.Kernel > size.Width+2*l.Padding) {
			return place("the window is larger than its input: want a kernel of at most %d", min(size.Height, size.Width)+2*l.Padding)
		}
		weights := l.weights(size)
		if params += weights; params > maxParams {
			return place("%d weights up to here: want at most %d", params, maxParams)
		}
		if panels := l.panels(weights); panels > 4*maxParams {
			return place("%d weights, that have to be laid out for so few units in %d: want at most %d", weights, panels, 4*maxParams)
		}
		if l.windowed() {
			if padded := (size.Height + 2*l.Padding) * (size.Width + 2*l.Padding) * size.Channels; padded > maxValues {
				return place("%d values with the padding: want at most %d", padded, maxValues)
			}
		}
		out := l.out(size)
		if out.Height > maxSide || out.Width > maxSide {
			return place("gives %v: want at most %d pixels a side", out, maxSide)
		}
		if values += out.Values(); values > maxValues {
			return place("%d values between the layers up to here, %d MiB a sample: want at most %d MiB", values, values>>18, maxValues>>18)
		}
		if work += l.work(size); work > maxWork {
			return place("%d operations a sample up to here: want at most %d", work, maxWork)
		}
		flat = flat || l.Kind == Dense
		size = out
	}
	return nil
}

// panels is how many values the weights of a layer take where they are laid out
// for products, in panels of 32 units.
func (l Layer) panels(weights int) int {
	if l.Kind != Dense && l.Kind != Conv {
		return 0
	}
	return weights / l.Units * ((l.Units + 31) / 32 * 32)
}

// Parameters is the number of values of all tensors.
func (s Spec) Parameters() int {
	n := 0
	for _, shape := range s.Layout() {
		n += shape.Size()
	}
	return n
}

// Values is the number of values that go into the network and out of its layers
// for a sample, of a spec that passed Validate. Training holds them, and a
// gradient for each, for a whole batch.
func (s Spec) Values() int {
	n := s.Inputs()
	for _, st := range s.Stages() {
		n += st.Out.Values()
	}
	return n
}

// Work is the number of operations that a sample takes (a multiplication with
// its addition is one), of a spec that passed Validate.
func (s Spec) Work() int {
	n := 0
	for _, st := range s.Stages() {
		n += st.work(st.In)
	}
	return n
}

// Takes reports whether the weights of a network of the other spec compute in
// one of s what they compute there: the layers are the same, dropout aside, and
// where the first of them sees an image, its size.
func (s Spec) Takes(other Spec) bool {
	a, b := s.learning(), other.learning()
	if len(a) != len(b) || s.Classes != other.Classes || s.Inputs() != other.Inputs() {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return s.Input == other.Input || len(a) > 0 && a[0].Kind == Dense
}

// sees reports whether the network takes images of a size. To a dense layer it
// is all one how its inputs lie.
func (s Spec) sees(size Size) bool {
	layers := s.learning()
	return s.Input == size || len(layers) > 0 && layers[0].Kind == Dense && s.Input == Flat(size.Values())
}

// learning are the layers but for those that matter in training alone.
func (s Spec) learning() []Layer {
	var out []Layer
	for _, l := range s.Layers {
		if l.Kind != Dropout {
			out = append(out, l)
		}
	}
	return out
}

// String is the network in a line, as in
// "cnn: conv 3x3x32, pool 2, dense 10; 56,800 weights". "norm" is a batch
// normalisation behind a layer, "separable" a depthwise convolution with the
// pointwise one behind it.
func (s Spec) String() string {
	out := s.Architecture
	for i, part := range s.parts() {
		out += []string{": ", ", "}[min(i, 1)] + part
	}
	if s.Validate() != nil {
		return out
	}
	return out + "; " + thousands(s.Parameters()) + " weights"
}

// parts are the layers in short, those together that belong together.
func (s Spec) parts() []string {
	layers := s.Layers
	take := func() (l Layer, norm string) { // a layer, with its normalisation
		l, layers = layers[0], layers[1:]
		if len(layers) > 0 && layers[0].Kind == BatchNorm && l.Kind != BatchNorm && len(l.tensors("", Size{})) > 0 {
			layers, norm = layers[1:], " norm"
		}
		return l, norm
	}
	var out []string
	times := 1
	for len(layers) > 0 {
		l, norm := take()
		part := l.String() + norm
		if l.Kind == Depthwise && len(layers) > 0 && layers[0].pointwise() {
			rest := layers
			point, same := take()
			if same == norm {
				part = strings.Replace(l.String(), Depthwise, "separable", 1)
				part = strings.Replace(part, fmt.Sprintf("%dx%d", l.Kernel, l.Kernel), fmt.Sprintf("%dx%dx%d", l.Kernel, l.Kernel, point.Units), 1) + norm
			} else {
				layers = rest
			}
		}
		if n := len(out); n > 0 && strings.TrimPrefix(out[n-1], fmt.Sprintf("%d x ", times)) == part {
			times++
			out[n-1] = fmt.Sprintf("%d x %s", times, part)
			continue
		}
		times = 1
		out = append(out, part)
	}
	return out
}

func thousands(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// UnmarshalJSON also reads the form of artifacts before format 3, of an MLP:
// {"architecture": "mlp", "inputs": 784, "hidden": [128, 64], "classes": 10}.
func (s *Spec) UnmarshalJSON(b []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil {
		return err
	}
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields()
	if _, old := keys["inputs"]; !old {
		type spec Spec // without this method
		return strict.Decode((*spec)(s))
	}
	var of struct {
		Architecture string `json:"architecture"`
		Inputs       int    `json:"inputs"`
		Hidden       []int  `json:"hidden"`
		Classes      int    `json:"classes"`
	}
	if err := strict.Decode(&of); err != nil {
		return err
	}
	if of.Architecture != FamilyMLP {
		return fmt.Errorf("architecture %.80q with inputs and hidden: want %q, or input and layers", of.Architecture, FamilyMLP)
	}
	*s = MLP(Flat(of.Inputs), of.Hidden, of.Classes)
	return nil
}
