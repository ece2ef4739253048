package dataset

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
)

// Pictures made for the tests of decoding and stripping.

// arrow is a picture whose four corners differ, so that every turn shows: red,
// green / blue, white; 2 wide blocks by 3 high ones of 16 pixels.
func arrow() *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, 32, 48))
	for y := range 48 {
		for x := range 32 {
			c := color.RGBA{40, 40, 40, 255}
			switch {
			case y < 16 && x < 16:
				c = color.RGBA{250, 20, 20, 255}
			case y < 16:
				c = color.RGBA{20, 250, 20, 255}
			case y >= 32 && x < 16:
				c = color.RGBA{20, 20, 250, 255}
			case y >= 32:
				c = color.RGBA{250, 250, 250, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

// turned stores img so that a viewer who obeys the orientation sees img again.
func turned(img image.Image, orientation int) image.Image {
	inverse := [9]int{0, 1, 2, 3, 4, 5, 8, 7, 6}
	return upright(img, inverse[orientation])
}

func encodeJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodePNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// secret stands in for what must not be stored.
const secret = "48.8584N 2.2945E"

// exif is a TIFF structure with an orientation and a text.
func exif(order binary.AppendByteOrder, orientation int) []byte {
	b := []byte("MM")
	if order.String() == binary.LittleEndian.String() {
		b = []byte("II")
	}
	u16 := func(v int) { b = order.AppendUint16(b, uint16(v)) }
	u32 := func(v int) { b = order.AppendUint32(b, uint32(v)) }
	u16(42)
	u32(8)
	u16(2)
	u16(0x010e) // description
	u16(2)
	u32(len(secret))
	u32(8 + 2 + 24 + 4)
	u16(0x0112)
	u16(3)
	u32(1)
	u16(orientation)
	u16(0)
	u32(0)
	return append(b, secret...)
}

func segment(marker byte, data ...byte) []byte {
	return append([]byte{0xff, marker, byte((len(data) + 2) >> 8), byte(len(data) + 2)}, data...)
}

// withSegments puts segments behind a JPEG's start-of-image marker.
func withSegments(b []byte, segments ...[]byte) []byte {
	out := []byte{0xff, 0xd8}
	for _, s := range segments {
		out = append(out, s...)
	}
	return append(out, b[2:]...)
}

func exifSegment(orientation int) []byte {
	return segment(0xe1, append([]byte("Exif\x00\x00"), exif(binary.BigEndian, orientation)...)...)
}

func chunk(kind string, data ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// withChunks puts chunks behind a PNG's header chunk.
func withChunks(b []byte, chunks ...[]byte) []byte {
	const header = 8 + 25
	out := append([]byte(nil), b[:header]...)
	for _, c := range chunks {
		out = append(out, c...)
	}
	return append(out, b[header:]...)
}

// bomb is a small PNG that claims w x h pixels.
func bomb(w, h int) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(w))
	head = binary.BigEndian.AppendUint32(head, uint32(h))
	b := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(head, 8, 6, 0, 0, 0)...)...)
	return append(append(b, chunk("IDAT", bytes.Repeat([]byte{0}, 5000)...)...), chunk("IEND")...)
}

// sameLooks compares two images, with room for what JPEG loses.
func sameLooks(t *testing.T, got, want image.Image) {
	t.Helper()
	if got.Bounds().Size() != want.Bounds().Size() {
		t.Fatalf("size %v, want %v", got.Bounds().Size(), want.Bounds().Size())
	}
	g, w := got.Bounds().Min, want.Bounds().Min
	for y := 4; y < want.Bounds().Dy(); y += 8 {
		for x := 4; x < want.Bounds().Dx(); x += 8 {
			r1, g1, b1, _ := got.At(g.X+x, g.Y+y).RGBA()
			r2, g2, b2, _ := want.At(w.X+x, w.Y+y).RGBA()
			for _, d := range []int{int(r1) - int(r2), int(g1) - int(g2), int(b1) - int(b2)} {
				if d < -12<<8 || d > 12<<8 {
					t.Fatalf("at %d,%d: %v, want %v", x, y, got.At(g.X+x, g.Y+y), want.At(w.X+x, w.Y+y))
				}
			}
		}
	}
}
