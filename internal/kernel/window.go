package kernel

// Window is the geometry of a layer that looks at an image through a square
// window: a convolution, a depthwise convolution or a pooling, over one image.
type Window struct {
	Height, Width, Channels int // of the input
	Filters                 int // channels of the output; those of the input where each channel is by itself
	Kernel, Stride, Padding int // side of the window, its step, and zeros around the input, pixels
}

// Out is the size of the output: (in + 2 Padding - Kernel) / Stride + 1, down.
func (w Window) Out() (height, width int) {
	return (w.Height+2*w.Padding-w.Kernel)/w.Stride + 1, (w.Width+2*w.Padding-w.Kernel)/w.Stride + 1
}

// In is the number of values of the input image, Output that of the output.
func (w Window) In() int { return w.Height * w.Width * w.Channels }

// Output is Filters x height x width of the output.
func (w Window) Output() int {
	h, x := w.Out()
	return h * x * w.Filters
}

// Padded is the number of values of an input with its border of zeros.
func (w Window) Padded() int {
	return (w.Height + 2*w.Padding) * (w.Width + 2*w.Padding) * w.Channels
}

// Pad copies an image into dst, of Padded values, with its border of zeros.
func (w Window) Pad(dst, src []float32) {
	w.PadWith(dst, src, func(dst, src []float32) { copy(dst, src) })
}

// PadWith is Pad with fill in place of the copy: it gets one row of pixels at a
// time, and where they belong.
func (w Window) PadWith(dst, src []float32, fill func(dst, src []float32)) {
	line, row := (w.Width+2*w.Padding)*w.Channels, w.Width*w.Channels
	clear(dst[:w.Padding*line])
	at := w.Padding * line
	for y := range w.Height {
		clear(dst[at : at+w.Padding*w.Channels])
		fill(dst[at+w.Padding*w.Channels:][:row], src[y*row:][:row])
		clear(dst[at+w.Padding*w.Channels+row : at+line])
		at += line
	}
	clear(dst[at : at+w.Padding*line])
}
