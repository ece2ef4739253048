package dataset

import (
	"image"
	"image/draw"
	"math"
	"math/rand/v2"

	"golang.org/x/image/vector"
)

// Garment draws one image of a class of [dg.FashionMNIST] (0 to 9): Side x Side
// pixels, grey on black, drift included. It panics on another class.
func Garment(class int, d Drift, rng *rand.Rand) []byte {
	p := newPen(rng)
	p.novel = d.NewStyles > 0 && rng.Float64() < d.NewStyles
	p.ink = p.chooseInk()
	garmentCuts[class](p)
	p.finish()
	return d.Apply(p.pixels(), Side, Side, rng)
}

// garmentCuts draws each class, in the order of the class list.
var garmentCuts = [10]func(*pen){
	drawTShirt, drawTrouser, drawPullover, drawDress, drawCoat,
	drawSandal, drawShirt, drawSneaker, drawBag, drawBoot,
}

// A pen draws one garment. Shapes are given in the garment's own coordinates,
// about -1 to 1 in both directions, y down; the pen puts them on the canvas
// with a little shift, scale, shear and turn of its own.
type pen struct {
	rng   *rand.Rand
	novel bool // an unseen cut and texture

	ax, ay, bx, by, tx, ty float64 // canvas = a*x + b*y + t
	raster                 vector.Rasterizer
	mask                   image.Alpha
	canvas                 [Side * Side]float64 // 0 black to 1 white
	covered                [Side * Side]float64 // by any shape, 0 to 1
	ink                    ink
}

// An ink is the brightness, 0 to 1, at a point of the garment.
type ink func(x, y float64) float64

func newPen(rng *rand.Rand) *pen {
	p := &pen{rng: rng}
	p.mask = image.Alpha{Pix: make([]byte, Side*Side), Stride: Side, Rect: image.Rect(0, 0, Side, Side)}
	size := p.between(11.4, 13.2)
	if p.chance(0.3) { // photographed from further away
		size = p.between(9, 10.2)
	}
	wide := size * p.between(0.95, 1.05)
	sin, cos := math.Sincos(p.rng.NormFloat64() * 0.04)
	shear := p.rng.NormFloat64() * 0.04
	p.ax, p.ay = wide*cos, wide*sin
	p.bx, p.by = size*(shear-sin), size*cos
	p.tx, p.ty = Side/2+p.rng.NormFloat64()*0.5, Side/2+p.rng.NormFloat64()*0.45
	return p
}

// between draws evenly from [a, b).
func (p *pen) between(a, b float64) float64 { return a + (b-a)*p.rng.Float64() }

// chance is true with probability q.
func (p *pen) chance(q float64) bool { return p.rng.Float64() < q }

// flip mirrors the garment left to right.
func (p *pen) flip() { p.ax, p.ay = -p.ax, -p.ay }

// local maps the centre of a canvas pixel to garment coordinates.
func (p *pen) local(px, py int) (x, y float64) {
	dx, dy := float64(px)+0.5-p.tx, float64(py)+0.5-p.ty
	det := p.ax*p.by - p.bx*p.ay
	return (dx*p.by - dy*p.bx) / det, (dy*p.ax - dx*p.ay) / det
}

// cover computes how much of each pixel the shape covers, 0 to 255.
func (p *pen) cover(s shape) []byte {
	p.raster.Reset(Side, Side)
	p.raster.DrawOp = draw.Src
	at := func(x, y float64) (float32, float32) {
		return float32(p.ax*x + p.bx*y + p.tx), float32(p.ay*x + p.by*y + p.ty)
	}
	for _, n := range s {
		x, y := at(n.x, n.y)
		switch n.step {
		case moveTo:
			p.raster.ClosePath()
			p.raster.MoveTo(x, y)
		case lineTo:
			p.raster.LineTo(x, y)
		case curveTo:
			cx, cy := at(n.cx, n.cy)
			p.raster.QuadTo(cx, cy, x, y)
		}
	}
	p.raster.ClosePath()
	p.raster.Draw(&p.mask, p.mask.Rect, image.Opaque, image.Point{})
	return p.mask.Pix
}

// fill paints the shape.
func (p *pen) fill(s shape, with ink) {
	for i, m := range p.cover(s) {
		if m == 0 {
			continue
		}
		a := float64(m) / 255
		x, y := p.local(i%Side, i/Side)
		p.canvas[i] += a * (with(x, y) - p.canvas[i])
		p.covered[i] = max(p.covered[i], a)
	}
}

// shade darkens (below 1) or brightens (over 1) what the shape covers.
func (p *pen) shade(s shape, factor float64) {
	for i, m := range p.cover(s) {
		p.canvas[i] *= 1 + float64(m)/255*(factor-1)
	}
}

// erase makes the shape background again.
func (p *pen) erase(s shape) {
	for i, m := range p.cover(s) {
		p.canvas[i] *= 1 - float64(m)/255
		p.covered[i] *= 1 - float64(m)/255
	}
}

// finish adds what a photograph adds: folds, an occluding thing now and then,
// and sensor noise on the garment.
func (p *pen) finish() {
	depth, angle, phase := p.between(0, 0.15), p.between(0, math.Pi), p.between(0, 6)
	sin, cos := math.Sincos(angle)
	waves := p.between(2, 5)
	if p.chance(0.15) {
		p.thin(p.between(0.15, 0.4))
	}
	if p.chance(0.05) {
		p.occlude()
	}
	grain := p.between(0.005, 0.03)
	for i := range p.canvas {
		x, y := p.local(i%Side, i/Side)
		p.canvas[i] *= 1 + depth*math.Sin(waves*(cos*x+sin*y)+phase)
		p.canvas[i] += p.covered[i] * grain * p.rng.NormFloat64()
	}
}

// thin makes the fabric sheer: dark, with seams and edges standing out.
func (p *pen) thin(tone float64) {
	before := p.canvas
	at := func(x, y int) float64 {
		if x < 0 || x >= Side || y < 0 || y >= Side {
			return 0
		}
		return before[y*Side+x]
	}
	for i, v := range before {
		x, y := i%Side, i/Side
		steps := math.Abs(at(x+1, y)-v) + math.Abs(at(x, y+1)-v) + math.Abs(at(x-1, y)-v) + math.Abs(at(x, y-1)-v)
		p.canvas[i] = v * min(tone+0.8*steps, 1)
	}
}

// occlude lays a dark or bright patch over a part of the picture.
func (p *pen) occlude() {
	x, y := p.between(-0.9, 0.9), p.between(-0.9, 0.9)
	w, h := p.between(0.15, 0.4), p.between(0.15, 0.4)
	tone := p.between(0, 0.9)
	if p.chance(0.5) {
		tone = 0
	}
	p.fill(box(x-w, y-h, x+w, y+h), func(float64, float64) float64 { return tone })
}

// pixels rounds the canvas to bytes.
func (p *pen) pixels() []byte {
	out := make([]byte, Side*Side)
	for i, v := range p.canvas {
		out[i] = byte(min(max(math.Round(v*255), 0), 255))
	}
	return out
}
