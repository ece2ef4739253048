package operator

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	dg "driftgate"
	"driftgate/internal/kernel"
)

// ConvOptions is what the shapes of a convolution's inputs leave open.
type ConvOptions struct {
	Kernel, Stride, Padding int  // side of the window, its step, zeros around the image; pixels
	ReLU                    bool // cut at zero
	Pool                    bool // then the largest value of each 2x2 pixels; not for depthwise
}

// conv is a convolution of either kind.
type conv struct {
	ws        *Workspace
	win       kernel.Window
	o         ConvOptions
	depthwise bool
	bias      bool
	before    *batchNorm // is applied to each image when it is padded
	after     *batchNorm // gets the moments of each image while it is in the cache
	z         []float32  // with Pool, what is pooled

	turned, dw, db []float32
	tiles          []float32 // the weights transformed, where the window is one of [kernel.Window.Winograd]; else nil
	sum            []float32 // the gradient of those, or dw itself
}

// Conv convolves images with w, adds b (nil adds nothing), and does what o says.
func Conv(ws *Workspace, x, w, b *G.Node, o ConvOptions) (*G.Node, error) {
	c := &conv{ws: ws, o: o, bias: b != nil}
	return c.build("conv", x, w, b)
}

// Depthwise convolves each channel of images with its own window of w.
func Depthwise(ws *Workspace, x, w, b *G.Node, o ConvOptions) (*G.Node, error) {
	if o.Pool {
		return nil, fmt.Errorf("operator: depthwise: pooling is not fused into it, want an operator of its own: %w", dg.ErrInvalid)
	}
	c := &conv{ws: ws, o: o, bias: b != nil, depthwise: true}
	return c.build("depthwise", x, w, b)
}

func (c *conv) build(name string, x, w, b *G.Node) (*G.Node, error) {
	in, err := c.check(name, x, w, b)
	if err != nil {
		return nil, err
	}
	height, width := c.win.Out()
	n := c.ws.batch
	if c.o.Pool {
		c.z = make([]float32, n*c.win.Output())
		height, width = c.pool().Out()
	}
	scratch := c.win.Padded()
	if !c.depthwise && c.win.Winograd() {
		c.tiles = make([]float32, c.win.TileWeights())
		scratch += c.win.TileScratch()
	}
	c.ws.reserve(scratch, 0, 0)
	shape := tensor.Shape{n, height, width, c.win.Filters}
	op := c.ws.own(name, shape, make([]float32, shape.TotalSize()), c.forward)
	op.diff = c.backward
	op.conv = c
	if !c.pointwise() { // a product takes all images at once
		c.before = putOff(x)
	}
	return op.layer(in...)
}

func (c *conv) check(name string, x, w, b *G.Node) (G.Nodes, error) {
	height, width, channels, err := image(name, x)
	if err != nil {
		return nil, err
	}
	if err := c.ws.rowsOf(name, x); err != nil {
		return nil, err
	}
	if err := windowFits(name, height, width, c.o.Kernel, c.o.Stride, c.o.Padding); err != nil {
		return nil, err
	}
	side, filters := c.o.Kernel*c.o.Kernel*channels, channels
	if c.depthwise {
		side = c.o.Kernel * c.o.Kernel
	} else if w.Dims() == 2 {
		filters = w.Shape()[1]
	}
	if err := shaped(name, "weights", w, side, filters); err != nil {
		return nil, err
	}
	c.win = kernel.Window{Height: height, Width: width, Channels: channels, Filters: filters, Kernel: c.o.Kernel, Stride: c.o.Stride, Padding: c.o.Padding}
	if h, x := c.win.Out(); c.o.Pool && min(h, x) < 2 {
		return nil, fmt.Errorf("operator: %s: pools 2x2 pixels of %dx%d, want at least as many: %w", name, h, x, dg.ErrInvalid)
	}
	in := G.Nodes{x, w}
	if b != nil {
		if err := shaped(name, "bias", b, filters); err != nil {
			return nil, err
		}
		in = append(in, b)
	}
	return in, nil
}

// windowFits checks the geometry of a window over an image.
func windowFits(name string, height, width, k, stride, padding int) error {
	switch {
	case k < 1 || stride < 1 || padding < 0:
		return fmt.Errorf("operator: %s: window %d, stride %d, padding %d, want at least 1, 1, 0: %w", name, k, stride, padding, dg.ErrInvalid)
	case padding >= k:
		return fmt.Errorf("operator: %s: padding %d of a window of %d, want less: %w", name, padding, k, dg.ErrInvalid)
	case min(height, width)+2*padding < k:
		return fmt.Errorf("operator: %s: window %d over %dx%d pixels with padding %d, want one that fits: %w", name, k, height, width, padding, dg.ErrInvalid)
	}
	return nil
}

// pool is the window of the fused pooling.
func (c *conv) pool() kernel.Window {
	h, w := c.win.Out()
	return kernel.Window{Height: h, Width: w, Channels: c.win.Filters, Filters: c.win.Filters, Kernel: 2, Stride: 2}
}

// pointwise says that the convolution is a product over all pixels.
func (c *conv) pointwise() bool {
	return !c.depthwise && !c.o.Pool && c.win.Kernel == 1 && c.win.Stride == 1 && c.win.Padding == 0
}

// values is how much n images move through memory.
func (c *conv) values(n int) int { return n * (c.win.In() + c.win.Output()) }

func (c *conv) epilogue(in [][]float32) kernel.Epilogue {
	e := kernel.Epilogue{ReLU: c.o.ReLU}
	if c.bias {
		e.Bias = in[2]
	}
	return e
}

func (c *conv) forward(out []float32, in [][]float32) {
	if c.pointwise() {
		c.product(out, in)
		return
	}
	x, w, e := in[0], in[1], c.epilogue(in)
	size, z := c.win.Output(), out
	if c.o.Pool {
		z = c.z
	}
	height, _ := c.win.Out()
	pool := c.pool()
	if c.tiles != nil {
		c.win.TransformWeights(c.tiles, w)
	}
	c.ws.each(c.values(c.ws.rows), func(k, a, b int) {
		scratch := c.ws.borrow()
		defer c.ws.giveBack(scratch)
		sums := c.after.begin(k)
		for i := a; i < b; i++ {
			padded, z := c.padded(scratch, x, i), z[i*size:][:size]
			switch {
			case c.depthwise:
				c.win.Depthwise(z, padded, w, e, 0, height)
			case c.tiles != nil:
				c.win.ConvTiles(z, padded, c.tiles, e, 0, height, scratch[c.win.Padded():])
			default:
				c.win.Conv(z, padded, w, e, 0, height)
			}
			if c.o.Pool {
				pool.MaxPool(out[i*pool.Output():][:pool.Output()], z)
			}
			c.after.add(sums, z)
		}
	})
}

// product is the forward pass of a pointwise convolution.
func (c *conv) product(out []float32, in [][]float32) {
	pixels, channels, filters := c.win.Height*c.win.Width, c.win.Channels, c.win.Filters
	rows := func(a, b int) {
		kernel.Gemm((b-a)*pixels, filters, channels, kernel.Operand{Data: in[0][a*pixels*channels:], Stride: channels},
			kernel.Operand{Data: in[1], Stride: filters}, out[a*pixels*filters:], filters, c.epilogue(in))
	}
	if c.after == nil {
		rows(0, c.ws.rows)
		return
	}
	chunk := max(1, cached/(pixels*filters)) // images whose result stays in the cache
	c.ws.each(c.values(c.ws.rows), func(k, a, b int) {
		sums := c.after.begin(k)
		for ; a < b; a += chunk {
			end := min(a+chunk, b)
			rows(a, end)
			c.after.add(sums, out[a*pixels*filters:end*pixels*filters])
		}
	})
}

// cached is how many float32s stay in the second-level cache beside others.
const cached = 1 << 16

// padded is image i of x with its border.
func (c *conv) padded(scratch, x []float32, i int) []float32 {
	image, scratch := x[i*c.win.In():][:c.win.In()], scratch[:c.win.Padded()]
	switch {
	case c.before != nil:
		c.win.PadWith(scratch, image, c.before.apply)
	case c.win.Padding == 0:
		return image
	default:
		c.win.Pad(scratch, image)
	}
	return scratch
}
