package dataset

import (
	"context"
	"fmt"
	"image"

	dg "driftgate"
)

// TestSplit is the test split of a stored set: labels and ids at once, pixels
// when they are asked for.
type TestSplit struct {
	Info
	Labels []uint16
	IDs    []string
	store  Store
}

// OpenTest opens the test split of a stored set without reading an image. Only
// [Load] can verify the fingerprint, which is over both splits; what is read
// here is checked for its shape. Errors are those of [Load].
func OpenTest(ctx context.Context, st Store, ref Ref) (*TestSplit, error) {
	name, short, err := ParseRef(ref)
	if err != nil {
		return nil, err
	}
	info, err := readInfo(ctx, st, name+"/"+short+"/"+manifestName)
	if err != nil {
		return nil, fmt.Errorf("dataset: open test split of %s: %w", ref, err)
	}
	t := &TestSplit{Info: info, store: st}
	if t.Labels, err = t.labels(ctx); err == nil {
		t.IDs, err = loadIDs(ctx, st, t.prefix()+idsName, info.Test)
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: open test split of %s: %w", ref, err)
	}
	return t, nil
}

func (t *TestSplit) prefix() string { return t.folder() + "test-" }

func (t *TestSplit) labels(ctx context.Context) ([]uint16, error) {
	return loadLabels(ctx, t.store, t.prefix()+labelsName, t.Test, t.Classes)
}

// Pixels reads the images: image i is [i*n : (i+1)*n], n = Height x Width x
// Channels.
func (t *TestSplit) Pixels(ctx context.Context) ([]byte, error) {
	dims := []int{t.Test, t.Height, t.Width}
	if t.Channels != 1 {
		dims = append(dims, t.Channels)
	}
	px, err := loadIDX(ctx, t.store, t.prefix()+imagesName, dims)
	if err != nil {
		return nil, fmt.Errorf("dataset: test images of %s: %w", t.Ref(), err)
	}
	return px, nil
}

// FromPixels makes an image of uint8 pixels, h x w x channels (1 or 3). The
// error is [dg.ErrInvalid] when the shape does not fit.
func FromPixels(pixels []byte, h, w, channels int) (image.Image, error) {
	if (channels != 1 && channels != 3) || h < 1 || w < 1 || len(pixels) != h*w*channels {
		return nil, fmt.Errorf("%d bytes for %d x %d x %d: %w", len(pixels), h, w, channels, dg.ErrInvalid)
	}
	if channels == 1 {
		return &image.Gray{Pix: pixels, Stride: w, Rect: image.Rect(0, 0, w, h)}, nil
	}
	rgba := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range h * w {
		copy(rgba.Pix[4*i:], pixels[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	return rgba, nil
}

// Brightness is the mean grey of an image, 0 to 1, by the luma weights of ITU-R
// 601, over at most some 16,384 pixels evenly spread.
func Brightness(img image.Image) float64 {
	const side = 128
	b := img.Bounds()
	stepX, stepY := max(1, b.Dx()/side), max(1, b.Dy()/side)
	var sum, n float64
	for y := b.Min.Y; y < b.Max.Y; y += stepY {
		for x := b.Min.X; x < b.Max.X; x += stepX {
			if g, ok := img.(*image.Gray); ok {
				sum += float64(g.GrayAt(x, y).Y)
			} else {
				r, g, b, _ := img.At(x, y).RGBA()
				sum += float64(luma(byte(r>>8), byte(g>>8), byte(b>>8)))
			}
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n / 255
}
