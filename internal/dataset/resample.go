package dataset

import (
	"image"
	"image/draw"
	"math"
)

// raster brings img to h x w x channels uint8 pixels by the resize rule. An
// image that has this size already is copied unchanged.
func raster(img image.Image, h, w, channels int, rule string) []byte {
	r := img.Bounds()
	if rule == ResizeCrop {
		r = centredPart(r, h, w)
	}
	rows := rowReader{img: img, r: r, channels: channels}
	if r.Dx() == w && r.Dy() == h {
		out := make([]byte, h*w*channels)
		for y := range h {
			rows.read(y, out[y*w*channels:(y+1)*w*channels])
		}
		return out
	}
	return resample(&rows, h, w)
}

// centredPart is the largest part of r with the aspect ratio w:h, centred.
func centredPart(r image.Rectangle, h, w int) image.Rectangle {
	dx, dy := r.Dx(), r.Dy()
	if dx*h > dy*w { // too wide
		keep := max(1, (dy*w+h/2)/h)
		x := r.Min.X + (dx-keep)/2
		return image.Rect(x, r.Min.Y, x+keep, r.Max.Y)
	}
	keep := max(1, (dx*h+w/2)/w)
	y := r.Min.Y + (dy-keep)/2
	return image.Rect(r.Min.X, y, r.Max.X, y+keep)
}

// rowReader hands out rows of a part of an image as uint8 grey or RGB, so that
// a large photo is never copied whole.
type rowReader struct {
	img      image.Image
	r        image.Rectangle
	channels int
	line     *image.RGBA
}

// read fills dst (r.Dx() x channels) with row y of the part, counted from its top.
func (rr *rowReader) read(y int, dst []byte) {
	if g, ok := rr.img.(*image.Gray); ok && rr.channels == 1 {
		at := g.PixOffset(rr.r.Min.X, rr.r.Min.Y+y)
		copy(dst, g.Pix[at:at+rr.r.Dx()])
		return
	}
	if rr.line == nil {
		rr.line = image.NewRGBA(image.Rect(0, 0, rr.r.Dx(), 1))
	}
	draw.Draw(rr.line, rr.line.Rect, rr.img, image.Pt(rr.r.Min.X, rr.r.Min.Y+y), draw.Src)
	px := rr.line.Pix
	if rr.channels == 3 {
		for i, j := 0, 0; j < len(px); i, j = i+3, j+4 {
			dst[i], dst[i+1], dst[i+2] = px[j], px[j+1], px[j+2]
		}
		return
	}
	for i, j := 0, 0; j < len(px); i, j = i+1, j+4 {
		dst[i] = luma(px[j], px[j+1], px[j+2])
	}
}

// luma is the grey of a colour by the weights of ITU-R 601, in 16-bit fixed
// point; the same numbers as Pillow's convert("L").
func luma(r, g, b byte) byte {
	return byte((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

// tapBits is the fixed-point precision of filter weights.
const tapBits = 22

// taps holds the filter of one output position: it reads in[first:first+len].
type taps struct {
	first  int
	weight []int32
}

// triangleTaps computes an antialiased bilinear filter from in to out
// positions. When scaling down, the triangle widens with the scale, so that
// every input pixel counts. Weights are integers, so results are the same on
// every processor; they equal those of Pillow's resize(BILINEAR).
func triangleTaps(in, out int) []taps {
	scale := float64(in) / float64(out)
	support := max(scale, 1)
	all := make([]taps, out)
	for i := range all {
		centre := (float64(i) + 0.5) * scale
		first := max(0, int(centre-support+0.5))
		last := min(in, int(centre+support+0.5))
		real, sum := make([]float64, last-first), 0.0
		for k := range real {
			real[k] = max(0, 1-math.Abs((float64(first+k)-centre+0.5)/support))
			sum += real[k]
		}
		t := taps{first: first, weight: make([]int32, len(real))}
		for k, v := range real {
			t.weight[k] = int32(math.Round(v / sum * (1 << tapBits)))
		}
		all[i] = t
	}
	return all
}

// resample scales the rows to h x w, first across, then down.
func resample(rows *rowReader, h, w int) []byte {
	sh, sw, c := rows.r.Dy(), rows.r.Dx(), rows.channels
	across, down := triangleTaps(sw, w), triangleTaps(sh, h)
	line := make([]byte, sw*c)
	narrow := make([]byte, sh*w*c)
	for y := range sh {
		rows.read(y, line)
		scaleLine(line, narrow[y*w*c:(y+1)*w*c], across, c)
	}
	out := make([]byte, h*w*c)
	sums := make([]int32, w*c)
	for y, t := range down {
		for i := range sums {
			sums[i] = 1 << (tapBits - 1)
		}
		for k, weight := range t.weight {
			src := narrow[(t.first+k)*w*c:][:len(sums)]
			for i, v := range src {
				sums[i] += int32(v) * weight
			}
		}
		for i, s := range sums {
			out[y*w*c+i] = clamp8(s)
		}
	}
	return out
}

func scaleLine(src, dst []byte, across []taps, c int) {
	if c == 1 {
		for x, t := range across {
			sum := int32(1 << (tapBits - 1))
			for k, v := range src[t.first:][:len(t.weight)] {
				sum += int32(v) * t.weight[k]
			}
			dst[x] = clamp8(sum)
		}
		return
	}
	for x, t := range across {
		r, g, b := int32(1<<(tapBits-1)), int32(1<<(tapBits-1)), int32(1<<(tapBits-1))
		px := src[t.first*3:][:len(t.weight)*3]
		for k, weight := range t.weight {
			r += int32(px[3*k]) * weight
			g += int32(px[3*k+1]) * weight
			b += int32(px[3*k+2]) * weight
		}
		dst[3*x], dst[3*x+1], dst[3*x+2] = clamp8(r), clamp8(g), clamp8(b)
	}
}

func clamp8(sum int32) byte { return byte(min(max(sum>>tapBits, 0), 255)) }
