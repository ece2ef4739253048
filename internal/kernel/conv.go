package kernel

// Conv convolves one padded image with weights [Kernel*Kernel*Channels][Filters]
// (window row, window column, channel) into out, [height][width][Filters]; only
// the output rows from y0 to before y1 are written. Bias has Filters values.
//
// It is a product without its left factor being made: a row of that is a window
// of the image, whose lines lie apart.
func (w Window) Conv(out, padded, weights []float32, e Epilogue, y0, y1 int) {
	if y0 >= y1 {
		return
	}
	_, width := w.Out()
	line, across := w.line(), w.Kernel*w.Channels
	_ = padded[((y1-1)*w.Stride+w.Kernel)*line-1]
	_ = out[y1*width*w.Filters-1]
	work := borrow()
	defer work.giveBack()
	work.tile = tile{
		a: &padded[0], aRow: w.Stride * w.Channels * 4, aStep: 4, aBlock: (line - across) * 4,
		c: &out[0], cRow: w.Filters * 4,
		steps: across, blocks: w.Kernel,
	}
	work.tile.finishWith(e, w.Filters)
	s := sweep{
		rows: width, repeats: y1 - y0, aShift: w.Stride * line * 4, cShift: width * w.Filters * 4,
		aAt: y0 * w.Stride * line * 4, cAt: y0 * width * w.Filters * 4,
	}
	s.over(&micros[active], work, Operand{Data: weights, Stride: w.Filters}, w.Kernel*across, w.Filters)
}

// ConvGradWeights adds to dw, shaped as the weights, the gradient of one image:
// dz is the gradient of the output before bias and ReLU.
func (w Window) ConvGradWeights(dw, padded, dz []float32) {
	height, width := w.Out()
	line, across := w.line(), w.Kernel*w.Channels
	_ = padded[((height-1)*w.Stride+w.Kernel)*line-1]
	_ = dw[w.Kernel*across*w.Filters-1]
	work := borrow()
	defer work.giveBack()
	work.tile = tile{
		a: &padded[0], aRow: 4, aStep: w.Stride * w.Channels * 4, aBlock: (line - width*w.Channels) * w.Stride * 4,
		c: &dw[0], cRow: w.Filters * 4,
		steps: width, blocks: height, accumulate: 1,
	}
	s := sweep{rows: across, repeats: w.Kernel, aShift: line * 4, cShift: across * w.Filters * 4}
	s.over(&micros[active], work, Operand{Data: dz, Stride: w.Filters}, height*width, w.Filters)
}

// line is the length of a line of the padded image.
func (w Window) line() int { return (w.Width + 2*w.Padding) * w.Channels }

// finishWith sets what happens to the sums before they are stored.
func (t *tile) finishWith(e Epilogue, columns int) {
	if e.Accumulate {
		t.accumulate = 1
	}
	if e.Bias != nil {
		_ = e.Bias[columns-1]
		t.bias = &e.Bias[0]
	}
	if e.ReLU {
		t.relu = 1
	}
}

// sweep is how a convolution goes over its result: bands of rows, each repeated.
type sweep struct {
	rows, repeats  int
	aShift, cShift int // to the next repeat, bytes
	aAt, cAt       int // of the first, bytes
}

// over computes all rows by all columns of b, k x n, panel by panel.
func (s sweep) over(u *micro, work *scratch, b Operand, k, n int) {
	_ = b.Data[k*n-1]
	t := &work.tile
	for j := 0; j < n; j += t.columns {
		t.columns = u.take(n - j)
		t.b, t.bAt, t.bStep = &b.Data[0], j*4, n*4
		if !u.aligned(t.columns) {
			packed := work.floats(k * u.width)
			packPanel(packed, u, b, 0, k, j, t.columns)
			t.b, t.bAt, t.bStep = &packed[0], 0, u.width*4
		}
		t.biasAt = j * 4
		kernels := u.level(t.columns).tiles
		bands := (s.rows + len(kernels) - 2) / (len(kernels) - 1)
		for band := range bands {
			first := band * s.rows / bands
			t.aAt, t.cAt = s.aAt+first*t.aRow, s.cAt+first*t.cRow+j*4
			t.repeats, t.aShift, t.cShift = s.repeats, s.aShift, s.cShift
			kernels[(band+1)*s.rows/bands-first](t)
		}
	}
}

// Turn writes the weights as ConvGradInput wants them, once for all images:
// window turned by half a circle, channels and filters exchanged.
func (w Window) Turn(turned, weights []float32) {
	taps, size := w.Kernel*w.Kernel, w.Channels*w.Filters
	for t := range taps {
		transpose(turned[(taps-1-t)*size:][:size], weights[t*size:][:size], w.Channels, w.Filters)
	}
}
