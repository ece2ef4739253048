package kernel

// Depthwise convolves each channel of one padded image with its own window:
// weights are [Kernel*Kernel][Channels]. Only the output rows from y0 to before
// y1 are written.
func (w Window) Depthwise(out, padded, weights []float32, e Epilogue, y0, y1 int) {
	_, width := w.Out()
	line := (w.Width + 2*w.Padding) * w.Channels
	for y := y0; y < y1; y++ {
		for x := range width {
			for c := range w.Channels {
				var sum float32
				for t := range w.Kernel * w.Kernel {
					sum += padded[(y*w.Stride+t/w.Kernel)*line+(x*w.Stride+t%w.Kernel)*w.Channels+c] * weights[t*w.Channels+c]
				}
				e.store(&out[(y*width+x)*w.Channels+c], sum, c)
			}
		}
	}
}

// DepthwiseGradWeights adds to dw the gradient of one image.
func (w Window) DepthwiseGradWeights(dw, padded, dz []float32) {
	height, width := w.Out()
	line := (w.Width + 2*w.Padding) * w.Channels
	for y := range height {
		for x := range width {
			for t := range w.Kernel * w.Kernel {
				for c := range w.Channels {
					dw[t*w.Channels+c] += padded[(y*w.Stride+t/w.Kernel)*line+(x*w.Stride+t%w.Kernel)*w.Channels+c] * dz[(y*width+x)*w.Channels+c]
				}
			}
		}
	}
}

// DepthwiseGradInput writes into dx, of In values, the gradient of one image.
func (w Window) DepthwiseGradInput(dx, dz, weights, scratch []float32) {
	padded := scratch[:w.Padded()]
	clear(padded)
	height, width := w.Out()
	line := (w.Width + 2*w.Padding) * w.Channels
	for y := range height {
		for x := range width {
			for t := range w.Kernel * w.Kernel {
				for c := range w.Channels {
					padded[(y*w.Stride+t/w.Kernel)*line+(x*w.Stride+t%w.Kernel)*w.Channels+c] += weights[t*w.Channels+c] * dz[(y*width+x)*w.Channels+c]
				}
			}
		}
	}
	for y := range w.Height {
		copy(dx[y*w.Width*w.Channels:][:w.Width*w.Channels], padded[(y+w.Padding)*line+w.Padding*w.Channels:])
	}
}
