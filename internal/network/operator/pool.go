package operator

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	dg "driftgate"
	"driftgate/internal/kernel"
)

// MaxPool gives the largest value of each channel in a square window of side k
// that moves by stride pixels. Rows and columns that no whole window covers are
// left out.
func MaxPool(ws *Workspace, x *G.Node, k, stride int) (*G.Node, error) {
	height, width, channels, err := image("max pool", x)
	if err != nil {
		return nil, err
	}
	if err := ws.rowsOf("max pool", x); err != nil {
		return nil, err
	}
	if err := windowFits("max pool", height, width, k, stride, 0); err != nil {
		return nil, err
	}
	win := kernel.Window{Height: height, Width: width, Channels: channels, Filters: channels, Kernel: k, Stride: stride}
	height, width = win.Out()
	in, out := win.In(), win.Output()
	shape := tensor.Shape{ws.batch, height, width, channels}
	before := putOff(x)
	if before != nil {
		ws.reserve(in, 0, 0)
	}
	// images calls f with each image, normalised where that was put off.
	images := func(x []float32, f func(i int, image []float32)) {
		ws.each(ws.rows*in, func(_, a, b int) {
			scratch := ws.borrow()
			defer ws.giveBack(scratch)
			for i := a; i < b; i++ {
				image := x[i*in:][:in]
				if before != nil {
					before.apply(scratch[:in], image)
					image = scratch[:in]
				}
				f(i, image)
			}
		})
	}
	o := ws.own("maxPool", shape, make([]float32, shape.TotalSize()), func(y []float32, v [][]float32) {
		images(v[0], func(i int, image []float32) { win.MaxPool(y[i*out:][:out], image) })
	})
	o.diff = func(nodes G.Nodes, y, grad *G.Node) (G.Nodes, error) {
		dx, err := ws.inSlot("maxPoolGrad", nodes[0].Shape().Clone(), 1-slotOf(grad), func(dx []float32, v [][]float32) {
			images(v[0], func(i int, image []float32) {
				win.MaxPoolGrad(dx[i*in:][:in], v[2][i*out:][:out], image, v[1][i*out:][:out])
			})
		}).apply(nodes[0], y, grad)
		return G.Nodes{dx}, err
	}
	return o.layer(x)
}

// MeanPool gives the mean of each channel over all pixels: an image of one pixel.
func MeanPool(ws *Workspace, x *G.Node) (*G.Node, error) {
	height, width, c, err := image("mean pool", x)
	if err != nil {
		return nil, err
	}
	if err := ws.rowsOf("mean pool", x); err != nil {
		return nil, err
	}
	pixels := height * width
	size := pixels * c
	o := ws.own("meanPool", tensor.Shape{ws.batch, 1, 1, c}, make([]float32, ws.batch*c), func(y []float32, v [][]float32) {
		ws.each(ws.rows*size, func(_, a, b int) {
			for i := a; i < b; i++ {
				kernel.MeanRows(y[i*c:][:c], v[0][i*size:][:size], pixels, c)
			}
		})
	})
	o.diff = func(nodes G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		dx, err := ws.inSlot("meanPoolGrad", nodes[0].Shape().Clone(), 1-slotOf(grad), func(dx []float32, v [][]float32) {
			ws.each(ws.rows*size, func(_, a, b int) {
				for i := a; i < b; i++ {
					spread(dx[i*size:][:size], v[0][i*c:][:c])
				}
			})
		}).apply(grad)
		return G.Nodes{dx}, err
	}
	return o.layer(x)
}

// spread gives each pixel an equal share of the gradient of their mean.
func spread(dx, dy []float32) {
	pixels := len(dx) / len(dy)
	for i, v := range dy {
		dx[i] = v / float32(pixels)
	}
	for at := len(dy); at < len(dx); at += len(dy) {
		copy(dx[at:at+len(dy)], dx)
	}
}

// Dropout sets values to zero, each with probability rate, and multiplies the
// rest by 1/(1-rate) (Srivastava et al., 2014). Which ones depends on the seed of
// the run, the layer and the place, and on nothing else.
func Dropout(ws *Workspace, x *G.Node, rate float64) (*G.Node, error) {
	if !(rate >= 0 && rate < 1) {
		return nil, fmt.Errorf("operator: dropout: rate %g, want 0 to below 1: %w", rate, dg.ErrInvalid)
	}
	if err := ws.rowsOf("dropout", x); err != nil {
		return nil, err
	}
	size := x.Shape().TotalSize() / ws.batch
	o := ws.own("dropout", x.Shape().Clone(), make([]float32, x.Shape().TotalSize()), nil)
	m := mask{layer: uint64(o.id), below: uint32(rate * (1 << 32)), scale: float32(1 / (1 - rate))}
	drop := func(y []float32, v [][]float32) {
		ws.each(8*ws.rows*size, func(_, a, b int) {
			for i := a; i < b; i++ {
				m.apply(y[i*size:][:size], v[0][i*size:][:size], ws.seed, uint64(i))
			}
		})
	}
	o.run = drop
	o.diff = func(nodes G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		dx, err := ws.inSlot("dropoutGrad", nodes[0].Shape().Clone(), slotOf(grad), drop).apply(grad)
		return G.Nodes{dx}, err
	}
	return o.layer(x)
}

// mask draws what dropout keeps. It is drawn again for the gradient: that is
// cheaper than to keep it.
type mask struct {
	layer uint64
	below uint32 // draws below it are dropped
	scale float32
}

func (m mask) apply(y, x []float32, seed, row uint64) {
	state := mix(mix(seed+m.layer*0x9e3779b97f4a7c15) + row)
	for i := 0; i < len(x); i += 2 {
		draw := mix(state + uint64(i))
		y[i] = m.value(x[i], uint32(draw))
		if i+1 < len(x) {
			y[i+1] = m.value(x[i+1], uint32(draw>>32))
		}
	}
}

func (m mask) value(x float32, draw uint32) float32 {
	if draw < m.below {
		return 0
	}
	return x * m.scale
}

// mix is the finaliser of SplitMix64 (Steele, Lea & Flood, 2014) after its step.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
