package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	dg "driftgate"
)

// Knob is one way in which production images come to differ from those trained
// on, and how far it is turned to see what a model bears.
type Knob struct {
	Name      string
	Unit      string    // of the strengths
	Strengths []float64 // ascending; 0 is no drift
}

// The names of the knobs.
const (
	KnobRotation   = "rotation"
	KnobNoise      = "noise"
	KnobBlur       = "blur"
	KnobBrightness = "brightness"
)

// Knobs lists every knob with the strengths that a robustness curve shows. Blur
// is measured in shares of the longer side, so that it means the same for a
// thumbnail and for a photo.
var Knobs = []Knob{
	{KnobRotation, "degrees clockwise", []float64{0, 5, 10, 20, 30, 45, 90}},
	{KnobNoise, "standard deviation of 0 to 1", []float64{0, .05, .1, .2, .3, .5}},
	{KnobBlur, "standard deviation, share of the longer side", []float64{0, .02, .04, .06, .08, .1}},
	{KnobBrightness, "change, share of every pixel", []float64{-.75, -.5, -.25, 0, .25, .5, 1}},
}

// Turn returns the image under drift: pixels are uint8, h x w x channels (1 or
// 3), and are not changed. The same seed gives the same noise. Rotation is in
// degrees, clockwise, black coming in from outside; noise is the standard
// deviation of Gaussian noise, 0 to 1; blur that of a Gaussian filter as a share
// of the longer side, 0 to 0.5; brightness -1 (black) to 4 multiplies each pixel
// by 1 + strength. The error is [dg.ErrInvalid].
func Turn(knob string, strength float64, pixels []byte, h, w, channels int, seed uint64) ([]byte, error) {
	if (channels != 1 && channels != 3) || h < 1 || w < 1 || len(pixels) != h*w*channels {
		return nil, fmt.Errorf("dataset: turn %s: %d bytes for %d x %d x %d: %w", knob, len(pixels), h, w, channels, dg.ErrInvalid)
	}
	from, to, err := reach(knob)
	if err != nil {
		return nil, err
	}
	if !(strength >= from && strength <= to) { // also refuses NaN
		return nil, fmt.Errorf("dataset: turn %s by %g: want %g to %g: %w", knob, strength, from, to, dg.ErrInvalid)
	}
	if strength == 0 {
		return slices.Clone(pixels), nil
	}
	switch knob {
	case KnobRotation:
		return eachPlane(pixels, channels, func(plane []byte) []byte { return rotate(plane, h, w, strength) }), nil
	case KnobNoise:
		return Drift{Noise: strength}.Apply(pixels, 1, len(pixels), rand.New(rand.NewPCG(seed, 0x6e6f697365))), nil
	case KnobBlur:
		taps := gaussian(strength * float64(max(h, w)))
		return eachPlane(pixels, channels, func(plane []byte) []byte { return blur(plane, h, w, taps) }), nil
	}
	out := make([]byte, len(pixels))
	for i, v := range pixels {
		out[i] = byte(min(255, math.Round(float64(v)*(1+strength))))
	}
	return out, nil
}

// reach is how far a knob turns; the error is [dg.ErrInvalid] for one that there
// is not.
func reach(knob string) (from, to float64, err error) {
	switch knob {
	case KnobRotation:
		return -360, 360, nil
	case KnobNoise:
		return 0, 1, nil
	case KnobBlur:
		return 0, .5, nil
	case KnobBrightness:
		return -1, 4, nil
	}
	return 0, 0, fmt.Errorf("dataset: turn %q: want %q, %q, %q or %q: %w", knob, KnobRotation, KnobNoise, KnobBlur, KnobBrightness, dg.ErrInvalid)
}

// eachPlane applies f to every channel by itself.
func eachPlane(pixels []byte, channels int, f func(plane []byte) []byte) []byte {
	if channels == 1 {
		return f(pixels)
	}
	out, plane := make([]byte, len(pixels)), make([]byte, len(pixels)/channels)
	for c := range channels {
		for i := range plane {
			plane[i] = pixels[i*channels+c]
		}
		for i, v := range f(plane) {
			out[i*channels+c] = v
		}
	}
	return out
}

// gaussian is half of a Gaussian filter, from its centre to three deviations,
// such that the whole of it adds up to 1.
func gaussian(sigma float64) []float64 {
	taps := make([]float64, 1+int(math.Ceil(3*sigma)))
	sum := 0.
	for i := range taps {
		taps[i] = math.Exp(-float64(i*i) / (2 * sigma * sigma))
		sum += taps[i]
		if i > 0 {
			sum += taps[i]
		}
	}
	for i := range taps {
		taps[i] /= sum
	}
	return taps
}

// blur filters a grey image across, then down. Beyond its edges the image goes
// on as its outermost pixels.
func blur(plane []byte, h, w int, taps []float64) []byte {
	across := make([]float64, h*w)
	for y := range h {
		for x := range w {
			sum := taps[0] * float64(plane[y*w+x])
			for i, t := range taps[1:] {
				sum += t * (float64(plane[y*w+max(0, x-i-1)]) + float64(plane[y*w+min(w-1, x+i+1)]))
			}
			across[y*w+x] = sum
		}
	}
	out := make([]byte, h*w)
	for y := range h {
		for x := range w {
			sum := taps[0] * across[y*w+x]
			for i, t := range taps[1:] {
				sum += t * (across[max(0, y-i-1)*w+x] + across[min(h-1, y+i+1)*w+x])
			}
			out[y*w+x] = byte(min(255, math.Round(sum)))
		}
	}
	return out
}
