package dataset

import (
	"math"
	"math/rand/v2"
	"sync"
)

// A training pays for these loops with every image of every epoch, so they work
// in whole numbers and go along rows.

// turn is a rotation about the image's centre, after a mirroring, before a
// shift. Images are sampled bilinearly; what lies outside is as its nearest
// edge.
type turn struct {
	sin, cos float64
	dx, dy   int     // pixels to the right and down
	scaleX   float64 // -1 mirrors
}

// Positions between pixels count in 65536ths, weights of pixels in 256ths.
const (
	positionBits = 16
	weightBits   = 8
)

func (t turn) apply(dst, src []byte, h, w, channels int) {
	if t.sin == 0 && t.cos == 1 {
		t.whole(dst, src, h, w, channels)
		return
	}
	const one = 1 << positionBits
	cy, cx := float64(h-1)/2, float64(w-1)/2
	stepX, stepY := int(math.Round(t.scaleX*t.cos*one)), int(math.Round(-t.sin*one))
	at := 0
	for y := range h {
		px, py := -cx-float64(t.dx), float64(y)-cy-float64(t.dy)
		sx := int(math.Round((t.scaleX*(t.cos*px+t.sin*py) + cx) * one))
		sy := int(math.Round((t.cos*py - t.sin*px + cy) * one))
		for range w {
			x0, y0 := sx>>positionBits, sy>>positionBits // rounds down, below 0 too
			fx, fy := sx>>(positionBits-weightBits)&255, sy>>(positionBits-weightBits)&255
			l, r, u, d := x0, x0+1, y0, y0+1
			if uint(x0) >= uint(w-1) || uint(y0) >= uint(h-1) {
				l, r, u, d = clamp(l, w), clamp(r, w), clamp(u, h), clamp(d, h)
			}
			wr, wd := fx, fy
			wl, wu := 1<<weightBits-fx, 1<<weightBits-fy
			ul, ur, dl, dr := (u*w+l)*channels, (u*w+r)*channels, (d*w+l)*channels, (d*w+r)*channels
			for c := range channels {
				sum := wu*(wl*int(src[ul+c])+wr*int(src[ur+c])) + wd*(wl*int(src[dl+c])+wr*int(src[dr+c]))
				dst[at+c] = byte((sum + 1<<(2*weightBits-1)) >> (2 * weightBits))
			}
			at += channels
			sx, sy = sx+stepX, sy+stepY
		}
	}
}

// whole is apply without a rotation: pixels move, none is mixed.
func (t turn) whole(dst, src []byte, h, w, channels int) {
	line := w * channels
	for y := range h {
		to, from := dst[y*line:][:line], src[clamp(y-t.dy, h)*line:][:line]
		if t.scaleX < 0 {
			for x := range w {
				copy(to[x*channels:][:channels], from[clamp(w-1-x+t.dx, w)*channels:][:channels])
			}
			continue
		}
		first := min(max(t.dx, 0), w)  // the first and, behind it, the last pixel
		last := min(max(w+t.dx, 0), w) // that come from within the image
		if first < last {
			copy(to[first*channels:last*channels], from[(first-t.dx)*channels:])
		}
		for x := range first {
			copy(to[x*channels:][:channels], from[:channels])
		}
		for x := last; x < w; x++ {
			copy(to[x*channels:][:channels], from[line-channels:])
		}
	}
}

func clamp(i, n int) int { return min(max(i, 0), n-1) }

func level(v float64) byte { return byte(min(max(math.Round(v), 0), 255)) }

// tone multiplies every value's distance from the image's mean with contrast,
// and the result with brightness.
func tone(px []byte, brightness, contrast float64) {
	if brightness == 1 && contrast == 1 {
		return
	}
	sum := 0
	for _, v := range px {
		sum += int(v)
	}
	mean := float64(sum) / float64(len(px))
	var to [256]byte
	for v := range to {
		to[v] = level(brightness * (mean + contrast*(float64(v)-mean)))
	}
	for i, v := range px {
		px[i] = to[v]
	}
}

// saturate multiplies every colour's distance from its grey, by the luma
// weights of ITU-R 601, with by.
func saturate(px []byte, by float64) {
	if by == 1 {
		return
	}
	k := int(math.Round(by * 256))
	for ; len(px) >= 3; px = px[3:] {
		r, g, b := int(px[0]), int(px[1]), int(px[2])
		grey := (77*r + 150*g + 29*b + 128) >> 8
		for c, v := range [3]int{r, g, b} {
			px[c] = byte(min(max(grey+(k*(v-grey)+128)>>8, 0), 255))
		}
	}
}

// The noise is drawn from 4096 values of equal chance, the standard normal
// distribution's quantiles, in 4096ths: one draw of the generator serves five
// pixels.
const quantileBits = 12

var quantiles = sync.OnceValue(func() *[1 << quantileBits]int32 {
	var q [1 << quantileBits]int32
	for i := range q {
		p := (float64(i) + 0.5) / float64(len(q))
		q[i] = int32(math.Round(math.Sqrt2 * math.Erfinv(2*p-1) * (1 << quantileBits)))
	}
	return &q
})

// scatter adds Gaussian noise of standard deviation sd, 0 to 1.
func scatter(px []byte, sd float64, rng *rand.Rand) {
	const bits = quantileBits + 8
	q, scale := quantiles(), int(math.Round(255*sd*256))
	var draw uint64
	left := 0
	for i, v := range px {
		if left == 0 {
			draw, left = rng.Uint64(), 64/quantileBits
		}
		d := (int(q[draw&(1<<quantileBits-1)])*scale + 1<<(bits-1)) >> bits
		px[i] = byte(min(max(int(v)+d, 0), 255))
		draw, left = draw>>quantileBits, left-1
	}
}

// blank turns a square about y, x to black, as far as it lies in the image.
func blank(px []byte, h, w, channels, side, y, x int) {
	top, left := y-side/2, x-side/2
	for r := max(0, top); r < min(h, top+side); r++ {
		clear(px[(r*w+max(0, left))*channels : (r*w+max(0, min(w, left+side)))*channels])
	}
}
