package dataset

// A shape is one or more closed outlines in garment coordinates.
type shape []node

type node struct {
	step   byte
	cx, cy float64 // control point of a curve
	x, y   float64
}

const (
	moveTo = iota
	lineTo
	curveTo
)

// polygon joins the points (x, y, x, y, ...) by straight lines.
func polygon(xy ...float64) shape {
	s := make(shape, 0, len(xy)/2)
	for i := 0; i+1 < len(xy); i += 2 {
		s = append(s, node{step: lineTo, x: xy[i], y: xy[i+1]})
	}
	s[0].step = moveTo
	return s
}

// box is an upright rectangle.
func box(x0, y0, x1, y1 float64) shape { return polygon(x0, y0, x1, y0, x1, y1, x0, y1) }

// oval is an ellipse of four curves (a little squarish: good enough at 28 pixels).
func oval(x, y, rx, ry float64) shape {
	return start(x-rx, y).curve(x-rx, y-ry, x, y-ry).curve(x+rx, y-ry, x+rx, y).
		curve(x+rx, y+ry, x, y+ry).curve(x-rx, y+ry, x-rx, y)
}

// start begins an outline.
func start(x, y float64) shape { return shape{{step: moveTo, x: x, y: y}} }

// line goes straight to x, y.
func (s shape) line(x, y float64) shape { return append(s, node{step: lineTo, x: x, y: y}) }

// curve goes to x, y, pulled towards cx, cy.
func (s shape) curve(cx, cy, x, y float64) shape {
	return append(s, node{step: curveTo, cx: cx, cy: cy, x: x, y: y})
}

// symmetric closes a right half, drawn from the middle line down to it again,
// with its mirror image.
func (s shape) symmetric() shape {
	out := append(shape(nil), s...)
	for i := len(s) - 1; i > 0; i-- {
		back := node{step: s[i].step, cx: -s[i].cx, cy: s[i].cy, x: -s[i-1].x, y: s[i-1].y}
		if i == len(s)-1 && s[i].x != 0 {
			out = out.line(-s[i].x, s[i].y)
		}
		out = append(out, back)
	}
	return out
}

// mirror is the shape on the other side of the middle line.
func (s shape) mirror() shape {
	out := make(shape, len(s))
	for i, n := range s {
		out[i] = node{step: n.step, cx: -n.cx, cy: n.cy, x: -n.x, y: n.y}
	}
	return out
}
