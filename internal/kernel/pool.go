package kernel

import "math"

// MaxPool writes the largest value of each window of one image, which must have
// Padding 0. Rows and columns that no whole window covers are left out.
func (w Window) MaxPool(out, in []float32) {
	height, width := w.Out()
	for y := range height {
		for x := range width {
			for c := range w.Channels {
				top := float32(math.Inf(-1))
				for t := range w.Kernel * w.Kernel {
					top = max(top, in[((y*w.Stride+t/w.Kernel)*w.Width+x*w.Stride+t%w.Kernel)*w.Channels+c])
				}
				out[(y*width+x)*w.Channels+c] = top
			}
		}
	}
}

// MaxPoolGrad writes the gradient of one image into dx: the gradient of each
// window goes to its largest value, the first of equals in the order of rows.
func (w Window) MaxPoolGrad(dx, dout, in, out []float32) {
	clear(dx[:w.In()])
	height, width := w.Out()
	for y := range height {
		for x := range width {
			for c := range w.Channels {
				i := (y*width+x)*w.Channels + c
				for t := range w.Kernel * w.Kernel {
					at := ((y*w.Stride+t/w.Kernel)*w.Width+x*w.Stride+t%w.Kernel)*w.Channels + c
					if in[at] == out[i] {
						dx[at] += dout[i]
						break
					}
				}
			}
		}
	}
}

// MeanRows writes the mean of rows x c values over the rows: global average
// pooling of one image with rows pixels.
func MeanRows(out, in []float32, rows, c int) {
	clear(out[:c])
	for r := range rows {
		for i, v := range in[r*c:][:c] {
			out[i] += v
		}
	}
	for i := range out[:c] {
		out[i] /= float32(rows)
	}
}
