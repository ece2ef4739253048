package network

import (
	"driftgate/internal/kernel"
)

// product is a dense layer, or a convolution that sees one pixel at a time: a
// product of rows of the input with the weights.
type product struct {
	weights  *kernel.Packed
	k, units int
	pixels   int // rows a sample; 1 is a dense layer
	epilogue kernel.Epilogue
}

func newProduct(l *linear) *product {
	units := l.Out.Channels
	p := &product{k: len(l.weights.Data) / units, units: units, pixels: 1, epilogue: l.epilogue()}
	if l.Kind == Conv {
		p.pixels = l.In.Height * l.In.Width
	}
	p.weights = kernel.Pack(p.k, units, kernel.Operand{Data: l.weights.Data, Stride: p.k, Transposed: true})
	return p
}

func (p *product) sizes() (in, out, scratch int) { return p.pixels * p.k, p.pixels * p.units, 0 }

func (p *product) work() int { return p.pixels * p.k * p.units }

// columnRows is how many rows make it worth that threads read all weights, each
// for rows of its own.
const columnRows = 256

// parts are panels of the weights where there are few rows, so that each is read
// by one thread, and otherwise rows.
func (p *product) parts(n int) int {
	if n*p.pixels < columnRows {
		return (p.units + p.weights.Panel() - 1) / p.weights.Panel()
	}
	return n * p.pixels
}

func (p *product) run(out, in []float32, n, from, to int, _ []float32) {
	if rows := n * p.pixels; rows < columnRows {
		panel := p.weights.Panel()
		p.weights.Columns(rows, kernel.Operand{Data: in, Stride: p.k}, out, p.units, p.epilogue, from*panel, min(to*panel, p.units))
		return
	}
	p.weights.Columns(to-from, kernel.Operand{Data: in[from*p.k:], Stride: p.k}, out[from*p.units:], p.units, p.epilogue, 0, p.units)
}

// stripSpace bounds the padded input and the output before pooling of a strip of
// an image, in float32s: an eighth of L2 cache. Much shorter ones read the weights
// too often.
const stripSpace = 32 << 10

// sliding is a convolution, depthwise or not, with the pooling after it if
// there is one. It goes through an image in strips of rows that stay in cache.
type sliding struct {
	window    kernel.Window // of the whole image
	pool      kernel.Window // of its output; Kernel is 0 where there is none
	weights   []float32
	epilogue  kernel.Epilogue
	depthwise bool
	tiled     bool // by [kernel.Window.ConvTiles]
	rows      int  // of the output, after pooling
	line      int  // values of such a row
	strip     int  // rows at a time, units of them
	unit      int  // rows that are computed together
}

func newSliding(l *linear, pool kernel.Window) *sliding {
	c := &sliding{window: l.Window(), pool: pool, weights: l.toKernel(l.weights), epilogue: l.epilogue(), depthwise: l.Kind == Depthwise}
	h, w := c.window.Out()
	if c.pools() {
		h, w = pool.Out()
	}
	c.rows, c.line, c.unit = h, w*c.window.Filters, 1
	if c.tiled = !c.depthwise && c.window.Winograd() && (!c.pools() || c.pool.Kernel == 2 && c.pool.Stride == 2); c.tiled {
		u := make([]float32, c.window.TileWeights())
		c.window.TransformWeights(u, c.weights)
		if c.weights = u; !c.pools() {
			c.unit = 2
		}
	}
	c.strip = c.unit
	for c.strip < c.rows && c.need(c.strip+c.unit) <= stripSpace {
		c.strip += c.unit
	}
	if !c.pools() && c.window.Padding == 0 {
		c.strip = c.rows
	}
	return c
}

func (c *sliding) pools() bool { return c.pool.Kernel > 0 }

// before is the number of rows of the convolution that rows of the output see,
// seen that of rows of the padded input.
func (c *sliding) before(rows int) int {
	if c.pools() {
		return (rows-1)*c.pool.Stride + c.pool.Kernel
	}
	return rows
}

func (c *sliding) seen(rows int) int {
	return (c.before(rows)-1)*c.window.Stride + c.window.Kernel
}

// paddedLine is the number of values of a row of the padded input.
func (c *sliding) paddedLine() int {
	return (c.window.Width + 2*c.window.Padding) * c.window.Channels
}

// padded and pooled are the values of the two parts of scratch for a strip.
func (c *sliding) padded(rows int) int {
	if c.window.Padding == 0 {
		return 0
	}
	return c.seen(rows) * c.paddedLine()
}

func (c *sliding) pooled(rows int) int {
	if !c.pools() || c.tiled {
		return 0
	}
	return c.before(rows) * c.pool.Width * c.pool.Channels
}

func (c *sliding) need(rows int) int { return c.padded(rows) + c.pooled(rows) }

func (c *sliding) sizes() (in, out, scratch int) {
	scratch = c.need(c.strip)
	if c.tiled {
		scratch += c.window.TileScratch()
	}
	return c.window.In(), c.rows * c.line, scratch
}

func (c *sliding) work() int {
	h, w := c.window.Out()
	perFilter := c.window.Kernel * c.window.Kernel
	if !c.depthwise {
		perFilter *= c.window.Channels
	}
	return h * w * c.window.Filters * perFilter
}

// units is how many parts an image has.
func (c *sliding) units() int { return (c.rows + c.unit - 1) / c.unit }

func (c *sliding) parts(n int) int { return n * c.units() }

func (c *sliding) run(out, in []float32, n, from, to int, scratch []float32) {
	values := c.window.In()
	for at := from; at < to; {
		image, y := at/c.units(), at%c.units()*c.unit
		rows := min(c.strip, c.rows-y, (to-at)*c.unit)
		c.slide(out[(image*c.rows+y)*c.line:][:rows*c.line], in[image*values:][:values], y, rows, scratch)
		at += (rows + c.unit - 1) / c.unit
	}
}

// slide computes rows of the output of one image, from row y on.
func (c *sliding) slide(out, in []float32, y, rows int, scratch []float32) {
	w := c.window
	seen, made := c.seen(rows), c.before(rows)
	first := (c.before(y+1) - c.before(1)) * w.Stride
	w.Height = seen - 2*w.Padding
	padded, scratch := scratch[:c.padded(rows)], scratch[c.padded(rows):]
	if w.Padding == 0 {
		padded = in[first*c.paddedLine():][:seen*c.paddedLine()]
	} else {
		c.pad(padded, in, first, seen)
	}
	to := out
	if c.tiled && c.pools() {
		w.ConvTilesPool(out, padded, c.weights, c.epilogue, 0, made, scratch)
		return
	}
	if c.pools() {
		to = scratch[:c.pooled(rows)]
	}
	switch {
	case c.depthwise:
		w.Depthwise(to, padded, c.weights, c.epilogue, 0, made)
	case c.tiled:
		w.ConvTiles(to, padded, c.weights, c.epilogue, 0, made, scratch)
	default:
		w.Conv(to, padded, c.weights, c.epilogue, 0, made)
	}
	if c.pools() {
		pool := c.pool
		pool.Height = made
		pool.MaxPool(out, to)
	}
}

// pad writes rows of the padded image, from row first on.
func (c *sliding) pad(dst, in []float32, first, rows int) {
	line, edge, row := c.paddedLine(), c.window.Padding*c.window.Channels, c.window.Width*c.window.Channels
	for i := range rows {
		to, y := dst[i*line:][:line], first+i-c.window.Padding
		if y < 0 || y >= c.window.Height {
			clear(to)
			continue
		}
		clear(to[:edge])
		copy(to[edge:], in[y*row:][:row])
		clear(to[edge+row:])
	}
}

// pooling is a pooling by itself.
type pooling struct{ window kernel.Window }

func (p *pooling) sizes() (in, out, scratch int) { return p.window.In(), p.window.Output(), 0 }

func (p *pooling) work() int { return p.window.In() }

func (p *pooling) parts(n int) int { return n }

func (p *pooling) run(out, in []float32, _, from, to int, _ []float32) {
	for i := from; i < to; i++ {
		p.window.MaxPool(out[i*p.window.Output():], in[i*p.window.In():][:p.window.In()])
	}
}

// mean is the mean over the pixels of each image.
type mean struct{ in Size }

func (m *mean) sizes() (in, out, scratch int) { return m.in.Values(), m.in.Channels, 0 }

func (m *mean) work() int { return m.in.Values() }

func (m *mean) parts(n int) int { return n }

func (m *mean) run(out, in []float32, _, from, to int, _ []float32) {
	for i := from; i < to; i++ {
		kernel.MeanRows(out[i*m.in.Channels:], in[i*m.in.Values():], m.in.Height*m.in.Width, m.in.Channels)
	}
}

// affine is batch normalisation that could not be folded into what is before it.
type affine struct {
	in            Size
	scale, offset []float32
	relu          bool
}

func (a *affine) sizes() (in, out, scratch int) { return a.in.Values(), a.in.Values(), 0 }

func (a *affine) work() int { return a.in.Values() }

func (a *affine) parts(n int) int { return n * a.in.Height }

func (a *affine) run(out, in []float32, _, from, to int, _ []float32) {
	line := a.in.Width * a.in.Channels
	kernel.Affine(out[from*line:to*line], in[from*line:], a.scale, a.offset, (to-from)*a.in.Width, a.in.Channels, a.relu)
}
