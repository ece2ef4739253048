package dataset

import (
	"errors"
	"fmt"
	"image"
	"math"

	dg "driftgate"
)

// The resize rules: how an image of another shape is brought to the model's.
const (
	// ResizeStretch scales each side on its own; the whole image stays visible.
	ResizeStretch = "stretch"
	// ResizeCrop keeps the proportions: the largest centred part with the
	// model's aspect ratio is scaled, the rest is cut off.
	ResizeCrop = "crop"
)

// Mean and standard deviation of Fashion-MNIST's training pixels, 0 to 1.
const (
	garmentMean = 0.2860
	garmentStd  = 0.3530
)

// Channel means and deviations of ImageNet, 0 to 1, as torchvision publishes them.
func imageNetMean() []float32 { return []float32{0.485, 0.456, 0.406} }
func imageNetStd() []float32  { return []float32{0.229, 0.224, 0.225} }

const maxModelSide = 1024 // pixels; larger than any classifier's input

// Preprocessing turns an image into a model's input. It is part of a model's
// manifest; its zero value is not valid.
type Preprocessing struct {
	Width    int       `json:"width"`    // pixels
	Height   int       `json:"height"`   // pixels
	Channels int       `json:"channels"` // 1 (grey) or 3 (RGB)
	Resize   string    `json:"resize"`   // ResizeStretch or ResizeCrop
	Mean     []float32 `json:"mean"`     // one a channel, of values 0 to 1
	Std      []float32 `json:"std"`      // one a channel, over 0
}

// GarmentPreprocessing is for Fashion-MNIST and the synthetic garments:
// 28x28, grey.
func GarmentPreprocessing() Preprocessing {
	return Set{Height: Side, Width: Side, Channels: 1}.Preprocessing()
}

// PhotoPreprocessing is the ImageNet convention for colour photos: side x side
// pixels, centre crop, RGB.
func PhotoPreprocessing(side int) Preprocessing {
	return Set{Height: side, Width: side, Channels: 3, Resize: ResizeCrop}.Preprocessing()
}

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (p Preprocessing) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Width < 1 || p.Width > maxModelSide || p.Height < 1 || p.Height > maxModelSide {
		bad("size %d x %d: want 1 to %d pixels a side", p.Width, p.Height, maxModelSide)
	}
	if p.Channels != 1 && p.Channels != 3 {
		bad("channels %d: want 1 or 3", p.Channels)
	}
	if p.Resize != ResizeStretch && p.Resize != ResizeCrop {
		bad("resize %q: want %q or %q", p.Resize, ResizeStretch, ResizeCrop)
	}
	if len(p.Mean) != p.Channels || len(p.Std) != p.Channels {
		bad("%d means and %d standard deviations: want one for each of %d channels", len(p.Mean), len(p.Std), p.Channels)
	}
	for _, v := range p.Mean {
		if !(math.Abs(float64(v)) <= 1) { // also refuses NaN
			bad("mean %g: want -1 to 1", v)
		}
	}
	for _, v := range p.Std {
		if !(v >= 1e-3 && v <= 1e3) {
			bad("std %g: want 0.001 to 1000", v)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("dataset: preprocessing: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// Size is the length of one input: Height x Width x Channels.
func (p Preprocessing) Size() int { return p.Height * p.Width * p.Channels }

// Image turns any decoded image into one input, height x width x channels,
// normalised. Colour becomes grey by the luma weights of ITU-R 601 when the
// model has one channel; transparent parts become black.
func (p Preprocessing) Image(img image.Image) []float32 {
	out := make([]float32, p.Size())
	p.Pixels(p.Raster(img), out)
	return out
}

// Raster is the first half of Image: uint8 pixels of the model's size, before
// normalisation. Sets are read with the same function.
func (p Preprocessing) Raster(img image.Image) []byte {
	return raster(img, p.Height, p.Width, p.Channels, p.Resize)
}

// Pixels normalises uint8 pixels that already have the model's size, of one
// image or of several in a row: dst[i] = (px[i]/255 - mean) / std of the
// channel. dst must be as long as px, and px a whole number of images.
func (p Preprocessing) Pixels(px []byte, dst []float32) {
	if len(px) != len(dst) || len(px)%p.Size() != 0 {
		panic(fmt.Sprintf("dataset: preprocessing: %d pixels into %d numbers: want the same, a multiple of %d", len(px), len(dst), p.Size()))
	}
	var table [3][256]float32 // on the stack
	l := Levels(table[:p.Channels])
	l.fill(p)
	l.Pixels(px, dst)
}

// Levels holds what each of the 256 values of a pixel becomes, channel by
// channel: whoever normalises many images makes it once.
type Levels [][256]float32

// Levels tabulates the normalisation of Pixels.
func (p Preprocessing) Levels() Levels {
	out := make(Levels, p.Channels)
	out.fill(p)
	return out
}

func (l Levels) fill(p Preprocessing) {
	for c := range l {
		for v := range l[c] {
			l[c][v] = (float32(v)/255 - p.Mean[c]) / p.Std[c]
		}
	}
}

// Pixels is [Preprocessing.Pixels], to the bit.
func (l Levels) Pixels(px []byte, dst []float32) {
	dst = dst[:len(px)]
	if len(l) == 1 {
		to := &l[0]
		for i, v := range px {
			dst[i] = to[v]
		}
		return
	}
	red, green, blue := &l[0], &l[1], &l[2]
	for i := 0; i+3 <= len(px); i += 3 {
		dst[i], dst[i+1], dst[i+2] = red[px[i]], green[px[i+1]], blue[px[i+2]]
	}
}
