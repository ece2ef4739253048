package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	dg "driftgate"
)

// Set is a data set in memory: images of one size with their labels.
type Set struct {
	Name    string     // letters, digits, dot, dash, underscore; the first half of a [Ref]
	Classes dg.Classes // in the order of the labels

	Height, Width int // pixels
	Channels      int // 1 (grey) or 3 (red, green, blue)

	// Resize is the rule by which larger images were brought to this size when
	// the set was read, [ResizeStretch] or [ResizeCrop]; empty when they had it.
	Resize string

	Train, Test Split
}

// Split is one part of a set. Image i is
// Pixels[i*H*W*C : (i+1)*H*W*C], row-major, channels last.
type Split struct {
	Pixels []byte
	Labels []uint16 // positions in the class list
	IDs    []string // unique within the set and stable: "train/00017", "test/Bread/7.jpg"
}

// Len is the number of images.
func (s Split) Len() int { return len(s.Labels) }

// ImageBytes is the size of one image: Height x Width x Channels bytes.
func (s Set) ImageBytes() int { return s.Height * s.Width * s.Channels }

// Image returns the pixels of image i of sp, without a copy.
func (s Set) Image(sp Split, i int) []byte {
	n := s.ImageBytes()
	return sp.Pixels[i*n : (i+1)*n : (i+1)*n]
}

// Fingerprint is the SHA-256, in hex, over class list, shape, pixels and
// labels of both splits. Names and ids do not count: the same content is the
// same data.
func (s Set) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "driftgate dataset 1\n%q\n%d %d %d\n", []string(s.Classes), s.Height, s.Width, s.Channels)
	for _, sp := range []Split{s.Train, s.Test} {
		fmt.Fprintf(h, "%d %d\n", sp.Len(), len(sp.Pixels))
		_, _ = h.Write(sp.Pixels) // a hash never fails
		writeLabels(h, sp.Labels)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writeLabels(w io.Writer, labels []uint16) {
	b := make([]byte, 0, 2*len(labels))
	for _, l := range labels {
		b = binary.BigEndian.AppendUint16(b, l)
	}
	_, _ = w.Write(b)
}

// Preprocessing is what a model trained on s must do to an image: the set's
// size and resize rule, and the usual normalisation for its number of channels.
func (s Set) Preprocessing() Preprocessing {
	p := Preprocessing{Width: s.Width, Height: s.Height, Channels: s.Channels, Resize: s.Resize}
	if p.Resize == "" {
		p.Resize = ResizeStretch
	}
	p.Mean, p.Std = []float32{garmentMean}, []float32{garmentStd}
	if s.Channels == 3 {
		p.Mean, p.Std = imageNetMean(), imageNetStd()
	}
	return p
}
