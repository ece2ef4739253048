package kernel

// Conv convolves one padded image with weights [Kernel*Kernel*Channels][Filters]
// (window row, window column, channel) into out, [height][width][Filters]; only
// the output rows from y0 to before y1 are written. Bias has Filters values.
func (w Window) Conv(out, padded, weights []float32, e Epilogue, y0, y1 int) {
	_, width := w.Out()
	line := (w.Width + 2*w.Padding) * w.Channels
	for y := y0; y < y1; y++ {
		for x := range width {
			for o := range w.Filters {
				var sum float32
				for ky := range w.Kernel {
					in := padded[(y*w.Stride+ky)*line+x*w.Stride*w.Channels:]
					for i := range w.Kernel * w.Channels {
						sum += in[i] * weights[(ky*w.Kernel*w.Channels+i)*w.Filters+o]
					}
				}
				e.store(&out[(y*width+x)*w.Filters+o], sum, o)
			}
		}
	}
}

// ConvGradWeights adds to dw, shaped as the weights, the gradient of one image:
// dz is the gradient of the output before bias and ReLU.
func (w Window) ConvGradWeights(dw, padded, dz []float32) {
	height, width := w.Out()
	line := (w.Width + 2*w.Padding) * w.Channels
	for y := range height {
		for x := range width {
			for ky := range w.Kernel {
				in := padded[(y*w.Stride+ky)*line+x*w.Stride*w.Channels:]
				for i := range w.Kernel * w.Channels {
					for o := range w.Filters {
						dw[(ky*w.Kernel*w.Channels+i)*w.Filters+o] += in[i] * dz[(y*width+x)*w.Filters+o]
					}
				}
			}
		}
	}
}

// Turn writes the weights as ConvGradInput wants them, once for all images:
// window turned by half a circle, channels and filters exchanged.
func (w Window) Turn(turned, weights []float32) {
	k := w.Kernel * w.Kernel
	for t := range k {
		for c := range w.Channels {
			for o := range w.Filters {
				turned[((k-1-t)*w.Filters+o)*w.Channels+c] = weights[(t*w.Channels+c)*w.Filters+o]
			}
		}
	}
}

// back is the window through which the gradient of the output is seen from the
// input: stride 1 over the output spread out by the stride.
func (w Window) back() Window {
	h, x := w.Out()
	return Window{
		Height: (h-1)*w.Stride + 1, Width: (x-1)*w.Stride + 1, Channels: w.Filters,
		Filters: w.Channels, Kernel: w.Kernel, Stride: 1, Padding: w.Kernel - 1,
	}
}

// GradScratch is how many values ConvGradInput and DepthwiseGradInput need.
func (w Window) GradScratch() int {
	b := w.back()
	return b.Padded() + b.Output()
}

// ConvGradInput writes into dx, of In values, the gradient of one image. turned
// is what Turn wrote.
func (w Window) ConvGradInput(dx, dz, turned, scratch []float32) {
	b := w.back()
	padded, full := scratch[:b.Padded()], scratch[b.Padded():][:b.Output()]
	w.spread(padded, dz, b)
	h, _ := b.Out()
	b.Conv(full, padded, turned, Epilogue{}, 0, h)
	w.crop(dx, full, b)
}

// spread puts dz into the padded input of b, Stride apart.
func (w Window) spread(padded, dz []float32, b Window) {
	clear(padded)
	h, x := w.Out()
	line := (b.Width + 2*b.Padding) * b.Channels
	for y := range h {
		for i := range x {
			copy(padded[(y*w.Stride+b.Padding)*line+(i*w.Stride+b.Padding)*b.Channels:][:b.Channels], dz[(y*x+i)*b.Channels:][:b.Channels])
		}
	}
}

// crop copies from the gradient of the padded input that of the input. Where
// the last window did not reach the end, the gradient is zero.
func (w Window) crop(dx, full []float32, b Window) {
	fh, fw := b.Out()
	for y := range w.Height {
		for x := range w.Width {
			to := dx[(y*w.Width+x)*w.Channels:][:w.Channels]
			if y+w.Padding >= fh || x+w.Padding >= fw {
				clear(to)
				continue
			}
			copy(to, full[((y+w.Padding)*fw+x+w.Padding)*w.Channels:])
		}
	}
}
