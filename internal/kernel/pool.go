package kernel

import "math"

// MaxPool writes the largest value of each window of one image, which must have
// Padding 0; NaN where the window has one. Rows and columns that no whole window
// covers are left out.
func (w Window) MaxPool(out, in []float32) {
	height, width := w.Out()
	if height <= 0 || width <= 0 || w.Channels <= 0 {
		return
	}
	out, in = out[:height*width*w.Channels], in[:w.In()]
	if !w.pairs() {
		w.maxPoolPortable(out, in)
		return
	}
	line, row := w.Width*w.Channels, width*w.Channels
	for y := range height {
		to, from := &out[y*row], &in[2*y*line]
		if active == AVX512 {
			maxPool2x2_512(to, from, 4*line, width, w.Channels)
		} else {
			maxPool2x2_256(to, from, 4*line, width, w.Channels)
		}
	}
}

// pairs tells whether the window is the one that there are fast kernels for.
func (w Window) pairs() bool { return active != Portable && w.Kernel == 2 && w.Stride == 2 }

func (w Window) maxPoolPortable(out, in []float32) {
	height, width := w.Out()
	for y := range height {
		for x := range width {
			to := out[(y*width+x)*w.Channels:][:w.Channels]
			for i := range to {
				to[i] = float32(math.Inf(-1))
			}
			for t := range w.Kernel * w.Kernel {
				from := in[((y*w.Stride+t/w.Kernel)*w.Width+x*w.Stride+t%w.Kernel)*w.Channels:][:len(to)]
				for i, v := range from {
					to[i] = max(to[i], v)
				}
			}
		}
	}
}

// MaxPoolGrad writes the gradient of one image into dx: the gradient of each
// window goes to its largest value, the first of equals in the order of rows.
// The gradient of a window whose largest value is NaN goes nowhere.
func (w Window) MaxPoolGrad(dx, dout, in, out []float32) {
	dx, in = dx[:w.In()], in[:w.In()]
	height, width := w.Out()
	if height <= 0 || width <= 0 || w.Channels <= 0 {
		clear(dx)
		return
	}
	out, dout = out[:height*width*w.Channels], dout[:height*width*w.Channels]
	if !w.pairs() {
		w.maxPoolGradPortable(dx, dout, in, out)
		return
	}
	line, row := w.Width*w.Channels, width*w.Channels
	for y := range height {
		at := 2 * y * line
		to, from, grads, tops := &dx[at], &in[at], &dout[y*row], &out[y*row]
		if active == AVX512 {
			maxPoolGrad2x2_512(to, grads, from, tops, 4*line, width, w.Channels)
		} else {
			maxPoolGrad2x2_256(to, grads, from, tops, 4*line, width, w.Channels)
		}
		if w.Width%2 == 1 { // the column that no window covers
			clear(dx[at+line-w.Channels : at+line])
			clear(dx[at+2*line-w.Channels : at+2*line])
		}
	}
	clear(dx[2*height*line:])
}

func (w Window) maxPoolGradPortable(dx, dout, in, out []float32) {
	clear(dx)
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
	AddRows(out, in, rows, c)
	for i := range out[:c] {
		out[i] /= float32(rows)
	}
}
