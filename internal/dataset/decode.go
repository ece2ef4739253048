package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"strings"

	dg "driftgate"
)

// Limits bounds what is decoded. A zero field means the default.
type Limits struct {
	MaxBytes  int64 // of the encoded file
	MaxPixels int   // width x height; images of 8 bytes a pixel count double
	MaxSide   int   // pixels, of width and of height
}

// DefaultLimits lets a 50-megapixel phone photo in: about 200 MiB when decoded.
var DefaultLimits = Limits{MaxBytes: 32 << 20, MaxPixels: 50_000_000, MaxSide: 20_000}

func (l Limits) orDefault() Limits {
	if l.MaxBytes == 0 {
		l.MaxBytes = DefaultLimits.MaxBytes
	}
	if l.MaxPixels == 0 {
		l.MaxPixels = DefaultLimits.MaxPixels
	}
	if l.MaxSide == 0 {
		l.MaxSide = DefaultLimits.MaxSide
	}
	return l
}

// The formats that [Decode] reads.
const (
	JPEG = "jpeg"
	PNG  = "png"
)

// maxDeflate bounds how many bytes one byte of DEFLATE can become, and more
// than the pixels that one byte of Huffman-coded JPEG can: an image that claims
// more is truncated, and is refused before memory is set aside for it.
const maxDeflate = 1032

// Decode reads a JPEG or PNG and turns it upright by its EXIF orientation. The
// header is checked against l before anything is decoded, so a decompression
// bomb costs nothing. format is [JPEG] or [PNG]. Every error is
// [dg.ErrInvalid] and says what would be right.
func Decode(b []byte, l Limits) (img image.Image, format string, err error) {
	format, err = checkHeader(b, l.orDefault())
	if err != nil {
		return nil, format, fmt.Errorf("dataset: decode image: %w: %w", err, dg.ErrInvalid)
	}
	read := jpeg.Decode
	if format == PNG {
		read = png.Decode
	}
	img, err = read(bytes.NewReader(b))
	if err != nil {
		return nil, format, fmt.Errorf("dataset: decode image: %w: %w", decodeFault(format, err), dg.ErrInvalid)
	}
	return upright(img, orientation(b, format)), format, nil
}

// ReadImageFile reads an image file of at most l.MaxBytes. The error is
// [dg.ErrNotFound] when there is none, and [dg.ErrInvalid] when it is no regular
// file or too large.
func ReadImageFile(path string, l Limits) ([]byte, error) {
	b, err := readCapped(path, l.orDefault().MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", err, dg.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: read image: %w", err)
	}
	return b, nil
}

// sniff tells the format by the first bytes.
func sniff(b []byte) (string, error) {
	switch {
	case len(b) == 0:
		return "", errors.New("the file is empty: want a JPEG or PNG image")
	case bytes.HasPrefix(b, []byte("\xff\xd8\xff")):
		return JPEG, nil
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		return PNG, nil
	}
	for _, known := range []struct {
		at         int
		mark, name string
	}{
		{0, "GIF8", "a GIF"}, {8, "WEBP", "a WebP"}, {0, "BM", "a BMP"}, {0, "II*\x00", "a TIFF"}, {0, "MM\x00*", "a TIFF"},
		{4, "ftypavif", "an AVIF"}, {4, "ftyphei", "a HEIC"}, {4, "ftypmif1", "a HEIC"}, {0, "%PDF", "a PDF"}, {0, "\x1f\x8b", "a gzip file"}, {0, "PK\x03\x04", "a zip file"},
	} {
		if len(b) > known.at && bytes.HasPrefix(b[known.at:], []byte(known.mark)) {
			return "", fmt.Errorf("%s: want a JPEG or PNG image", known.name)
		}
	}
	return "", errors.New("not an image: want a JPEG or PNG image")
}

// checkHeader applies the limits without decoding pixels.
func checkHeader(b []byte, l Limits) (string, error) {
	format, err := sniff(b)
	if err != nil {
		return "", err
	}
	if int64(len(b)) > l.MaxBytes {
		return format, fmt.Errorf("%d bytes: want at most %d", len(b), l.MaxBytes)
	}
	readConfig := jpeg.DecodeConfig
	if format == PNG {
		readConfig = png.DecodeConfig
	}
	c, err := readConfig(bytes.NewReader(b))
	if err != nil {
		return format, decodeFault(format, err)
	}
	if c.Width < 1 || c.Height < 1 {
		return format, fmt.Errorf("%d x %d pixels: want at least 1 x 1", c.Width, c.Height)
	}
	if c.Width > l.MaxSide || c.Height > l.MaxSide {
		return format, fmt.Errorf("%d x %d pixels: want at most %d a side", c.Width, c.Height, l.MaxSide)
	}
	pixels, deep := int64(c.Width)*int64(c.Height), ""
	if c.ColorModel == color.RGBA64Model || c.ColorModel == color.NRGBA64Model {
		pixels, deep = 2*pixels, " (16 bits a channel count double)"
	}
	if pixels > int64(l.MaxPixels) {
		return format, fmt.Errorf("%d x %d pixels are %.3g megapixels%s: want at most %.3g",
			c.Width, c.Height, float64(pixels)/1e6, deep, float64(l.MaxPixels)/1e6)
	}
	if pixels/8 > maxDeflate*int64(len(b)) { // even at one bit a pixel
		return format, fmt.Errorf("truncated %s: %d bytes cannot hold %d x %d pixels", format, len(b), c.Width, c.Height)
	}
	return format, nil
}

func decodeFault(format string, err error) error {
	short := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if short || format == PNG && strings.Contains(err.Error(), "not enough pixel data") {
		return fmt.Errorf("truncated %s: the file ends too early", format)
	}
	return fmt.Errorf("broken %s: %w", format, err)
}

// EncodePNG renders uint8 pixels, h x w x channels (1 or 3), as a PNG without
// loss; the error is [dg.ErrInvalid] when the shape does not fit.
func EncodePNG(pixels []byte, h, w, channels int) ([]byte, error) {
	img, err := FromPixels(pixels, h, w, channels)
	if err != nil {
		return nil, fmt.Errorf("dataset: encode png: %w", err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, fmt.Errorf("dataset: encode png: %w", err)
	}
	return out.Bytes(), nil
}
