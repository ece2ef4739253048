package dataset

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/draw"
)

// orientation finds the EXIF orientation of an encoded image, 1 to 8; 1 when
// there is none or it makes no sense. Definition: CIPA DC-008 (EXIF 2.32),
// 4.6.4 A, tag 0x0112.
func orientation(b []byte, format string) int {
	if format == PNG {
		for c := range pngChunks(b) {
			if c.kind == "eXIf" {
				return tiffOrientation(c.data)
			}
		}
		return 1
	}
	for s := range jpegSegments(b) {
		if s.marker == 0xe1 && bytes.HasPrefix(s.data, exifMark) {
			return tiffOrientation(s.data[len(exifMark):])
		}
	}
	return 1
}

var exifMark = []byte("Exif\x00\x00")

func tiffOrientation(t []byte) int {
	if len(t) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if string(t[:2]) == "II" {
		order = binary.LittleEndian
	}
	at := uint64(order.Uint32(t[4:]))
	if at+2 > uint64(len(t)) {
		return 1
	}
	entries := t[at+2:]
	for n := int(order.Uint16(t[at:])); n > 0 && len(entries) >= 12; n-- {
		if order.Uint16(entries) == 0x0112 {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

// upright turns img so that what its orientation (1 to 8) calls the top is up.
func upright(img image.Image, orientation int) image.Image {
	if orientation <= 1 || orientation > 8 {
		return img
	}
	r := img.Bounds()
	w, h := r.Dx(), r.Dy()
	outW, outH := w, h
	if orientation >= 5 {
		outW, outH = h, w
	}
	if g, ok := img.(*image.Gray); ok {
		out := image.NewGray(image.Rect(0, 0, outW, outH))
		for y := range h {
			line := g.Pix[g.PixOffset(r.Min.X, r.Min.Y+y):]
			at, step := target(orientation, y, w, h, outW)
			for x := range w {
				out.Pix[at] = line[x]
				at += step
			}
		}
		return out
	}
	out := image.NewRGBA(image.Rect(0, 0, outW, outH))
	line := image.NewRGBA(image.Rect(0, 0, w, 1))
	for y := range h {
		draw.Draw(line, line.Rect, img, image.Pt(r.Min.X, r.Min.Y+y), draw.Src)
		at, step := target(orientation, y, w, h, outW)
		for x := range w {
			copy(out.Pix[4*at:4*at+4], line.Pix[4*x:4*x+4])
			at += step
		}
	}
	return out
}

// target tells where row y of a w x h image goes in the upright one of width
// outW: the offset of its first pixel, and the step to the next.
func target(orientation, y, w, h, outW int) (at, step int) {
	switch orientation {
	case 2: // mirrored left to right
		return y*outW + w - 1, -1
	case 3: // upside down
		return (h-1-y)*outW + w - 1, -1
	case 4: // mirrored top to bottom
		return (h - 1 - y) * outW, 1
	case 5: // mirrored along the main diagonal
		return y, outW
	case 6: // to be turned 90 degrees clockwise
		return h - 1 - y, outW
	case 7: // mirrored along the other diagonal
		return (w-1)*outW + h - 1 - y, -outW
	default: // 8: to be turned 90 degrees anticlockwise
		return (w-1)*outW + y, -outW
	}
}
