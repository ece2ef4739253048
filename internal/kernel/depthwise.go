package kernel

// Depthwise convolves each channel of one padded image with its own window:
// weights are [Kernel*Kernel][Channels]. Only the output rows from y0 to before
// y1 are written.
func (w Window) Depthwise(out, padded, weights []float32, e Epilogue, y0, y1 int) {
	_, width := w.Out()
	if y1 <= y0 || width <= 0 || w.Channels <= 0 {
		return
	}
	line := (w.Width + 2*w.Padding) * w.Channels
	out, padded = out[y0*width*w.Channels:y1*width*w.Channels], padded[y0*w.Stride*line:]
	if !w.nine() || e.Accumulate {
		w.depthwisePortable(out, padded, weights, e)
		return
	}
	w.depthwiseNine(out, padded, weights, e, y1-y0)
}

// nine tells whether the window is one that there are fast kernels for.
func (w Window) nine() bool {
	return active != Portable && w.Kernel == 3 && (w.Stride == 1 || w.Stride == 2)
}

func (w Window) depthwiseNine(out, padded, weights []float32, e Epilogue, rows int) {
	_, width := w.Out()
	c, line := w.Channels, (w.Width+2*w.Padding)*w.Channels
	_ = padded[((rows-1)*w.Stride+2)*line+((width-1)*w.Stride+3)*c-1]
	weights = weights[:9*c]
	var bias *float32
	if e.Bias != nil {
		bias = &e.Bias[:c][0]
	}
	call := depthwise3x1_256
	switch {
	case active == AVX512 && w.Stride == 1:
		call = depthwise3x1_512
	case active == AVX512:
		call = depthwise3x2_512
	case w.Stride == 2:
		call = depthwise3x2_256
	}
	for step := w.linedRows(rows); rows > 0; rows -= step {
		n := min(step, rows)
		call(&out[0], &padded[0], &weights[0], bias, 4*line, n, width, c, lowest(e.ReLU))
		out, padded = out[n*width*c:], padded[min(n*w.Stride*line, len(padded)):]
	}
}

// linedRows is nearRows where it matters whether the next register of channels
// finds its values near: with AVX2, which takes half a cache line at a time.
func (w Window) linedRows(rows int) int {
	if active == AVX512 {
		return rows
	}
	return w.nearRows()
}

// nearRows is how many rows of the output to work on at once, of an input that
// stays in the first cache: the kernels take a register of channels through all
// of them, then the next.
func (w Window) nearRows() int {
	const near = 6 << 10 // values
	line := (w.Width + 2*w.Padding) * w.Channels
	return max(1, (near/line-2)/w.Stride)
}

func (w Window) depthwisePortable(out, padded, weights []float32, e Epilogue) {
	_, width := w.Out()
	c, line := w.Channels, (w.Width+2*w.Padding)*w.Channels
	for i := 0; i < len(out); i += c {
		y, x, to := i/c/width, i/c%width, out[i:][:c]
		if !e.Accumulate {
			clear(to)
		}
		if e.Bias != nil {
			for j, b := range e.Bias[:c] {
				to[j] += b
			}
		}
		for t := range w.Kernel * w.Kernel {
			from, factor := padded[(y*w.Stride+t/w.Kernel)*line+(x*w.Stride+t%w.Kernel)*c:][:c], weights[t*c:][:c]
			for j := range to {
				to[j] += from[j] * factor[j]
			}
		}
		if e.ReLU {
			for j, v := range to {
				to[j] = max(v, 0)
			}
		}
	}
}

// DepthwiseGradWeights adds to dw the gradient of one image.
func (w Window) DepthwiseGradWeights(dw, padded, dz []float32) {
	height, width := w.Out()
	c, line := w.Channels, (w.Width+2*w.Padding)*w.Channels
	if height <= 0 || width <= 0 || c <= 0 {
		return
	}
	padded, dz, dw = padded[:w.Padded()], dz[:height*width*c], dw[:w.Kernel*w.Kernel*c]
	if w.nine() {
		call := depthwiseGradWeights3x1_256
		switch {
		case active == AVX512 && w.Stride == 1:
			call = depthwiseGradWeights3x1_512
		case active == AVX512:
			call = depthwiseGradWeights3x2_512
		case w.Stride == 2:
			call = depthwiseGradWeights3x2_256
		}
		for step := w.linedRows(height); height > 0; height -= step {
			n := min(step, height)
			call(&dw[0], &padded[0], &dz[0], 4*line, n, width, c)
			padded, dz = padded[min(n*w.Stride*line, len(padded)):], dz[n*width*c:]
		}
		return
	}
	for i := 0; i < len(dz); i += c {
		y, x, grads := i/c/width, i/c%width, dz[i:][:c]
		for t := range w.Kernel * w.Kernel {
			from, to := padded[(y*w.Stride+t/w.Kernel)*line+(x*w.Stride+t%w.Kernel)*c:][:c], dw[t*c:][:c]
			for j, d := range grads {
				to[j] += from[j] * d
			}
		}
	}
}

// DepthwiseScratch is how many values [Window.DepthwiseGradInput] needs.
func (w Window) DepthwiseScratch() int {
	b := w.turned()
	h, x := w.Out()
	return max(b.Padded()+w.Kernel*w.Kernel*w.Channels, (h+1)*(x+1)*w.Channels, w.Padded())
}

// turned is, for stride 1, the window through which the gradient of the output
// is seen from the input.
func (w Window) turned() Window {
	h, x := w.Out()
	return Window{Height: h, Width: x, Channels: w.Channels, Filters: w.Channels, Kernel: w.Kernel, Stride: 1, Padding: max(w.Kernel-1-w.Padding, 0)}
}

// DepthwiseGradInput writes into dx, of In values, the gradient of one image.
// scratch has DepthwiseScratch values.
func (w Window) DepthwiseGradInput(dx, dz, weights, scratch []float32) {
	dx = dx[:w.In()]
	height, width := w.Out()
	if height <= 0 || width <= 0 || w.Channels <= 0 {
		clear(dx)
		return
	}
	switch {
	case w.nine() && w.Stride == 1 && w.Padding < w.Kernel:
		w.gradInputByTurning(dx, dz, weights, scratch)
	case w.nine() && w.Stride == 2 && w.Padding == 1 && w.Height > 1 && w.Width > 1:
		w.gradInputByFours(dx, dz, weights, scratch)
	default:
		w.gradInputPortable(dx, dz, weights, scratch)
	}
}

// gradInputByTurning convolves the gradient with the weights turned by half a
// circle.
func (w Window) gradInputByTurning(dx, dz, weights, scratch []float32) {
	b, c := w.turned(), w.Channels
	padded, turned := scratch[:b.Padded()], scratch[b.Padded():][:9*c]
	b.Pad(padded, dz)
	for t := range 9 {
		copy(turned[t*c:][:c], weights[(8-t)*c:][:c])
	}
	b.Depthwise(dx, padded, turned, Epilogue{}, 0, w.Height)
}

// gradInputByFours is for stride 2 and padding 1: see depthwiseGradInput in gen.
func (w Window) gradInputByFours(dx, dz, weights, scratch []float32) {
	height, width := w.Out()
	c, line, row := w.Channels, (width+1)*w.Channels, width*w.Channels
	padded := scratch[:(height+1)*line]
	for y := range height {
		copy(padded[y*line:], dz[y*row:][:row])
		clear(padded[y*line+row : (y+1)*line])
	}
	clear(padded[height*line:])
	call := depthwiseGradInput3x2_256
	if active == AVX512 {
		call = depthwiseGradInput3x2_512
	}
	weights = weights[:9*c]
	for y, step := 0, max(1, w.nearRows()/2); y < w.Height/2; y += step {
		call(&dx[2*y*w.Width*c], &padded[y*line], &weights[0], 4*w.Width*c, 4*line, min(step, w.Height/2-y), w.Width/2, c)
	}
	if w.Width%2 == 1 {
		for y := range w.Height {
			w.gradPixel(dx, padded, weights, y, w.Width-1)
		}
	}
	if w.Height%2 == 1 {
		for x := range w.Width {
			w.gradPixel(dx, padded, weights, w.Height-1, x)
		}
	}
}

// gradPixel writes the gradient of one pixel of the input, from what
// gradInputByFours padded.
func (w Window) gradPixel(dx, padded, weights []float32, y, x int) {
	height, width := w.Out()
	c := w.Channels
	to := dx[(y*w.Width+x)*c:][:c]
	clear(to)
	for t := range 9 {
		i, j := y+1-t/3, x+1-t%3
		if i < 0 || j < 0 || i%2 == 1 || j%2 == 1 || i/2 >= height || j/2 >= width {
			continue
		}
		from, factor := padded[(i/2*(width+1)+j/2)*c:][:c], weights[t*c:][:c]
		for k := range to {
			to[k] += from[k] * factor[k]
		}
	}
}

func (w Window) gradInputPortable(dx, dz, weights, scratch []float32) {
	padded := scratch[:w.Padded()]
	clear(padded)
	height, width := w.Out()
	c, line := w.Channels, (w.Width+2*w.Padding)*w.Channels
	for i := range height * width {
		y, x, grads := i/width, i%width, dz[i*c:][:c]
		for t := range w.Kernel * w.Kernel {
			to, factor := padded[(y*w.Stride+t/w.Kernel)*line+(x*w.Stride+t%w.Kernel)*c:][:c], weights[t*c:][:c]
			for j, d := range grads {
				to[j] += factor[j] * d
			}
		}
	}
	for y := range w.Height {
		copy(dx[y*w.Width*c:][:w.Width*c], padded[(y+w.Padding)*line+w.Padding*c:])
	}
}
