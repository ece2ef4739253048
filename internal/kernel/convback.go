package kernel

// back is the window through which the gradient of the output is seen from the
// input: stride 1 over the output spread out by the stride. With stride 1 and
// little padding its output is the input; else that has to be cut out of it.
func (w Window) back() (b Window, exact bool) {
	h, x := w.Out()
	b = Window{
		Height: (h-1)*w.Stride + 1, Width: (x-1)*w.Stride + 1, Channels: w.Filters,
		Filters: w.Channels, Kernel: w.Kernel, Stride: 1, Padding: w.Kernel - 1,
	}
	if w.Stride == 1 && w.Padding < w.Kernel {
		b.Padding -= w.Padding
		return b, true
	}
	return b, false
}

// GradScratch is how many values ConvGradInput needs.
func (w Window) GradScratch() int {
	b, exact := w.back()
	if exact {
		return max(b.Padded(), w.Padded())
	}
	return max(b.Padded()+b.Output(), w.Padded())
}

// ConvGradInput writes into dx, of In values, the gradient of one image. turned
// is what Turn wrote.
func (w Window) ConvGradInput(dx, dz, turned, scratch []float32) {
	b, exact := w.back()
	padded := scratch[:b.Padded()]
	if exact {
		b.Pad(padded, dz)
		b.Conv(dx, padded, turned, Epilogue{}, 0, w.Height)
		return
	}
	full := scratch[b.Padded():][:b.Output()]
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
