package operator

import (
	G "gorgonia.org/gorgonia"

	"driftgate/internal/kernel"
)

// backward adds an operator whose value is the gradient of the weights.
func (c *conv) backward(in G.Nodes, out, grad *G.Node) (G.Nodes, error) {
	ws, slot, win := c.ws, noSlot, c.win
	c.dw, c.db = make([]float32, in[1].Shape().TotalSize()), make([]float32, win.Filters)
	scratch := win.Padded()
	if in[0].Op() != nil {
		slot = 1 - slotOf(grad)
		ws.sizes[slot] = max(ws.sizes[slot], ws.batch*win.In())
		switch {
		case c.depthwise:
			scratch = max(scratch, win.DepthwiseScratch())
		case c.tiles != nil:
			scratch = max(scratch, win.TileGradScratch())
			c.turned = make([]float32, len(c.tiles))
		case !c.pointwise():
			scratch = max(scratch, win.GradScratch())
			c.turned = make([]float32, len(c.dw))
		}
	}
	c.sum = c.dw
	if c.tiles != nil {
		scratch = max(scratch, win.Padded()+win.TileScratch())
		c.sum = make([]float32, len(c.tiles))
	}
	if c.o.Pool {
		scratch += win.Output()
	}
	ws.reserve(scratch, len(c.sum)+len(c.db), 0)
	dw, err := ws.own("convGrad", in[1].Shape().Clone(), c.dw, func(dw []float32, v [][]float32) {
		if c.pointwise() {
			c.productGrad(dw, v[0], v[1], v[2], v[3], slot)
		} else {
			c.gradients(dw, v[0], v[1], v[2], v[3], slot)
		}
	}).apply(in[0], in[1], out, grad)
	if err != nil {
		return nil, err
	}
	return ws.hand(dw, in, slot, c.db)
}

func (c *conv) gradients(dw, x, w, y, dy []float32, slot int) {
	var dx []float32
	win := c.win
	if slot != noSlot {
		dx = c.ws.gradient(slot)
		switch {
		case c.tiles != nil: // the forward pass has filled them
			win.TurnTiles(c.turned, c.tiles)
		case !c.depthwise:
			win.Turn(c.turned, w)
		}
	}
	c.ws.each(c.values(c.ws.rows), func(k, a, b int) {
		scratch := c.ws.borrow()
		defer c.ws.giveBack(scratch)
		dw, db := c.ws.part(k, c.sum, 0), c.ws.part(k, c.db, len(c.sum))
		for i := a; i < b; i++ {
			dz, rest := c.gradOut(scratch, y, dy, db, i)
			padded := c.padded(rest, x, i)
			switch {
			case c.depthwise:
				win.DepthwiseGradWeights(dw, padded, dz)
			case c.tiles != nil:
				win.TilesGradWeights(dw, padded, dz, rest[win.Padded():])
			default:
				win.ConvGradWeights(dw, padded, dz)
			}
			if dx == nil {
				continue
			}
			to := dx[i*win.In():][:win.In()]
			switch {
			case c.depthwise:
				win.DepthwiseGradInput(to, dz, w, rest)
			case c.tiles != nil:
				win.TilesGradInput(to, dz, c.turned, rest)
			default:
				win.ConvGradInput(to, dz, c.turned, rest)
			}
		}
	})
	c.ws.reduce(c.sum, 0)
	if c.bias {
		c.ws.reduce(c.db, len(c.sum))
	}
	if c.tiles != nil {
		win.ReturnWeights(dw, c.sum)
	}
}

// gradOut is the gradient of image i before pooling, ReLU and bias, and what is
// left of scratch. The gradient of the bias is added to db.
func (c *conv) gradOut(scratch, y, dy, db []float32, i int) (dz, rest []float32) {
	size, filters := c.win.Output(), c.win.Filters
	pool := c.pool()
	pooled := size
	if c.o.Pool {
		pooled = pool.Output()
	}
	dz, y = dy[i*pooled:][:pooled], y[i*pooled:][:pooled]
	if c.o.ReLU {
		kernel.ReLUGrad(dz, dz, y)
	}
	if c.bias {
		kernel.AddRows(db, dz, pooled/filters, filters)
	}
	if !c.o.Pool {
		return dz, scratch
	}
	pool.MaxPoolGrad(scratch[:size], dz, c.z[i*size:][:size], y)
	return scratch[:size], scratch[size:]
}

func (c *conv) productGrad(dw, x, w, y, dz []float32, slot int) {
	ws, channels, filters := c.ws, c.win.Channels, c.win.Filters
	pixels := c.win.Height * c.win.Width
	m := ws.rows * pixels
	if c.o.ReLU || c.bias {
		ws.each(m*filters, func(k, a, b int) {
			dz, y := dz[a*pixels*filters:b*pixels*filters], y[a*pixels*filters:b*pixels*filters]
			if c.o.ReLU {
				kernel.ReLUGrad(dz, dz, y)
			}
			if c.bias {
				kernel.AddRows(ws.part(k, c.db, 0), dz, (b-a)*pixels, filters)
			}
		})
	}
	if c.bias {
		ws.reduce(c.db, 0)
	}
	matrix := kernel.Operand{Data: dz, Stride: filters}
	kernel.Gemm(channels, filters, m, kernel.Operand{Data: x, Stride: channels, Transposed: true}, matrix, dw, filters, kernel.Epilogue{})
	if slot != noSlot {
		kernel.Gemm(m, channels, filters, matrix, kernel.Operand{Data: w, Stride: filters, Transposed: true}, ws.gradient(slot), channels, kernel.Epilogue{})
	}
}
